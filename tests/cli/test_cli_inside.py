"""``limelight look`` with --lens, --heads and --steps: the numbers of the library, in 80 columns."""

import json
import re
from pathlib import Path

import pytest
from tiny_models import SENTENCE, Run

import limelight
from limelight.cli.views.inside import LETTERS
from limelight.look import ROLES, plain

WORDS = SENTENCE.split()


def drawn(run: Run, tiny: Path, *args: object) -> str:
    code, out, err = run("look", SENTENCE, "-m", tiny, *args)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "Which words made" not in out
    return out


def test_the_lens_has_a_line_for_each_layer(run: Run, tiny: Path) -> None:
    out = drawn(run, tiny, "--lens", "--word", "it")
    found = limelight.open(tiny).look(SENTENCE).lens("it")
    assert out.startswith("What each layer would have said instead of “it”\n")
    rows = re.findall(r"^([0-2])  +.*?([\d,]+) +(<?) ?([\d.]+) %$", out, re.M)
    assert [int(row[0]) for row in rows] == [0, 1, 2]
    for (_, rank, below, chance), (guess,) in zip(rows, found.layers, strict=True):
        assert int(rank.replace(",", "")) == guess.rank
        assert guess.probability is not None
        if not below:
            assert float(chance) == pytest.approx(100 * guess.probability, rel=0.1)
    assert "Look for the layer" in out


def test_the_map_has_a_letter_for_each_head(run: Run, tiny: Path) -> None:
    out = drawn(run, tiny, "--heads")
    measured = limelight.open(tiny).look(SENTENCE).roles()
    assert re.search(r"^ +0 1 2 3$", out, re.M)
    rows = dict(re.findall(r"^([0-2]) ((?: \S)+)$", out, re.M))
    for layer in range(3):
        letters = [LETTERS.get(measured.of(layer, head)[0] or "", "·") for head in range(4)]
        assert rows[str(layer)].split() == letters
    named = {measured.of(layer, head)[0] for layer in range(3) for head in range(4)} - {None, "first"}
    assert all(ROLES[role] in out for role in named if role)
    assert "The brighter a letter, the stronger the role" in out
    assert set(LETTERS) == set(ROLES)
    assert len(set(LETTERS.values())) == len(LETTERS)


def test_nine_steps_with_one_score_written_out(run: Run, tiny: Path) -> None:
    out = drawn(run, tiny, "--steps", "--layer", "1", "--head", "2", "--word", "it")
    found = limelight.open(tiny).look(SENTENCE).steps("it", 1, 2)
    assert out.startswith("Nine steps from “it” to the next word: layer 1, head 2\n")
    assert re.findall(r"^(\d) \w", out, re.M) == list("123456789")
    told = " ".join(out.split()).replace("−", "-")
    shown = re.search(
        r"query · key of “(\w+)” = .* = (-?[\d.]+); times ([\d.]+) is (-?[\d.]+)\. Its share: "
        r"exp\((-?[\d.]+) - (-?[\d.]+)\) / ([\d.]+) = ([\d.]+)",
        told,
    )
    assert shown is not None
    key = WORDS.index(shown[1]) + 1  # behind the sink token
    assert float(shown[2]) == pytest.approx(float(found.scores.products[key]), abs=0.006)
    assert float(shown[2]) * float(shown[3]) == pytest.approx(float(shown[4]), abs=0.02)
    assert float(shown[8]) == pytest.approx(float(found.weights.values[key]), abs=0.006)
    shares = dict(re.findall(r"^  (\S+) +-?[\d.]+ +-?[\d.]+ +([\d.]+)", out.replace("−", "-"), re.M))
    assert [float(shares[word]) for word in WORDS[:8]] == pytest.approx(found.weights.values[1:9].tolist(), abs=0.006)
    assert "2 hidden" in out
    assert "2 heads share these keys and values" in out


def test_steps_of_the_head_behind_the_answer(run: Run, tiny: Path) -> None:
    link = limelight.open(tiny).look(SENTENCE).importance().telling
    out = drawn(run, tiny, "--steps")
    assert f"layer {link.layer}, head {link.head}\n" in out


def test_json_has_every_view_beside_importance(run: Run, tiny: Path) -> None:
    args = ("--lens", "--heads", "--steps", "--layer", "1", "--head", "2", "--word", "it", "--no-continue", "--json")
    code, out, err = run("look", SENTENCE, "-m", tiny, *args)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    seen = limelight.open(tiny).look(SENTENCE)
    assert answer["target"]["word"] == "it"
    assert answer["lens"]["layers"][2][0]["rank"] == seen.lens("it").layers[2][0].rank
    assert answer["steps"]["tokens"] == plain(seen.steps("it", 1, 2).tokens)
    assert answer["steps"]["weights"]["values"] == pytest.approx(seen.steps("it", 1, 2).weights.values.tolist())
    assert set(answer["heads"]) == {"measured", "here"}
    assert answer["heads"]["here"]["previous"][1] == pytest.approx(seen.heads().strengths["previous"][1].tolist())
    assert "attention" not in answer


def test_why_not_is_another_name_for_not(run: Run, tiny: Path) -> None:
    said = [run("look", SENTENCE, "-m", tiny, name, "cat", "--no-continue") for name in ("--not", "--why-not")]
    assert said[0] == said[1]
    assert "likely “av” is beside “cat” with" in " ".join(said[0].out.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--steps", "--layer", "9", "--head", "0"), "the model has layers 0 to 2"),
        (("--steps", "--layer", "0", "--head", "9"), "heads 0 to 3"),
        (("--lens", "--word", "dog"), "no word is 'dog'"),
    ],
)
def test_what_does_not_exist_is_said(run: Run, tiny: Path, args: tuple[str, ...], message: str) -> None:
    code, out, err = run("look", SENTENCE, "-m", tiny, *args)
    assert (code, out) == (1, "")
    assert message in err


def test_control_characters_stay_harmless_in_every_view(run: Run, tiny: Path) -> None:
    text = "[bold]The[/] \x1b[2J cat :smile: sat"
    for view in (("--lens",), ("--heads",), ("--steps", "--layer", "0", "--head", "0"), ("--attention",)):
        code, out, _ = run("look", text, "-m", tiny, *view)
        assert code == 0
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out)
        assert "[bold]The[/]" in out or view in (("--lens",), ("--heads",), ("--attention",))


def test_a_hyphen_in_the_text_is_no_minus_sign(run: Run, tiny: Path) -> None:
    pieces = set()
    for layer in range(3):
        for head in range(4):
            _, out, _ = run("look", " ---- ---- ----", "-m", tiny, "--steps", "--layer", layer, "--head", head)
            told = " ".join(out.split())
            pieces |= set(re.findall(r"query · key of “(.*?)” = ", told))
            assert not re.search(r"[ (]-\d", told)
    assert "-" in pieces
    assert "−" not in pieces
