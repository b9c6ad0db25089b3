"""Marian's own files: read to the number, written out against transformers and against plain loops, and refused by
name where they do not hold together."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece as spm
import torch
import transformers as hf
from references import reference

import limelight
from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.reader import open_tensors
from limelight.errors import ConfigError, FileError, LimelightError, TextError
from limelight.models.api import Seq2Seq
from limelight.models.marian_nmt import config_from_marian
from limelight.nn.positions import sinusoids
from limelight.text import shortlist
from limelight.text.tokenizer import Tokenizer

WIDTH, HIDDEN, HEADS, VOCAB = 16, 24, 4, 99
OPTIONS = f"""bert-train-type-embeddings: true
dec-cell: ssru
dec-cell-base-depth: 2
dec-depth: 2
dim-emb: {WIDTH}
dim-vocabs:
  - {VOCAB}
  - {VOCAB}
enc-depth: 3
input-types: []
tied-embeddings-all: true
transformer-decoder-autoreg: rnn
transformer-dim-ffn: {HIDDEN}
transformer-ffn-activation: relu
transformer-heads: {HEADS}
transformer-postprocess: dan
transformer-postprocess-top: ""
transformer-preprocess: ""
type: transformer
version: v1.9.56 94aeaa46 2021-04-28 00:28:35 +0100
"""
PLAIN = OPTIONS.replace("autoreg: rnn", "autoreg: self-attention").replace("relu", "swish")
SOURCE, TARGET = torch.tensor([[5, 9, 40, 0]]), torch.tensor([[VOCAB, 17, 30, 8]])


def weights(options: str) -> dict[str, np.ndarray[Any, Any]]:
    """Random weights under Marian's names, in its layout: input rows before output columns, biases as rows."""
    generator = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray[Any, Any]:
        return (generator.standard_normal(shape) * 0.4 + 0.05).astype(np.float32)

    found = {"Wemb": drawn(VOCAB, WIDTH), "decoder_ff_logit_out_b": drawn(1, VOCAB)}
    for side, depth in (("encoder", 3), ("decoder", 2)):
        for layer in range(1, depth + 1):
            name = f"{side}_l{layer}_"
            attentions = ["self"] if side == "encoder" else ["self", "context"]
            norms = ["ffn_ffn"]
            if side == "decoder" and "autoreg: rnn" in options:
                attentions, norms = ["context"], ["ffn_ffn", "rnn_ffn"]
                found |= {f"{name}rnn_W": drawn(WIDTH, WIDTH), f"{name}rnn_Wf": drawn(WIDTH, WIDTH)}
                found[f"{name}rnn_bf"] = drawn(1, WIDTH)
            for attention in attentions:
                found |= {f"{name}{attention}_W{p}": drawn(WIDTH, WIDTH) for p in "qkvo"}
                found |= {f"{name}{attention}_b{p}": drawn(1, WIDTH) for p in "qkvo"}
                norms.append(f"{attention}_Wo")
            for norm in norms:
                found |= {f"{name}{norm}_ln_scale": drawn(1, WIDTH) + 1, f"{name}{norm}_ln_bias": drawn(1, WIDTH)}
            found |= {f"{name}ffn_W1": drawn(WIDTH, HIDDEN), f"{name}ffn_b1": drawn(1, HIDDEN)}
            found |= {f"{name}ffn_W2": drawn(HIDDEN, WIDTH), f"{name}ffn_b2": drawn(1, WIDTH)}
    return found


def write_npz(folder: Path, options: str, **more: np.ndarray[Any, Any]) -> Path:
    text = np.frombuffer(options.encode() + b"\0", np.int8)
    np.savez(folder / "model.npz", **{"special:model.yml": text}, **(weights(options) | more))
    return folder / "model.npz"


