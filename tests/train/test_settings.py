"""Settings: in full to TOML and back, typed, misspelt keys named; schedules by their formulas."""

import math
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limelight.errors import ConfigError, FileError, RequestError
from limelight.train.prepare import held_out
from limelight.train.schedule import rate
from limelight.train.settings import (
    Range,
    Settings,
    Task,
    asked,
    checked,
    chosen,
    fastest,
    from_toml,
    idle,
    to_toml,
    vocabulary,
)

OPTIONS = """
task = "translate"
model = ""
width = 0 [1, 131,072) or 0 | translate summarise generate compose
parameters = 0 [1, 1,099,511,627,776) or 0 | translate summarise generate compose
train = []
valid = []
held_out = 0.02 (0, 1)
columns = [] | translate summarise classify embed fill
labels = [] | classify tag
several = false | classify
learns = "auto" | classify
tokenizer = "auto" | translate summarise generate
vocab = 0 [1, 16,777,216) or 0 | translate summarise generate
shared = true | translate summarise
lower = false | translate summarise generate
context = 0 [1, 16,777,216) or 0 | generate
keys = 0 [1, 13) or 0 | compose
longest = 0 [1, 16,777,216) or 0 | all but generate
batch_tokens = 0 [1, 2,147,483,648) or 0
accumulate = 1 [1, 65,536)
epochs = 0.0 (0, 1,000,000,000.0) or 0
steps = 0 [1, 2,147,483,648) or 0
minutes = 0.0 (0, 1,000,000.0) or 0
seed = 1 [0, 9,223,372,036,854,775,808)
optimizer = "auto"
lr = 0.0 (0, inf) or 0
schedule = "auto"
warmup = 0 [1, 2,147,483,648) or 0
floor = 0.0 [0, 1)
beta1 = 0.9 [0, 1)
beta2 = 0.98 [0, 1)
eps = 1e-09 (0, inf)
decay = 0.01 [0, inf)
clip = 1.0 [0, inf)
smoothing = -1.0 [0, 1) or -1
dropout = -1.0 [0, 1) or -1
ema = 0.0 [0, 1)
average = 5 [1, 2,147,483,648)
every = 0 [1, 2,147,483,648) or 0
patience = 8 [0, 2,147,483,648)
watch = "loss"
keep = 5 [1, 2,147,483,648)
precision = "auto"
compile = false
threads = 0 [1, 1,024) or 0
device = "cpu"
shard = false
lora = 0 [0, 65,536)
shrink = 0.0 [0, 1) | assistant
constraints = 0 [0, 11) | assistant
beta = 0.1 (0, inf) | prefer
"""
"""Every option as its user has it who says nothing: its default, the numbers it takes, the tasks it is for."""


def test_toml_round_trip(tmp_path: Path) -> None:
    settings = Settings(
        "translate", train=('a "b"\\.en', "ü.de"), lr=1e-9, shared=False, columns=("en", "de"), clip=0.0
    )
    path = tmp_path / "settings.toml"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(to_toml(settings), encoding=encoding)
        assert Settings(**from_toml(path)) == settings
    assert len(path.read_text().splitlines()) == len(fields(Settings))


