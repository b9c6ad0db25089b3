"""What `model.look` returns: one text, and the questions that can be asked about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight import given
from limelight.errors import RequestError
from limelight.look import importance, links, roles
from limelight.look import recurrent as leaving_out
from limelight.look.edit import edit
from limelight.look.importance import METHODS, Check, Measured
from limelight.look.lens import Lens, lens
from limelight.look.links import Link
from limelight.look.record import block_of, record, stack_of
from limelight.look.roles import Roles
from limelight.look.steps import Steps, steps
from limelight.look.target import Question, likeliest_rivals, one_rival
from limelight.look.text import Reading, known, parking, read
from limelight.look.variants import Progress
from limelight.models.api import Decoder
from limelight.nn.recurrent import RecurrentDecoder
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word, find

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Heard:
    """A word before the one in question, its characters [start, end) counted from 0, and how much it mattered.

    importance: what the log-odds of the word in question lose without it; for the method "attention", a share of
    attention. asks: whether it is the last word before the one in question, which is left out instead of blocked.
    """

    word: str
    start: int
    end: int
    importance: float
    asks: bool


@dataclass(frozen=True, repr=False)
class Importance:
    """Which words mattered for `target`; printed, a table of them.

    logprob: natural logarithm of its probability where it stands. against: the words it was held against. words: all
    words before it, in the text's order. check: None where there are too few words. links: the strongest single heads
    from later words to the words that mattered most. telling: the one that says most about it; see `links.behind`.
    """

    target: Word
    logprob: float
    against: tuple[str, ...]
    method: str
    words: tuple[Heard, ...]
    check: Check | None
    links: tuple[Link, ...]
    telling: Link | None = None

    def ranked(self) -> list[Heard]:
        """The words, most important first."""
        return sorted(self.words, key=lambda heard: -heard.importance)

    def to_pandas(self) -> "DataFrame":
        """A pandas DataFrame with a row for each word in the text's order, by its number from 1; columns word, start,
        end, importance, asks. Raises RequestError if pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise RequestError("to_pandas needs pandas; install it with: pip install pandas") from None
        numbers = pandas.RangeIndex(1, len(self.words) + 1, name="number")
        columns = [field.name for field in fields(Heard)]
        return pandas.DataFrame([vars(heard) for heard in self.words], numbers, columns)

    def __repr__(self) -> str:
        numbered = sorted(enumerate(self.words, 1), key=lambda row: -row[1].importance)
        last, longest = len(str(len(numbered))), max((len(heard.word) for heard in self.words), default=0)
        check = "not checked" if self.check is None else "trusted" if self.check.holds else "not to be trusted"
        rows = [f"Importance for {given.shown(self.target.text)} by {self.method}, {check}"]
        for number, heard in numbered:
            value = f"{heard.importance: .2f}".replace("-", "−")
            rows.append(f"{number:>{last}}  {heard.word:<{longest}}  {value}{'  asks' if heard.asks else ''}")
        return "\n".join(rows)


