"""``limelight look``: its picture, its JSON, and what it refuses."""

import dataclasses
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
from limelight.cli.screen import clean
from limelight.cli.views import picture
from limelight.look import METHODS, Check, Heard, Importance
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
    assert list(answer) == [
        *("model", "prompt", "continuation", "seed", "target", "logprob", "rank", "expected", "foil", "method", "unit"),
        *("words", "named", "losses", "times", "told", "check", "links"),
    ]
    assert answer["model"] == str(tiny)
    assert answer["prompt"] == SENTENCE
    text = model.look(SENTENCE).ahead.text
    assert answer["continuation"] == text[len(SENTENCE) :] + model.complete(text, max_tokens=5, sink=True).text
    assert answer["target"] == {"word": found.target.text, "start": found.target.start, "end": found.target.end}
    assert answer["logprob"] == pytest.approx(found.logprob)
    assert (answer["method"], answer["unit"], answer["foil"]) == ("measured", "log-probability", None)
    assert (answer["rank"], answer["expected"]) == (found.rank, found.expected)
    for said, heard in zip(answer["words"], found.words, strict=True):
        assert list(said) == ["word", "start", "end", "importance", "times", "asks"]
        assert said["word"] == SENTENCE[said["start"] : said["end"]] == heard.word
        if heard.importance is None:
            assert heard.asks
            assert said["importance"] is said["times"] is None
            continue
        assert said["importance"] == pytest.approx(heard.importance, abs=1e-5)
        assert said["times"] == pytest.approx(heard.times, rel=1e-4)
    assert [said["word"] for said in answer["words"] if said["asks"]] == ["tired"]
    assert answer["named"] == list(found.named)
    assert answer["losses"] == pytest.approx(dict(found.losses), abs=1e-4)
    assert answer["told"] == found.told()
    check = found.check
    assert check is not None
    assert list(answer["check"]) == ["words", "way", "loss", "sets", "every", "better", "least", "holds", "short"]
    assert (answer["check"]["words"], answer["check"]["way"]) == (sorted(found.named), check.way)
    assert answer["check"]["loss"] == pytest.approx(check.loss, abs=1e-4)
    for name in ("sets", "every", "better", "holds", "short"):
        assert answer["check"][name] == getattr(check, name)
    assert answer["links"]
    for link in answer["links"]:
        assert list(link) == ["layer", "head", "from", "to", "weight"]
        assert 0 <= link["weight"] <= 1


def test_times_are_told_only_of_what_the_answer_loses(look: Callable) -> None:
    for method in METHODS:
        answer = look(SENTENCE, "--no-continue", "--method", method)
        told = [word["times"] is not None for word in answer["words"] if word["importance"] is not None]
        assert set(told) == {answer["unit"] == "log-probability"}, method


def test_json_without_a_continuation_or_a_check(look: Callable) -> None:
    answer = look("The cat", "--no-continue", "--word", "cat")
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
    answer = look(SENTENCE, "--not", "cat", "--no-continue")
    assert (answer["foil"], answer["unit"]) == ("cat", "log-odds")


