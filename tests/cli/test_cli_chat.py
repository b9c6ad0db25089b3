"""``limelight chat``: scripted, and in a terminal."""

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
from tiny_models import Run, llama, saved, trained

import limelight


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
    assert run("chat", "-m", tiny, "--system", "Be brief.", input=lines) == (0, "so 2\nso 4\nso 2\n", "")
    start = ("system", "Be brief.")
    assert heard == [
        [start, ("user", "Hello")],
        [start, ("user", "Hello"), ("assistant", "so 2"), ("user", "And you?")],
        [start, ("user", "Hi")],
    ]


def test_the_model_answers_by_its_template(run: Run, tiny: Path) -> None:
    model = limelight.open(tiny)
    expected = "".join(model.chat([{"role": "user", "content": "The cat"}], max_tokens=5))
    assert run("chat", "-m", tiny, "--max-tokens", "5", input=b"The cat") == (0, f"{expected}\n", "")


def test_a_conversation_too_long_says_both_numbers_and_the_way_out(run: Run, tiny: Path) -> None:
    code, out, err = run("chat", "-m", tiny, input=b"tired " * 200)
    assert (code, out) == (1, "")
    assert re.search(r"the conversation has \d+ tokens and the model sees at most 128; .* start over with /new", err)


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
        [sys.executable, "-m", "limelight", "chat", "-m", str(folder), "--max-tokens", "90000"],
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
        until(r"/exit or Ctrl-D leaves(.|\s)*> ")
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
