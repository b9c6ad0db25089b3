"""One text looked at: what a page asks of it, as plain numbers."""

import copy
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property

from torch import Tensor

from limelight.decode import Sampling
from limelight.errors import RequestError
from limelight.look import METHODS, Seen
from limelight.look.edit import edit
from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.lens import lens
from limelight.look.links import attention, by_word
from limelight.look.measured import ALL
from limelight.look.plain import plain
from limelight.look.question import GivenWord
from limelight.look.roles import ROLES, measure
from limelight.look.session import Progress, Variant, stacked
from limelight.look.steps import steps
from limelight.models.api import Decoder
from limelight.models.config import ModelConfig, TransformerStack
from limelight.text.tokenizer import Tokenizer
from limelight.views.numbers import Numbers
from limelight.views.parts import last, likely, listed, told

WIDEST = 40
"""Tokens over which the layers are shown."""

LONG = 200
"""Words beyond which measuring takes so long that an estimate is shown first."""

ESTIMATE = METHODS["alti-logit"]
"""How an estimate is made: from one reading of the text."""

ESTIMATED = 12
"""Words of an estimate."""

CROSSED = 40
"""The most words of a text of which each is measured for every later one."""


class TextViews:
    """A given text and what a model added to it, under a model that is opened for looking.

    Words are numbered from 0 here, as in a page's lists. Nothing is computed before it is asked for.
    """

    def __init__(
        self,
        network: Decoder,
        tokenizer: Tokenizer,
        given: str,
        added: str = "",
        tokens: bool = False,
        quick: Decoder | None = None,
    ) -> None:
        """tokens: whether each token is taken for a word. quick: see `limelight.Seen`."""
        self._network = network
        self._tokenizer = tokenizer
        self._quick = quick
        self._given = len(given)
        self.seen = Seen(network, tokenizer, given + added, pieces=tokens, quick=quick)
        self._reading = self.seen.reading

    @cached_property
    def ahead(self) -> "TextViews":
        """The same text with the word behind it that the model says next, as the last of its words.

        Raises RequestError if the text fills all that the model sees.
        """
        views = copy.copy(self)
        views.seen = self.seen.ahead
        views._reading = views.seen.reading
        return views

    def before(self, word: int) -> tuple[Seen, str | None]:
        """What stands in front of a word, looked at by itself, and the word as text; None instead of the one that the
        model says next. Raises RequestError for the first word."""
        at = self._reading.words[self._known(word)]
        if word == 0:
            raise RequestError("nothing stands in front of the first word; choose another")
        said = word == len(self._reading.words) - 1 and at.end > self._given
        return self.other(self._reading.text[: at.start].rstrip()), None if said else at.text

    def other(self, text: str) -> Seen:
        """Another text under the same model."""
        return Seen(self._network, self._tokenizer, text, quick=self._quick)

    def last(self, text: str | None = None) -> int:
        """The last place of a word, or of any word if this text does not have it."""
        return last(self._reading.words, text)

    def words(self) -> Numbers:
        """The text cut into words. gap: what stands before each; tail: what stands behind the last one; added: what of
        the text the model added.

        Concatenated they are the text again, so that nobody has to count characters in another language's units. Only
        the word that stands for the end, see `limelight.look.next_word`, is no text.
        """
        found = listed(self._reading.text, self._reading.words, self._reading.tokens, self._tokenizer)
        for shown, word in zip(found["words"], self._reading.words, strict=True):
            shown["given"] = word.start < word.end <= self._given
        return {**found, "added": self._reading.text[self._given :]}

    def next(self, word: int | None, sampling: Sampling, n: int = 10) -> Numbers:
        """The n likeliest tokens in the place of a word, or behind the text; see `likely`."""
        reading = self._reading
        place = len(reading.tokens) if word is None else reading.words[self._known(word)].tokens.start
        logits = self.seen.session.logits(slice(place - 1, place))  # [1, V]
        own = None if word is None else reading.tokens[place]
        return {"word": word, **likely(logits, own, self._tokenizer, sampling, n)}

    def importance(
        self,
        word: int | None,
        foil: str | None,
        method: str | None,
        progress: Progress | None = None,
        check: bool = True,
    ) -> Numbers:
        """Which words mattered for one of them, by one of `limelight.look.METHODS`, with the check if it is wanted; see
        `told`. word: the last one if None. telling: the link that says most about it, or None."""
        number = len(self._reading.words) if word is None else self._known(word) + 1
        found = self.seen.importance(number, foil=foil, method=method, check=check, progress=progress)
        return {
            **told(found),
            "checked": check,
            "telling": None if found.telling is None else asdict(found.telling),
        }

    def estimate(self, word: int | None) -> Numbers | None:
        """What to show until the few words that decide are found: of a long text the words that one reading ranks
        highest, of another what each word did, which is measured first and stays. None of what is measured already, and
        where neither is there before the answer is."""
        place = len(self._reading.words) - 1 if word is None else self._known(word)
        span = self._reading.words[place].tokens
        question = GivenWord(tuple(range(span.start - 1, span.stop - 1)), self._reading.tokens[span.start : span.stop])
        spans = tuple(each.tokens for each in self._reading.words[:place])
        inquiry = Inquiry(self.seen.session, question, spans)
        if not inquiry.others or self.seen.session.knows(("measured", inquiry)):
            return None
        if place <= LONG:
            return self._singly(inquiry, place) if len(inquiry.others) <= ALL else None
        if not ESTIMATE.fits(self.seen.session):
            return None
        values = ESTIMATE.values(inquiry)
        best = sorted(inquiry.others, key=lambda i: -(values[i] or 0.0))[:ESTIMATED]
        shown = {i: values[i] for i in best}
        return {"word": place, "values": [shown.get(i) for i in range(place)], "named": [], "estimate": True}

    def _singly(self, inquiry: Inquiry, place: int) -> Numbers:
        """What each word before a place did, before it is known which of them decide."""
        lost = inquiry.losses(WAYS[inquiry.ways[0]], [(i,) for i in inquiry.others])
        values = dict(zip(inquiry.others, lost, strict=True))
        told = {"kind": "importance", "unit": inquiry.question.unit, "asks": inquiry.asks, "measuring": True}
        return {"word": place, "values": [values.get(i) for i in range(place)], "named": [], **told}

    def every_importance(self, progress: Progress | None = None) -> Numbers:
        """How much each word mattered for every later one, measured as the answer about one of them is: other likely
        words stand in its place. losses: [N][N], a row for each word in question, None where nothing was measured.

        Raises RequestError for a text of more than `CROSSED` words, which would take too long.
        """
        words, session = self._reading.words, self.seen.session
        if len(words) > CROSSED:
            raise RequestError(f"the text has {len(words)} words; all pairs are measured of {CROSSED} at most")
        losses: list[list[float | None]] = [[None] * len(words) for _ in words]
        for column, word in enumerate(words[:-1]):
            at = tuple(range(word.tokens.stop - 1, words[-1].tokens.stop - 1))
            question = GivenWord(at, tuple(self._reading.tokens[place + 1] for place in at))
            tried = Inquiry(session, question, (word.tokens,)).replaced([0])
            found = session.logprobs(question, [Variant(), *tried])
            lost = found[:1] - found[1:]  # [variants, tokens]
            for row in range(column + 2, len(words)):  # whatever stands right before a word does much
                span = words[row].tokens
                each = lost[:, span.start - at[0] - 1 : span.stop - at[0] - 1].sum(-1).tolist()
                losses[row][column] = question.average(each)
            if progress is not None:
                progress(column + 1, len(words) - 1)
        return {"losses": losses}

    def attention(self, layer: int) -> Tensor:
        """What each word attends to in all heads of a layer: [H, N, N] in float32."""
        session = stacked(self.seen.session)
        (weights,) = attention(session, [layer], lambda weights: by_word(weights, self._reading).cpu())
        return weights.contiguous()

    def every_attention(self) -> list[Tensor]:
        """`attention` of every layer, from one reading."""
        session = stacked(self.seen.session)
        layers = range(len(session.stack.blocks))
        return attention(session, layers, lambda weights: by_word(weights, self._reading).cpu())

    def linking(self, source: int, target: int) -> list[list[float]]:
        """How much a word attends to another: a list over layers of lists over heads."""
        session = stacked(self.seen.session)
        source, target = self._known(source), self._known(target)

        def keep(weights: Tensor) -> list[float]:
            found: list[float] = by_word(weights, self._reading, [source], [target]).flatten().tolist()
            return found

        return attention(session, range(len(session.stack.blocks)), keep)

    def lens(self, word: int, n: int = 3, progress: Progress | None = None) -> Numbers:
        """What each layer would have said in front of the tokens up to a word's last, `WIDEST` of them at most.

        asked: the columns that are the word's own.
        """
        asked = self._reading.words[self._known(word)].tokens
        places = range(max(0, asked.stop - 1 - WIDEST), asked.stop - 1)
        found: Numbers = plain(lens(self._network, self._tokenizer, self._reading, places, n, progress))
        return {**found, "asked": [place - 1 - places.start for place in asked]}

    def steps(self, word: int, layer: int, head: int, other: int | None = None) -> Numbers:
        """The nine steps to what follows a word.

        other: the token whose key and value are shown beside the query; the one with the greatest weight if None.
        """
        found = steps(self._network, self._tokenizer, self._reading, self._known(word), layer, head)
        if other is None or not 0 <= other <= found.tokens.place:
            other = int(found.weights.values.argmax())
        projected = found.projected
        shown = {
            "query": projected.query,
            "query_before": projected.query_before,
            "key": projected.keys[other],
            "key_before": projected.keys_before[other],
            "value": projected.values[other],
            "kv_head": projected.kv_head,
            "sharing": projected.sharing,
        }
        numbers: Numbers = plain(found)
        return {**numbers, "projected": plain(shown), "other": other}

    def _known(self, word: int) -> int:
        if not 0 <= word < len(self._reading.words):
            raise RequestError(f"there is no word {word + 1}: the text has {len(self._reading.words)} words")
        return word


