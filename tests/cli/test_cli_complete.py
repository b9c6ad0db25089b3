"""``limelight complete``: plain text out, JSON, standard input, interruption and broken pipes."""

import codecs
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import SENTENCE, Run, llama, saved, trained

import limelight

COMMAND = [sys.executable, "-m", "limelight", "complete"]


def test_a_pipe_gets_the_continuation_and_nothing_else(run: Run, tiny: Path) -> None:
    expected = limelight.open(tiny).complete(SENTENCE, max_tokens=8).text
    assert run("complete", SENTENCE, "-m", tiny, "--max-tokens", 8, "--temperature", 0) == (0, f"{expected}\n", "")


def test_a_pipe_gets_it_exactly(run: Run, parrot: Callable[[str], Path]) -> None:
    for token, text in (("č", "\r"), ("ĉ", "\t"), ("ě", "\x1b")):  # a byte-level BPE spells bytes by letters
        assert (
            run("complete", SENTENCE, "-m", parrot(token), "--max-tokens", 3, "--temperature", 0).out == text * 3 + "\n"
        )


def test_a_terminal_gets_the_text_too_and_is_not_driven(
    run: Run, parrot: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    code, out, _ = run("complete", "[b]cat\x1b[2J", "-m", parrot("ě"), "--max-tokens", 2, "--temperature", 0)
    assert code == 0
    assert out == "[b]cat␛[2J" + "\x1b[36m␛\x1b[0m" * 2 + "\n"


def test_json(run: Run, tiny: Path) -> None:
    code, out, err = run("complete", SENTENCE, "-m", tiny, "--max-tokens", 4, "--temperature", 0, "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert list(answer) == ["model", "prompt", "text", "finish", "tokens", "steps", "tokens_per_second", "seed"]
    assert answer["text"] == limelight.open(tiny).complete(SENTENCE, max_tokens=4).text
    assert (answer["finish"], answer["tokens"], answer["steps"]) == ("length", 4, 4)
    assert answer["tokens_per_second"] > 0


def test_json_with_logprobs(run: Run, tiny: Path) -> None:
    _, out, _ = run("complete", SENTENCE, "-m", tiny, "--max-tokens", 4, "--temperature", 0, "--json", "--logprobs")
    expected = limelight.open(tiny).complete(SENTENCE, max_tokens=4, logprobs=True).logprobs
    said = [(entry["token"], pytest.approx(entry["logprob"], abs=1e-5)) for entry in json.loads(out)["logprobs"]]
    assert said == list(expected)


def test_every_way_of_choosing_reaches_the_model(run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def stream(_: object, text: str, **options: object) -> list[str]:
        given.append((text, options))
        return ["!"]

    monkeypatch.setattr(limelight.Model, "stream", stream)
    options = "--temperature .5 --top-k 3 --top-p .9 --min-p .1 --repetition-penalty 1.2 --frequency-penalty .3"
    options += " --presence-penalty .4 --seed 7 --stop a --stop b --max-tokens 9"
    assert run("complete", SENTENCE, "-m", tiny, *options.split()).out == "!\n"
    sampling = limelight.Sampling(0.5, 3, 0.9, 0.1, 1.2, 0.3, 0.4, 7)
    assert given == [(SENTENCE, {"max_tokens": 9, "sampling": sampling, "stop": ["a", "b"], "draft": None})]


def test_the_seed_is_told_and_gives_the_same_text(run: Run, tiny: Path) -> None:
    command = ("complete", SENTENCE, "-m", tiny, "--max-tokens", 30)
    first = run(*command)
    told = re.fullmatch(r"limelight: --seed (\d+) gives this text again\n", first.err)
    assert told is not None
    assert run(*command, "--seed", told[1]) == (0, first.out, "")
    answer = json.loads(run(*command, "--seed", told[1], "--json").out)
    assert (answer["text"] + "\n", answer["seed"]) == (first.out, int(told[1]))
    drawn = {run(*command).out for _ in range(3)}
    assert len(drawn | {first.out}) > 1
    sampling = limelight.Sampling(0.7, top_p=0.9, repetition=1.1, seed=int(told[1]))
    assert limelight.open(tiny).complete(SENTENCE, max_tokens=30, sampling=sampling).text + "\n" == first.out


def test_a_question_to_a_model_made_for_chat_is_pointed_to_it(
    run: Run, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    told = "limelight: tiny is made for conversation: limelight chat answers questions; complete only continues\n"
    command = ("--max-tokens", 1, "--temperature", 0)
    assert run("complete", "Who sat on the mat? ", "-m", tiny, *command).err == told
    assert run("complete", SENTENCE, "-m", tiny, *command).err == ""
    base = saved(llama(trained().vocab), trained(template=None), tmp_path_factory)
    assert run("complete", "Who sat on the mat?", "-m", base, *command).err == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--logprobs",), "--logprobs is printed with --json alone"),
        (("--temperature", 0, "--top-p", 0.5), "--top-p does nothing with --temperature 0"),
        (("--temperature", 0, "--seed", 1), "--seed does nothing with --temperature 0"),
    ],
)
def test_an_option_without_effect_is_refused(run: Run, args: tuple[object, ...], message: str) -> None:
    code, out, err = run("complete", SENTENCE, "-m", "./no-such-model", *args)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_a_draft_saves_steps_and_changes_nothing(run: Run, parrot: Callable[[str], Path], tiny: Path) -> None:
    model = parrot("x")
    command = ("complete", SENTENCE, "-m", model, "--max-tokens", 40, "--temperature", 0)
    plain = run(*command).out
    for draft in ("lookup", model, tiny):
        assert run(*command, "--draft", draft).out == plain
        answer = json.loads(run(*command, "--draft", draft, "--json").out)
        assert (answer["text"] + "\n", answer["tokens"]) == (plain, 40)
        assert answer["steps"] == 40 if draft == tiny else answer["steps"] < 12


def test_a_draft_with_another_vocabulary_is_refused(
    run: Run, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = saved(llama(trained().vocab + 8), trained(), tmp_path_factory)
    code, out, err = run("complete", SENTENCE, "-m", tiny, "--draft", other)
    assert (code, out) == (1, "")
    assert "they must share their tokenizer" in err


def test_a_number_out_of_range_is_refused(run: Run, tiny: Path) -> None:
    code, out, err = run("complete", SENTENCE, "-m", tiny, "--top-p", "2")
    assert (code, out, err) == (1, "", "limelight: top_p is 2.0; it must be above 0 and at most 1\n")


def test_a_text_too_long_is_refused_with_both_numbers(run: Run, tiny: Path) -> None:
    code, out, err = run("complete", "tired " * 200, "-m", tiny)
    assert (code, out) == (1, "")
    assert "and the model sees at most 128" in err


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_standard_input_without_its_last_line_break_and_byte_order_mark(
    run: Run, tiny: Path, mark: bytes, ending: bytes
) -> None:
    text = "The cat\n  sät"
    _, out, _ = run("complete", "-", "-m", tiny, "--max-tokens", 1, "--json", input=mark + text.encode() + ending)
    assert json.loads(out)["prompt"] == text


def test_standard_input_that_is_not_text(run: Run, tiny: Path) -> None:
    code, out, err = run("complete", "-", "-m", tiny, input=b"cat \xff")
    assert (code, out, err) == (1, "", "limelight: standard input is not UTF-8 text: byte 4 cannot be read\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to a child")
def test_ctrl_c_keeps_what_was_said(parrot: Callable[[str], Path]) -> None:
    command = [*COMMAND, SENTENCE, "-m", str(parrot("x")), "--max-tokens", "90000", "--temperature", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(3) == b"xxx"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert set(out.rstrip(os.linesep.encode())) <= {ord("x")}
    assert out.endswith(os.linesep.encode())


def test_a_broken_pipe_is_silent(parrot: Callable[[str], Path]) -> None:
    command = [*COMMAND, SENTENCE, "-m", str(parrot("x")), "--max-tokens", "90000", "--temperature", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(3)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1
