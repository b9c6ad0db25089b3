"""What heads do: measured on texts made so that the answer is known, never guessed from one picture.

A role is a set of places where a head with that role would look. Its strength is the share of attention that goes
there, averaged over all words that have such a place. *induction* and *same* are measured on random tokens said twice,
where nothing but the repetition can be looked for (Olsson et al., 2022); *pronoun* and *subject* on pairs of sentences
where two words could be meant, as the share of the right one less that of the wrong one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limelight import given
from limelight.look.record import heads_of, record, stack_of
from limelight.look.text import Reading, read, sink_tokens
from limelight.models.api import Decoder
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import find

ROLES = {
    "previous": "the token before",
    "same": "the same token, earlier",
    "induction": "what came after the same token",
    "punctuation": "punctuation",
    "self": "itself",
    "pronoun": "whom a pronoun refers to",
    "subject": "the subject of a verb",
    "first": "the token in front, for want of anything else",
}
"""Role → where a head with that role looks."""

HOLDS = 0.25
"""The least strength by which a head is named after a role."""

PARKS = 0.5
"""The least share on the first token by which a head with no other role is named after that."""

REPEATED = 25
"""Random tokens in a sequence before they are repeated."""

ROWS = 4
"""Random sequences."""

Link = tuple[str, str, str, str]
"""A sentence, the word that looks, the word it should look at, and the one that it should not."""


def _links() -> dict[str, list[Link]]:
    """Each pair of names in both orders, so that neither looking far nor looking near is enough."""
    pronouns: list[Link] = []
    for one, two, both in (("Mary", "John", ("she", "he")), ("king", "woman", ("he", "she"))):
        the = "" if one[0].isupper() else "the "
        for frame in ("{} met {} in town because {} was bored", "Yesterday {} told {} that {} had to go"):
            for a, b in ((one, two), (two, one)):
                for meant, said in zip((one, two), both, strict=True):
                    other = b if meant == a else a
                    pronouns.append((frame.format(the + a, the + b, said), said, meant, other))
    for one, two in (("dog", "boys"), ("car", "trees")):
        for a, b in ((one, two), (two, one)):
            for meant, said in ((one, "it"), (two, "they")):
                text = f"We saw the {a} near the {b} and thought that {said} looked old"
                pronouns.append((text, said, meant, b if meant == a else a))
    subjects: list[Link] = []
    for one, two in (("key", "cabinet"), ("picture", "house"), ("teacher", "student"), ("book", "table")):
        subjects.append((f"Last week the {one} near the {two}s was lost", "was", one, two + "s"))
        subjects.append((f"Last week the {one}s near the {two} were lost", "were", one + "s", two))
    return {"pronoun": pronouns, "subject": subjects}


LINKS = _links()

SENTENCES = (
    "When the rain stopped, the children ran out of the house, down to the river, and looked for small boats.",
    "The old man who sold bread in our street said that he had never seen the sea, although he was born near it.",
    "After dinner she opened the letter, read it twice, and put it back into the box: there was nothing to say.",
    "Most birds leave in autumn; some, like the robin, stay all winter and live on what they find in gardens.",
)
"""What the roles that need no special text are measured on, where no sentences are given."""


@dataclass(frozen=True)
class Roles:
    """What the heads of a model do.

    strengths: role → [L, H], the share of attention that goes where `ROLES` says; for "pronoun" and "subject" the
    right word's share less the wrong one's, from -1 to 1. A role that the text gave no occasion for is missing.
    """

    strengths: Mapping[str, Tensor]

    def of(self, layer: int, head: int) -> tuple[str | None, float]:
        """The head's role and its strength: the strongest one that holds, or None and the share on the first token.

        "first" is the role only of a head that has no other, since most heads park what they have no use for. Raises
        RequestError for a layer or head that does not exist.
        """
        layers, heads = next(iter(self.strengths.values())).shape
        given.whole("layer", layer, 0, layers - 1)
        given.whole("head", head, 0, heads - 1)
        found = {role: float(strength[layer, head]) for role, strength in self.strengths.items()}
        parked = found.pop("first", 0.0)
        role = max(found, key=found.__getitem__, default=None)
        if role is not None and found[role] >= HOLDS:
            return role, found[role]
        return ("first" if parked >= PARKS else None), parked


Places = dict[str, Tensor]
"""Role → [B, T, T] int8: 1 where attention from t to s counts for the role, -1 where it counts against it."""


def measure(network: Decoder, tokenizer: Tokenizer, sentences: Sequence[str] | None = None) -> Roles:
    """The roles of all heads, measured on random tokens and on sentences (English ones of our own, if none are given).

    They belong to the model and not to a text: keep them. sentences: of a dozen words or more; in shorter ones,
    attention that is spread evenly looks like a role. "pronoun" and "subject" are left out where the tokenizer does
    not tell the English words apart. Raises RequestError for a recurrent model, or if a sentence has no words.
    """
    chosen = given.texts("sentences", SENTENCES if sentences is None else sentences) or SENTENCES
    readings = (read(sentence, tokenizer, sink_tokens(tokenizer)) for sentence in chosen)
    texts = [reading.tokens[: network.context] for reading in readings]
    drawn = _random(network, tokenizer)
    found = _strengths(network, texts, _places(texts, tokenizer, ("previous", "punctuation", "self", "first")))
    found |= _strengths(network, drawn, _places(drawn, tokenizer, ("same", "induction")))
    for role, links in LINKS.items():
        rows, places = _linked(tokenizer, links, network.context)
        found |= _strengths(network, rows, {role: places})
    return _in_order(found)


def here(network: Decoder, tokenizer: Tokenizer, reading: Reading) -> Roles:
    """What the heads do in one text: the same roles, except those that only sentences of a known meaning can show."""
    rows = [reading.tokens]
    return _in_order(_strengths(network, rows, _places(rows, tokenizer, ROLES)))


def _in_order(found: Mapping[str, Tensor]) -> Roles:
    return Roles({role: found[role] for role in ROLES if role in found})


def _places(rows: Sequence[Sequence[int]], tokenizer: Tokenizer, roles: Collection[str]) -> Places:
    """Where heads with the roles would look in token rows of any text. The first token is always left to "first"."""
    tokens = _padded(rows)
    names = {id: tokenizer.token(id) for row in rows for id in row}
    marks = _padded([[_is_mark(names[id]) for id in row] for row in rows]).bool()
    t, s = torch.arange(tokens.shape[1])[:, None], torch.arange(tokens.shape[1])
    real = t < torch.tensor([len(row) for row in rows])[:, None, None]
    again = (tokens[:, :, None] == tokens[:, None, :]) & (s > 0) & (s < t)
    places = {
        "previous": (s == t - 1) & (t > 1),
        "same": again,
        "induction": again.roll(1, -1) & (s > 1) & (s < t),
        "punctuation": marks[:, None, :] & (s > 0) & (s < t - 1),
        "self": (s == t) & (t > 0),
        "first": (s == 0) & (t > 0),
    }
    return {role: (place & real).to(torch.int8) for role, place in places.items() if role in roles}


def _random(network: Decoder, tokenizer: Tokenizer) -> list[list[int]]:
    """Random tokens said twice behind the sink token; the same ones every time."""
    usable = [id for id in range(min(tokenizer.vocab, network.vocab)) if id not in tokenizer.controls]
    length = min(REPEATED, len(usable), (network.context - 1) // 2)
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randperm(len(usable), generator=generator)[:length].tolist() for _ in range(ROWS)]
    return [[sink_tokens(tokenizer)[-1], *(usable[i] for i in draw * 2)] for draw in draws]


def _linked(tokenizer: Tokenizer, links: Iterable[Link], context: int) -> tuple[list[Sequence[int]], Tensor]:
    """Token rows of the sentences, and the places that count for and against.

    Sentences whose words look alike to the tokenizer are left out, and those that the model cannot see whole.
    """
    rows: list[Sequence[int]] = []
    spans: list[tuple[range, range, range]] = []
    for sentence, *asked in links:
        reading = read(sentence, tokenizer, sink_tokens(tokenizer))
        source, right, wrong = (reading.words[find(reading.words, word)].tokens for word in asked)
        told_apart = len({reading.tokens[span.start : span.stop] for span in (source, right, wrong)}) == 3
        if told_apart and len(reading.tokens) <= context:
            rows.append(reading.tokens)
            spans.append((source, right, wrong))
    longest = max(map(len, rows), default=0)
    places = torch.zeros(len(rows), longest, longest, dtype=torch.int8)
    for row, (source, right, wrong) in enumerate(spans):
        places[row, source[-1], right.start : right.stop] = 1
        places[row, source[-1], wrong.start : wrong.stop] = -1
    return rows, places


@torch.inference_mode()
def _strengths(network: Decoder, rows: Sequence[Sequence[int]], places: Places) -> dict[str, Tensor]:
    """Role → [L, H], for the roles that have a place; one reading of the rows, of which no attention is kept."""
    layers = range(len(stack_of(network).blocks))
    places = {role: place for role, place in places.items() if bool(place.any())}
    if not places:
        return {}
    words = torch.stack([(place > 0).any(-1).sum() for place in places.values()])
    worth = torch.stack([place.flatten() for place in places.values()]).to(network.device, torch.float32)

    def keep(weights: Tensor) -> Tensor:
        return (worth @ weights.transpose(0, 1).flatten(1).T).cpu() / words[:, None]  # [R, B · T · T] → [R, H]

    recording = record(network, attention=layers, keep=keep)
    recording.network.read(_padded(rows).to(network.device))
    found = torch.zeros(len(places), len(layers), max(heads_of(network, layer) for layer in layers))
    for layer in layers:
        found[:, layer, : heads_of(network, layer)] = recording.attention[layer]
    return dict(zip(places, found, strict=True))


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """[B, T] int64 with zeros behind the shorter rows, where nothing can see them."""
    padded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for row, ids in enumerate(rows):
        padded[row, : len(ids)] = torch.tensor(ids)
    return padded


def _is_mark(token: str) -> bool:
    shown = token.strip()
    return bool(shown) and not any(map(str.isalnum, shown))
