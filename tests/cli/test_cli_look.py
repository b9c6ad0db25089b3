"""``limelight look``: its picture, its JSON, and what it refuses."""

import io
import json
import re
from collections.abc import Callable
from math import isfinite
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.console import Console
from tiny_models import SENTENCE, Run

import limelight
from limelight.cli import look as look_command
from limelight.cli import picture
from limelight.cli.screen import clean
from limelight.look import METHODS, Check, Heard, Importance, Link
from limelight.text.words import Word

ESCAPES = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def look(run: Run, tiny: Path) -> Callable[..., dict[str, object]]:
    """``look(…)``: the object that ``look --json`` prints."""

    def look(*args: object) -> dict[str, object]:
        code, out, err = run("look", *args, "-m", tiny, "--json")
        assert (code, err) == (0, "")
        value = json.loads(out)
        assert isinstance(value, dict)
        return value

    return look


def test_json_says_what_the_library_says(look: Callable, tiny: Path) -> None:
    answer = look(SENTENCE, "--tokens", "5", "--temperature", "0")
    model = limelight.open(tiny)
    found = model.look(SENTENCE).importance()
    assert list(answer) == ["model", "prompt", "continuation", "seed", "target", "method", "words", "check", "links"]
    assert answer["model"] == str(tiny)
    assert answer["prompt"] == SENTENCE
    assert answer["continuation"] == model.complete(SENTENCE, max_tokens=5, sink=True).text
    assert answer["method"] == found.method
    assert answer["target"] == {
        "word": "tired",
        "start": 38,
        "end": 43,
        "logprob": pytest.approx(found.logprob),
        "against": list(found.alternatives),
    }
    for said, heard in zip(answer["words"], found.words, strict=True):
        assert list(said) == ["word", "start", "end", "importance", "asks"]
        assert said["word"] == SENTENCE[said["start"] : said["end"]] == heard.word
        assert said["importance"] == pytest.approx(heard.importance, abs=1e-5)
    assert [said["word"] for said in answer["words"] if said["asks"]] == ["was"]
    assert found.check is not None
    assert answer["check"] == {
        "k": 3,
        "top_drop": pytest.approx(found.check.top_drop, abs=1e-5),
        "random_drop": pytest.approx(found.check.random_drop, abs=1e-5),
        "random_sd": pytest.approx(found.check.random_sd, abs=1e-5),
        "holds": found.check.holds,
    }
    assert answer["links"]
    for link in answer["links"]:
        assert list(link) == ["layer", "head", "from", "to", "weight"]
        assert 0 <= link["weight"] <= 1


def test_json_without_a_continuation_or_a_check(look: Callable) -> None:
    answer = look("The cat", "--no-continue")
    assert answer["continuation"] is None
    assert answer["check"] is None
    assert [word["word"] for word in answer["words"]] == ["The"]


def test_json_with_attention(look: Callable, tiny: Path) -> None:
    answer = look(SENTENCE, "--no-continue", "--attention", "--layer", "2", "--head", "1")
    attention = answer["attention"]
    assert list(attention) == ["layer", "head", "words", "weights"]
    assert (attention["layer"], attention["head"]) == (2, 1)
    assert attention["words"] == SENTENCE.split()
    expected = limelight.open(tiny).look(SENTENCE).attention(2, 1)
    assert attention["weights"] == [pytest.approx(row, abs=1e-5) for row in expected.tolist()]
    assert all(isfinite(value) for row in attention["weights"] for value in row)


def test_the_word_in_question_by_text_and_by_number(look: Callable) -> None:
    by_text, by_number = (look(SENTENCE, "--word", word, "--no-continue") for word in ("it", "8"))
    assert by_text == by_number
    assert by_text["target"]["word"] == "it"
    assert len(by_text["words"]) == 7


def test_not_asks_against_one_word(look: Callable) -> None:
    assert look(SENTENCE, "--not", "cat")["target"]["against"] == [" cat"]


