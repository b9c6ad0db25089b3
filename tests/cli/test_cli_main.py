"""The frame around the commands: help, versions, errors, warnings, and what is imported when."""

import json
import os
import shutil
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from tiny_models import SENTENCE, Run

import limelight
from limelight.cli import COMMANDS
from limelight.serve.session import PageSession

IMPORTED = """
import sys
from limelight.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0
heavy = {"torch", "numpy", "tokenizers", "huggingface_hub", *(f"limelight.cli.{name}" for name in %r)}
print("imported:", *sorted(heavy & set(sys.modules)))
"""


def test_help_imports_no_command_and_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED % (tuple(COMMANDS),), "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].strip() == "imported:"
    assert all(f"│ {name} " in done.stdout for name in COMMANDS)


def test_a_commands_help_imports_that_command_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED % (tuple(COMMANDS),), "look", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "imported: limelight.cli.look"


def test_nothing_asked_opens_the_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[str, str | None, bool]] = []

    def serve(sock: socket.socket, session: PageSession, text: str | None, open_browser: bool) -> None:
        sock.close()
        served.append((session.name, text, open_browser))

    monkeypatch.setattr("limelight.serve.run.serve", serve)
    code, out, _ = run()
    assert code == 0
    assert out.startswith("limelight is at http://127.0.0.1:")
    assert served == [("smollm2", None, True)]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_commands_help_has_an_example_within_the_screen(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "Example:" in out
    assert f"limelight {name}" in out
    assert max(map(len, out.splitlines())) <= 80
    assert import_module(f"limelight.cli.{name}").__doc__.startswith(f"``limelight {name}``")


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"limelight {limelight.__version__}\n", "")


@pytest.mark.parametrize("args", [("lok",), ("look",), ("complete", "x", "--max-tokens", "0"), ("pull", "a", "b")])
def test_a_senseless_command_line_is_code_2(run: Run, args: tuple[str, ...]) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert "Error" in err


@pytest.mark.parametrize(
    "command", [("look", "x", "-m"), ("complete", "x", "-m"), ("chat", "-m"), ("pull",), ("show",)]
)
def test_an_error_is_one_line_and_code_1(run: Run, command: tuple[str, ...], tmp_path: Path) -> None:
    code, out, err = run(*command, tmp_path / "none.gguf")
    assert (code, out) == (1, "")
    assert err.startswith("limelight: there is no file or folder ")
    assert err.count("\n") == 1


def test_an_error_leaves_stdout_empty_under_json(run: Run, tiny: Path) -> None:
    code, out, err = run("look", SENTENCE, "-m", tiny, "--method", "magic", "--json")
    assert (code, out) == (1, "")
    assert "it must be one of measured, blocking, alti-logit" in err


def test_an_error_cannot_drive_the_terminal(run: Run) -> None:
    code, _, err = run("show", "./\x1b[2J[bold]x")
    assert code == 1
    assert "\x1b" not in err
    assert "[bold]x" in err


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_dim_line(run: Run, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"novelty": 3}))
    code, out, err = run("complete", SENTENCE, "-m", folder, "--max-tokens", "1", "--json")
    assert code == 0
    assert json.loads(out)["tokens"] == 1
    assert err == "limelight: the model's config key 'novelty' (3) is not known and was ignored\n"


def test_an_interrupted_command_is_silent_and_code_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("limelight.open", interrupt)
    assert run("complete", SENTENCE) == (130, "", "")


def test_letters_that_the_terminal_lacks_become_question_marks(tiny: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "limelight", "show", str(tiny)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert b"3 ? block" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_progress_shows_in_a_terminal_alone_and_is_gone_afterwards() -> None:
    import pty

    step = """
import sys, time
from limelight.cli.screen import progress
with progress("opening [b]x", quiet=sys.argv[1] == "quiet") as tell:
    tell(1_000_000, 2_000_000, "downloading")
    time.sleep(0.3)
with progress("quick", quiet=False, after=5) as tell:
    tell(1, 2)
"""

    def shown(quiet: str) -> str:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
        subprocess.run([sys.executable, "-c", step, quiet], stderr=theirs, env=environment, check=True)
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 4096):
                seen += piece
        except OSError:  # Linux: the other end is closed
            pass
        os.close(ours)
        return seen.decode()

    bar = shown("loud")
    assert "downloading" in bar
    assert "1.0 MB of 2.0 MB" in bar
    assert "quick" not in bar
    assert bar.rstrip("\r\n").endswith("\x1b[2K")  # the line was erased
    assert shown("quiet") == ""
    piped = subprocess.run([sys.executable, "-c", step, "loud"], capture_output=True, check=True)
    assert (piped.stdout, piped.stderr) == (b"", b"")


def test_what_is_no_text_on_the_command_line_is_said(run: Run) -> None:
    code, out, err = run("complete", "caf\udce9")
    assert (code, out, err) == (1, "", "limelight: argument 2 on the command line is not UTF-8 text\n")


def test_help_keeps_what_stands_in_brackets(run: Run) -> None:
    assert "'limelight[parquet]'" in run("look", "-h").out
    assert run("look", "-h") == run("look", "--help")


def test_shells_complete_commands_and_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LIMELIGHT_COMPLETE", "complete_bash")
    for words, known in (("limelight lo", "look"), ("limelight look --att", "--attention")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        code, out, _ = run("")
        assert (code, out.split()) == (0, [known])
