"""One text's picture, measured: whether the words that it names did most, whether its verdict means something, and at
which rank it and other methods put the words that decide."""

import random
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations
from math import comb, exp
from pathlib import Path
from statistics import fmean

import limelight
from benchmarks.everyday import Item
from benchmarks.peers import Ranker
from limelight.errors import RequestError
from limelight.look.check import check
from limelight.look.importance import DEFAULT, METHODS, fitting
from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.measured import ranked
from limelight.look.question import GivenWord
from limelight.look.seen import Seen
from limelight.look.session import CausalSession, DecoderSession, Session, Variant

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"

LIKELY = 0.05
"""The least chance that the model gives an answer for the text to count."""

SETS = 100
"""The most sets of words that are all tried; of more, so many are drawn."""

RANDOM = 5
"""Random sets of each text that are handed to the check."""

JUDGED_BY = 3
"""Likely other words by which an independent judge replaces each word."""

JUDGES = ("found by", "blocked", "replaced", "by others", "deleted")
"""Ways to take words away by which a set is ranked: those of `look.inquiry.WAYS`; "found by", those together that found
it, as the method ranks by them; and "by others": replaced by other words than those."""

CHANCE = "chance"
"""The method that puts the words in random order."""


@dataclass(frozen=True)
class Picture:
    """kind, text: of the item. foil: what the answer is held against, if anything. answer: the word asked about;
    chance: its probability; own: whether it is the model's own choice, not the item's; right: whether the model finds
    it likelier than the foil, None where texts are not measured for comparison. peers: whether other methods were
    measured too. All else is empty where the text does not count.

    told: the answer in sentences. words: those judged; values: what was measured of them; named: the places of those
    named; asks: of the one that asks. sets: other sets of as many words that were tried; ahead: by each of JUDGES the
    share of them that lower the answer more. trusted, short: of the check. random: whether the check trusts each of
    some random sets. found: method → the reciprocal rank of each group of deciding words; found_rest: the same with the
    word that asks left out. seconds: of processor time.
    """

    kind: str
    text: str
    foil: str | None
    model: str
    peers: bool
    answer: str = ""
    chance: float = 0.0
    own: bool = False
    right: bool | None = None
    told: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    named: list[int] = field(default_factory=list)
    asks: int | None = None
    sets: int = 0
    ahead: dict[str, float] = field(default_factory=dict)
    trusted: bool = False
    short: bool = False
    random: list[bool] = field(default_factory=list)
    found: dict[str, list[float]] = field(default_factory=dict)
    found_rest: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether the model gives the answer, or, where a wrong one is known for comparison, finds it likelier."""
        return self.own or (self.chance >= LIKELY if self.right is None else self.right)


def compared(item: Item) -> bool:
    """Whether an item is of the sets that are measured for comparison only: by ranks of the deciding word alone."""
    return item.kind.startswith("blimp ")


def picture(
    model: limelight.Model,
    name: str,
    item: Item,
    foil: bool,
    captum: Mapping[str, Ranker] | None,
    most: int = SETS,
) -> Picture:
    """What is measured of a text. foil: whether its answer is held against its foil. captum: its methods, to be
    measured with all of ours; None: none but the default is. most: other sets of words that are tried."""
    begin = time.process_time()
    made = Picture(item.kind, item.text, item.foil if foil else None, name, captum is not None, own=item.answer is None)
    seen, place = _asked(model, item)
    asked = seen.words[place]
    at, answer = range(asked.tokens.start - 1, asked.tokens.stop - 1), seen.ids[asked.tokens.start : asked.tokens.stop]
    question = GivenWord(tuple(at), tuple(answer))
    chance = exp(seen.session.whole(question))
    facts = vars(made) | {"answer": asked.text, "chance": chance}
    if compared(item):
        try:
            against = GivenWord.against(at, answer, model.tokenizer.encode(f" {item.foil}").ids, str(item.foil))
        except RequestError:  # one word is the beginning of the other
            return Picture(**facts | {"right": False})
        facts["right"] = seen.session.whole(against) > 0
        question = against if foil else question
    if not Picture(**facts).counts:
        return Picture(**facts)
    inquiry = Inquiry(seen.session, question, tuple(word.tokens for word in seen.words[:place]))
    facts |= {"words": [word.text for word in seen.words[:place]], "asks": inquiry.asks}
    facts["values"] = list(METHODS[DEFAULT].values(inquiry))
    if not compared(item):
        facts |= _answered(seen, place, inquiry, item.text, most)
    facts |= _found(inquiry, item, seen, captum)
    return Picture(**facts | {"seconds": round(time.process_time() - begin, 2)})


def _asked(model: limelight.Model, item: Item) -> tuple[Seen, int]:
    """The text with its answer behind it, or with what the model says next, and the place of that word."""
    if item.answer is None:
        seen = model.look(item.text).ahead
        return seen, len(seen.words) - 1
    seen = model.look(f"{item.text} {item.answer}")
    return seen, next(i for i, word in enumerate(seen.words) if word.end > len(item.text))


# ---- the words that are named


def _answered(seen: Seen, place: int, inquiry: Inquiry, seed: str, most: int) -> dict[str, object]:
    """The answer as a user reads it, how the words that it names do among others, and what the check says of random
    words."""
    answer = seen.importance(place + 1)
    facts: dict[str, object] = {"told": answer.told(), "named": list(answer.named), "trusted": answer.trusted}
    if answer.check is None:
        return facts
    others = other_sets(sorted({*inquiry.others, *answer.named}), answer.named, most)
    ahead = {}
    for judge in JUDGES if others else ():
        if judge == "blocked" and not inquiry.session.blocks:
            continue
        own, *rest = _judged(inquiry, judge, [tuple(sorted(answer.named)), *others])
        ahead[judge] = fmean(loss > own for loss in rest)
    generator, size = random.Random(seed), len(answer.named)
    drawn = [] if answer.check.short else [generator.sample(inquiry.others, size) for _ in range(RANDOM)]
    checked = [check(inquiry, words).holds for words in drawn]
    return facts | {"short": answer.check.short, "sets": len(others), "ahead": ahead, "random": checked}


def other_sets(pool: Sequence[int], chosen: Sequence[int], most: int = SETS) -> list[tuple[int, ...]]:
    """All other sets of as many words where there are at most so many, else so many different ones by a fixed seed: the
    one by which the check draws, so that none is deleted twice."""
    own = tuple(sorted(chosen))
    if comb(len(pool), len(own)) <= most + 1:
        return [each for each in combinations(pool, len(own)) if each != own]
    generator, drawn = random.Random(0), {own: None}
    while len(drawn) <= most:
        drawn[tuple(sorted(generator.sample(pool, len(own))))] = None
    return [*drawn][1:]


def _judged(inquiry: Inquiry, judge: str, sets: Sequence[tuple[int, ...]]) -> list[float]:
    """What the answer loses without each set, or its place among them, counted down from 0."""
    ways = WAYS | {"replaced": Inquiry.replaced_by_more}
    if judge in ways:
        return [fmean(each) for each in inquiry.spread(ways[judge], sets)]
    if judge == "found by":
        by_way = zip(*(inquiry.spread(ways[way], sets) for way in inquiry.ways), strict=True)
        order = ranked(dict(zip(sets, by_way, strict=True)), inquiry.question.least)
        places = {each: place for place, each in enumerate(order)}
        return [-float(places[each]) for each in sets]
    words = sorted({i for each in sets for i in each})
    bare = {i: _bare(inquiry.session, inquiry.spans[i]) for i in words}
    likely = {i: _likely(inquiry.session, bare[i], inquiry.replaced_by_more([i])) for i in words}
    variants = [
        Variant(
            left_out=tuple(inquiry.spans[i] for i in each if not likely[i]),
            replaced=tuple((bare[i], (likely[i][n % len(likely[i])],)) for i in each if likely[i]),
        )
        for each in sets
        for n in range(JUDGED_BY)
    ]
    drops = inquiry.drops(variants)
    return [fmean(drops[at : at + JUDGED_BY]) for at in range(0, len(drops), JUDGED_BY)]


def _bare(session: Session, span: range) -> range:
    """A word's place without tokens in front that are white space alone."""
    first = next((at for at in span if not session.spell(session.tokens[at]).isspace()), span.start)
    return range(first, span.stop)


