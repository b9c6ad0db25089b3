"""How `limelight look` draws: importance in amber and blue, attention in violet, and never the one like the other."""

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from limelight.cli.screen import ADDED, clean
from limelight.look import METHODS, wording
from limelight.look.question import Likelihood
from limelight.text.words import find

if TYPE_CHECKING:
    from limelight import Seen
    from limelight.look import Heard, Importance

Hue = tuple[int, int, int]
AMBER: Hue = (255, 176, 32)
BLUE: Hue = (40, 100, 255)
VIOLET: Hue = (180, 70, 255)

SHOWN = 20
"""The most words in a ranking."""

_FEW = 8  # words that are named though they make no difference
_WORD = 20
_BAR = 30
_CELL = 5
_LABEL = 14
_EIGHTHS = " ▏▎▍▌▋▊▉"
_TAKEN = {
    "measured": "with each word replaced",
    "leave-one-replaced": "with each word replaced",
    "blocking": "with each word hidden",
    "leave-one-out": "with each word left out",
}
"""Methods whose numbers are what the answer loses → what they do to each word."""
_ASKS = "  the last word"
_TOGETHER = "only together with others"
LOOKS = "Attention is where the model looks, not what changes its answer."


def importance(text: str, found: "Importance", added: str, width: int) -> RenderableType:
    """The text in colour with what the model adds to it, and the answer.

    text: up to the word in question at least. added: what follows it.
    """
    return Group(_sentence(text, found, added), Text(), answer(found, width))


def answer(found: "Importance", width: int) -> RenderableType:
    """The answer in words, the words ranked, and how they were measured. Doubt is told in grey."""
    method = METHODS[found.method]
    note = " Bars are logarithmic." if found.folds else f" {LOOKS}" if _looks(found) else ""
    checked = " ".join(wording.checked(found))
    said = [
        (wording.expected(found), ""),
        (wording.hangs(found), "" if found.named else "dim"),
        (checked, "" if found.trusted else "dim"),
    ]
    return Group(
        *(Text(clean(sentence), style) for sentence, style in said if sentence),
        Text(),
        _ranking(found, width),
        Text(),
        Text(f"{method.title}: {method.answers}{note}", "dim"),
    )


