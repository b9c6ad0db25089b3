"""``limelight chat``: scripted, and in a terminal."""

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tiny_models import Run, llama, saved, trained

import limelight
from limelight.cli.screen import Wrapped


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """The conversations that the model was asked to answer; it answers each with the number of its messages."""
    conversations: list[list[tuple[str, str]]] = []

    def chat(_: object, messages: list[dict[str, str]], **__: object) -> list[str]:
        conversations.append([(message["role"], message["content"]) for message in messages])
        return ["so ", str(len(messages))]

    monkeypatch.setattr(limelight.Model, "chat", chat)
    return conversations


def test_each_line_is_a_message(run: Run, tiny: Path, heard: list[list[tuple[str, str]]]) -> None:
    lines = b"\xef\xbb\xbfHello\n\n  And you? \n/new\nHi\n/exit\nnever\n"
    assert run("chat", "-m", tiny, "--system", "Be brief.", "--temperature", 0, input=lines) == (
        0,
        "so 2\nso 4\nso 2\n",
        "",
    )
    start = ("system", "Be brief.")
    assert heard == [
        [start, ("user", "Hello")],
        [start, ("user", "Hello"), ("assistant", "so 2"), ("user", "And you?")],
        [start, ("user", "Hi")],
    ]


def test_commands_in_place_of_messages(
    run: Run, tiny: Path, heard: list[list[tuple[str, str]]], tmp_path: Path
) -> None:
    file = tmp_path / "said.json"
    lines = f"Hello\n/save {file}\n/reset\nHi\n/help\n/quit\nnever\n"
    code, out, err = run("chat", "-m", tiny, "--temperature", 0, input=lines.encode())
    assert (code, err) == (0, f"limelight: saved in {file}\n")
    assert out.startswith("so 1\nso 1\n  /help ")
    assert all(usage in out for usage in ("/help", "/reset", "/save FILE", "/quit"))
    assert heard == [[("user", "Hello")], [("user", "Hi")]]
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "so 1"}]
    assert json.loads(file.read_text("utf-8")) == said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/rest", "there is no command /rest; /help lists all; did you mean '/reset'?"),
        ("/save", "name a file to save the conversation in: /save FILE"),
        ("/save README", "README is there already; name another file"),
        ("/save no/such/folder/x", "cannot write no/such/folder/x: No such file or directory"),
    ],
)
def test_a_command_that_cannot_be_obeyed(
    run: Run, tiny: Path, line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README").write_text("mine", encoding="utf-8")
    assert run("chat", "-m", tiny, input=line.encode()) == (1, "", f"limelight: {message}\n")
    assert (tmp_path / "README").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("pieces", [["one two three four"], list("one two three four"), ["one tw", "o thr", "ee four"]])
def test_answers_wrap_at_words_on_a_terminal(pieces: list[str]) -> None:
    def shown(terminal: bool) -> str:
        console = Console(file=io.StringIO(), width=9, force_terminal=terminal, no_color=True, legacy_windows=False)
        wrapped = Wrapped(console, "none")
        for piece in [*pieces, "\nx", " abcdefghijklm"]:
            wrapped.put(piece)
        wrapped.close()
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    assert [line.rstrip() for line in shown(True).split("\n")] == ["one two", "three", "four", "x", "abcdefghijklm", ""]
    assert shown(False) == "one two three four\nx abcdefghijklm\n"


def test_the_model_answers_by_its_template(run: Run, tiny: Path) -> None:
    model = limelight.open(tiny)
    expected = "".join(model.chat([{"role": "user", "content": "The cat"}], max_tokens=5))
    assert run("chat", "-m", tiny, "--max-tokens", "5", "--temperature", 0, input=b"The cat") == (
        0,
        f"{expected}\n",
        "",
    )


def test_a_conversation_too_long_says_both_numbers_and_the_way_out(run: Run, tiny: Path) -> None:
    code, out, err = run("chat", "-m", tiny, input=b"tired " * 200)
    assert (code, out) == (1, "")
    assert re.search(r"the conversation has \d+ tokens and the model sees at most 128; .* start over with /reset", err)


def test_a_model_without_a_template_is_refused_at_once(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    tokenizer = trained(template=None)
    folder = saved(llama(tokenizer.vocab), tokenizer, tmp_path_factory)
    code, out, err = run("chat", "-m", folder, input=b"Hello")
    assert (code, out) == (1, "")
    assert "no chat template" in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_in_a_terminal(parrot: Callable[[str], Path]) -> None:
    import pty

    folder = parrot("x")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "limelight", "chat", "-m", str(folder), "--max-tokens", "90000", "--temperature", "0"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "80"},
        start_new_session=True,
    )
    os.close(theirs)
    seen = ""

    def until(pattern: str) -> None:
        """Reads the terminal until `pattern` has appeared behind what was seen before."""
        nonlocal seen
        seen = ""
        while not re.search(pattern, seen):
            assert select.select([ours], [], [], 60)[0], seen[-200:]
            seen += os.read(ours, 4096).decode()

    try:
        until(r"/help lists the commands(.|\s)*> ")
        os.write(ours, b"Hello\n")
        until("xxx")
        os.kill(process.pid, signal.SIGINT)  # stops the answer, not the program
        until(r"\n> ")
        os.write(ours, b"tired " * 2 + b"\n")
        until("xxx")
        os.kill(process.pid, signal.SIGINT)
        until(r"\n> ")
        time.sleep(0.5)  # between showing a prompt and waiting for keys, Python would take no notice
        os.kill(process.pid, signal.SIGINT)  # throws a begun line away
        until(r"\n> ")
        os.write(ours, b"\x04")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
