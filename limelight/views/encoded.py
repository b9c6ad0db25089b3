"""One text under an encoder looked at: what a page asks of it, as plain numbers."""

import math
import re
from dataclasses import asdict
from functools import cached_property

import torch
from torch import Tensor

from limelight.decode import Sampling
from limelight.look.answer import Importance
from limelight.look.encoded import SeenEncoded
from limelight.look.links import attention, by_word
from limelight.look.question import Class, Tag
from limelight.look.session import Progress, StackSession, stacked
from limelight.models import config as c
from limelight.models.api import Encoder
from limelight.text.tokenizer import Tokenizer
from limelight.views.numbers import Numbers
from limelight.views.parts import last, likely, listed, told

READS = {
    "masked": "fills gaps",
    "tags": "labels words",
    "classes": "labels texts",
    "score": "scores pairs of texts",
    "span": "marks answers in a text",
    "near": "compares texts",
}
"""What an encoder does with a text, by the name that a page has for it."""

BESIDE = {
    "near": ("How near is it to", "Where can I see a famous building?"),
    "span": ("The question", "Where is the Colosseum?"),
    "score": ("The query", "famous buildings in Italy"),
}
"""What else an encoder of some kind needs: what that is called, and one to begin with."""

OUTSIDE = "O"
"""The tag of a word that has none."""


def reads(network: Encoder) -> str:
    """Which of `READS` an encoder does."""
    match network.config.head:
        case c.MaskedLMHead():
            return "masked"
        case c.TokenClassifier():
            return "tags"
        case c.SequenceClassifier(labels=labels, several=several):
            return "score" if len(labels) == 1 and not several else "classes"
        case c.SpanHead():
            return "span"
        case _:
            return "near"


_SAYS = {
    "near": "Their likeness is {}.",
    "score": "The score is {}.",
    "span": "The model marks “{}”.",
    "classes": "The label that fits best is “{}”.",
}
"""What is said first of an answer that has no probability."""


