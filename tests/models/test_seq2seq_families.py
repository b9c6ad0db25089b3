"""What every family of encoder–decoders gets by being listed in tests/references.py."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from references import SEQ2SEQ, saved, write_tokenizer

import limelight
from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.reader import open_tensors
from limelight.checkpoints.save import export, save_checkpoint
from limelight.look.record import record
from limelight.models.api import Encoder, Seq2Seq
from limelight.models.registry import config_from_hf, config_to_hf
from limelight.nn.stack import Stack
from limelight.tasks import Language

SOURCE = torch.randint(3, 99, (3, 18), generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([18, 7, 1])
TARGET = torch.randint(3, 99, (3, 24), generator=torch.Generator().manual_seed(2))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Pair:
    """A family's reference and ours, opened from the folder that the reference wrote."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.theirs = saved(name, folder)
        self.opened = open_checkpoint(folder)
        network = self.opened.network
        assert isinstance(network, Seq2Seq)
        self.ours = network


@pytest.fixture(scope="module", params=list(SEQ2SEQ))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp(request.param))


def reference_logits(pair: Pair) -> torch.Tensor:
    mask = (torch.arange(SOURCE.shape[1]) < LENGTHS[:, None]).long()
    with torch.inference_mode():
        return pair.theirs(input_ids=SOURCE, attention_mask=mask, decoder_input_ids=TARGET).logits


def test_logits_match_where_sources_are_padded(pair: Pair) -> None:
    expected = reference_logits(pair)
    assert expected.std() > 0.1
    with torch.inference_mode():
        torch.testing.assert_close(pair.ours(SOURCE, LENGTHS, TARGET), expected, rtol=1e-5, atol=5e-5)


def test_attention_and_hidden_states_match_in_every_layer(pair: Pair) -> None:
    ours, config = pair.ours, pair.ours.config
    assert isinstance(ours.encoder, Stack)
    layers, heard = range(len(ours.decoder.blocks)), range(len(ours.encoder.blocks))
    embed = ours.source_embed or ours.embed
    reader = record(Encoder(config, embed, ours.encoder, torch.nn.Identity()), attention=heard, hidden=heard)
    recording = record(ours, attention=layers, cross=layers, hidden=layers)
    with torch.inference_mode():
        expected = pair.theirs(
            input_ids=SOURCE, decoder_input_ids=TARGET, output_attentions=True, output_hidden_states=True
        )
        recording.network(SOURCE, None, TARGET)
        memory = reader.network.read(SOURCE)
    torch.testing.assert_close(memory, expected.encoder_last_hidden_state, **CLOSE)
    for layer in heard:
        torch.testing.assert_close(reader.attention[layer], expected.encoder_attentions[layer], **CLOSE)
    for layer in layers:
        torch.testing.assert_close(recording.attention[layer], expected.decoder_attentions[layer], **CLOSE)
        torch.testing.assert_close(recording.cross[layer][0], expected.cross_attentions[layer], **CLOSE)
    for kept, states in (
        (reader.hidden, expected.encoder_hidden_states),
        (recording.hidden, expected.decoder_hidden_states),
    ):
        for layer in range(len(kept) - 1):  # the reference shows the last only behind its norm
            torch.testing.assert_close(kept[layer], states[layer + 1], **CLOSE)


def test_steps_equal_reading_at_once(pair: Pair) -> None:
    with torch.inference_mode():
        whole = pair.ours(SOURCE, LENGTHS, TARGET)
        state = pair.ours.start(pair.ours.encode(SOURCE, LENGTHS), TARGET.shape[1])
        parts = [pair.ours.step(TARGET[:, at : at + n], state) for at, n in ((0, 7), (7, 1), (8, 16))]
    torch.testing.assert_close(torch.cat(parts, 1), whole, **CLOSE)


def test_a_row_gives_alone_what_it_gives_in_a_batch(pair: Pair) -> None:
    with torch.inference_mode():
        whole = pair.ours(SOURCE, LENGTHS, TARGET)
        for row, length in enumerate(LENGTHS.tolist()):
            alone = pair.ours(SOURCE[row : row + 1, :length], None, TARGET[row : row + 1])
            torch.testing.assert_close(whole[row], alone[0], **CLOSE)


def test_config_goes_both_ways(pair: Pair) -> None:
    config = pair.ours.config
    assert config_from_hf(config_to_hf(config)) == config
    again, before = type(pair.theirs.config)(**config_to_hf(config)).to_dict(), pair.theirs.config.to_dict()
    free = {"architectures", "dtype", "_attn_implementation", "tie_word_embeddings"}
    assert {k: v for k, v in again.items() if k not in free} == {k: v for k, v in before.items() if k not in free}


def test_weights_go_both_ways_bit_for_bit(pair: Pair) -> None:
    file, weights = open_tensors(pair.folder), export(pair.ours)
    assert set(weights) == set(file.names())
    for name, weight in weights.items():
        assert torch.equal(weight, file.read(name)), name