def write_bin(folder: Path, options: str, *, rounded: bool, change: Callable[[list[Any]], None] | None = None) -> Path:
    """A file as marian-conv writes it; rounded: with 8-bit matrices, each behind its multiplier of activations."""
    items: list[Any] = []
    for name, weight in weights(options).items():
        shape = weight.shape
        if rounded and "_W" in f"_{name}" and "_ln_" not in name:
            multiplier = 127 / float(np.abs(weight).max())
            whole = np.rint(weight * np.float32(multiplier)).astype(np.int8)
            laid = whole if name == "Wemb" else np.ascontiguousarray(whole.T)
            items.append([name, 0x4101, shape, laid.tobytes() + struct.pack("<f", multiplier) + bytes(60)])
            items.append([f"{name}_QuantMultA", 0x0404, (1, 1), struct.pack("<f", 12.5) + bytes(252)])
        else:
            items.append([name, 0x0404, shape, weight.tobytes()])
    text = options.encode() + b"\0"
    items.append(["special:model.yml", 0x0101, (len(text),), text])
    if change is not None:
        change(items)
    names = [name.encode() + b"\0" for name, *_ in items]
    head = struct.pack("<2Q", 1, len(items))
    for name, (_, kind, shape, data) in zip(names, items, strict=True):
        head += struct.pack("<4Q", len(name), kind, len(shape), len(data))
    head += b"".join(names) + b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in items)
    gap = -(len(head) + 8) % 256
    path = folder / "model.bin"
    path.write_bytes(head + struct.pack("<Q", gap) + bytes(gap) + b"".join(data for *_, data in items))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the SentencePiece model that both sides share, whose marks are numbered as Marian's are."""
    made = io.BytesIO()
    lines = [f"the {a} sees a {b} and some {c}" for a in ("dog", "cat", "fox") for b in ("bird", "tree") for c in "xyz"]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=made, vocab_size=VOCAB, minloglevel=2, bos_id=-1, eos_id=0,
        unk_id=1, hard_vocab_limit=False,
    )  # fmt: skip
    (tmp_path / "vocab.spm").write_bytes(made.getvalue())
    return tmp_path


def logits(path: Path) -> torch.Tensor:
    network = open_checkpoint(path).network
    assert isinstance(network, Seq2Seq)
    with torch.inference_mode():
        return network(SOURCE, None, TARGET)


def test_a_plain_model_equals_transformers_with_the_positions_of_marian(folder: Path) -> None:
    path = write_npz(folder, PLAIN)
    theirs = hf.MarianMTModel(
        hf.MarianConfig(
            vocab_size=VOCAB + 1, d_model=WIDTH, encoder_layers=3, decoder_layers=2, encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS, encoder_ffn_dim=HIDDEN, decoder_ffn_dim=HIDDEN, scale_embedding=True,
            activation_function="swish", max_position_embeddings=64, pad_token_id=VOCAB, eos_token_id=0,
            decoder_start_token_id=VOCAB,
        )
    ).eval()  # fmt: skip
    held, found = theirs.state_dict(), weights(PLAIN)
    parts = {"self": "self_attn", "context": "encoder_attn"}
    norms = {"self_Wo": "self_attn_layer_norm", "context_Wo": "encoder_attn_layer_norm", "ffn_ffn": "final_layer_norm"}
    with torch.no_grad():
        held["model.shared.weight"][:VOCAB] = torch.from_numpy(found.pop("Wemb"))
        held["model.shared.weight"][VOCAB] = 0
        held["final_logits_bias"][0, :VOCAB] = torch.from_numpy(found.pop("decoder_ff_logit_out_b"))[0]
        for side in ("encoder", "decoder"):
            held[f"model.{side}.embed_positions.weight"].copy_(sinusoids(64, WIDTH, "fairseq"))
        for name, weight in found.items():
            side, layer, rest = name.split("_", 2)
            place = f"model.{side}.layers.{int(layer[1:]) - 1}."
            tensor = torch.from_numpy(weight)
            if "_ln_" in rest:
                norm, leaf = rest.split("_ln_")
                held[f"{place}{norms[norm]}.{'weight' if leaf == 'scale' else 'bias'}"].copy_(tensor[0])
            elif rest.startswith("ffn_"):
                held[f"{place}fc{rest[-1]}.{'weight' if rest[4] == 'W' else 'bias'}"].copy_(tensor.T.squeeze(-1))
            else:
                part, leaf = rest.split("_")
                linear = f"{place}{parts[part]}.{'out' if leaf[1] == 'o' else leaf[1]}_proj"
                held[f"{linear}.{'weight' if leaf[0] == 'W' else 'bias'}"].copy_(tensor.T.squeeze(-1))
        for module in theirs.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-6
    with torch.inference_mode():
        expected = theirs(input_ids=SOURCE, decoder_input_ids=TARGET).logits
    torch.testing.assert_close(logits(path)[..., :VOCAB], expected[..., :VOCAB], rtol=1e-5, atol=2e-5)


