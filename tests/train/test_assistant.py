"""Assistants: conversations in all their forms, a loss on answers alone, a model that says what it was taught, and one
that learns which answer is liked."""

import gzip
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli.tiny_models import TEMPLATE, llama, trained
from safetensors.torch import load_file

import limelight
from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.save import save_checkpoint
from limelight.errors import LimelightError
from limelight.tasks.learn import Begun, learn
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import IGNORE, Batch, Chats
from limelight.train.chats import Chat, chats, conversing, encoded, preferences
from limelight.train.loop import Result
from limelight.train.loss import Objective
from limelight.train.preference import Preferred, Preferring, judged
from limelight.train.tokenfile import TokenFile, prepare_examples

FEW = {"threads": 1, "precision": "float32", "schedule": "constant", "warmup": 1}
TURNS = [
    {"role": "user", "content": "Who sat?"},
    {"role": "assistant", "content": "The cat sat."},
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "On the mat."},
]
STRIPPED = TEMPLATE.replace("{{ m.content }}", "{{ m.content if loop.last or m.role == 'user' else 'Thought.' }}")
"""A template that shows answers otherwise once the conversation goes on."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Llama that knows nothing, without a chat template."""
    torch.manual_seed(0)
    tokenizer = trained(None)
    folder = tmp_path_factory.mktemp("base") / "model"
    save_checkpoint(llama(tokenizer.vocab), tokenizer, folder)
    return str(folder)


