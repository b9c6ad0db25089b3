"""A training that must learn, not only run: copying and reversing letters without a mistake, and a text by heart."""

import json
from pathlib import Path

import pytest
import torch
from small_models import gpt, letters, translator
from torch.nn.utils.rnn import pad_sequence

from limelight.checkpoints.open import open_checkpoint
from limelight.errors import RequestError
from limelight.models.api import Decoder, Network, Seq2Seq
from limelight.text.tokenizer import Tokenizer
from limelight.train.data import read_pairs
from limelight.train.loop import Hooks, Result, train
from limelight.train.lora import ATTENTION, tune
from limelight.train.parallel import world
from limelight.train.prepare import prepare, save_as
from limelight.train.report import Progress, lines

LONGEST = 12


def answers(network: Seq2Seq, tokenizer: Tokenizer, sources: list[str]) -> list[str]:
    """The likeliest targets, token by token."""
    ids = [torch.tensor([*tokenizer.encode(source).ids, *tokenizer.suffix]) for source in sources]
    memory = network.encode(pad_sequence(ids, batch_first=True), torch.tensor([len(each) for each in ids]))
    state = network.start(memory, LONGEST)
    said = [torch.full((len(ids), 1), tokenizer.bos or 0)]
    while len(said) < LONGEST:
        said.append(network.step(said[-1], state)[:, -1:].argmax(-1))
    rows = torch.cat(said, 1).tolist()
    ends = [next((at for at, id in enumerate(row) if id in tokenizer.eos), LONGEST) for row in rows]
    return [tokenizer.decode(row[:end]) for row, end in zip(rows, ends, strict=True)]


def right(network: Seq2Seq, tokenizer: Tokenizer, pairs: list[tuple[str, str]]) -> float:
    """The share of sources whose answer is their target."""
    said = answers(network, tokenizer, [source for source, _ in pairs])
    return sum(answer == target for answer, (_, target) in zip(said, pairs, strict=True)) / len(pairs)


