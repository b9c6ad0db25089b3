"""Whatever stands on a command line, the command does it or says in one sentence why not: every option of every
command, found by introspection, with values of the wrong kind and out of range."""

import re
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from references import saved, write_marked_tokenizer
from tasks.small_languages import language, network
from tiny_models import Result, Run

import limelight
from limelight.checkpoints.save import save_checkpoint
from limelight.cli import COMMANDS, _load
from limelight.report.choices import QUESTIONS
from limelight.report.instructions import INSTRUCTIONS
from limelight.report.measures import Found
from limelight.tasks.learn import learn
from limelight.train.disk import write
from limelight.train.loop import Result as Trained
from limelight.train.settings import Settings, to_toml

WRONG = {
    "int": ("x", "1.5", "", "-1", "0", "99999999999999999999"),
    "float": ("x", "", "nan", "inf", "-inf", "-1", "1e400"),
    "Path": ("", ".", "no/such/folder/file", "a\udcff", "\x00"),
    "str": ("", " ", "no such", "-1", "caf\udcff", "\x1b[2J", "a\x00b", "x" * 300),
}
"""Kind of an option → values that are wrong for most of them."""

NO_NUMBERS = ("x", "1.5", "", "nan", "inf", "-inf", "1e400")
"""Values that no number can have."""

ENCODERS = {name: f"bert-{name}" for name in ("masked", "classes", "tokens", "spans")} | {"embedder": "bert-states"}
"""Folders of encoders, and what they are made of."""

GOOD = {
    "look": ["SENTENCE", "-m", "MODEL", "--tokens", "1", "--seed", "1"],
    "complete": ["SENTENCE", "-m", "MODEL", "--max-tokens", "1", "--seed", "1"],
    "chat": ["-m", "MODEL", "--max-tokens", "1", "--seed", "1"],
    "classify": ["w10", "-m", "CLASSES"],
    "tag": ["w10", "-m", "TOKENS"],
    "answer": ["w10", "w11", "-m", "SPANS"],
    "summarise": ["ein hund", "-m", "TRANSLATOR"],
    "extract": ["SENTENCE", "--schema", "schema.json", "-m", "MODEL"],
    "translate": ["ein hund", "-m", "TRANSLATOR"],
    "search": ["w10", ".", "-m", "EMBEDDER"],
    "similar": ["w10", "w11", "-m", "EMBEDDER"],
    "rerank": ["w10", "w11", "-m", "EMBEDDER"],
    "embed": ["w10", "-m", "EMBEDDER"],
    "fill": ["w10 [MASK]", "-m", "MASKED"],
    "eval": ["translate", "-m", "TRANSLATOR", "--test", "pairs.tsv", "--beam", "1"],
    "train": ["translate", "--out", "run", "--train", "pairs.tsv", "--steps", "1"],
    "report": ["HELPER"],
    "race": ["--data", "book.txt", "--models", "rnn,gpt", "--budget", "10s", "--out", "raced"],
    "page": ["--no-browser", "-m", "MODEL"],
    "serve": ["-m", "MODEL", "--port", "0"],
    "models": [],
    "pull": ["./nothing"],
    "compose": ["-m", "TUNES", "--form", "AB", "--bars", "1", "--metre", "2/4", "--seed", "1"],
    "export": ["MODEL", "exported"],
    "show": ["MODEL"],
    "doctor": [],
}
"""A command line of each command that works, or is refused for what it names; a new command needs one."""


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all that the commands are given; each test has a copy."""
    folder = tmp_path_factory.mktemp("made")
    write(folder / "helper" / "settings.toml", to_toml(Settings("assistant", str(tiny))))
    write(folder / "helper" / "log.jsonl", "")
    (folder / "helper" / "model").symlink_to(tiny)
    (folder / "tunes.abc").write_text("X:1\nM:2/4\nK:G\nGABc|d2d2|edcB|G2G2||GABc|d2e2|dcBA|G4||\n" * 2)
    learn({"task": "compose", "train": [str(folder / "tunes.abc")], "valid": [str(folder / "tunes.abc")], "width": 16,
           "model": "gpt-modern-tiny", "steps": 1, "batch_tokens": 128, "threads": 1}, folder / "tunes")  # fmt: skip
    words = language()
    save_checkpoint(network("transformer-modern-tiny"), words.target, folder / "translator")
    pairs = "ein hund\thund ein\nein kleiner hund\thund kleiner ein\n"
    (folder / "pairs.tsv").write_text(pairs * 20, encoding="utf-8")
    (folder / "book.txt").write_text(pairs * 100, encoding="utf-8")
    (folder / "schema.json").write_text('{"enum": [1]}')
    for name, reference in ENCODERS.items():
        saved(reference, folder / name)
        write_marked_tokenizer(folder / name)
    return folder


@pytest.fixture(scope="module")
def opening() -> Callable[..., Any]:
    """`limelight.open` for all the commands: what is opened again and again gets the model that opened first."""
    return opened_once(limelight.open)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of all the commands, so that the default model is fetched once at most."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def place(
    run: Run,
    tiny: Path,
    made: Path,
    home: Path,
    opening: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """Where the commands run, and what the words in `GOOD` stand for."""
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LIMELIGHT_HOME", str(home))
    monkeypatch.setattr(limelight, "open", opening)
    monkeypatch.setattr("limelight.serve.run.serve", lambda sock, *_: sock.close())
    monkeypatch.setattr("limelight.serve.api.run.serve", lambda sock, *_, **options: sock.close())
    monkeypatch.setattr("limelight.tasks.learn.train", lambda *_: Trained(1, 0.5, None, Path("run/model")))
    monkeypatch.setattr("limelight.race.course.race", lambda *_: iter(()))
    measured = Found(
        "a model", ("yes",) * len(INSTRUCTIONS), (True,) * len(INSTRUCTIONS), ("",) * len(QUESTIONS), 2.0, 1.0, "", None
    )
    monkeypatch.setattr("limelight.report.measures.measure", lambda *_: measured)
    folders = {name.upper(): str(tmp_path / name) for name in ("translator", "helper", "tunes", *ENCODERS)}
    return {"SENTENCE": "the cat sat on", "MODEL": str(tiny), **folders}


def opened_once(opening: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the model that opened first wherever the same is asked for; what is refused is tried each time."""
    opened: dict[tuple[object, ...], Any] = {}

    def once(model: object, *, progress: object = None, **options: object) -> Any:
        key = (model, *options.items())
        if key not in opened:
            opened[key] = opening(model, progress=progress, **options)
        return opened[key]

    return once