def test_the_same_numbers_from_either_kind_of_file(folder: Path) -> None:
    one = logits(write_npz(folder, OPTIONS))
    (folder / "model.npz").rename(folder / "other.npz")
    assert torch.equal(logits(write_bin(folder, OPTIONS, rounded=False)), one)
    rounded = logits(write_bin(folder, OPTIONS, rounded=True))
    assert 1e-4 < (rounded - one)[..., :VOCAB].abs().max() < 1.0


def test_eight_bits_stand_for_what_was_rounded(folder: Path) -> None:
    reader, plain = open_tensors(write_bin(folder, OPTIONS, rounded=True)), weights(OPTIONS)
    assert set(reader.names()) - {name for name in reader.names() if "QuantMultA" in name} == set(plain)
    for name, weight in plain.items():
        step = np.abs(weight).max() / 127 if "_W" in f"_{name}" and "_ln_" not in name else 1e-9
        found = reader.read(name)
        assert isinstance(found, torch.Tensor)
        assert found.shape == weight.shape == reader.shape(name)
        assert np.abs(found.numpy() - weight).max() <= step * 0.5001, name


def test_it_translates_and_is_the_same_once_it_was_saved(folder: Path, tmp_path: Path) -> None:
    opened = limelight.open(write_bin(folder, OPTIONS, rounded=True).parent, kind=limelight.Translator)
    lines = ["the dog sees a tree", "some fox and some bird"]
    before = list(opened.translate(lines))
    assert all(VOCAB not in found.hypotheses[0].tokens for found in before)
    for line, found in zip(lines, opened.complete_all(lines, max_tokens=20, logprobs=True), strict=True):
        with torch.inference_mode():
            source, tokens = torch.tensor([opened.language.heard(opened.language.read(line))]), [VOCAB]
            for word, _ in found.logprobs:  # each the likeliest behind all that were, read anew
                best = int(opened.network(source, None, torch.tensor([tokens]))[0, -1, :VOCAB].argmax())
                assert opened.language.target.spell(best) == word
                tokens.append(best)
    limelight.save(opened, tmp_path / "saved")
    again = limelight.open(tmp_path / "saved", kind=limelight.Translator)
    assert list(again.translate(lines)) == before
    assert torch.equal(logits(tmp_path / "saved"), logits(folder))


def test_a_vocabulary_for_each_side(folder: Path) -> None:
    options = OPTIONS.replace(f"- {VOCAB}\n", "- 120\n", 1).replace("embeddings-all: true", "embeddings: true")
    found = weights(OPTIONS)
    source = np.random.default_rng(1).standard_normal((120, WIDTH)).astype(np.float32)
    text = np.frombuffer(options.encode(), np.int8)
    found["decoder_Wemb"] = found.pop("Wemb")
    np.savez(folder / "model.npz", **{"special:model.yml": text}, encoder_Wemb=source, **found)
    (folder / "vocab.spm").rename(folder / "source.spm")
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    opened = limelight.open(folder, kind=limelight.Translator)
    assert opened.config.source_vocab == 120
    assert opened.config.vocab == VOCAB + 1
    assert opened.language.source is not opened.language.target
    limelight.save(opened, folder / "saved")
    assert (folder / "saved" / "tokenizer-source" / "tokenizer.json").is_file()
    assert (folder / "saved" / "tokenizer.json").is_file()
    source[:99] = found["decoder_Wemb"]
    np.savez(folder / "model.npz", **{"special:model.yml": text}, encoder_Wemb=source, **found)
    shared = logits(folder)
    assert torch.equal(shared, logits(write_npz(folder, OPTIONS)))


