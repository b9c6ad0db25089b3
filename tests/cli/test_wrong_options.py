"""Whatever stands on a command line, the command does it or says in one sentence why not: every option of every
command, found by introspection, with values of the wrong kind and out of range."""

import math
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from tasks.small_languages import language, network
from tiny_models import SENTENCE, Result, Run

from limelight.checkpoints.save import save_checkpoint
from limelight.cli import COMMANDS, _load

WRONG = {
    "int": ("x", "1.5", "", "-1", "0", "99999999999999999999"),
    "float": ("x", "", "nan", "inf", "-inf", "-1", "1e400"),
    "Path": ("", ".", "no/such/folder/file", "a\udcff", "\x00"),
    "str": ("", " ", "no such", "-1", "caf\udcff", "\x1b[2J", "a\x00b", "x" * 5000),
}
"""Kind of an option → values that are wrong for most of them."""

NO_NUMBERS = ("x", "1.5", "", "nan", "inf", "-inf", "1e400")
"""Values that no number can have."""

GOOD = {
    "look": ["SENTENCE", "-m", "MODEL", "--tokens", "1", "--seed", "1"],
    "complete": ["SENTENCE", "-m", "MODEL", "--max-tokens", "1", "--seed", "1"],
    "chat": ["-m", "MODEL", "--max-tokens", "1", "--seed", "1"],
    "translate": ["ein hund", "-m", "TRANSLATOR"],
    "eval": ["translate", "-m", "TRANSLATOR", "--test", "pairs.tsv", "--beam", "1"],
    "train": ["translate", "--out", "run", "--train", "pairs.tsv", "--steps", "1"],
    "page": ["--no-browser", "-m", "MODEL"],
    "models": [],
    "pull": ["./nothing"],
    "show": ["MODEL"],
    "doctor": [],
}
"""A command line of each command that works, or is refused for what it names; a new command needs one."""

SLOW = {"doctor", "models"}
"""Commands without options but --json."""


@pytest.fixture
def place(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where the commands run, and what the words in `GOOD` stand for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("limelight.serve.run.serve", lambda sock, *_: sock.close())
    monkeypatch.setattr("limelight.tasks.learn.learn", lambda *_, **__: pytest.skip("trained"))
    words = language()
    save_checkpoint(network("transformer-modern-tiny"), words.target, tmp_path / "translator")
    (tmp_path / "pairs.tsv").write_text("ein hund\thund ein\n", encoding="utf-8")
    return {"SENTENCE": SENTENCE, "MODEL": str(tiny), "TRANSLATOR": str(tmp_path / "translator")}


def parameters(command: str) -> Iterator[tuple[Any, str]]:
    """Each option and argument that takes a value, and the kind of that."""
    hints = get_type_hints(getattr(import_module(f"limelight.cli.{command}"), command))
    for each in _load(command).params:
        kinds = {hints[each.name], *get_args(hints[each.name])} if each.name in hints else {bool}
        if bool not in kinds:
            yield each, next((kind.__name__ for kind in (int, float, Path) if kind in kinds), "str")


def check(args: list[str], done: Result) -> None:
    """One sentence, and nothing else but what was asked for."""
    assert done.code in (0, 1, 2), args
    assert "Traceback" not in done.err, (args, done.err)
    if done.code == 1:
        assert done.out == "", args
        *remarks, last = done.err.splitlines()
        assert re.fullmatch(r"limelight: .{10,600}", last), (args, done.err)
        assert all(remark.startswith("limelight: ") for remark in remarks), (args, done.err)
    if done.code == 2:
        assert done.out == "", args
        assert done.err.count("Error") == 1, (args, done.err)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("train", "eval")])
def test_every_value_is_taken_or_refused_in_a_sentence(run: Run, command: str, place: dict[str, str]) -> None:
    usual = [place.get(word, word) for word in GOOD[command]]
    assert run(command, *usual, input=b"hello\n").code in (0, 1)
    for parameter, kind in parameters(command):
        for value in WRONG[kind]:
            if parameter.param_type_name == "argument":
                args = [command, value, *usual[1:]]
            else:
                args = [command, *without(usual, parameter.opts), f"{max(parameter.opts, key=len)}={value}"]
            done = run(*args, input=b"hello\n")
            check(args, done)
            if kind in ("int", "float") and value in NO_NUMBERS:
                assert done.code != 0 or (kind == "float" and math.isfinite(float(value))), args


def without(args: list[str], options: list[str]) -> list[str]:
    """A command line without one option and its value."""
    for at, arg in enumerate(args):
        if arg in options:
            return args[:at] + args[at + 2 :]
    return args