def _likely(session: Session, span: range, used: Sequence[Variant]) -> list[int]:
    """The likeliest other tokens behind what is in front of a word, which begin a word and are one as it does and is;
    those that the method used come last."""
    assert isinstance(session, CausalSession)
    own = session.tokens[span.start : span.stop]
    scores = session.logits(slice(span.start - 1, span.start))[0]
    likeliest = scores.topk(min(200, len(scores))).indices.tolist()
    fitting = [id for id in likeliest if id not in own and _kind(session.spell(id)) == _kind(session.spell(own[0]))]
    before = {ids[0] for variant in used for _, ids in variant.replaced}
    return sorted(fitting, key=before.__contains__)[:JUDGED_BY]


def _kind(token: str) -> tuple[bool, bool]:
    return token[:1].isspace(), token.strip().isalnum()


# ---- the words that decide


def _found(inquiry: Inquiry, item: Item, seen: Seen, captum: Mapping[str, Ranker] | None) -> dict[str, object]:
    words = seen.words[: len(inquiry.spans)]
    groups = [
        {i for i, word in enumerate(words) for start, end in group if word.start < end and word.end > start}
        for group in item.deciding
    ]
    groups = [group for group in groups if group]
    asks = set() if inquiry.asks is None else {inquiry.asks}
    rest = [group - asks for group in groups if group - asks]
    found: dict[str, list[float]] = {}
    found_rest: dict[str, list[float]] = {}
    for name, rank in _methods(inquiry, captum).items() if groups else ():
        values = [*rank(inquiry)]
        found[name] = [reciprocal(values, group) for group in groups]
        found_rest[name] = [reciprocal(values, group, asks) for group in rest]
    return {"found": found, "found_rest": found_rest}


def _methods(inquiry: Inquiry, captum: Mapping[str, Ranker] | None) -> dict[str, Ranker]:
    """The default and chance, and with captum's all others."""
    found: dict[str, Ranker] = {DEFAULT: METHODS[DEFAULT].values, CHANCE: lambda inquiry: [0.0] * len(inquiry.spans)}
    if captum is None:
        return found
    found |= {method.name: method.values for method in fitting(inquiry.session)}
    return found | (dict(captum) if isinstance(inquiry.session, DecoderSession) else {})


def reciprocal(values: Sequence[float | None], places: Set[int], left_out: Set[int] = frozenset()) -> float:
    """The reciprocal rank of the first of some places, the highest value first; what was not measured comes last, and
    what ties stands in random order, of which this is the mean. left_out: places that are not ranked at all."""
    ranked = {i: float("-inf") if value is None else value for i, value in enumerate(values) if i not in left_out}
    best = max(ranked[i] for i in places)
    before = sum(value > best for value in ranked.values())
    tied = [i for i, value in ranked.items() if value == best]
    own = len(places & {*tied})
    # of all ways to put `own` places among those tied, those in which the first of them is the kth
    ways = {k: comb(len(tied) - k, own - 1) for k in range(1, len(tied) - own + 2)}
    return sum(count / (before + k) for k, count in ways.items()) / comb(len(tied), own)