def test_next_asks_for_the_first_word_that_the_model_adds(run: Run, parrot: Callable[[str], Path]) -> None:
    # "The cat" goes on with "sat", and a word cut in two by the end of the prompt is asked for as a whole.
    for prompt, token, word, start in (("The cat", "Ġsat", "sat", 8), ("The ca", "t", "catttttttttttttttt", 4)):
        code, out, _ = run(
            "look", prompt, "-m", parrot(token), "--next", "--no-continue", "--temperature", "0", "--json"
        )
        assert code == 0
        target = json.loads(out)["target"]
        assert (target["word"], target["start"]) == (word, start)


def test_next_without_a_next_word(run: Run, parrot: Callable[[str], Path]) -> None:
    code, out, err = run("look", "The cat", "-m", parrot("<|im_end|>"), "--next", "--temperature", "0", "--json")
    assert (code, out) == (1, "")
    assert "the model ends the text here" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--word", "it", "--next"), "two different words"),
        (("--attention", "--layer", "1"), "both --layer and --head"),
        (("--layer", "1", "--head", "1"), "choose what --attention and --steps show"),
        (("--attention", "--lens"), "--attention and --lens are two pictures"),
        (("--lens", "--html", "x.html"), "a file holds every view"),
        (("--no-continue", "--tokens", "3"), "--tokens is about the continuation"),
        (("--lens", "--seed", "3"), "--seed is about the continuation"),
        (("--lens", "--method", "blocking"), "--method is about importance"),
        (("--heads", "--word", "it"), "--word does nothing with --heads"),
    ],
)
def test_options_that_contradict_each_other(run: Run, tiny: Path, args: tuple[str, ...], message: str) -> None:
    code, out, err = run("look", SENTENCE, "-m", tiny, *args)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--method", "blockin"), "it must be one of blocking, alti-logit, alti-blend, "),
        (("--method", "blockin"), "did you mean 'blocking'?"),
        (("--word", "dog"), "no word is 'dog'; the words are: 1 The, 2 cat"),
        (("--word", "1"), "nothing before it"),
        (("--word", "99"), "there is no word 99: the words are numbered 1 to 10: 1 The, 2 cat"),
        (("--word", ""), "no word is ''"),
        (("--not", " "), "foil is an empty text"),
        (("--html", "no/such/folder/x.html"), "there is no folder no/such/folder"),
        (("--attention", "--layer", "9", "--head", "0"), "the model has layers 0 to 2"),
        (("--attention", "--layer", "0", "--head", "9"), "heads 0 to 3"),
        (("--device", "gpu"), "use cpu, cuda or mps"),
        (("--dtype", "int3"), "float32, bfloat16, float16"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, tiny: Path, args: tuple[str, ...], message: str) -> None:
    for shown in ([], ["--next"] if args[0] in ("--method", "--attention", "--device") else [], ["--json"]):
        code, out, err = run("look", SENTENCE, "-m", tiny, *shown, *args)
        assert (code, out) == (1, "")
        assert message in err


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_is_refused_before_it_is_continued(run: Run, tiny: Path, text: str) -> None:
    code, out, err = run("look", text, "-m", tiny)
    assert (code, out, err) == (1, "", "limelight: the text has no words to look at; give at least one\n")


def test_the_continuation_is_drawn_and_the_next_word_is_its_first(run: Run, tiny: Path) -> None:
    first = json.loads(run("look", SENTENCE, "-m", tiny, "--json", "--next").out)
    again = json.loads(run("look", SENTENCE, "-m", tiny, "--json", "--next", "--seed", first["seed"]).out)
    assert again == first
    word = first["target"]["word"]
    assert (SENTENCE + first["continuation"])[first["target"]["start"] :].startswith(word)
    shown = run("look", SENTENCE, "-m", tiny)
    assert re.fullmatch(r"limelight: --seed \d+ gives this text again\n", shown.err)


def test_the_help_names_every_method() -> None:
    assert tuple(METHODS) == look_command.METHODS