def written(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def train(task: str, data: str, out: Path, base: str, **options: object) -> tuple[Result, Begun]:
    told: list[Begun] = []
    return learn({"task": task, "train": [data], "model": base, **FEW, **options}, out, begun=told.append), told[0]


def answers(tokenizer: Tokenizer, chat: Chat) -> list[list[str]]:
    """What is learned of each row of a conversation, as text."""
    return [
        [tokenizer.decode(ids[start:end], special=True) for start, end in zip(places[::2], places[1::2], strict=True)]
        for ids, places in encoded(tokenizer, chat)
    ]


@pytest.mark.parametrize("template", [TEMPLATE, None])
def test_answers_and_their_ends_are_learned_and_nothing_else(template: str | None) -> None:
    tokenizer = conversing(trained(template))
    assert tokenizer.template == (TEMPLATE if template else conversing(trained(None)).template)
    chat = Chat("", tuple(TURNS))
    assert answers(tokenizer, chat) == [["The cat sat.<|im_end|>", "On the mat.<|im_end|>"]]
    ((ids, _),) = encoded(tokenizer, chat)
    assert ids == tokenizer.encode(tokenizer.chat(TURNS, reply=False).rstrip(), special=True).ids


def test_of_two_answers_that_are_held_side_by_side_only_the_last_is_learned() -> None:
    tokenizer, chat = conversing(trained(None)), Chat("", tuple(TURNS))
    ((whole, places),) = encoded(tokenizer, chat)
    assert list(encoded(tokenizer, chat, last=True)) == [(whole, places[-2:])]


def test_a_model_without_marks_of_turns_ends_answers_by_its_own_end() -> None:
    inner = trained(None)
    plain = json.loads(inner.definition)
    for token in plain["added_tokens"]:
        token["content"] = token["content"].replace("im_start", "a").replace("im_end", "b")
    plain["model"]["vocab"] = {
        name.replace("im_start", "a").replace("im_end", "b"): id for name, id in plain["model"]["vocab"].items()
    }
    import tokenizers

    from limelight.text.parts import Parts

    tokenizer = conversing(Tokenizer(Parts(tokenizers.Tokenizer.from_str(json.dumps(plain)), eos="<|endoftext|>")))
    assert answers(tokenizer, Chat("", tuple(TURNS))) == [["The cat sat.<|endoftext|>", "On the mat.<|endoftext|>"]]
    assert tokenizer.chat(TURNS[:1]) == "### user\nWho sat?\n\n### assistant\n"


def test_answers_that_a_template_changes_later_have_rows_of_their_own() -> None:
    rows = answers(trained(STRIPPED), Chat("", tuple(TURNS)))
    assert rows == [["The cat sat.<|im_end|>"], ["On the mat.<|im_end|>"]]


def test_targets_are_the_answers_and_rows_are_as_alone(tmp_path: Path, base: str) -> None:
    tokenizer = conversing(trained(None))
    every = [Chat("", tuple(TURNS)), Chat("", tuple(TURNS[2:]))]
    examples = [row for chat in every for row in encoded(tokenizer, chat)]
    corpus = Chats(prepare_examples(examples, 1000, tmp_path / "file"), 0)
    both = np.arange(2)
    batch = corpus.batch(both, 0)
    learned = [tokenizer.decode(row[row != IGNORE], special=True) for row in batch.targets]
    assert learned == ["The cat sat.<|im_end|>On the mat.<|im_end|>", "On the mat.<|im_end|>"]
    assert (batch.targets != IGNORE).sum(1).tolist() == corpus.lengths(both)[1].tolist()
    told = batch.targets[0] != IGNORE
    assert torch.equal(batch.tokens[0, 1:][told[:-1]], batch.targets[0, :-1][told[:-1]])  # each is the next token
    network = open_checkpoint(base).network
    alone = sum(Objective(network, 0.0)(corpus.batch(both[i : i + 1], 0)) for i in (0, 1))
    torch.testing.assert_close(Objective(network, 0.0)(batch), alone)


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"messages": TURNS[:2]}, "messages with role and content"),
        (
            {"conversations": [{"from": "human", "value": "Who sat?"}, {"from": "gpt", "value": "The cat sat."}]},
            "ShareGPT",
        ),
        ({"instruction": "Who", "input": "sat?", "output": "The cat sat."}, "Alpaca"),
        ({"prompt": "Who sat?", "completion": "The cat sat."}, "prompt and completion"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json.gz"])
def test_forms_are_recognised(tmp_path: Path, row: dict[str, object], form: str, name: str) -> None:
    text = json.dumps(row) if name == "a.jsonl" else json.dumps([row])
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    (chat,) = chats([tmp_path / name])
    asked = "Who\n\nsat?" if "Alpaca" in form else "Who sat?"
    assert chat.messages == ({"role": "user", "content": asked}, {"role": "assistant", "content": "The cat sat."})
    assert chat.form.startswith(form)


def test_speakers_tools_and_parts_are_as_templates_take_them(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": {}}}
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"from": "human", "value": [{"type": "text", "text": "Who "}, {"type": "text", "text": "sat?"}], "name": "Ann"},
        {"from": "gpt", "value": None, "tool_calls": [call]},
        {"from": "observation", "value": "a cat"},
        {"role": "bot", "content": "The cat."},
        {"role": "user", "content": "Thanks."},
        {"role": "function", "content": "x"},
    ]
    rows = [{"messages": turns, "tools": tools, "system": "First."}, {"conversations": turns[:2], "system": ""}]
    rows += [{"instruction": "Who", "input": " ", "system": "First.", "output": None}, {"prompt": turns[:2]}]
    whole, unanswered, alpaca, prompt = chats([written(tmp_path / "a.jsonl", *rows)])
    read = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who sat?", "name": "Ann"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "a cat"},
        {"role": "assistant", "content": "The cat."},
    ]
    assert whole.messages == ({"role": "system", "content": "First."}, *read)
    assert (whole.tools, unanswered.tools) == (tools, None)
    assert list(unanswered.messages) == list(prompt.messages) == read[:2]
    assert alpaca.messages[:2] == ({"role": "system", "content": "First."}, {"role": "user", "content": "Who"})
    assert alpaca.messages[2:] == ({"role": "assistant", "content": ""},)
    faults = [each.fault for each in (whole, unanswered, alpaca)]
    assert faults == ["with turns out of order", "without an answer", "with an empty turn"]
    assert Chat("", tuple(read)).fault is None
    for name in ("model", "assistant"):
        (chat,) = chats([written(tmp_path / "a.jsonl", {"messages": [turns[1], {"role": name, "content": "x"}]})])
        assert chat.messages[1] == {"role": "assistant", "content": "x"}
    names = {"a": "assistant", "u": "user", "t": "tool", "s": "system"}
    for order, right in {"ua": 1, "suaua": 1, "uatta": 1, "a": 0, "uta": 0, "uaa": 0, "usa": 0, "uua": 0}.items():
        fault = Chat("", tuple({"role": names[each], "content": "x"} for each in order)).fault
        assert fault == (None if right else "with turns out of order"), order