def learned(folder: Path, *, steps: int) -> tuple[Result, float, list[Progress]]:
    """Trains on letters; the share of unseen ones that come back right."""
    data = letters(folder / "train.tsv", 6000, turned=True, longest=4)
    valid = letters(folder / "valid.tsv", 60, turned=True, longest=4, seed=1)
    test = list(read_pairs([letters(folder / "test.tsv", 100, turned=True, longest=4, seed=2)]))
    told: list[Progress] = []
    options = {"task": "translate", "train": [str(data)], "valid": [str(valid)], "tokenizer": "word", "threads": 1}
    options |= {"batch_tokens": 384, "steps": steps, "every": steps // 4, "lr": 4e-3, "schedule": "cosine"}
    options |= {"dropout": 0.0, "smoothing": 0.0, "average": 1}
    with world() as alone, torch.random.fork_rng():
        ready = prepare(options, folder / "run", alone)
        tokenizer = ready.tokenizers[0]
        torch.manual_seed(0)
        network = translator("transformer-modern-tiny", tokenizer.vocab, width=64)

        def samples(network: Decoder | Seq2Seq) -> list[str]:
            assert isinstance(network, Seq2Seq)
            return answers(network, tokenizer, ["a b c"])

        def measures(network: Network) -> dict[str, float]:
            assert isinstance(network, Seq2Seq)
            with torch.inference_mode():
                return {"bleu": 100.0 * right(network, tokenizer, test[:20])}

        hooks = Hooks(save_as(tokenizer), measures=measures, samples=samples, progress=told.append)
        result = train(network, ready.training, ready.validation, ready.run, alone, hooks)
    opened = open_checkpoint(result.model)
    assert isinstance(opened.network, Seq2Seq)
    with torch.inference_mode():
        return result, right(opened.network, opened.tokenizer, test), told


def test_letters_are_reversed_without_a_mistake(tmp_path: Path) -> None:
    steps = 200
    result, share, told = learned(tmp_path, steps=steps)
    assert share == 1.0
    assert result.loss < 0.02
    assert result.score == 100.0
    assert told[-1].step == told[-1].steps == steps
    assert told[-1].left == 0
    assert told[-1].best == pytest.approx(result.loss)
    run = tmp_path / "run"
    logged = lines(run / "log.jsonl")
    assert [e["step"] for e in logged if "valid_loss" in e] == [steps // 4 * i for i in (1, 2, 3, 4)]
    assert [e["bleu"] for e in logged if "bleu" in e][-1] == 100.0
    losses, evaluations = {"loss", "smoothed_loss", "lr", "norm", "tokens_per_second"}, {"valid_loss", "bleu"}
    for entry in logged:
        assert entry.keys() == {"step", "time"} | (evaluations if "valid_loss" in entry else losses)
    assert json.loads((run / "result.json").read_text()).keys() == {"steps", "loss", "score", "mean_of"}
    assert lines(run / "samples.jsonl")[-1] == {"step": steps, "texts": ["c b a"]}


def test_a_text_by_heart(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    options = {"task": "generate", "train": [str(text)], "context": 32, "batch_tokens": 256, "steps": 150, "lr": 1e-2}
    with world() as alone, torch.random.fork_rng():
        ready = prepare(options | {"threads": 1}, tmp_path / "run", alone)
        assert ready.run.settings.tokenizer == "character"
        tokenizer = ready.tokenizers[0]
        network = gpt(tokenizer.vocab, width=32)
        result = train(network, ready.training, ready.validation, ready.run, alone, Hooks(save_as(tokenizer)))
    assert result.loss < 0.25  # what the window does not show at its beginning cannot be known
    ids = [*tokenizer.prefix, *tokenizer.encode("the quick br").ids]
    with torch.inference_mode():
        for _ in range(8):
            ids.append(int(network(torch.tensor([ids]))[0, -1].argmax()))
    assert tokenizer.decode(ids) == "the quick brown fox "


@pytest.mark.parametrize("rank", [0, 4])
def test_an_opened_model_learns_on(tmp_path: Path, rank: int) -> None:
    data = letters(tmp_path / "pairs.tsv", 400, turned=False)
    options = {"task": "translate", "train": [str(data)], "tokenizer": "word", "threads": 1, "batch_tokens": 256}
    options |= {"steps": 20, "every": 10, "average": 1, "lr": 5e-3, "smoothing": 0.0}
    with world() as alone, torch.random.fork_rng():
        first = prepare(options, tmp_path / "first", alone)
        tokenizer = first.tokenizers[0]
        network = translator("transformer2017-tiny", tokenizer.vocab)
        before = train(network, first.training, first.validation, first.run, alone, Hooks(save_as(tokenizer)))
        opened = open_checkpoint(before.model, dtype="float32")
        base = {name: t.clone() for name, t in opened.network.state_dict().items()}
        options |= {"model": str(before.model), "lora": rank, "warmup": 1}
        second = prepare(options, tmp_path / "second", alone, tokenizers=(opened.tokenizer, opened.tokenizer))
        tune(opened.network, second.run.settings.lora)
        hooks = Hooks(save_as(opened.tokenizer))
        after = train(opened.network, second.training, second.validation, second.run, alone, hooks)
    assert after.loss < before.loss
    again = open_checkpoint(after.model).network.state_dict()
    assert again.keys() == base.keys()
    changed = {name for name, t in again.items() if not torch.equal(t, base[name])}
    attention = {name for name in base if ".weight" in name and name.split(".")[-2] in ATTENTION}
    assert changed == attention if rank else changed > attention


def test_low_precision_is_not_trained_whole() -> None:
    with pytest.raises(RequestError, match=r'open it with dtype="float32", or train it by LoRA'):
        tune(gpt(20).bfloat16(), 0)
    packed = gpt(20)
    packed.decoder.blocks[0].feedforward.up = torch.nn.Identity()  # what has no weights of its own stands for low bits
    with pytest.raises(RequestError, match="float32"):
        tune(packed, 0)