@given(st.text(), st.text(), st.floats(0, 1e6))
def test_any_text_survives_toml(path: str, name: str, rate: float) -> None:
    settings = Settings("generate", train=(path, "a"), model=name, lr=rate)
    assert Settings(**checked(tomllib.loads(to_toml(settings)), "here")) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerning_rate = 1", "no option 'lerning_rate'"),
        ("warmpu = 1", "no option 'warmpu'; did you mean 'warmup'"),
        ("steps = 1.5", "steps is 1.5; it takes a whole number"),
        ("steps = true", "steps is True; it takes a whole number"),
        ("lr = 'high'", "lr is 'high'; it takes a number"),
        ("schedule = 'cosin'", "schedule is 'cosin'; it is one of auto, .*; did you mean 'cosine'"),
        ("tokenizer = 'bpee'", "did you mean 'bpe'"),
        ("train = 'a.txt'", "train is 'a.txt'; it takes a list of texts"),
        ("compile = 1", "compile is 1; it takes true or false"),
        (
            "batch_tokens = -5",
            "batch_tokens is -5; it takes a whole number of at least 1 and below .*, or 0 for one that",
        ),
        ("epochs = -0.5", "epochs is -0.5; it takes a number above 0 and below .*, or 0 for one that fits the data"),
        ("lr = nan", "lr is nan; it takes a number above 0, or 0 for one that fits"),
        ("dropout = 1", "dropout is 1; it takes a number of at least 0 and below 1, or -1 for one that fits"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        from_toml(path)


def numbers() -> dict[str, Range]:
    hints = get_type_hints(Settings, include_extras=True)
    return {name: each for name, hint in hints.items() for each in get_args(hint) if isinstance(each, Range)}


def test_every_number_has_a_range_with_its_default_inside() -> None:
    plain = {name for name, hint in get_type_hints(Settings).items() if hint in (int, float)}
    assert numbers().keys() == plain
    for name, range in numbers().items():
        default = getattr(Settings("translate"), name)
        assert checked({name: default}, "here") == {name: default}
        outside = [value for value in (-math.inf, -2, math.nan, math.inf, 1e300, range.below) if value not in range]
        assert len(outside) >= 4, name
        for value in outside:
            with pytest.raises(ConfigError, match=rf"here: {name} is {re.escape(repr(value))}; it takes a "):
                checked({name: value}, "here")


def told(name: str) -> str:
    """An option: its default, the numbers that it takes, and the tasks in which it does something."""
    hint = get_type_hints(Settings, include_extras=True)[name]
    line = next(line for line in to_toml(Settings("translate")).splitlines() if line.startswith(f"{name} = "))
    for each in getattr(hint, "__metadata__", ()):
        if isinstance(each, Range):
            line += f" {'(' if each.above else '['}{each.least:,}, {each.below:,})"
            line += "" if each.open is None else f" or {each.open}"
        else:
            others = [task for task in get_args(Task) if task not in each.tasks]
            line += f" | all but {' '.join(others)}" if len(others) < 2 else f" | {' '.join(each.tasks)}"
    return line


def test_options_have_these_defaults_ranges_and_tasks() -> None:
    assert [told(each.name) for each in fields(Settings)] == OPTIONS.strip().splitlines()
    for task in get_args(Task):
        assert idle("beta", task) is (task != "prefer")
        assert not idle("lr", task)


def test_what_is_left_to_the_data_is_as_if_it_were_not_there() -> None:
    left = {"lr": 0, "dropout": -1, "precision": "auto", "model": "", "epochs": 0.0, "steps": 0}
    said = {"clip": 0.0, "lora": 0, "patience": 0, "smoothing": 0, "shared": False, "train": ["a"]}
    assert asked(left | said, "here").keys() == said.keys()


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        from_toml(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_text("a = ")
    with pytest.raises(FileError, match="not valid TOML"):
        from_toml(tmp_path / "x.toml")


def test_a_whole_number_stands_for_a_number() -> None:
    assert checked({"lr": 1, "train": ["a"]}, "here") == {"lr": 1.0, "train": ("a",)}


@pytest.mark.parametrize("task", ["translate", "generate"])
@pytest.mark.parametrize("tokens", [50, 400_000, 10**9])
def test_every_open_option_is_chosen(task: str, tokens: int) -> None:
    settings = chosen(vocabulary(Settings(**checked({"task": task}, "here")), 4 * tokens), tokens, 2)
    for name in ("batch_tokens", "steps", "epochs", "context", "longest", "lr", "warmup", "every", "vocab", "threads"):
        assert getattr(settings, name) > 0, name
    assert settings.smoothing >= 0
    assert settings.dropout >= 0
    assert "auto" not in (settings.schedule, settings.tokenizer, settings.optimizer)
    assert settings.warmup <= settings.steps
    again = chosen(vocabulary(settings, 4 * tokens), tokens, 2)
    assert again == settings


@pytest.mark.parametrize(
    ("task", "tokens", "model", "vocab", "batch", "steps", "lr", "warmup", "every", "dropout"),
    [
        ("translate", 50, "transformer-modern-tiny", 1000, 256, 100, 6e-3, 10, 10, 0.3),
        ("translate", 9_000, "transformer-modern-tiny", 1000, 256, 40 * 36, 6e-3, 144, 36, 0.3),
        ("translate", 400_000, "transformer-modern-tiny", 2000, 3840, 10 * 105, 6e-3, 105, 105, 0.2),
        ("translate", 4_999_999, "transformer-modern-tiny", 32_000, 4096, 1221, 6e-3, 122, 122, 0.1),
        ("translate", 5_000_000, "transformer-modern-small", 32_000, 4096, 1221, 3e-3, 122, 122, 0.1),
        ("translate", 10**8, "transformer-modern-base", 32_000, 4096, 24_415, 1.5e-3, 2441, 2441, 0.0),
        ("generate", 400_000, "gpt-modern-tiny", 2000, 3840, 40 * 105, 6e-3, 420, 105, 0.2),
        ("generate", 7_000_000, "gpt-modern-small", 32_000, 8192, 2443, 2e-3, 244, 244, 0.1),
        ("generate", 10**9, "gpt-modern-base", 32_000, 8192, 122_071, 1e-3, 4000, 12_207, 0.0),
    ],
)
def test_what_is_chosen_for_so_much_text(
    task: str,
    tokens: int,
    model: str,
    vocab: int,
    batch: int,
    steps: int,
    lr: float,
    warmup: int,
    every: int,
    dropout: float,
) -> None:
    found = chosen(vocabulary(Settings(**checked({"task": task}, "here")), 4 * tokens), tokens, 2)
    assert (found.model, found.vocab, found.batch_tokens, found.steps) == (model, vocab, batch, steps)
    assert (found.warmup, found.every, found.dropout, found.threads) == (warmup, every, dropout, 2)
    assert found.lr == pytest.approx(lr)
    assert found.epochs == round(steps / -(-tokens // batch), 2)
    assert (found.context, found.longest, found.schedule) == (256, 256, "cosine")
    assert found.smoothing == (0.1 if task == "translate" else 0.0)
    kind = "bpe" if task == "translate" else "byte" if 4 * tokens > 5e6 else "character"
    assert found.tokenizer == kind


def test_texts_are_read_as_they_are_unless_told() -> None:
    settings = chosen(vocabulary(Settings("translate"), 10**6), 10**6, 2)
    assert (settings.lower, settings.shared, settings.columns) == (False, True, ())


def test_what_was_given_stays() -> None:
    given = Settings("generate", lr=0.5, steps=7, warmup=3, smoothing=0.0, dropout=0.0, vocab=300, tokenizer="word")
    settings = chosen(vocabulary(given, 10**9), 10**8, 2)
    assert (settings.lr, settings.steps, settings.warmup, settings.smoothing, settings.dropout) == (0.5, 7, 3, 0.0, 0.0)
    assert (settings.vocab, settings.tokenizer) == (300, "word")


def test_schedules() -> None:
    for schedule in ("inverse-sqrt", "cosine", "linear", "constant"):
        assert [rate(schedule, step, 100, 10, 2.0) for step in (1, 5, 10)] == pytest.approx([0.2, 1.0, 2.0])
    assert rate("inverse-sqrt", 40, 100, 10, 2.0) == pytest.approx(1.0)
    assert rate("cosine", 55, 100, 10, 2.0, 0.1) == pytest.approx(2.0 * (0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2))
    assert rate("cosine", 100, 100, 10, 2.0, 0.1) == pytest.approx(0.2)
    assert rate("linear", 55, 100, 10, 2.0) == pytest.approx(1.0)
    assert rate("linear", 55, 100, 10, 2.0, 0.1) == pytest.approx(2.0 * (0.1 + 0.9 / 2))
    assert rate("constant", 90, 100, 10, 2.0) == 2.0
    for schedule in ("inverse-sqrt", "cosine", "linear", "constant"):  # without a warm-up, and past the end
        assert rate(schedule, 1, 1, 0, 2.0) == pytest.approx(2.0 if "sqrt" in schedule or schedule == "constant" else 0)
        assert rate(schedule, 20, 20, 20, 2.0) == pytest.approx(2.0)
    assert rate("linear", 150, 100, 10, 2.0, 0.1) == pytest.approx(0.2)


@pytest.mark.parametrize(("characters", "vocab"), [(5_000, 1000), (3_900_000, 8000), (10**9, 32_000)])
def test_the_vocabulary_grows_with_the_text(characters: int, vocab: int) -> None:
    assert vocabulary(Settings("translate"), characters).vocab == vocab


def test_what_is_trained_on_keeps_to_adamw() -> None:
    assert chosen(Settings("generate"), 1000, 1).optimizer == "muon"
    assert chosen(Settings("generate", model="runs/book"), 1000, 1).optimizer == "adamw"
    assert chosen(Settings("generate", model="runs/book", optimizer="muon"), 1000, 1).optimizer == "muon"


def test_precision_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(Settings("generate"), 1000, 1).precision == fastest("cpu")
    assert chosen(Settings("generate", precision="float32"), 1000, 1).precision == "float32"
    assert fastest("mps") == "float32"
    for native, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        assert fastest("cuda:1") == fastest("cpu") == precision
        assert fastest("mps") == "float32"


def test_a_share_of_the_examples_is_kept_from_training() -> None:
    settings = Settings("generate")  # 2 %, at least one and at most 2,000
    assert [held_out(settings, count) for count in (2, 49, 120, 99_999, 10**6)] == [1, 1, 2, 2000, 2000]
    for few, share in ((1, 0.02), (3, 0.9)):
        with pytest.raises(RequestError) as refused:
            held_out(Settings("generate", held_out=share), few)
        assert str(refused.value) == (
            f"the text makes too few examples ({few}) to keep some from training; name validation files, or lower"
            " context if a window of text is an example"
        )


def test_the_vocabulary_doubles_at_800_characters_a_token() -> None:
    for characters, size in ((800_000, 1000), (800_001, 2000), (12_800_000, 16_000), (12_800_001, 32_000)):
        assert vocabulary(Settings("translate"), characters).vocab == size
    assert [vocabulary(Settings("generate"), count).tokenizer for count in (5_000_000, 5_000_001)] == [
        "character",
        "byte",
    ]


def test_a_range_says_what_it_takes() -> None:
    assert str(Range(2)) == "of at least 2"
    assert str(Range(0, 1 << 20, above=True)) == "above 0 and below 1,048,576"
    assert str(Range(0, 1, open=-1)) == "of at least 0 and below 1, or -1 for one that fits the data"