def test_the_picture_fits_into_80_columns_and_has_all_its_parts(run: Run, tiny: Path) -> None:
    code, out, err = run("look", SENTENCE, "-m", tiny, "--no-continue", "--method", "blocking")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    told = " ".join(out.split())
    assert "Which words made the model say “tired”?" in told
    assert all(re.search(rf"^ *{n} {word} +[+−]\d", out, re.M) for n, word in enumerate(SENTENCE.split()[:-1], 1))
    assert re.search(r"^9 was .*asks: left out, not blocked", out, re.M)
    assert "logarithms" in told
    assert re.search(r"The model gave “tired” a probability of .* % here. It was compared with .* or .*\.", told)
    assert re.search(
        r"When the model is deaf to \S+, \S+ and \S+, the odds of “tired” (fall|rise) by \d+\.\d; deaf to three "
        r"random words, they (fall|rise) by \d+\.\d ± \d+\.\d\. This picture can(not)? be trusted",
        told,
    )
    assert re.search(r"layer \d, head \d: +\w+ → \w+ +[01]\.\d\d", out)


def test_the_continuation_comes_first(run: Run, tiny: Path) -> None:
    continuation = limelight.open(tiny).complete(SENTENCE, max_tokens=6, sink=True).text
    _, out, _ = run("look", SENTENCE, "-m", tiny, "--tokens", "6", "--temperature", "0", "--method", "leave-one-out")
    assert out.startswith(SENTENCE)
    assert clean(continuation).split()[0] in out.partition("Which words")[0]


def test_colours_say_sign_and_kind(run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    _, heard, _ = run("look", SENTENCE, "-m", tiny, "--no-continue")
    above, _, links = heard.partition("The heads that look")
    amber, blue, violet = ("38;2;{};{};{}".format(*hue) for hue in (picture.AMBER, picture.BLUE, picture.VIOLET))
    for line in above.splitlines():
        if number := re.match(r"^ *\d+ \S+ +([+−])", ESCAPES.sub("", line)):
            assert (amber if number[1] == "+" else blue) in line or "█" not in line
    assert violet not in above
    assert violet in links
    _, looks, _ = run("look", SENTENCE, "-m", tiny, "--no-continue", "--method", "attention")
    assert amber not in looks
    assert blue not in looks
    assert "where the model looks, not what changes its answer" in " ".join(ESCAPES.sub("", looks).split())
    monkeypatch.setenv("NO_COLOR", "1")
    _, plain, _ = run("look", SENTENCE, "-m", tiny, "--no-continue")
    assert amber not in plain


def test_the_grid(run: Run, tiny: Path) -> None:
    code, out, _ = run("look", SENTENCE, "-m", tiny, "--attention", "--layer", "1", "--head", "2")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    weights = limelight.open(tiny).look(SENTENCE).attention(1, 2)
    rows = re.findall(r"^ *\d+ (\S+) +((?:[\d.]+|·)(?: +(?:[\d.]+|·))*) *$", out, re.M)
    assert [word for word, _ in rows] == SENTENCE.split()
    for row, (_, cells) in enumerate(rows):
        shown = [0.0 if cell == "·" else float(cell) for cell in cells.split()]
        assert shown == pytest.approx(weights[row, : row + 1].tolist(), abs=0.0051)
    assert "cut off" not in out


def test_a_wide_grid_is_cut_and_says_so(run: Run, tiny: Path) -> None:
    text = " ".join([SENTENCE] * 3)
    code, out, _ = run("look", text, "-m", tiny, "--attention", "--layer", "1", "--head", "2", "--word", "20")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"^20 tired", out, re.M)
    assert not re.search(r"^21 The", out, re.M)
    assert re.search(r"\d+ of 30 words are cut off to fit .*these are words \d+ to\s20", out)


def test_the_grid_of_the_head_behind_the_answer(run: Run, tiny: Path) -> None:
    link = limelight.open(tiny).look(SENTENCE).importance().telling
    _, out, _ = run("look", SENTENCE, "-m", tiny, "--attention")
    assert out.startswith(f"Where one head looks: layer {link.layer}, head {link.head}\n")


