"""Language models as GGUF: what was written opens as what it was, and what GGUF cannot say is refused."""

import dataclasses
from pathlib import Path

import gguf
import pytest
import torch
from references import CONFIGS, reference

import limelight
from limelight.checkpoints import gguf_save
from limelight.checkpoints.gguf import GGUFReader
from limelight.checkpoints.gguf_save import save_gguf
from limelight.checkpoints.open import open_checkpoint
from limelight.errors import FileError, LimelightError, RequestError, TextError
from limelight.models import recurrent
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.config import ModelConfig
from limelight.models.init import initialise
from limelight.models.registry import config_from_hf
from limelight.quant.linear import LowBitEmbedding, LowBitLinear
from limelight.text.gguf import byte_level_bpe, describe, rebuild, sentencepiece_bpe
from limelight.text.parts import Parts
from limelight.text.tokenizer import to_gguf
from limelight.train.tokenizers import train_tokenizer

TEXT = "A cat sat on the mat; the dog, 1234 years old, didn't. Zwölf Boxkämpfer…  日本"
TOKENIZER = train_tokenizer([TEXT * 3], "byte", 290, document=True)
PRE = ("gpt-2", "smollm", "llama-bpe", "qwen2")


def drawn(config: ModelConfig) -> Decoder:
    network = build(dataclasses.replace(config, vocab=TOKENIZER.vocab + 3))  # as many models have more rows than tokens
    assert isinstance(network, Decoder)
    initialise(network, torch.Generator().manual_seed(0))
    return network.eval()


def network(name: str) -> Decoder:
    return drawn(config_from_hf(reference(name).config.to_dict()))


