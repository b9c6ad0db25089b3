"""An answer in plain words, the same for every kind of model: what was said, what that depends on, and the check."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from limelight.look.measured import ADDS
from limelight.look.next_word import END
from limelight.look.question import Likelihood

if TYPE_CHECKING:
    from limelight.look.answer import Importance

SETS = {1: "{}s", 2: "pairs of {}s", 3: "sets of three {}s"}
"""How many words, or what else is judged, are taken away together → what sets of as many are called; more of them by
their number."""

ANSWERS = {"score": "the score", "cosine": "the similarity"}
"""What an answer is called that is a number, by its unit."""

CERTAIN = 1e6
"""Times less likely beyond which no number is told."""

LONG = 60
"""Characters of a text that stand in a sentence."""


def times(loss: float) -> float:
    """How many times less likely an answer is whose log-probability is lower by `loss`; below 1 it is likelier."""
    return math.exp(min(loss, 700.0))


def sentences(found: "Importance") -> list[str]:
    """What the model said, what it hangs on, and the check of that."""
    return [sentence for sentence in (expected(found), hangs(found), *checked(found)) if sentence]


def expected(found: "Importance") -> str:
    """What the model says, or what it would have said in place of a word that it did not choose."""
    if math.isnan(found.logprob):
        return ""
    chance = percent(math.exp(found.logprob))
    if found.rank is None or found.rank == 1:
        if found.label is not None:
            return f"The model labels {quoted(found.target.text)} {quoted(found.label)} ({chance})."
        return f"The model says {quoted(found.target.text)} ({chance})."
    likeliest = found.expected or ""
    begins = found.target.text.startswith(likeliest)  # the likeliest token is how it begins
    part = "\ufffd" in likeliest  # bytes of a character, which nobody can read
    instead = "something else" if begins or part else "the text to end" if likeliest == END else quoted(likeliest)
    instead = f"expected {instead}"
    return f"The model {instead}; {quoted(found.target.text)} is its no. {found.rank:,} ({chance})."


def hangs(found: "Importance") -> str:
    """The words that are named and what the answer loses without them."""
    said = _answer(found)
    if not found.named:
        if len(found.words) == 1:
            return f"The text is a single {found.by}, so there is nothing to compare it with."
        return f"No few {found.by}s decide: {said} depends a little on all of the text."
    names = listed([_name(found, place) for place in found.named])
    one = len(found.named) == 1
    without, often = f"without {'it' if one else 'them'}", ""
    if "replaced" in found.losses:
        often = "on average "
        without = f"with {'another likely word in its place' if one else 'other likely words in their place'}"
    loss = next(iter(found.losses.values()))
    if loss <= 0:  # named by a method that measures something else
        return f"{names} {'ranks' if one else 'rank'} highest, yet {without}, {lost(found, loss)}."
    first, *others = found.named
    if others and _alone(found) > loss - ADDS:
        names = f"{_name(found, first)}, and a little on {listed([_name(found, place) for place in others])}"
    return f"It depends most on {names}: {without}, {lost(found, loss, often)}."


def _alone(found: "Importance") -> float:
    """What the answer loses without the first word that is named; -inf where that is not comparable."""
    value = found.words[found.named[0]].importance
    comparable = value is not None and found.method == "measured" and found.answer_unit.startswith("log")
    return value if value is not None and comparable else -math.inf


def _name(found: "Importance", place: int) -> str:
    """A word in quotes, with its number where the text has it more than once."""
    word = found.words[place].word
    again = sum(heard.word == word for heard in found.words) > 1
    return f"{quoted(word)} ({found.by} {place + 1})" if again else quoted(word)


def checked(found: "Importance") -> list[str]:
    """The check in a sentence, and another where the ways to take words away disagree."""
    told = []
    they = "it is" if len(found.named) == 1 else "they are"
    replaced, blocked = found.losses.get("replaced"), found.losses.get("blocked")
    if replaced is not None and blocked is not None and 0 < replaced >= 4 * blocked:
        told.append(f"If {they} hidden from all other {found.by}s instead, {lost(found, blocked)}.")
    if (check := found.check) is None:
        return told
    sets = SETS.get(len(check.words), f"sets of {len(check.words)} {{}}s").format(found.by)
    if not check.sets:
        return [*told, "The text is too short to check this: it has nothing else to delete."]
    if check.short:
        return [*told, f"The text is too short to check this: it has only {check.sets + 1} {sets} to delete."]
    if check.loss <= check.least:
        return [*told, f"The check disagrees: if {they} {check.way} instead, {lost(found, check.loss)}."]
    others = f"of all {check.sets} other {sets}" if check.every else f"of {check.sets} other {sets} drawn at random"
    few = "only " if check.holds else ""
    how = {0: "none lowers", 1: f"{few}one lowers"}.get(check.better, f"{few}{check.better} lower")
    return [*told, f"{'Check' if check.holds else 'The check disagrees'}: {others}, {how} it as much when {check.way}."]


def lost(found: "Importance", loss: float, often: str = "") -> str:
    """What an answer loses, as a clause."""
    said = _answer(found)
    if found.answer_unit in ANSWERS:
        return f"{said} {'falls' if loss >= 0 else 'rises'} {often}by {abs(loss):.2f}"
    beside = f" beside {quoted(found.foil)}" if found.foil else ""
    if abs(loss) <= Likelihood.least:
        return f"{said} stays about as likely{beside}"
    return f"{said} is {often}{folded(loss)} likely{beside}"


def _answer(found: "Importance") -> str:
    """What a sentence calls the answer."""
    return ANSWERS.get(found.answer_unit) or quoted(found.label or found.target.text)


def folded(loss: float) -> str:
    """A loss as “30 times less” or “2 times more”."""
    return f"{fold(loss)} times {'less' if loss >= 0 else 'more'}"


def fold(loss: float) -> str:
    """How many times less or more likely, by two digits: “1.4”, “30”, “23,000”."""
    found = times(abs(loss))
    return "more than a million" if found > CERTAIN else f"{float(f'{found:.2g}'):,.{0 if found >= 9.95 else 1}f}"


def percent(probability: float) -> str:
    """A probability as people read it."""
    hundred = 100 * probability
    if hundred < 0.01:
        return "less than 0.01 %"
    return f"{hundred:.0f} %" if hundred >= 10 else f"{hundred:.2g} %"


def quoted(text: str) -> str:
    """A word as it stands in a sentence, a longer text by its beginning and end; white space alone by its escapes."""
    shown = " ".join(text.split()) or text.encode("unicode_escape").decode()
    if len(shown) > LONG:
        shown = f"{shown[: LONG // 2].rstrip()} … {shown[-LONG // 2 :].lstrip()}"
    return f"“{shown}”"


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