def test_text_is_never_markup_and_never_drives_the_terminal(run: Run, tiny: Path) -> None:
    code, out, _ = run("look", "[bold red]The[/] \x1b[2J \x9b5m cat :smile: sat", "-m", tiny, "--tokens", "3")
    assert code == 0
    assert "[bold red]The[/]" in out
    assert ":smile:" in out
    assert "␛[2J" in out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out)


def test_text_from_standard_input(run: Run, tiny: Path) -> None:
    code, out, _ = run("look", "-", "-m", tiny, "--json", "--no-continue", input=f"\ufeff{SENTENCE}\n".encode())
    assert code == 0
    assert json.loads(out)["prompt"] == SENTENCE


def drawn(check: Check | None, values: tuple[float, ...] = (5.0, -1.0, 0.0)) -> str:
    """The picture of made-up importances for the words a, b and c before d."""
    text = "a b c d"
    words = [Word(c, 2 * i, 2 * i + 1, range(i, i + 1)) for i, c in enumerate("abcd")]
    heard = tuple(Heard(w.text, w.start, w.end, v, w.text == "c") for w, v in zip(words[:3], values, strict=True))
    links = (Link(1, 2, 2, 0, 0.5),)
    found = Importance(words[3], -0.1, (" x", "\n"), "blocking", heard, check, links)
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(picture.importance(text, words, found, None, 80))
    return " ".join(console.export_text().split())


def test_the_sign_survives_on_a_terminal_with_16_colours() -> None:
    def ground(hue: picture.Hue, strength: float) -> int | None:
        colour = picture.shade(hue, strength).bgcolor
        assert colour is not None
        return colour.downgrade(ColorSystem.STANDARD).number

    for strength in (0.1, 0.5, 1.0):
        assert ground(picture.AMBER, strength) in (3, 11)  # dark and bright yellow
        assert ground(picture.BLUE, strength) in (4, 12)  # dark and bright blue


def test_the_check_in_words() -> None:
    trusted = drawn(Check(2, (0, 1), 6.14, 1.5, 1.2, (0, 1), 6.14))
    told = "the odds of “d” fall by 6.1; deaf to two random words, they fall by 1.5 ± 1.2."
    assert f"When the model is deaf to a and b, {told}" in trusted
    assert "This picture can be trusted." in trusted
    assert "It was compared with x or “\\n”." in trusted
    doubted = drawn(Check(1, (0,), -0.5, 0.2, 0.1, (1,), 0.3))
    assert (
        "When the model is deaf to a, the odds of “d” rise by 0.5; deaf to one random word, they fall by 0.2 ± 0.1."
        in doubted
    )
    assert "This picture cannot be trusted here." in doubted
    assert "too few words to compare" in drawn(None)


def test_a_picture_of_nothing() -> None:
    assert "1 a +0.0" in drawn(None, (0.0, 0.0, 0.0))


def test_many_words_are_ranked_up_to_a_point(run: Run, tiny: Path) -> None:
    _, out, _ = run("look", " ".join([SENTENCE] * 3), "-m", tiny, "--no-continue")
    assert len(re.findall(r"^ *\d+ \w+ +[+−]", out, re.M)) == picture.SHOWN
    assert re.search(r"^and 9 more, from [+−][\d.]+ to [+−][\d.]+$", out, re.M)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "blocking"])
def test_every_method_says_what_it_answers(run: Run, tiny: Path, method: str) -> None:
    code, out, err = run("look", SENTENCE, "-m", tiny, "--no-continue", "--method", method)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    told = " ".join(out.split())
    assert METHODS[method].answers in told
    assert ("logarithms" in told) == (method in ("leave-one-out", "leave-one-replaced"))
    assert ("Where does the model look" in told) == (METHODS[method].kind == "attention")


def test_every_view_has_an_example(run: Run) -> None:
    code, out, _ = run("look", "--help")
    assert code == 0
    examples = [line for line in out.splitlines() if line.strip().startswith("limelight look")]
    for option in ("word", "next", "why-not", "method", "lens", "heads", "steps", "attention", "html", "npz"):
        assert any(f"--{option}" in line for line in examples), option
    assert max(map(len, out.splitlines())) <= 80