def edited(
    network: Decoder,
    tokenizer: Tokenizer,
    text: str,
    *,
    heads_off: Sequence[tuple[int, int]],
    layers_off: Sequence[int],
    positions: bool,
    tokens: bool,
) -> TextViews:
    """A text under a twin of the model with parts switched off, see `limelight.look.edit`."""
    changed = network
    if heads_off or layers_off or not positions:
        changed = edit(network, heads_off=heads_off, layers_off=layers_off, positions=positions)
    return TextViews(changed, tokenizer, text, tokens=tokens)


def shape(config: ModelConfig) -> list[int]:
    """The heads of each layer, which is what there is to walk through; empty for a recurrent model."""
    stack = config.decoder or config.encoder
    if not isinstance(stack, TransformerStack) or stack.recurrent:
        return []
    return [block.attention.heads for block in stack.blocks]


def roles(network: Decoder, tokenizer: Tokenizer) -> Numbers:
    """What the model's heads do, measured on texts made for that: [L][H] of a role and how strongly it holds."""
    found = measure(network, tokenizer)
    heads = shape(network.config)
    table = [[found.of(layer, head) for head in range(count)] for layer, count in enumerate(heads)]
    return {
        "roles": [[{"role": role, "strength": strength} for role, strength in row] for row in table],
        "meanings": ROLES,
    }
