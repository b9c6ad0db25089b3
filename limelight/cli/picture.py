"""How `limelight look` draws: importance in amber and blue, attention in violet, and never the one like the other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from limelight.cli.screen import clean

if TYPE_CHECKING:
    from limelight import Seen
    from limelight.look import Importance
    from limelight.look.importance import Check
    from limelight.look.links import Link
    from limelight.text.words import Word

Hue = tuple[int, int, int]
AMBER: Hue = (255, 176, 32)
BLUE: Hue = (40, 100, 255)
VIOLET: Hue = (180, 70, 255)

SHOWN = 20
"""The most words in a ranking."""

_WORD = 20
_BAR = 30
_CELL = 5
_LABEL = 14
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FALLS = ("blocking", "leave-one-out", "leave-one-replaced")  # what they measure is how far the odds fall
_COUNTS = {1: "one random word", 2: "two random words", 3: "three random words"}
LOOKS = "Attention is where the model looks, not what changes its answer."


def importance(text: str, words: "Sequence[Word]", found: "Importance", foil: str | None, width: int) -> RenderableType:
    """The sentence in colour, its words ranked, the check, and the strongest single heads."""
    asked = f"“{clean(found.target.text)}”"
    looks = _looks(found)
    title = f"Where does the model look before {asked}?" if looks else f"Which words made the model say {asked}?"
    if foil is not None and not looks:
        title = f"Which words made the model say {asked} and not “{clean(foil)}”?"
    parts: list[RenderableType] = [
        Text(title, "bold"),
        Padding(_sentence(text, found), (1, 2), expand=False),
        _ranking(found, width),
        Text(),
        _explained(found, asked),
        Text(),
        _odds(found, asked),
        _checked(found.check, words, asked),
    ]
    if found.links:
        parts += [Text(), _links(found.links, words)]
    return Group(*parts)


def head(seen: "Seen", word: str | None, layer: int, head: int, width: int) -> RenderableType:
    """The attention of one head as a grid, a row for each word that looks and a column for each it looks at.

    Where not all words fit into `width` cells, those up to the word in question are shown.
    """
    from limelight.text.words import find

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
        f"what they lack to 1 is parked. {LOOKS}"
    ]
    if cut := len(words) - len(shown):
        notes.append(
            f"{cut} of {len(words)} words are cut off to fit {width} columns: these are words {shown[0] + 1} to "
            f"{shown[-1] + 1}. Choose others with --word or widen the terminal."
        )
    return Group(title, Text(), *lines, Text(), *(Text(note, "dim") for note in notes))


def _sentence(text: str, found: "Importance") -> Text:
    """The text, each word on a ground as strong as it mattered."""
    drawn = Text()
    at = 0
    most = _most(found)
    for heard in found.words:
        drawn.append(clean(text[at : heard.start]))
        drawn.append(clean(heard.word), shade(_hue(found, heard.importance), abs(heard.importance) / most))
        at = heard.end
    drawn.append(clean(text[at : found.target.start]))
    drawn.append(clean(found.target.text), "bold underline")
    drawn.append(clean(text[found.target.end :]), "dim")
    return drawn


def _ranking(found: "Importance", width: int) -> Group:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim")
    table.add_column(max_width=_WORD, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right")
    table.add_column(no_wrap=True)
    most = _most(found)
    places = {heard.start: place for place, heard in enumerate(found.words, 1)}
    mark = Text("  asks: left out, not blocked" if found.method == "blocking" else "  asks", "dim italic")
    longest = max(cell_len(clean(heard.word)) for heard in found.words)
    room = max(8, min(_BAR, width - min(_WORD, longest) - len(mark) - 12))  # 12: number, value and gaps
    ranked = found.ranked()
    for heard in ranked[:SHOWN]:
        drawn = bar(abs(heard.importance) / most, room)
        table.add_row(
            str(places[heard.start]),
            Text(clean(heard.word), "bold"),
            _number(found, heard.importance),
            Text.assemble((drawn, colour(_hue(found, heard.importance))), mark if heard.asks else ""),
        )
    parts: list[RenderableType] = [table]
    if rest := ranked[SHOWN:]:
        span = f"from {_number(found, rest[0].importance)} to {_number(found, rest[-1].importance)}"
        parts.append(Text(f"and {len(rest)} more, {span}", "dim"))
    return Group(*parts)


def _explained(found: "Importance", asked: str) -> Text:
    from limelight.look import METHODS

    method = METHODS[found.method]
    if method.kind == "attention":
        unit = "lengths" if found.method == "value-weighted" else "shares of attention"
        return Text(f"{method.answers} The numbers are {unit}. {LOOKS}", "dim")
    if method.name in _FALLS:
        units = (
            "natural logarithms: 0.7 halves the odds, 2.3 leaves a tenth of them, 4.6 a hundredth; below 0 they rise."
        )
        return Text(f"{method.answers} “The odds” are those of {asked}. The numbers are {units}", "dim")
    return Text(
        f"{method.answers} “The odds” are those of {asked}. Above 0 a word speaks for {asked}, below 0 against it; "
        "only relative sizes mean something.",
        "dim",
    )


def _odds(found: "Importance", asked: str) -> Text:
    from math import exp

    rivals = list(dict.fromkeys(clean(rival).strip() or spelled(rival) for rival in found.alternatives))
    chance = percent(exp(found.logprob))
    return Text(
        f"The model gave {asked} a probability of {chance} here. It was compared with {_listed(rivals, 'or')}.", "dim"
    )


def _checked(check: "Check | None", words: "Sequence[Word]", asked: str) -> Text:
    """The check in one sentence, and what follows from it."""
    if check is None:
        return Text("There are too few words to compare this picture with random ones.", "bold")
    top = _listed([clean(words[place].text) for place in check.top])
    return Text.assemble(
        f"When the model is deaf to {top}, the odds of {asked} {moved(check.top_drop)}; deaf to {_COUNTS[check.k]}, "
        f"they {moved(check.random_drop)} ± {check.random_sd:.1f}. ",
        ("This picture can be trusted.", "bold green")
        if check.holds
        else ("This picture cannot be trusted here.", "bold red"),
    )


def _links(links: "Sequence[Link]", words: "Sequence[Word]") -> Group:
    table = Table.grid(padding=(0, 2))
    for link in links:
        source, target = clean(words[link.source].text), clean(words[link.target].text)
        table.add_row(
            f"layer {link.layer}, head {link.head}:",
            Text(f"{source} → {target}", "bold"),
            Text.assemble((f"{link.weight:.2f} ", ""), (bar(link.weight, 12), colour(VIOLET))),
        )
    return Group(Text("The heads that look hardest at the strongest words", "bold"), table, Text(LOOKS, "dim"))


def _number(found: "Importance", value: float) -> Text:
    if _looks(found):
        return Text(f"{value:.2f}")
    return Text(figure(value, "+.1f"))


def figure(value: float, spec: str) -> str:
    """A number by Python's format, with a minus sign where that has a hyphen."""
    return f"{value:{spec}}".replace("-", "−")


def moved(drop: float) -> str:
    return f"{'fall' if drop >= 0 else 'rise'} by {abs(drop):.1f}"


def percent(probability: float) -> str:
    hundred = 100 * probability
    if hundred < 0.01:
        return "less than 0.01 %"
    return f"{hundred:.0f} %" if hundred >= 10 else f"{hundred:.2g} %"


def _listed(names: Sequence[str], last: str = "and") -> str:
    names = [name if any(map(str.isalnum, name)) else f"“{name}”" for name in names]  # punctuation is in quotes
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def spelled(token: str) -> str:
    """A token that would not be seen, such as a line break, in quotes and by its escapes."""
    return f"“{token.encode('unicode_escape').decode()}”"


def _looks(found: "Importance") -> bool:
    """Whether the numbers say where the model looks, and not what changed its answer."""
    from limelight.look import METHODS

    return METHODS[found.method].kind == "attention"


def _hue(found: "Importance", value: float) -> Hue:
    if _looks(found):
        return VIOLET
    return AMBER if value >= 0 else BLUE


def _most(found: "Importance") -> float:
    return max(abs(heard.importance) for heard in found.words) or 1.0


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