def test_the_question_is_what_the_model_says_next(run: Run, parrot: Callable[[str], Path]) -> None:
    code, out, _ = run("look", "The cat", "-m", parrot("Ġsat"), "--tokens", "2", "--temperature", "0", "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["target"] == {"word": "sat", "start": 8, "end": 11}
    assert [word["word"] for word in answer["words"]] == ["The", "cat"]
    assert answer["continuation"] == " sat sat sat"  # the word in question, and as many tokens as were asked for


def test_where_the_model_ends_the_text_nothing_is_added(run: Run, parrot: Callable[[str], Path]) -> None:
    code, out, _ = run("look", "The cat", "-m", parrot("<|im_end|>"), "--seed", "1")
    assert code == 0
    assert out.startswith("The cat (the end)\n")
    assert "The model says “(the end)”" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--next",), "No such option: --next"),
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
        (("--method", "blockin"), "it must be one of measured, blocking, alti-logit, "),
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
    for shown in ([], ["--word", "it"] if args[0] in ("--method", "--attention", "--device") else [], ["--json"]):
        code, out, err = run("look", SENTENCE, "-m", tiny, *shown, *args)
        assert (code, out) == (1, "")
        assert message in err


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_is_refused_before_it_is_continued(run: Run, tiny: Path, text: str) -> None:
    code, out, err = run("look", text, "-m", tiny)
    assert (code, out, err) == (1, "", "limelight: the text has no words to look at; give at least one\n")


def test_the_continuation_is_drawn_behind_the_next_word(run: Run, tiny: Path) -> None:
    first = json.loads(run("look", SENTENCE, "-m", tiny, "--json").out)
    again = json.loads(run("look", SENTENCE, "-m", tiny, "--json", "--seed", first["seed"]).out)
    assert again == first
    word = first["target"]["word"]
    assert (SENTENCE + first["continuation"])[first["target"]["start"] :].startswith(word)
    shown = run("look", SENTENCE, "-m", tiny)
    assert re.fullmatch(r"limelight: --seed \d+ gives this text again\n", shown.err)


def test_the_help_names_every_method() -> None:
    assert tuple(METHODS) == look_command.METHODS


def test_the_picture_fits_into_80_columns_and_has_all_its_parts(run: Run, tiny: Path) -> None:
    code, out, err = run("look", SENTENCE, "-m", tiny, "--no-continue")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    seen = limelight.open(tiny).look(SENTENCE)
    found = seen.importance()
    told = " ".join(out.split())
    assert told.startswith(f"{seen.ahead.text} The model says “{found.target.text}” (")
    assert all(clean(sentence) in told for sentence in found.told())
    assert f"How much less likely “{found.target.text}” is with each word replaced:" in told
    still = re.search(r"^Little or no difference: (.*)$", out, re.M)
    for number, heard in enumerate(found.words, 1):
        row = re.search(rf"^ *{number} {heard.word} +([\d.,]+) × (less|more) [█▏▎▍▌▋▊▉]+", out, re.M)
        if heard.times is None:
            assert heard.asks
            assert f"Not counted: {number} {heard.word}, the last word" in out
        elif row is None:
            assert abs(heard.importance or 0.0) <= 0.14
            assert number - 1 in found.named or (still and f"{number} {heard.word}" in still[1].split(", "))
        else:
            times = float(row[1].replace(",", ""))
            assert (times if row[2] == "less" else 1 / times) == pytest.approx(heard.times, rel=0.06)
    assert re.search(r"^10 tired .*the last word$|^Not counted: 10 tired, the last word$", out, re.M)
    assert "logarithms" not in told


def test_the_continuation_comes_first(run: Run, tiny: Path) -> None:
    model = limelight.open(tiny)
    text = model.look(SENTENCE).ahead.text
    continuation = model.complete(text, max_tokens=6, sink=True).text
    _, out, _ = run("look", SENTENCE, "-m", tiny, "--tokens", "6", "--temperature", "0", "--method", "leave-one-out")
    assert out.startswith(SENTENCE)
    assert clean(continuation).split()[0] in out.partition("The model says")[0]


def test_colours_say_sign_and_kind(run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    _, heard, _ = run("look", SENTENCE, "-m", tiny, "--no-continue")
    amber, blue, violet = ("38;2;{};{};{}".format(*hue) for hue in (picture.AMBER, picture.BLUE, picture.VIOLET))
    rows = 0
    for line in heard.splitlines():
        if number := re.match(r"^ *\d+ \S+ +\S+ × (less|more)", ESCAPES.sub("", line)):
            assert (amber if number[1] == "less" else blue) in line
            rows += 1
    assert rows > 3
    assert violet not in heard
    _, looks, _ = run("look", SENTENCE, "-m", tiny, "--no-continue", "--method", "attention")
    assert amber not in looks
    assert blue not in looks
    assert violet in looks
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


def drawn(
    check: Check | None, values: tuple[float | None, ...] = (5.0, -1.0, 0.0), named: tuple[int, ...] = (0, 1)
) -> str:
    """The picture of made-up importances for the words a, b and c before d, with its escapes."""
    text = "a b c d"
    words = [Word(c, 2 * i, 2 * i + 1, range(i, i + 1)) for i, c in enumerate("abcd")]
    heard = tuple(Heard(w.text, w.start, w.end, v, w.text == "c") for w, v in zip(words[:3], values, strict=True))
    losses = {"replaced": 5.5, "blocked": 5.0, "deleted": 1.0} if named else {}
    found = Importance(words[3], -0.1, "measured", heard, named, losses, check, (), rank=1, expected="d")
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(picture.importance(text, found, "", 80))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_sign_survives_on_a_terminal_with_16_colours() -> None:
    def ground(hue: picture.Hue, strength: float) -> int | None:
        colour = picture.shade(hue, strength).bgcolor
        assert colour is not None
        return colour.downgrade(ColorSystem.STANDARD).number

    for strength in (0.1, 0.5, 1.0):
        assert ground(picture.AMBER, strength) in (3, 11)  # dark and bright yellow
        assert ground(picture.BLUE, strength) in (4, 12)  # dark and bright blue


def plain(picture: str) -> str:
    return " ".join(ESCAPES.sub("", picture).split())


def test_the_check_in_words() -> None:
    trusted = drawn(Check((0, 1), "deleted", 6.0, 40, True, 0, 0.14))
    assert "It depends most on “a”, and a little on “b”: with other likely words in their place" in plain(trusted)
    assert "“d” is on average 240 times less likely." in plain(trusted)
    assert "Check: of all 40 other pairs of words, none lowers it as much when deleted." in plain(trusted)
    doubted = drawn(Check((0, 1), "deleted", 1.0, 220, False, 20, 0.14))
    assert (
        "The check disagrees: of 220 other pairs of words drawn at random, 20 lower it as much when deleted."
        in plain(doubted)
    )
    against = drawn(Check((0, 1), "deleted", -1.0, 220, False, 20, 0.14))
    assert "The check disagrees: if they are deleted instead, “d” is 2.7 times more likely." in plain(against)
    short = drawn(Check((0, 1), "deleted", 6.0, 2, True, 0, 0.14))
    assert "The text is too short to check this: it has only 3 pairs of words to delete." in plain(short)
    assert "heck" not in plain(drawn(None))


def test_doubt_is_grey_and_never_red() -> None:
    red = re.compile(r"\x1b\[[\d;]*\b(?:31|91|41|101)\b")
    dim = "\x1b[2m"
    doubted = drawn(Check((0, 1), "deleted", 1.0, 220, False, 20, 0.14))
    nothing = drawn(None, (0.0, 0.0, 0.0), ())
    assert f"{dim}The check disagrees" in doubted
    assert f"{dim}No few words decide: “d” depends a little on all of the text." in nothing
    assert f"{dim}Check: of" not in drawn(Check((0, 1), "deleted", 6.0, 40, True, 0, 0.14))
    assert not any(red.search(each) for each in (doubted, nothing))


def test_words_that_do_nothing_have_no_bar() -> None:
    told = plain(drawn(None, (5.0, 0.1, -0.1)))
    assert "1 a 150 × less █" in told
    assert "2 b only together with others" in told  # it is named
    assert "Little or no difference: 3 c" in told
    assert "█" in told
    nothing = plain(drawn(None, (0.0, 0.0, 0.0), ()))
    assert "Little or no difference: 1 a, 2 b, 3 c" in nothing
    assert "█" not in nothing


def test_one_word_is_compared_with_none(run: Run, tiny: Path) -> None:
    _, out, _ = run("look", "cat", "-m", tiny, "--no-continue")
    assert "1 words" not in out
    assert "No few words" not in out
    assert "nothing to compare it with" in out or "nothing else to delete" in out


def test_many_words_that_do_nothing_are_counted(run: Run, tiny: Path) -> None:
    found = limelight.open(tiny).look(SENTENCE).importance()
    flat = dataclasses.replace(
        found, words=tuple(dataclasses.replace(heard, importance=0.01) for heard in found.words), named=(), losses={}
    )
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(picture.answer(flat, 80))
    assert "10 other words make little or no difference." in console.export_text()


def test_a_word_that_is_said_twice_is_named_by_its_number(run: Run, tiny: Path) -> None:
    _, out, _ = run("look", "cat cat cat", "-m", tiny, "--no-continue", "--method", "blocking")
    told = " ".join(out.split())
    assert "“cat” (word 1)" in told or "“cat” (word 2)" in told


def test_words_that_were_not_measured_are_counted() -> None:
    assert "1 other word was not measured." in plain(drawn(None, (5.0, None, 0.3)))
    assert "2 other words were not measured." in plain(drawn(None, (None, None, 5.0)))
    assert "not measured" not in plain(drawn(None))
    both = plain(drawn(None, (5.0, None, None)))
    assert "Not counted: 3 c, the last word" in both
    assert "1 other word was not measured." in both


def test_many_words_are_ranked_up_to_a_point(run: Run, tiny: Path) -> None:
    _, out, _ = run("look", " ".join([SENTENCE] * 3), "-m", tiny, "--no-continue", "--method", "attention")
    assert len(re.findall(r"^ *\d+ \w+ +0\.", out, re.M)) == picture.SHOWN
    shown = re.search(r"^and (\d+) more with less$", out, re.M)
    still = re.search(r"^Little or no difference: (.*)$", out, re.M)
    assert shown
    assert int(shown[1]) + (len(still[1].split(", ")) if still else 0) == 10


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_what_it_answers(run: Run, tiny: Path, method: str) -> None:
    code, out, err = run("look", SENTENCE, "-m", tiny, "--no-continue", "--method", method)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    told = " ".join(out.split())
    assert METHODS[method].answers in told
    assert bool(re.search(r"\d × (less|more) ", told)) == (METHODS[method].unit is None)
    assert ("Attention is where the model looks" in told) == (METHODS[method].kind == "attention")
    unit = METHODS[method].unit
    assert (f"{unit.capitalize()}, by word:" if unit else "How much less likely") in told


def test_every_view_has_an_example(run: Run) -> None:
    code, out, _ = run("look", "--help")
    assert code == 0
    examples = [line for line in out.splitlines() if line.strip().startswith("limelight look")]
    for option in ("word", "why-not", "method", "lens", "heads", "steps", "attention", "html", "npz"):
        assert any(f"--{option}" in line for line in examples), option
    assert max(map(len, out.splitlines())) <= 80


def test_a_whole_answer_is_looked_at(run: Run, tiny: Path) -> None:
    said = "Two dogs run. A man sits. Who runs?"
    code, out, err = run("look", said, "--chat", "-m", tiny, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    seen = limelight.open(tiny, kind=limelight.Model).look([{"role": "user", "content": said}])
    assert found["answer"] == seen.answer
    assert [part["text"] for part in found["matrix"]["columns"]] == ["Two dogs run.", "A man sits.", "Who runs?"]
    for row, expected in zip(found["matrix"]["losses"], seen.matrix().values.tolist(), strict=True):
        assert row == pytest.approx(expected, abs=1e-3)
    assert [each["word"] for each in found["importance"]["words"]] == [part.text for part in seen.prompt("word")]
    code, out, err = run("look", said, "--chat", "-m", tiny)
    assert (code, err) == (0, "")
    assert " ".join(out.split()).startswith(" ".join(clean(seen.answer).split()))
    code, out, err = run("look", said, "--chat", "--lens", "-m", tiny)
    assert code == 2
    assert "--lens asks nothing of a whole answer; leave it or --chat out" in " ".join(err.split())