def test_pieces_have_the_numbers_of_a_vocabulary_beside_them(folder: Path) -> None:
    """As models of the OPUS collection have it, whose ``vocab.yml`` numbers the pieces of both models."""
    model = spm.SentencePieceProcessor(model_file=str(folder / "vocab.spm"))
    (folder / "vocab.spm").rename(folder / "source.spm")
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    pieces = [model.id_to_piece(id) for id in range(2, model.get_piece_size())]
    numbers = {"</s>": 0, "<unk>": 1, **{piece: 2 + place for place, piece in enumerate(reversed(pieces))}}
    (folder / "opus.vocab.yml").write_text("".join(f"{json.dumps(name)}: {id}\n" for name, id in numbers.items()))
    for source in (True, False):
        tokenizer = Tokenizer.from_marian(folder, source=source)
        cut = model.encode("the dog sees a tree", out_type=str)
        assert tokenizer.encode("the dog sees a tree").ids == [numbers[piece] for piece in cut]
        assert tokenizer.eos == {0}
    (folder / "opus.vocab.yml").write_text("piece: 1\nno number\n")
    with pytest.raises(TextError, match=r"opus\.vocab\.yml is damaged: line 2 is no piece and its number"):
        Tokenizer.from_marian(folder)


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("type: transformer", "type: s2s", "'type' is 's2s'"),
        ("dec-cell: ssru", "dec-cell: gru", "rnn .gru."),
        ("autoreg: rnn", "autoreg: average-attention", "average-attention"),
        ("postprocess: dan", "postprocess: danx", "'transformer-postprocess'"),
        ('preprocess: ""', "preprocess: n", "'transformer-postprocess'"),
        ("activation: relu", "activation: tanh", "'transformer-ffn-activation'"),
        ("heads: 4", "heads: 5", "'transformer-heads' is 5"),
        ("dim-emb: 16", "dim-emb: many", "'dim-emb'"),
        ("  - 99\n  - 99", "  - 99", "'dim-vocabs'"),
        ("  - 99\n  - 99", "  - 99\n  - 98", "both sides share embeddings"),
        ("enc-depth: 3", "enc-depth: 100000", "'enc-depth'"),
        ("enc-depth: 3\n", "", "'enc-depth' is missing"),
        ("input-types: []", "input-types:\n  - class", "'input-types'"),
        ("type: transformer", "type: transformer\nlemma-dim-emb: 7", "'lemma-dim-emb' is 7"),
        ("type: transformer", "what is this", "line 19 of the model's options"),
    ],
)
def test_what_is_not_known_is_refused_by_name(old: str, new: str, name: str) -> None:
    assert old in OPTIONS
    with pytest.raises(ConfigError, match=name):
        config_from_marian(OPTIONS.replace(old, new))


def _set(item: int, part: int, value: Any) -> Callable[[list[Any]], None]:
    def change(items: list[Any]) -> None:
        items[item][part] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set(3, 1, 0x4102), "of the type 0x4102"),
        (_set(3, 1, 0x0202), "of the type 0x202"),
        (_set(3, 2, (WIDTH, 1 << 20)), "does not fit its"),
        (_set(3, 2, (-4, -4)), "does not fit its"),
        (_set(0, 3, b"abc"), "does not fit its 3 bytes"),
        (_set(5, 0, "Wemb"), "an item twice"),
        (_set(-1, 0, "special:other.yml"), "no special:model.yml"),
        (_set(-1, 3, OPTIONS[:-6].encode() + b"\xff\xff\xff\0\0\0\0"), "not UTF-8"),
    ],
)
def test_damaged_items_are_refused(change: Callable[[list[Any]], None], says: str, folder: Path) -> None:
    with pytest.raises(FileError, match=says):
        open_tensors(write_bin(folder, OPTIONS, rounded=True, change=change))


def test_a_file_may_end_anywhere_or_claim_anything(folder: Path) -> None:
    path = write_bin(folder, OPTIONS, rounded=True)
    data = path.read_bytes()
    for length in [*range(8, 3000, 97), *range(3000, len(data) - 256, 4001)]:
        path.write_bytes(data[:length])
        with pytest.raises(LimelightError):
            open_checkpoint(path)
    for claimed in (0, 1 << 14, (1 << 14) + 1, 1 << 62):
        path.write_bytes(data[:8] + struct.pack("<Q", claimed) + data[16:])
        with pytest.raises(FileError):
            open_tensors(path)
    generator = np.random.default_rng(0)
    for _ in range(60):
        spoilt = bytearray(data)
        for place in generator.integers(8, 9000, 3):
            spoilt[place] = generator.integers(0, 256)
        path.write_bytes(spoilt)
        try:
            open_checkpoint(path)
        except LimelightError:
            continue