class EncodedViews:
    """A text under an encoder that is opened for looking.

    Words are numbered from 0. To a page what is answered of a whole text is a word that the model added behind it.
    """

    def __init__(self, network: Encoder, tokenizer: Tokenizer, given: str, beside: str = "") -> None:
        """beside: what else the model needs, see `BESIDE`. Where `given` spells the model's mask, the likeliest word
        stands there as one that the model said."""
        self._tokenizer = tokenizer
        self._reads = reads(network)
        name, usual = BESIDE.get(self._reads, ("", ""))
        self._beside = (beside.strip() or usual) if name else ""
        self._said: tuple[int, int] | None = None  # the characters of a word that fills a gap
        text = self._filled(network, given) if self._reads == "masked" else given
        question = self._beside if self._reads in ("span", "score") else None
        self.seen = SeenEncoded(network, tokenizer, text, question=question)

    def last(self, text: str | None = None) -> int:
        """The last place of a word that is spelled like that, or of what is asked about if this text does not have
        it."""
        places = [place for place, word in enumerate(self.seen.words) if word.text == text]
        return places[-1] if places and not self._whole else self.asked

    @cached_property
    def asked(self) -> int:
        """The place of the word that a page asks about first."""
        words = self.seen.words
        if self._whole:
            return len(words)
        if self._said:
            return next(place for place, word in enumerate(words) if word.end > self._said[0])
        if self._reads == "tags" and (tagged := [i for i, tag in enumerate(self._tags) if tag != OUTSIDE]):
            return tagged[0]
        telling = [place for place, word in enumerate(words) if any(sign.isalnum() for sign in word.text)]
        return telling[-1] if telling else last(words, None)

    def words(self) -> Numbers:
        """The text cut into words, see `TextViews.words`, and behind it what the model answers of the whole. tag: what
        a word is labelled, if it is. asked: the word that is asked about first."""
        reading = self.seen.reading
        found = listed(reading.text, reading.words, reading.tokens, self._tokenizer)
        for shown, word in zip(found["words"], reading.words, strict=True):
            shown["given"] = not (self._said and self._said[0] < word.end <= self._said[1])
        if self._reads == "tags":
            for shown, tag in zip(found["words"], self._tags, strict=True):
                shown["tag"] = None if tag == OUTSIDE else tag
        if self._whole:
            answer = {"gap": f"{found['tail']} → ", "text": self._answer, "tokens": [], "given": False}
            found["words"].append(answer)
            found["tail"] = ""
        return {**found, "added": "", "asked": self.asked}

    def next(self, word: int | None, sampling: Sampling, n: int = 10) -> Numbers:
        """What else the model could have answered; see `likely`. Nothing where it chooses from no list."""
        place = self.asked if word is None else word
        labels = self.seen.session.labels
        if self._reads == "masked":
            at = self.seen.words[place].tokens
            session, question, *_ = self.seen.asking(place + 1)
            logits, own = session.answers(question)[0, :1], self.seen.reading.tokens[at.start]
            return {"word": place, **likely(logits, own, self._tokenizer, sampling, n)}
        if self._reads in ("tags", "classes"):
            question_of = (
                Tag((self.seen.words[place].tokens.start,), (0,)) if self._reads == "tags" else Class((), (0,))
            )
            scores = self.seen.session.answers(question_of).flatten()
            shares = scores.sigmoid() if self.seen.session.several else scores.softmax(-1)
            ranked = shares.topk(min(n, len(labels)))
            rows = [
                {"token": labels[i], "share": share, "kept": share, "cut": None, "rank": rank}
                for rank, (share, i) in enumerate(zip(*map(Tensor.tolist, ranked), strict=True), 1)
            ]
            return {"word": place, "rows": rows, "asked": 0, "left": len(rows)}
        return {"word": place, "rows": [], "asked": None, "left": 0}

    def importance(
        self,
        word: int | None,
        foil: str | None,
        method: str | None = None,
        progress: Progress | None = None,
        check: bool = True,
    ) -> Numbers:
        """Which words made the model answer as it does; see `told`."""
        place = self.asked if word is None else word
        asked = self._other if self._whole else place + 1
        found = self.seen.importance(asked, foil=foil, method=method, check=check, progress=progress)
        telling = None if found.telling is None else asdict(found.telling)
        return {**self._placed(found), "word": place, "checked": check, "telling": telling}

    def estimate(self, word: int | None) -> Numbers | None:
        """None: compare `TextViews.estimate`."""
        return None

    def attention(self, layer: int) -> Tensor:
        """What each word attends to in all heads of a layer: [H, N, N] in float32; of the answer to a whole text that
        of the places that it is read from."""
        return self._attention([layer])[0]

    def linking(self, source: int, target: int) -> list[list[float]]:
        """How much a word attends to another: a list over layers of lists over heads."""
        return [heads[:, source, target].tolist() for heads in self._attention(range(len(self._session.stack.blocks)))]

    def _attention(self, layers: "range | list[int]") -> list[Tensor]:
        reading, whole = self.seen.reading, self._whole

        def keep(weights: Tensor) -> Tensor:
            found = by_word(weights, reading).cpu()
            if not whole:
                return found.contiguous()
            heads, n, _ = found.shape
            wide = found.new_zeros(heads, n + 1, n + 1)
            wide[:, :n, :n] = found
            askers = self._session.askers(self.seen.asking(self._other)[1])
            for i, word in enumerate(reading.words):
                span = slice(word.tokens.start, word.tokens.stop)
                wide[:, n, i] = weights[:, askers, span].sum(-1).mean(-1).cpu()
            return wide

        return attention(self._session, layers, keep)

    @property
    def _session(self) -> StackSession:
        return stacked(self.seen.session)

    @property
    def _whole(self) -> bool:
        """Whether the model answers of the whole text."""
        return self._reads not in ("masked", "tags")

    @property
    def _other(self) -> str | None:
        """The text to which this one is held, where texts are compared."""
        return self._beside if self._reads == "near" else None

    @cached_property
    def _answer(self) -> str:
        session = self.seen.session
        if self._reads == "classes":
            return session.labels[int(session.answers(Class((), (0,)))[0].argmax())]
        _, question, target, _ = self.seen.asking(self._other)
        if self._reads == "span":
            return target.text
        return f"{session.whole(question):.2f}".replace("-", "−")

    @cached_property
    def _tags(self) -> list[str]:
        session = self.seen.session
        at = tuple(word.tokens.start for word in self.seen.words)
        scores = session.answers(Tag(at, (0,) * len(at)))[0]  # [n, C]
        return [session.labels[i] for i in scores.argmax(-1).tolist()]

    def _filled(self, network: Encoder, given: str) -> str:
        """The text with the likeliest word in the place of its first mask; others stay as they are."""
        tokenizer = self._tokenizer
        mask = tokenizer.mask
        if mask is None or (at := given.find(spelled := tokenizer.token(mask))) < 0:
            return given
        ids = [*tokenizer.prefix, *tokenizer.encode_masked(given), *tokenizer.suffix]
        with torch.inference_mode():
            tokens = torch.tensor([ids], device=network.device)
            scores = network(tokens, torch.tensor([len(ids)]))[0, ids.index(mask)]
        word = ""
        for id in scores.argsort(descending=True)[:50].tolist():
            word = tokenizer.spell(id).strip()
            if re.search(r"\w", word) and id not in tokenizer.controls:
                break
        self._said = at, at + len(word)
        return given[:at] + word + given[at + len(spelled) :]

    def _placed(self, found: Importance) -> Numbers:
        """An answer as numbers whose words are the text's: what is asked about itself was not judged."""
        numbers = told(found)
        at = {word.start: place for place, word in enumerate(self.seen.words)}
        places = [at[heard.start] for heard in found.words]
        values: list[float | None] = [None] * len(self.seen.words)
        for place, value in zip(places, numbers["values"], strict=True):
            values[place] = value
        sentences = [
            [part if isinstance(part, str) else {**part, "word": places[part["word"]]} for part in sentence]
            for sentence in numbers["told"]
        ]
        if math.isnan(found.logprob):
            sentences.insert(0, [_SAYS[self._reads].format(self._answer)])
        named = [places[i] for i in numbers["named"]]
        probability = None if math.isnan(found.logprob) else numbers["probability"]
        return {**numbers, "values": values, "named": named, "told": sentences, "probability": probability}