def head(seen: "Seen", word: str | None, layer: int, head: int, width: int) -> RenderableType:
    """The attention of one head as a grid, a row for each word that looks and a column for each it looks at.

    Where not all words fit into `width` cells, those up to the word in question are shown.
    """
    weights = seen.attention(layer, head).tolist()
    words = [clean(word.text) for word in seen.words]
    last = len(words) if word is None else find(seen.words, word) + 1
    number = len(str(len(words)))
    label = min(_LABEL, max(map(cell_len, words))) + number + 1
    fitting = max(1, (width - label - 1) // _CELL)
    end = len(words) if len(words) <= fitting else max(last, fitting)
    shown = range(max(0, end - fitting), end)

    numbers, names = Text(" " * (label + 1)), Text(" " * (label + 1))
    for column in shown:
        numbers.append(f"{column + 1:>{_CELL - 1}} ", "dim")
        names.append(fit(words[column], _CELL - 1) + " ", "bold")
    lines = [numbers, names]
    for row in shown:
        text = Text.assemble((f"{row + 1:>{number}} ", "dim"), (fit(words[row], label - number - 1), "bold"), " ")
        for column in shown:
            if column <= row:
                value = weights[row][column]
                text.append(f"{value:.2f} " if value >= 0.005 else "   · ", shade(VIOLET, value))
        lines.append(text)
    title = Text.assemble(("Where one head looks: ", "bold"), (f"layer {layer}, head {head}", "bold"))
    notes = [
        f"Each row is a word that looks; its numbers say how much it looks at each word; "
        f"what they lack to 1 rests on the first position, which is no word. {LOOKS}"
    ]
    if cut := len(words) - len(shown):
        notes.append(
            f"{cut} of {len(words)} words are cut off to fit {width} columns: these are words {shown[0] + 1} to "
            f"{shown[-1] + 1}. Choose others with --word or widen the terminal."
        )
    return Group(title, Text(), *lines, Text(), *(Text(note, "dim") for note in notes))


def _sentence(text: str, found: "Importance", added: str) -> Text:
    """The text, each word on a ground as strong as it mattered, those that are named underlined."""
    drawn = Text()
    at = 0
    most = _most(found)
    named = {found.words[place].start for place in found.named}
    for heard in found.words:
        drawn.append(clean(text[at : heard.start]))
        value = heard.importance or 0.0
        style = shade(_hue(found, value), abs(value) / most if _counts(found, value) else 0.0)
        drawn.append(clean(heard.word), style + Style(underline=heard.start in named))
        at = heard.end
    target = found.target
    drawn.append(clean(text[at : target.start]))
    if target.end == target.start and drawn.plain[-1:].strip():
        drawn.append(" ")  # the end of a text stands nowhere in it
    drawn.append(clean(target.text) if target.text.strip() else spelled(target.text), "bold")
    drawn.append(clean(text[target.end :]), "dim")
    drawn.append(clean(added.rstrip()), ADDED)
    return drawn


def _ranking(found: "Importance", width: int) -> Group:
    """The words with what each did, strongest first; those that did nothing, and those not measured, in a line."""
    places = {heard.start: place for place, heard in enumerate(found.words, 1)}
    named = {found.words[place].start for place in found.named}
    ranked = found.ranked()
    counting = [heard for heard in ranked if _counts(found, heard.importance) or heard.start in named]
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim")
    table.add_column(max_width=_WORD, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    most = _most(found)
    numbers = {heard.start: _number(found, heard) for heard in counting}
    longest = max((cell_len(clean(heard.word)) for heard in counting), default=0)
    number = max(map(len, numbers.values()), default=0)
    room = max(8, min(_BAR, width - min(_WORD, longest) - number - len(_ASKS) - len(str(len(places))) - 3))
    for heard in counting[:SHOWN]:
        value = heard.importance or 0.0
        drawn = bar(abs(value) / most, room) if numbers[heard.start] else ""
        mark = _ASKS if heard.asks else "" if numbers[heard.start] else _TOGETHER
        table.add_row(
            str(places[heard.start]),
            Text(clean(heard.word), "bold" if heard.start in named else ""),
            numbers[heard.start],
            Text.assemble((drawn, colour(_hue(found, value))), (mark, "dim italic")),
        )
    parts: list[RenderableType] = [Text(_heading(found), "dim"), table] if counting else []
    if more := len(counting) - SHOWN:
        parts += [Text(f"and {more} more with less", "dim")] if more > 0 else []
    still = sorted((heard for heard in ranked if heard not in counting), key=lambda heard: heard.start)
    if len(still) > _FEW:
        parts.append(Text(f"{len(still)} other words make little or no difference.", "dim"))
    elif still:
        names = ", ".join(f"{places[heard.start]} {clean(heard.word)}" for heard in still)
        parts.append(Text(f"Little or no difference: {names}", "dim"))
    unknown = [heard for heard in found.words if heard.importance is None]
    if asks := next((heard for heard in unknown if heard.asks), None):
        unknown.remove(asks)
        parts.append(Text(f"Not counted: {places[asks.start]} {clean(asks.word)},{_ASKS[1:]}", "dim"))
    if unknown:
        others = "word was" if len(unknown) == 1 else "words were"
        parts.append(Text(f"{len(unknown)} other {others} not measured.", "dim"))
    return Group(*parts)


def _heading(found: "Importance") -> str:
    """What the numbers of a ranking are."""
    if not found.folds:
        return f"{found.unit.capitalize()}, by word:"
    beside = f" beside {wording.quoted(found.foil)}" if found.foil else ""
    return clean(f"How much less likely {wording.quoted(found.target.text)} is{beside} {_TAKEN[found.method]}:")


def _number(found: "Importance", heard: "Heard") -> str:
    """What a word did: how many times less or more likely the answer is without it, or a number in the method's unit;
    nothing where it makes no difference."""
    value = heard.importance or 0.0
    if not _counts(found, value):
        return ""
    if found.folds:
        return f"{wording.fold(value)} × {'less' if value > 0 else 'more'}"
    return f"{value:.2f}" if _looks(found) else figure(value, "+.2f")


def figure(value: float, spec: str) -> str:
    """A number by Python's format, with a minus sign where that has a hyphen."""
    return f"{value:{spec}}".replace("-", "−")


def spelled(token: str) -> str:
    """A token that would not be seen, such as a line break, in quotes and by its escapes."""
    return f"“{token.encode('unicode_escape').decode()}”"


def _counts(found: "Importance", value: float | None) -> bool:
    """Whether a value is measured and large enough to be told."""
    return value is not None and (abs(value) > Likelihood.least if found.folds else abs(value) >= 0.005)


def _looks(found: "Importance") -> bool:
    """Whether the numbers say where the model looks, and not what changed its answer."""
    return METHODS[found.method].kind == "attention"


def _hue(found: "Importance", value: float) -> Hue:
    if _looks(found):
        return VIOLET
    return AMBER if value >= 0 else BLUE


def _most(found: "Importance") -> float:
    return max((abs(heard.importance or 0.0) for heard in found.words), default=0.0) or 1.0


def colour(hue: Hue) -> Style:
    return Style(color="rgb({},{},{})".format(*hue))


def shade(hue: Hue, strength: float) -> Style:
    """A ground from dark to full colour with letters that can be read on it; none for next to nothing."""
    if strength < 0.05:
        return Style()
    # Not from black: a terminal with 16 colours shows a darker shade as grey, and the sign would be lost.
    ground = [round(part * (0.45 + 0.55 * min(strength, 1.0))) for part in hue]
    bright = 0.3 * ground[0] + 0.6 * ground[1] + 0.1 * ground[2] > 110
    return Style(color="rgb(0,0,0)" if bright else "rgb(255,255,255)", bgcolor="rgb({},{},{})".format(*ground))


def bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def fit(word: str, width: int) -> str:
    """The word in exactly `width` cells."""
    return set_cell_size(word if cell_len(word) <= width else set_cell_size(word, width - 1) + "…", width)