class Seen:
    """A text looked at by a model, behind the parking token (see `limelight.look.text.parking`). Each answer is
    computed when it is asked for; what is kept is the text and, from the first answer on, the model's last hidden
    states for it.

    words: the text's words, which are the axes of `attention`. reading: the same with their tokens. title: what the
    model is called. pieces: whether each token is taken for a word.

    A word is asked for by its text or by its number from 1, as the pictures show it. Everything else counts from 0, as
    Python does: layers, heads, tokens, characters, and places in `words`.
    """

    def __init__(
        self, network: Decoder, tokenizer: Tokenizer, text: str, title: str = "the model", pieces: bool = False
    ) -> None:
        self.title = given.text("title", title)
        given.flag("pieces", pieces)
        self._network = given.a(Decoder, "network", network, "the network of a model that continues texts")
        self._tokenizer = given.a(Tokenizer, "tokenizer", tokenizer, "a Tokenizer")
        self.reading = read(text, tokenizer, parking(tokenizer), pieces)
        if (length := len(self.reading.tokens)) > network.context:
            raise RequestError(
                f"the text has {length:,} tokens and the model sees at most {network.context:,}; shorten it"
            )
        known(self.reading.tokens, tokenizer, network.vocab)

    @property
    def text(self) -> str:
        """The text as it was given."""
        return self.reading.text

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of the text and their places in it."""
        return self.reading.words

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens that the model reads, as text, the parking token first; the axes of `attention` with
        ``tokens=True``."""
        return tuple(self._tokenizer.token(id) for id in self.reading.tokens)

    def place(self, word: str | int | None = None) -> int:
        """The place in `words` of one given by its text, or by its number from 1; the last one if None.

        Raises RequestError if there is no such word.
        """
        if word is None:
            return len(self.words) - 1
        return find(self.words, word)

    def check_question(
        self, word: str | int | None = None, *, against: str | None = None, method: str | None = None
    ) -> None:
        """Raises RequestError where `importance` would refuse the question, before anything is computed."""
        place = self.place(word)
        if place == 0:
            raise RequestError(f"“{self.words[0].text}” is the first word: nothing before it could have mattered")
        if against is not None:
            target = self.words[place]
            self._one_rival(target, self.reading.tokens[target.tokens.start : target.tokens.stop], against)
        if method is not None and given.one_of("method", method, METHODS) != leaving_out.METHOD and self._recurrent:
            raise RequestError(
                f"this model is recurrent and has no attention for {method}; its method is {leaving_out.METHOD}"
            )

    def next_words(self, n: int = 10) -> list[tuple[str, float]]:
        """The n likeliest next tokens, as text, and their probabilities. Raises RequestError for an n below 1."""
        given.whole("n", n, 1)
        values, ids = self._logits(slice(-1, None))[0].softmax(-1).topk(min(n, self._network.vocab))
        return [(self._tokenizer.spell(id), value) for value, id in zip(values.tolist(), ids.tolist(), strict=True)]

    def attention(self, layer: int, head: int, *, tokens: bool = False) -> Tensor:
        """How much each word attends to each: [N, N] over `words`, a row for each word that asks.

        A word's row is the mean over its tokens, and what goes to a word is the sum over its tokens; a row sums to one
        with what is parked. With ``tokens=True`` [T, T] over `tokens`, as the model computed it. Raises RequestError
        for a layer or head that does not exist, both counted from 0, and for a recurrent model.
        """
        block_of(self._network, layer, given.whole("head", head))
        given.flag("tokens", tokens)
        heads = links.attention(self._network, self.reading, layer)
        return heads[head] if tokens else links.by_word(heads[head], self.reading)

    @torch.inference_mode()
    def every_attention(self) -> Tensor:
        """All heads of all layers over `tokens`, from one reading: [L, H, T, T] in float32.

        They take 4 · L · H · T² bytes. Raises RequestError for a recurrent model.
        """
        layers = range(len(stack_of(self._network).blocks))
        recording = record(self._network, attention=layers, keep=lambda weights: weights[0].cpu())
        recording.network.read(torch.tensor([self.reading.tokens], device=self._network.device))
        return torch.stack([recording.attention[layer] for layer in layers])

    def links(self, word: str | int | None = None, n: int = 10) -> list[Link]:
        """The n strongest links of single heads from a word to words before it.

        Raises RequestError if there is no such word, and for a recurrent model.
        """
        stack_of(self._network)
        given.whole("n", n, 1)
        source = self.place(word)
        return links.strongest(self._network, self.reading, [source], range(source), n)

    def importance(
        self,
        word: str | int | None = None,
        *,
        against: str | None = None,
        method: str | None = None,
        check: bool = True,
        progress: Progress | None = None,
    ) -> Importance:
        """Which of the words before `word` made the model say it.

        word: its text, or its number from 1; without it the last word. against: another word; the question is then
        why this word rather than that one; without it the ten likeliest others. method: one of `METHODS`; the one that
        fits the question if none is named (`look.importance.by_default`). A recurrent model has one method,
        leave-one-out. check: whether the answer is checked, which costs more than some of the methods. Raises
        RequestError if there is no such word or method, or nothing in front of the word.
        """
        self.check_question(word, against=against, method=method)
        given.flag("check", check)
        given.callback("progress", progress)
        place = self.place(word)
        whole, question = self._questions(place, against)
        found = self._measured(self.reading, place, question, method, progress, check)
        words = tuple(
            Heard(w.text, w.start, w.end, value, i == place - 1)
            for i, (w, value) in enumerate(zip(self.words[:place], found.values, strict=True))
        )
        ranked = sorted(range(place), key=lambda i: -words[i].importance)[: importance.CHECKED]
        behind: list[Link] = []
        telling = None
        if not self._recurrent:
            behind, telling = links.behind(self._network, self.reading, place, ranked, 5)
        rivals = tuple(self._tokenizer.spell(id) for id in question.rivals[0])
        logprob = float(whole.logprob(self._logits(slice(whole.at[0], whole.at[-1] + 1))[None])[0])
        return Importance(self.words[place], logprob, rivals, found.method, words, found.check, tuple(behind), telling)

    def token_importance(
        self,
        word: str | int | None = None,
        *,
        against: str | None = None,
        method: str | None = None,
        progress: Progress | None = None,
    ) -> dict[int, float]:
        """What `importance` measures, token by token: place in `tokens` → importance, for those before the word.

        Tokens that stand for no text are left out. Raises RequestError as `importance` does.
        """
        self.check_question(word, against=against, method=method)
        given.callback("progress", progress)
        place = self.place(word)
        _, question = self._questions(place, against)
        places = range(self.reading.words[0].tokens.start, self.reading.words[place].tokens.start)
        single = tuple(Word(self._tokenizer.token(self.reading.tokens[i]), 0, 0, range(i, i + 1)) for i in places)
        reading = replace(self.reading, words=(*single, self.reading.words[place]))
        found = self._measured(reading, len(single), question, method, progress, False)
        return dict(zip(places, found.values, strict=True))

    def lens(self, word: str | int | None = None, n: int = 5, progress: Progress | None = None) -> Lens:
        """What each layer would have said next, were it the last one: in front of each token of `word`.

        word: its text, or its number from 1; without it everywhere, from in front of the first word to behind the
        last one. n: how many of the likeliest tokens. It takes about as long as reading the text once for each layer.
        Raises RequestError if there is no such word.
        """
        given.whole("n", n, 1)
        given.callback("progress", progress)
        places = range(len(self.reading.tokens))
        if word is not None:
            asked = self.reading.words[self.place(word)].tokens
            places = range(asked.start - 1, asked.stop - 1)
        return lens(self._network, self._tokenizer, self.reading, places, n, progress)

    def steps(self, word: str | int | None, layer: int, head: int) -> Steps:
        """The nine steps from the text to the word that comes next, with this model's numbers.

        One word (the last one if None) is followed through one head of one layer, at the word's last token. Step 9 of
        the last word repeats `next_words`. Raises RequestError for a layer or head that does not exist.
        """
        given.whole("head", head)
        return steps(self._network, self._tokenizer, self.reading, self.place(word), layer, head)

    def heads(self) -> Roles:
        """What the heads do in this text: how strongly each holds to each role, and what it parks.

        Compare `roles`, which is measured on texts made for it and belongs to the model.
        """
        return roles.here(self._network, self._tokenizer, self.reading)

    def roles(self, sentences: Sequence[str] | None = None) -> Roles:
        """What the model's heads do, whatever the text; see `limelight.look.roles.measure`."""
        return roles.measure(self._network, self._tokenizer, sentences)

    def what_if(
        self, *, heads_off: Iterable[tuple[int, int]] = (), layers_off: Iterable[int] = (), positions: bool = True
    ) -> "Seen":
        """The same text looked at by a twin of the model without some heads, given as (layer, head), without some
        layers, or without positions; `limelight.look.compare` puts the two side by side.

        Raises RequestError for a layer or head that does not exist.
        """
        given.flag("positions", positions)
        edited = edit(self._network, heads_off=heads_off, layers_off=layers_off, positions=positions)
        return Seen(edited, self._tokenizer, self.text, f"a changed {self.title}")

    def __repr__(self) -> str:
        return f"Seen({given.shown(self.text)}, {len(self.words)} words, by {self.title})"

    def _repr_html_(self) -> str:
        """What a notebook shows of it: the page about its last word."""
        from limelight.notebook import frame

        return frame(self._network, self._tokenizer, self.text, self.title)

    @property
    def _recurrent(self) -> bool:
        return isinstance(self._network.decoder, RecurrentDecoder)

    def _questions(self, place: int, against: str | None) -> tuple[Question, Question]:
        """Why this word rather than any other, and rather than `against` if that is named.

        Raises RequestError for the first word, which nothing could have made the model say.
        """
        if place == 0:
            raise RequestError(f"{self.words[0].text!r} is the first word: nothing before it could have mattered")
        target = self.reading.words[place]
        asked = self.reading.tokens[target.tokens.start : target.tokens.stop]
        logits = self._logits(slice(target.tokens.start - 1, target.tokens.stop - 1))
        whole = likeliest_rivals(logits, target.tokens.start, asked)
        return whole, whole if against is None else self._one_rival(target, asked, against)

    def _measured(
        self,
        reading: Reading,
        place: int,
        question: Question,
        method: str | None,
        progress: Progress | None,
        check: bool,
    ) -> Measured:
        if self._recurrent:
            return leaving_out.measure(self._network, reading, place, question, progress)
        return importance.measure(self._network, reading, place, question, method, progress, check)

    @cached_property
    def _hidden(self) -> Tensor:
        """The model's last hidden states [T, W] for the text behind the parking token."""
        with torch.inference_mode():
            tokens = torch.tensor([self.reading.tokens], device=self._network.device)
            return self._network.read(tokens)[0]

    def _logits(self, places: slice) -> Tensor:
        """The model's logits [n, V] at some positions; all of them at once would take more room than the model."""
        with torch.inference_mode():
            return self._network.logits(self._hidden[places]).cpu()

    def _one_rival(self, target: Word, asked: Sequence[int], against: str) -> Question:
        # The other word takes the same place in the sentence: with the white space that stands before this one.
        if not given.text("against", against).strip():
            raise RequestError("against is an empty text; give a word that could have stood there instead")
        spaced = self.text[: target.start][len(self.text[: target.start].rstrip()) :] + against.strip()
        other = known(self._tokenizer.encode(spaced).ids, self._tokenizer, self._network.vocab)
        return one_rival(target.tokens.start, asked, other, against)