def parameters(command: str) -> Iterator[tuple[Any, str]]:
    """Each option and argument that takes a value, and the kind of that."""
    hints = get_type_hints(getattr(import_module(f"limelight.cli.{command}"), command))
    for each in _load(command).params:
        kinds = {hints[each.name], *get_args(hints[each.name])} if each.name in hints else {bool}
        if bool not in kinds:
            yield each, next((kind.__name__ for kind in (int, float, Path) if kind in kinds), "str")


def faults(done: Result) -> Iterator[str]:
    """What is wrong with an answer that should be one sentence, or else what was asked for."""
    *remarks, last = done.err.splitlines() or [""]
    if done.code not in (0, 1, 2) or "Traceback" in done.err:
        yield f"code {done.code}"
    if done.code and done.out:
        yield "printed something first"
    if done.code == 1 and not re.fullmatch(r"limelight: .{10,1000}", last):
        yield f"not one sentence ({len(last)} characters)"
    if done.code == 1 and not all(remark.startswith(("limelight: ", "reading ")) for remark in remarks):
        yield "more than one line"
    if done.code == 2 and done.err.count("Error") != 1:
        yield "no error"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_value_is_taken_or_refused_in_a_sentence(run: Run, command: str, place: dict[str, str]) -> None:
    usual = [place.get(word, word) for word in GOOD[command]]
    assert run(command, *usual, input=b"hello\n").code == (1 if command == "pull" else 0)
    wrong = []
    for parameter, kind in parameters(command):
        for value in WRONG[kind]:
            if parameter.param_type_name == "argument":
                args = [command, value, *usual[1:]]
            else:
                args = [command, *without(usual, parameter.opts), f"{max(parameter.opts, key=len)}={value}"]
            if command == "train":
                shutil.rmtree("run", ignore_errors=True)
            try:
                done = run(*args, input=b"hello\n")
            except Exception as raw:
                wrong.append(f"{args}: {type(raw).__name__}: {raw}")
                continue
            wrong += [f"{args}: {fault}\n{done.err}" for fault in faults(done)]
            if (
                kind in ("int", "float")
                and value in NO_NUMBERS
                and done.code == 0
                and (kind, value) != ("float", "1.5")
            ):
                wrong.append(f"{args}: accepted")
    assert not wrong, "\n".join(f"{each[:150]} … {each[-250:]}" for each in wrong)


def without(args: list[str], options: list[str]) -> list[str]:
    """A command line without one option and its value."""
    for at, arg in enumerate(args):
        if arg in options:
            return args[:at] + args[at + 2 :]
    return args