def test_pairs_in_all_forms_say_the_same(tmp_path: Path) -> None:
    asked, good, bad = TURNS[0], TURNS[1], {"role": "assistant", "content": "Nobody."}
    data = written(
        tmp_path / "pairs.jsonl",
        {"prompt": "Who sat?", "chosen": good["content"], "rejected": bad["content"]},
        {"instruction": "Who sat?", "output": "x", "chosen": good["content"], "rejected": bad["content"]},
        {"chosen": [asked, good], "rejected": [asked, bad]},
        {"prompt": [asked], "chosen": [good], "rejected": [bad]},
    )
    assert {
        (each.messages[0]["content"], each.chosen["content"], each.rejected["content"]) for each in preferences([data])
    } == {("Who sat?", "The cat sat.", "Nobody.")}


@pytest.fixture(scope="module")
def helper(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, Begun]:
    """An assistant that was taught two answers, by heart."""
    folder = tmp_path_factory.mktemp("helper")
    rows = [{"messages": TURNS[:2]}, {"instruction": "Who drank?", "output": "Mary drank."}]
    bad = [
        {"messages": TURNS[:2]},
        {"messages": TURNS[:1]},
        {"prompt": "a", "completion": " "},
        {"messages": TURNS[1:]},
        {"prompt": "cat " * 300, "completion": "mat"},
    ]
    data = written(folder / "chats.jsonl", *rows, *bad)
    options = {"lora": 0, "lr": 1e-2, "steps": 16, "every": 8, "keep": 2, "batch_tokens": 256}
    result, begun = train("assistant", data, folder / "run", base, valid=[data], **options)
    return folder / "run", result, begun


def test_an_assistant_says_what_it_was_taught(helper: tuple[Path, Result, Begun]) -> None:
    out, _, begun = helper
    model = limelight.open(out, kind=limelight.Model)
    for question, answer in (("Who sat?", "The cat sat."), ("Who drank?", "Mary drank.")):
        assert "".join(model.chat([{"role": "user", "content": question}], max_tokens=30)) == answer
    assert begun.examples == 2
    assert begun.said[:3] == (
        "4 conversations written as messages with role and content",
        "1 conversations written as Alpaca's instruction, input and output",
        "2 conversations written as prompt and completion",
    )
    assert begun.said[3] == (
        "left out: 1 that are there already, 1 without an answer, 1 with an empty turn, 1 with turns out of order, "
        "1 of more than 128 tokens"
    )
    assert "tokens are answers, which alone are learned from" in begun.said[4]
    assert begun.said[5] == "chat template: a plain one, which is saved with the model"
    samples = (out / "samples.jsonl").read_text()
    assert "Mary drank." in samples