def test_transformers_opens_what_we_save(pair: Pair, tmp_path: Path) -> None:
    save_checkpoint(pair.ours, pair.opened.tokenizer, tmp_path / "saved")
    kind = transformers.AutoModelForSeq2SeqLM
    theirs = kind.from_pretrained(tmp_path / "saved", attn_implementation="eager").eval()
    before = reference_logits(pair)
    pair.theirs, kept = theirs, pair.theirs
    try:
        torch.testing.assert_close(reference_logits(pair), before, rtol=0, atol=0)
    finally:
        pair.theirs = kept


def test_greedy_equals_the_references(pair: Pair) -> None:
    opened = limelight.open(pair.folder)
    assert isinstance(opened, limelight.Translator)
    lines = ["w5 w17 w30 w8", "w40", "w9 w9 w60 w61 w62 w63 w64"]
    for line, found in zip(lines, opened.translate(lines, beam=1), strict=True):
        source = torch.tensor([[*opened.language.read(line), *opened.language.source.suffix]])
        assert source[0, -1] == 2 or not opened.language.source.suffix
        if source[0, -1] != 2:
            source = torch.cat((source, torch.tensor([[2]])), 1)
        with torch.inference_mode():
            made = pair.theirs.generate(
                source, max_new_tokens=2 * source.shape[1] + 18, do_sample=False, num_beams=1, use_cache=False
            )
        ids = made[0, 1:].tolist()
        ours = list(found.hypotheses[0].tokens)
        n = min(len(ids), len(ours))
        assert n > 0
        assert ours[:n] == ids[:n]


def test_blocking_a_word_of_either_side_is_the_references_attention_mask(pair: Pair, tmp_path: Path) -> None:
    theirs = copy.deepcopy(pair.theirs)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if ".q." in name or ".q_proj." in name:  # so that every word is looked at a little
                weight.mul_(0.02)
            if name.startswith("model.") and name.endswith("norm.weight"):  # nor lost on its way through the norms
                weight.mul_(0.3).add_(1)
            if name.endswith(("v_proj.weight", "out_proj.weight")):
                weight.sub_(0.1).mul_(0.3)
    theirs.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    opened = limelight.open(tmp_path, kind=limelight.Translator)
    seen = opened.look("w5 w17 w30 w8", "w40 w41 w42")
    found = seen.importance(3, method="blocking", written=True)
    source = torch.tensor([[5, 17, 30, 8, opened.language.marks.end]])
    target = torch.tensor([[*opened.language.begins, 40, 41]])

    def said(mask: torch.Tensor, seen: torch.Tensor) -> float:
        with torch.inference_mode():
            logits = theirs(
                input_ids=source, attention_mask=mask, decoder_input_ids=target, decoder_attention_mask=seen
            ).logits[0, -1]
        return float(logits.log_softmax(-1)[42])

    everything, written = torch.ones_like(source), torch.ones_like(target)
    whole = said(everything, written)
    for place in range(4):
        mask = everything.clone()
        mask[0, place] = 0
        assert found.words[place].importance == pytest.approx(whole - said(mask, written), abs=1e-5)
    assert max(abs(each.importance) for each in found.words[:4]) > 3e-4
    later = written.clone()
    later[0, len(opened.language.begins)] = 0  # the first word of the translation, which a later one may not see
    assert found.words[4].word == "w40"
    assert found.words[4].importance == pytest.approx(whole - said(everything, later), abs=1e-5)
    assert abs(found.words[4].importance) > 1e-3


@pytest.mark.parametrize("forced", [None, 41])
def test_what_is_written_token_by_token_equals_the_references(pair: Pair, forced: int | None) -> None:
    opened = limelight.open(pair.folder, kind=limelight.Translator)
    language = Language(opened.language.source, opened.language.target, opened.language.marks.start, forced)
    lines = ["w5 w17 w30 w8", "w40", "w9 w9 w60 w61 w62 w63 w64"]
    found = replace(opened, language=language).complete_all(lines, max_tokens=20, logprobs=True)
    for line, ours in zip(lines, found, strict=True):
        source = torch.tensor([[*language.read(line), 2]])
        options = {"do_sample": False, "num_beams": 1, "forced_bos_token_id": forced, "use_cache": False}
        with torch.inference_mode():
            made = pair.theirs.generate(source, max_new_tokens=20 + (forced is not None), **options)[0].tolist()
        assert made[: len(language.begins)] == list(language.begins)
        theirs = made[len(language.begins) :]
        assert (ours.finish == "stop") == (theirs[-1] == 2)
        written = theirs[:-1] if theirs[-1] == 2 else theirs
        assert [word for word, _ in ours.logprobs] == [language.target.spell(id) for id in written]
        assert ours.text == language.target.decode(written)