def test_npz_files_hold_plain_numbers_alone(folder: Path) -> None:
    path = folder / "model.npz"
    with pytest.raises(FileError, match=r"holds '\|O', no plain numbers"):
        open_tensors(write_npz(folder, OPTIONS, evil=np.array([{}], dtype=object)))
    with pytest.raises(FileError, match="array 'Wx' is of the type int8"):
        open_tensors(write_npz(folder, OPTIONS, Wx=np.zeros((2, 2), np.int8)))
    with pytest.raises(FileError, match="order of C"):
        open_tensors(write_npz(folder, OPTIONS, Wx=np.asfortranarray(np.zeros((2, 3), np.float32))))
    np.savez(path, a=np.zeros((2, 2), np.float32))
    with pytest.raises(FileError, match=r"no special:model\.yml"):
        open_tensors(path)
    whole = write_npz(folder, OPTIONS).read_bytes()
    for length in range(10, len(whole), 3001):
        path.write_bytes(whole[:length])
        with pytest.raises(LimelightError):
            open_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "Wemb.npy", b"\x93NUMPY\x01\x00\x36\x00" + b"{'descr':'<f4','fortran_order':False,'shape':(9**99,)}"
        )
    with pytest.raises(FileError, match=r"not a sound \.npz file"):
        open_tensors(path)


def listed(path: Path, words: list[list[int]], first: int = 3) -> Path:
    flat = [id for each in words for id in each]
    starts = [sum(map(len, words[:n])) for n in range(len(words) + 1)]
    head = struct.pack("<6Q", shortlist.MAGIC, 0, first, 50, len(starts), len(flat))
    path.write_bytes(head + struct.pack(f"<{len(starts)}Q", *starts) + struct.pack(f"<{len(flat)}I", *flat))
    return path


def test_a_shortlist_says_what_may_be_written(folder: Path) -> None:
    path = write_bin(folder, OPTIONS, rounded=True)
    free = limelight.open(path, kind=limelight.Translator)
    line = "the dog sees a tree"
    heard = free.language.heard(free.language.read(line))
    words = [[40, 41, 42] if id == heard[0] else [60, 61] if id == heard[1] else [] for id in range(VOCAB)]
    listed(folder / "lex.s2t.bin", words)
    bound = limelight.open(path, kind=limelight.Translator)
    allowed = {0, 1, 2, 40, 41, 42, 60, 61}  # eight already: nothing fills it up
    for beam in (1, 4):
        (found,) = bound.translate([line], beam=beam)
        assert {*found.hypotheses[0].tokens} <= allowed
    assert not {*next(free.translate([line])).hypotheses[0].tokens} <= allowed
    text = bound.complete(line, max_tokens=9, logprobs=True)
    assert {word for word, _ in text.logprobs} <= {bound.language.target.spell(id) for id in allowed}
    other = shortlist.read(listed(folder / "x", [[50], [51, 50], []], first=4), VOCAB)
    assert other.allowed([0, 1, 2, 77]) == [0, 1, 2, 3, 4, 5, 50, 51]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: b"x" + data[1:],
        lambda data: data[:16] + struct.pack("<Q", 1000) + data[24:],
        lambda data: data[:32] + struct.pack("<Q", 1 << 60) + data[40:],
        lambda data: data[:-4] + struct.pack("<I", 5000),
        lambda data: data[:48] + struct.pack("<Q", 7) + data[56:],
    ],
)
def test_damaged_shortlists_are_refused(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = listed(tmp_path / "lex.bin", [[50], [51, 50], []])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(TextError, match=r"lex\.bin"):
        shortlist.read(path, VOCAB)


def test_the_vocabulary_must_lie_beside_the_model(folder: Path) -> None:
    path = write_npz(folder, OPTIONS)
    (folder / "vocab.spm").unlink()
    with pytest.raises(TextError, match="has no SentencePiece model"):
        open_checkpoint(path)


def test_other_zips_of_weights_are_still_torchs(tmp_path: Path) -> None:
    torch.save(reference("marian").state_dict(), tmp_path / "a.npz")
    assert "model.shared.weight" in open_tensors(tmp_path / "a.npz").names()