def test_an_assistant_goes_on_to_the_same_weights(helper: tuple[Path, Result, Begun], tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(helper[0], out)
    for name in ("result.json", "model", "checkpoints/step-000016"):
        place = out / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    result = learn({"task": "assistant"}, out)
    one, other = (open_checkpoint(each).network.state_dict() for each in (helper[1].model, result.model))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_what_was_liked_becomes_likelier(helper: tuple[Path, Result, Begun], tmp_path: Path) -> None:
    pairs = [
        {"prompt": "Who sat?", "chosen": "The mat sat.", "rejected": "The cat sat."},
        {"prompt": "Who drank?", "chosen": "John drank.", "rejected": "Mary drank."},
    ]
    data = written(tmp_path / "pairs.jsonl", *pairs)
    out = tmp_path / "liked"
    result, _ = train("prefer", data, out, str(helper[0]), valid=[data], lora=4, lr=1e-2, steps=8, every=4)
    assert result.score == 100.0
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert next(each for each in logged if "margin" in each).keys() >= {"ranked", "chosen_change"}
    network = open_checkpoint(result.model).network
    file = TokenFile(out / "data" / "train")
    zero = Preferred(file, 0, np.zeros(4, np.float32)).batch(np.arange(2), 0)
    reference = judged(open_checkpoint(helper[1].model).network, zero)  # type: ignore[arg-type]
    assert (judged(network, zero).margins > reference.margins).all()  # type: ignore[arg-type]
    before, after = (load_file(each / "model.safetensors") for each in (helper[1].model, result.model))
    adapters = load_file(result.model / "adapter" / "adapter_model.safetensors")
    said = json.loads((result.model / "adapter" / "adapter_config.json").read_text())
    assert len(said["target_modules"]) == 3 * 4  # layers, and the matrices of their attention
    assert {name: value for name, value in said.items() if name not in {"target_modules", "lora_alpha"}} == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "bias": "none",
        "r": 4,
        "lora_dropout": 0.0,
        "base_model_name_or_path": str(helper[0]),
    }
    for name, weight in after.items():
        place = name.removesuffix(".weight")
        if place in said["target_modules"]:
            a, b = (adapters[f"base_model.model.{place}.lora_{side}.weight"] for side in "AB")
            before[name] += said["lora_alpha"] / said["r"] * (b @ a)
        torch.testing.assert_close(weight, before[name])


