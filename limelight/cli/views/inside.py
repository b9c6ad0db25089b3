"""How `limelight look` draws what goes on inside: layers, heads, and the nine steps. Attention is violet here too."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from limelight.cli.screen import clean
from limelight.cli.views.picture import LOOKS, SHOWN, VIOLET, bar, colour, figure, fit, shade, spelled
from limelight.look import ROLES
from limelight.look.wording import percent

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from torch import Tensor

    from limelight.look import Guess, Lens, Roles, Steps

LETTERS = {
    "previous": "P",
    "same": "S",
    "induction": "I",
    "punctuation": ",",
    "self": "O",
    "pronoun": "N",
    "subject": "V",
    "first": "-",
}
"""Role → its letter on the map."""

_GUESSES = 3
_NUMBERS = 6


def lens(found: "Lens", word: str, width: int) -> RenderableType:
    """What each layer would have said in place of a word: a line for each layer, for the word's first token."""
    asked = f"“{clean(word)}”"
    table = Table.grid(padding=(0, 2))
    _columns(table, "right", "left", "left", "left", "right", "right")
    guesses = [row[0] for row in found.layers]
    room = max(6, min(16, (width - 30) // _GUESSES - 6))
    heading = ["", "would say", *[""] * (_GUESSES - 1), "rank", "probability"]
    table.add_row(*(Text(part, "dim") for part in heading))
    for layer, guess in enumerate(guesses):
        likely = [
            Text.assemble((f"{percent(chance).replace('less than', '<'):>7} ", "dim"), (_name(token, room), "bold"))
            for token, chance in guess.top[:_GUESSES]
        ]
        table.add_row(Text(str(layer), "dim"), *likely, *_own_word(guess))
    whole = found.following[0]
    part = (
        "" if whole is None or whole.strip() == word else f" Only its first token, “{clean(whole.strip())}”, is shown."
    )
    return Group(
        Text(f"What each layer would have said instead of {asked}", "bold"),
        Text(),
        table,
        Text(),
        Text(
            f"Look for the layer where {asked} comes to the front. Every layer is read as if it were the last: the "
            f"early ones were never meant to be, and the last one gives the model's answer.{part}",
            "dim",
        ),
    )


def heads(measured: "Roles", here: "Roles", width: int) -> RenderableType:
    """The map of all layers and heads, each with the letter of its role, and the best head of each role."""
    layers, count = next(iter(measured.strengths.values())).shape
    label = len(str(layers - 1))
    wide = len(str(count - 1)) + 1 if count * (len(str(count - 1)) + 1) + label + 1 <= width else 1
    shown = min(count, (width - label - 1) // wide)
    lines = [Text(" " * (label + 1) + "".join(f"{head:>{wide}}" for head in range(shown)), "dim")] if wide > 1 else []
    found: dict[str, list[tuple[float, int, int]]] = {}
    for layer in range(layers):
        line = Text(f"{layer:>{label}} ", "dim")
        for head in range(shown):
            role, strength = measured.of(layer, head)
            line.append(" " * (wide - 1), "none")
            if role is None or role == "first":
                line.append(LETTERS.get(role or "", "·"), "dim")
            else:
                line.append(LETTERS[role], shade(VIOLET, strength))
                found.setdefault(role, []).append((strength, layer, head))
        lines.append(line)
    table = Table.grid(padding=(0, 2))
    table.add_row(*(Text(part, "dim") for part in ("", "looks at", "heads", "best one", "measured", "here")))
    for role, places in found.items():
        strength, layer, head = max(places)
        own = f"{float(here.strengths[role][layer, head]):.2f}" if role in here.strengths else ""
        name = f"layer {layer}, head {head}"
        table.add_row(LETTERS[role], ROLES[role], str(len(places)), name, f"{strength:.2f}", own)
    resting = float(here.strengths["first"].mean()) if "first" in here.strengths else 0.0
    notes = [
        "The brighter a letter, the stronger the role: 1 is all of a head's attention. Roles are measured on texts "
        "made for that; “here” is this text.",
        f"- rests on the first position, having nothing to look at; · does something else. In this text, "
        f"{percent(resting)} of all attention rests there.",
        "To look closer at one: --attention --layer L --head H.",
    ]
    if shown < count:
        notes.append(f"Only heads 0 to {shown - 1} of {count} fit in {width} columns.")
    title = Text("What each head does", "bold")
    title.append(": layers down, heads across", "none")
    return Group(title, Text(), *lines, Text(), table, Text(), *(Text(note, "dim") for note in notes))


def steps(found: "Steps", word: str, width: int) -> RenderableType:
    """The nine steps in words and numbers."""
    tokens, at, joined, added = found.tokens, found.projected, found.joined, found.added
    place = tokens.place
    pieces = Text()
    for number, piece in enumerate(tokens.text):
        pieces.append(clean(piece), "bold underline" if number == place else "")
    asked = f"“{clean(tokens.text[place].strip())}”"
    heads = len(joined.heads) // len(joined.heard)
    parts: list[tuple[str, Sequence[RenderableType]]] = [
        (f"The text in pieces: {len(tokens.text)} of them", [pieces]),
        (f"The piece {asked} as a vector", [_vector("embedding", found.embedded.vector, width)]),
        (f"Its position, {place}", [_position(found, width)]),
        (
            "It asks, and every piece up to it offers a key and a value",
            [
                _vector("query", at.query, width),
                _vector("its own key", at.keys[place], width),
                _vector("its own value", at.values[place], width),
                *([Text(f"{at.sharing} heads share these keys and values.", "dim")] if at.sharing > 1 else []),
            ],
        ),
        ("How well each key answers the query", [_arithmetic(found)]),
        ("Scores become shares", [_shares(found)]),
        (
            "The values mixed by these shares, and all heads joined",
            [_vector("heard", joined.heard, width), _vector(f"of {heads} heads, this adds", joined.own, width)],
        ),
        (
            "What the layer adds to the stream",
            [
                _vector("before", added.before, width),
                _vector("attention", added.attention, width),
                _vector("feed-forward", added.feedforward, width),
                _vector("after the layer", added.after, width),
            ],
        ),
        (f"After the last layer: what follows {asked}", [_answer(found)]),
    ]
    lines: list[RenderableType] = []
    for number, (title, shown) in enumerate(parts, 1):
        lines += [Text(f"{number} {title}", "bold"), *(Padding(part, (0, 0, 0, 2), expand=False) for part in shown)]
    head = f"layer {found.layer}, head {found.head}"
    return Group(
        Text.assemble((f"Nine steps from “{clean(word)}” to the next word: ", "bold"), (head, "bold")),
        Text(
            "Steps 5 and 6 show where this head looks, and why. Of each vector the first numbers are shown; |x| is its "
            f"length. {LOOKS}",
            "dim",
        ),
        Text(),
        *lines,
    )


def _columns(table: Table, *justified: "JustifyMethod") -> None:
    for justify in justified:
        table.add_column(justify=justify, no_wrap=True)


def _own_word(guess: "Guess") -> tuple[Text, Text]:
    if guess.rank is None or guess.probability is None:
        return Text(), Text()
    style = "bold green" if guess.rank == 1 else ""
    return Text(f"{guess.rank:,}", style), Text(percent(guess.probability).replace("less than", "<"), style)


def _name(token: str, width: int) -> str:
    """A token in `width` cells, spelled out where it would not be seen."""
    return fit(clean(token).strip() or spelled(token), width)


def _vector(name: str, vector: "Tensor", width: int) -> Text:
    """The first numbers of a vector, how many there are, and its length."""
    shown = min(_NUMBERS, max(2, (width - 50) // 7))
    numbers = " ".join(figure(value, "+.2f") for value in vector[:shown].tolist())
    return Text.assemble(
        (f"{name:<24}", "dim"), f"{numbers} … ", (f"{len(vector)} numbers, |x| = {float(vector.norm()):.2f}", "dim")
    )


def _signed(value: float) -> str:
    return figure(value, ".2f")


def _position(found: "Steps", width: int) -> Text:
    placed = found.placed
    if not len(placed.angles):
        return _vector("added to it", placed.added, width)
    angles = ", ".join(f"{angle:.2f}" for angle in placed.angles[:_NUMBERS].tolist())
    return Text(f"Nothing is added; pairs of numbers in the queries and keys are turned by {angles}, … radians.")


def _arithmetic(found: "Steps") -> Text:
    """One score written out: that of the piece that gets the largest share, the first position aside."""
    at, scores, weights = found.projected, found.scores, found.weights
    shares = weights.values.clone()
    if found.tokens.place > 0:
        shares[0] = -1
    best = int(shares.argmax())
    piece = clean(found.tokens.text[best].strip())
    pairs = list(zip(at.query.tolist(), at.keys[best].tolist(), strict=True))[:2]
    terms = " + ".join(f"{_signed(a)} · {_signed(b)}" for a, b in pairs)
    product, score = float(scores.products[best]), float(scores.values[best])
    capped = "" if scores.cap is None else f", softly limited to ±{scores.cap:g},"
    share = f"exp({_signed(score)} − {_signed(weights.highest)}) / {weights.total:.2f} = {weights.values[best]:.2f}"
    text = (
        f"query · key of “{piece}” = {terms} + … = {_signed(product)}; times {scores.scale:.4g}{capped} is "
        f"{_signed(score)}. Its share: {share}"
    )
    return Text(text)


def _shares(found: "Steps") -> Table:
    table = Table.grid(padding=(0, 2))
    _columns(table, "left", "right", "right", "right", "left")
    table.add_row(*(Text(part, "dim") for part in ("piece", "query · key", "score", "share")))
    scores, weights = found.scores, found.weights
    seen = [i for i in range(len(weights.values)) if bool(weights.visible[i])]
    kept = sorted(sorted(seen, key=lambda i: -float(weights.values[i]))[:SHOWN])
    for i in kept:
        table.add_row(
            Text(_name(found.tokens.text[i], 16), "bold"),
            _signed(float(scores.products[i])),
            _signed(float(scores.values[i])),
            f"{float(weights.values[i]):.2f}",
            Text(bar(float(weights.values[i]), 24), colour(VIOLET)),
        )
    hidden = len(weights.values) - len(seen)
    if hidden:
        table.add_row(Text(f"{hidden} hidden", "dim"), "", "", Text("0", "dim"), Text("the mask", "dim"))
    if cut := len(seen) - len(kept):
        table.add_row(Text(f"{cut} more", "dim"))
    return table


def _answer(found: "Steps") -> Table:
    table = Table.grid(padding=(0, 2))
    _columns(table, "left", "right", "right")
    for token, logit, chance in found.output.top[:5]:
        table.add_row(Text(_name(token, 16), "bold"), Text(f"logit {logit:.2f}", "dim"), percent(chance))
    return table