@pytest.mark.parametrize("name", ["llama", "llama-biases-tied", "qwen2", "qwen3", "gemma", "gpt2"])
def test_what_was_written_opens_as_what_it_was(name: str, tmp_path: Path) -> None:
    assert name in CONFIGS
    model = network(name)
    save_gguf(model, TOKENIZER, tmp_path / "model.gguf", "f32")
    again = open_checkpoint(tmp_path / "model.gguf")
    tokens = torch.tensor([TOKENIZER.encode(TEXT).ids])
    assert again.network.config.family == model.config.family
    with torch.inference_mode():
        torch.testing.assert_close(again.network(tokens), model(tokens), rtol=1e-5, atol=1e-5)
    assert again.tokenizer.encode(TEXT).ids == tokens[0].tolist()
    assert (again.tokenizer.prefix, again.tokenizer.bos, again.tokenizer.pad) == (
        TOKENIZER.prefix,
        TOKENIZER.bos,
        TOKENIZER.pad,
    )
    assert again.tokenizer.decode(tokens[0].tolist()) == TEXT


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0"])
def test_matrices_are_rounded_as_the_gguf_package_does(kind: gguf_save.Kind, tmp_path: Path) -> None:
    model = network("llama")
    save_gguf(model, TOKENIZER, tmp_path / "model.gguf", kind)
    held = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    wanted = gguf.GGMLQuantizationType[kind.upper()]
    assert held["blk.0.ffn_up.weight"].tensor_type == wanted
    assert held["blk.0.attn_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    exact = model.get_submodule("decoder.blocks.0.feedforward.up").weight.detach()
    found = torch.tensor(gguf.quants.dequantize(held["blk.0.ffn_up.weight"].data, wanted))
    steps = {"f16": 2**-10, "q8_0": 1 / 127, "q4_0": 1 / 7}[kind]
    assert float((found - exact).abs().max()) <= float(exact.abs().max()) * steps
    again = open_checkpoint(tmp_path / "model.gguf").network
    low = [module for module in again.modules() if isinstance(module, LowBitLinear | LowBitEmbedding)]
    assert bool(low) == (kind != "f16")


@pytest.mark.parametrize("pre", PRE)
def test_how_words_are_cut_is_named(pre: str) -> None:
    said = to_gguf(TOKENIZER, TOKENIZER.vocab)
    vocab = {token: id for id, token in enumerate(said["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in said["tokenizer.ggml.merges"]]
    parts = Parts(byte_level_bpe(vocab, merges, pre))
    found = describe(parts, len(vocab), front=False, back=False)
    assert found["tokenizer.ggml.pre"] == pre
    assert rebuild(found).inner.encode(TEXT).ids == parts.inner.encode(TEXT).ids


@pytest.mark.parametrize("spaced", [False, True])
def test_pieces_keep_the_order_in_which_they_are_joined(spaced: bool) -> None:
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdeth", "th", "▁a", "at", "▁th", "the", "▁the"]
    types = [2, *[6] * 256, *[1] * (len(pieces) - 257)]
    scores = [0.0] * 257 + [-float(i) for i in range(len(pieces) - 257)]
    vocab = {piece: id for id, piece in enumerate(pieces)}
    parts = Parts(sentencepiece_bpe(vocab, scores, types, unk="<unk>", spaced=spaced), unk="<unk>")
    found = describe(parts, len(pieces), front=False, back=False)
    assert found["tokenizer.ggml.add_space_prefix"] == spaced
    assert found["tokenizer.ggml.token_type"] == types
    again = rebuild(found)
    for text in ("the cat ate a bad death", " ab  the\n", TEXT):
        assert again.inner.encode(text).ids == parts.inner.encode(text).ids


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    words = train_tokenizer([TEXT], "word", 40)
    with pytest.raises(TextError, match="a form for byte pairs alone"):
        save_gguf(network("llama"), words, tmp_path / "model.gguf", "f32")
    assert not list(tmp_path.iterdir())


def test_what_gguf_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="something that GGUF does not say"):
        save_gguf(network("llama-llama3"), TOKENIZER, tmp_path / "model.gguf", "f32")
    gru = recurrent.language_model(cell="gru", vocab=9, context=9, layers=1, width=8, dropout=0.0)
    with pytest.raises(RequestError, match="does not write the family 'limelight-recurrent' as GGUF"):
        save_gguf(drawn(gru), TOKENIZER, tmp_path / "model.gguf", "f32")
    with pytest.raises(RequestError, match="does not write the family 'lfm2' as GGUF"):
        save_gguf(network("lfm2"), TOKENIZER, tmp_path / "model.gguf", "f32")
    assert not list(tmp_path.iterdir())


def test_save_takes_a_file_that_ends_in_gguf(tiny: Path, tmp_path: Path) -> None:
    model = limelight.open(tiny, kind=limelight.Model)
    (tmp_path / "mine.gguf").write_text("mine")
    for path, kind, said in (
        ("mine.gguf", None, "exists; name a new file"),
        ("other.gguf", "q5", "the type 'q5' is not one of f32, f16, q8_0, q4_0"),
        ("folder", "f16", "only a file that ends in .gguf has one"),
    ):
        with pytest.raises(LimelightError, match=said):
            limelight.save(model, tmp_path / path, kind)
    assert (tmp_path / "mine.gguf").read_text() == "mine"


def test_where_writing_fails_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf_save.GGUFWriter, "write_tensors_to_file", full)
    with pytest.raises(FileError, match="No space left"):
        save_gguf(network("gpt2"), TOKENIZER, tmp_path / "model.gguf", "f16")
    assert not list(tmp_path.iterdir())


KIND = gguf.GGMLQuantizationType


@pytest.mark.parametrize(
    ("name", "shape", "kinds"),
    [
        ("blk.0.attn_norm.weight", (64,), ("F32", "F32", "F32", "F32")),
        ("position_embd.weight", (4, 64), ("F32", "F32", "F32", "F32")),
        ("blk.0.ffn_up.weight", (4, 64), ("F32", "F16", "Q8_0", "Q4_0")),
        ("blk.0.ffn_up.weight", (4, 48), ("F32", "F16", "F16", "F16")),  # no whole blocks of 32
        ("token_embd.weight", (4, 64), ("F32", "F16", "Q8_0", "Q8_0")),
        ("output.weight", (4, 64), ("F32", "F16", "Q8_0", "Q8_0")),
        ("output_norm.weight", (4, 64), ("F32", "F16", "Q8_0", "Q4_0")),
    ],
)
def test_a_tensor_has_the_type_of_its_file_where_that_fits(
    name: str, shape: tuple[int, ...], kinds: tuple[str, ...]
) -> None:
    assert gguf_save.KINDS == ("f32", "f16", "q8_0", "q4_0")
    assert tuple(gguf_save._type(name, torch.empty(shape), kind) for kind in gguf_save.KINDS) == tuple(
        KIND[kind] for kind in kinds
    )


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    model, path = network("llama"), tmp_path / "deep" / "model.gguf"
    for kind, number in (("f32", 0), ("f16", 1), ("q8_0", 7), ("q4_0", 2)):  # ggml's numbers of types of files
        save_gguf(model, TOKENIZER, path, kind)
        said = open_checkpoint(path).path
        metadata = GGUFReader(said).metadata
        assert (metadata["general.architecture"], metadata["general.file_type"]) == ("llama", number)
        assert metadata["general.quantization_version"] == 2
        assert path.stat().st_mode & 0o777 == 0o644
        assert [file.name for file in path.parent.iterdir()] == ["model.gguf"]
        with pytest.raises(RequestError) as refused:
            save_gguf(model, TOKENIZER, path, kind)
        assert str(refused.value) == f"{path} exists; name a new file, so that nothing is overwritten"
        path.unlink()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "model.gguf"
    with pytest.raises(FileError, match=r"model\.gguf: cannot be written \((Not a directory|File exists)\)$"):
        save_gguf(network("gpt2"), TOKENIZER, path, "f32")