def test_the_loss_of_preferences_is_the_formula(base: str, tmp_path: Path) -> None:
    tokenizer = conversing(trained(None))
    rows = [next(encoded(tokenizer, Chat("", tuple(turns)))) for turns in (TURNS[:2], TURNS[2:], TURNS, TURNS[:2])]
    file = prepare_examples(rows, 1000, tmp_path / "file")
    network = open_checkpoint(base).network.eval()

    def logprob(row: int) -> float:
        ids, places = rows[row]
        scores = network(torch.tensor([ids])).log_softmax(-1)[0]
        at = [i for start, end in zip(places[::2], places[1::2], strict=True) for i in range(start, end)]
        return sum(float(scores[i - 1, ids[i]]) for i in at)

    ours = [logprob(row) for row in range(4)]
    reference = np.array([-30.0, -41.5, -60.0, -33.0], np.float32)
    pairs = Preferred(file, 0, reference)
    batch = pairs.batch(np.arange(2), 0)
    widths = [max(len(rows[pair][0]), len(rows[pair + 1][0])) - 1 for pair in (0, 2)]  # both are read at the longer's
    assert pairs.lengths(np.arange(2))[0].tolist() == [2 * width for width in widths]
    gains = [one - float(other) for one, other in zip(ours, reference, strict=True)]
    expected = sum(math.log1p(math.exp(-0.3 * (gains[i] - gains[i + 1]))) for i in (0, 2))
    learned, plain = Preferring(network, 0.3)(batch).tolist()  # type: ignore[arg-type]
    assert learned == plain == pytest.approx(expected, rel=1e-4)
    found = judged(network, batch)  # type: ignore[arg-type]
    assert found.margins.tolist() == pytest.approx([gains[0] - gains[1], gains[2] - gains[3]], rel=1e-4)
    assert found.gained == pytest.approx(gains[0] + gains[2], rel=1e-4)
    start = Preferred(file, 0, np.array(ours, np.float32)).batch(np.arange(2), 0)
    assert float(Preferring(network, 0.3)(start)[0]) == pytest.approx(2 * math.log(2), abs=1e-4)  # type: ignore[arg-type]
    nobody = Batch(batch.tokens, torch.full_like(batch.targets, IGNORE), reference=batch.reference)
    assert float(Preferring(network, 0.3)(nobody)[0]) == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "row", "options", "message"),
    [
        ("assistant", {"text": "x"}, {}, "line 1: no conversation; it takes"),
        ("assistant", {"messages": [{"role": "boss", "content": "x"}]}, {}, "the role 'boss' is none of system, user"),
        ("assistant", {"messages": "x", "a": 1}, {}, r"nothing to learn from in 1 rows \(1 without an answer\)"),
        (
            "assistant",
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            {},
            "holds something that is no",
        ),
        ("assistant", {"messages": TURNS}, {"model": "gpt-tiny"}, "must be one that knows a language already"),
        ("assistant", {"messages": TURNS}, {"longest": 4096}, "reads at most 128 tokens"),
        ("assistant", {"messages": TURNS}, {"lora": 0, "shrink": 0.5}, "shrink makes smaller what LoRA learned"),
        ("prefer", {"messages": TURNS}, {}, 'line 1: no "chosen" and "rejected" answer'),
        ("prefer", {"prompt": "a", "chosen": "b", "rejected": "b"}, {}, "1 whose two answers are one"),
        ("prefer", {"chosen": TURNS, "rejected": TURNS[2:]}, {}, "differ before their last turn"),
        ("prefer", {"prompt": "a", "chosen": TURNS, "rejected": TURNS}, {}, "differ before their last turn"),
        ("prefer", {"prompt": "a", "chosen": "b"}, {}, 'line 1: no "chosen" and "rejected" answer'),
        ("prefer", {"prompt": "a", "chosen": [], "rejected": "b"}, {}, "1 with an empty turn"),
        ("assistant", {"messages": [1]}, {}, "line 1: a conversation is a list of objects"),
        ("assistant", {"messages": [{"content": "x"}]}, {}, "the role None is none of"),
    ],
)
def test_what_cannot_be_learned_is_said_at_once(
    base: str, tmp_path: Path, task: str, row: dict[str, object], options: dict[str, object], message: str
) -> None:
    data = written(tmp_path / "a.jsonl", row)
    with pytest.raises(LimelightError, match=message):
        train(task, data, tmp_path / "run", **{"base": base, **options})  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "settings.toml").exists()


def test_each_conversation_can_be_learned_again_under_constraints(tmp_path: Path, base: str) -> None:
    data = written(tmp_path / "a.jsonl", {"messages": TURNS}, {"messages": TURNS[2:]}, {"messages": TURNS[:1]})
    _, begun = train("assistant", data, tmp_path / "run", base, constraints=3, steps=1, held_out=0.2, lora=2)
    form = "messages with role and content"
    assert begun.said[:2] == (
        f"3 conversations written as {form}",
        f"6 conversations written as {form}, under a constraint",
    )
    file, tokenizer = TokenFile(tmp_path / "run" / "data" / "train"), conversing(trained(None))
    rows = [tokenizer.decode(file[at].tolist(), special=True) for at in range(0, len(file), 2)]
    plain = [tokenizer.chat(turns, reply=False).rstrip() for turns in (TURNS, TURNS[2:])]
    assert [row for row in rows if row in plain] == plain
    assert 4 < len(rows) <= 8  # the same constraint may be drawn twice, which is left out
    assert all("Where?" in row for row in rows)
    train("assistant", data, tmp_path / "again", base, constraints=3, steps=1, held_out=0.2, lora=2)
    train("assistant", data, tmp_path / "other", base, constraints=3, steps=1, held_out=0.2, lora=2, seed=2)
    same, other = ((tmp_path / name / "data" / "train" / "tokens.bin").read_bytes() for name in ("again", "other"))
    assert same == (tmp_path / "run" / "data" / "train" / "tokens.bin").read_bytes() != other
