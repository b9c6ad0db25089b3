"""What `model.look` returns: one text, and the questions that can be asked about it."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor

from limelight import given
from limelight.errors import RequestError
from limelight.look import importance, links, roles
from limelight.look.ablate import Ablation, ablate
from limelight.look.answer import Importance, answer_of
from limelight.look.attribution import Attribution, attribute
from limelight.look.decompose import apart, traced
from limelight.look.edit import edit
from limelight.look.inquiry import Inquiry
from limelight.look.lens import Lens, lens
from limelight.look.links import Link
from limelight.look.many import together, windows
from limelight.look.means import Means
from limelight.look.next_word import END, continued
from limelight.look.parts import activations
from limelight.look.patch import Patching, patch
from limelight.look.question import GivenWord
from limelight.look.record import stream_of
from limelight.look.roles import Roles
from limelight.look.session import CausalSession, DecoderSession, Progress, session
from limelight.look.steps import Steps, steps
from limelight.look.text import known, read, sink_tokens, speller
from limelight.look.view import View
from limelight.models.api import Decoder
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word, find

Display = Callable[[Decoder, Tokenizer, str, str], str]
"""``display(network, tokenizer, text, title)`` → what a notebook shows of a look, as HTML."""


class Seen(View[CausalSession]):
    """A text looked at by a model, behind the sink token (see `limelight.look.text.sink_tokens`). Each answer is
    computed when it is asked for; what was read and measured for it is kept.

    words: the text's words, which are the axes of `attention`. reading: the same with their tokens. session: the text
    under the network, see `limelight.look.session`. title: what the model is called. pieces: whether each token is
    taken for a word. display: how a notebook shows it; without one as text. quick: the network as it is in use, by
    which variants of the text are read, see `limelight.look.session.DecoderSession`.

    A word is asked for by its text or by its number from 1, as the pictures show it. Everything else counts from 0, as
    Python does: layers, heads, tokens, characters, and places in `words`.
    """

    def __init__(
        self,
        network: Decoder,
        tokenizer: Tokenizer,
        text: str,
        title: str = "the model",
        pieces: bool = False,
        display: Display | None = None,
        quick: Decoder | None = None,
    ) -> None:
        given.flag("pieces", pieces)
        given.callback("display", display)
        self._display = display
        self._network = given.a(Decoder, "network", network, "the network of a model that continues texts")
        given.a(Tokenizer, "tokenizer", tokenizer, "a Tokenizer")
        if quick is not None:
            given.a(Decoder, "quick", quick, "the same network, as it is in use")
        reading = read(text, tokenizer, sink_tokens(tokenizer), pieces)
        self._pieces = pieces
        self._quick = quick
        super().__init__(session(network, reading.tokens, speller(tokenizer), quick), tokenizer, reading, title)

    @cached_property
    def ahead(self) -> "Seen":
        """The text with the word that the model says next behind it, as its last word, looked at by the same model.

        The likeliest token is taken each time. Raises RequestError if the text fills the model's context.
        """
        seen = copy.copy(self)
        if len(self.reading.tokens) >= self._network.context:
            raise RequestError("the text fills all that the model sees, so that no word comes next; shorten it")
        exact = None if self._quick is None else self._behind
        reading = continued(self._quick or self._network, self._tokenizer, self.reading, self._pieces, exact)
        text = session(self._network, reading.tokens, self.session.spell, self._quick)
        if not (isinstance(text, DecoderSession) and text.stack.following):  # or all hangs on the text's length
            text.before = self.session
        View.__init__(seen, text, self._tokenizer, reading, self.title)
        return seen

    def _behind(self, said: Sequence[int]) -> Tensor:
        """The logits [V] behind the text and some more tokens."""
        if said:
            tokens = torch.tensor([[*self.ids, *said]], device=self._network.device)
            return self._network.logits(self._network.read(tokens)[:, -1])[0]
        last = len(self.ids) - 1
        if isinstance(self.session, DecoderSession):  # by the reading that will be needed to find the words
            if len(self.words) > importance.ALL and apart(self.session.stack):
                traced(self.session, (last,))
            else:
                links.read(self.session)
        return self.session.logits(slice(last, last + 1))[0]

    def check_question(
        self, word: str | int | None = None, *, foil: str | None = None, method: str | None = None
    ) -> None:
        """Raises RequestError where `importance` would refuse the question, before anything is measured."""
        if word is None:
            self.ahead.check_question(len(self.words) + 1, foil=foil, method=method)
            return
        place = self.place(word)
        if place == 0:
            raise RequestError(f"“{self.words[0].text}” is the first word: nothing before it could have mattered")
        if foil is not None:
            self._foil(self.words[place], foil)
        if method is not None:
            importance.chosen(method, self.session)

    def next_words(self, n: int = 10) -> list[tuple[str, float]]:
        """The n likeliest next tokens, as text, and their probabilities. Raises RequestError for an n below 1."""
        given.whole("n", n, 1)
        values, ids = self.session.logits(slice(-1, None))[0].softmax(-1).topk(min(n, self._network.vocab))
        return [(self._tokenizer.spell(id), value) for value, id in zip(values.tolist(), ids.tolist(), strict=True)]

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of `tokens`, the sink token first."""
        return self.reading.tokens

    def logits(self, word: str | int | None = None) -> Tensor:
        """The scores of what comes next, in float32: [T, V], a row behind each of `tokens`.

        word: its text, or its number from 1; then [n, V], in front of each of its n tokens. All of them take
        4 · T · V bytes. Raises RequestError if there is no such word.
        """
        rows = slice(None)
        if word is not None:
            at, _ = self._said(self.words[self.place(word)])
            rows = slice(at[0], at[-1] + 1)
        return self.session.logits(rows).clone()  # made outside of inference mode, so that gradients may start there

    def hidden(self, layer: int | None = None) -> Tensor:
        """The residual stream over `tokens`, in float32: [T, W] behind `layer` of the model's layers.

        0 is behind the embeddings, in front of the first layer; L, which is how many layers there are, behind the last
        one, in front of the final norm. Without a number all of them, [L + 1, T, W]. Raises RequestError for a number
        that is not from 0 to L, and for a recurrent model.
        """
        layers = len(stream_of(self._network).blocks)
        if layer is not None and self.session.knows(("hidden", given.whole("layer", layer, 0, layers))):
            kept: Tensor = self.session.once(("hidden", layer), Tensor)
            return kept.clone()
        states = self.session.once("hidden", self._hidden)
        return states.clone() if layer is None else states[layer].clone()

    def _hidden(self) -> Tensor:
        tokens = torch.tensor([self.ids], device=self._network.device)
        found, _ = activations(self._network, tokens, ["residual"], lambda made: made[0].float().cpu())
        return torch.stack(found["residual"])

    def importance(
        self,
        word: str | int | None = None,
        *,
        foil: str | None = None,
        method: str | None = None,
        check: bool = True,
        progress: Progress | None = None,
    ) -> Importance:
        """Which words made the model say what it says next, or a word that stands in the text.

        word: without it the word that the model says next; else the text of a given word, or its number from 1, and the
        words before it are judged. foil: another word; the question is then why this word rather than that one. method:
        one of `METHODS`; without it the words are measured, see `limelight.look.measured`. check: whether the words
        that are named are checked, which costs more than some of the methods. progress: called with how much is done
        and how much there is to do. Raises RequestError if there is no such word or method, or nothing in front of the
        word.
        """
        if word is None:
            return self.ahead.importance(len(self.words) + 1, foil=foil, method=method, check=check, progress=progress)
        self.check_question(word, foil=foil, method=method)
        given.flag("check", check)
        given.callback("progress", progress)
        place = self.place(word)
        asked, before = self.words[place], self.words[:place]
        question = self._question(asked, foil)
        inquiry = Inquiry(self.session, question, tuple(each.tokens for each in before))
        found = importance.measure(inquiry, method, progress, check)
        at, tokens = self._said(asked)
        behind: list[Link] = []
        telling = None
        if isinstance(self.session, DecoderSession):
            text, words = self.session, found.named or tuple(sorted(inquiry.others or range(place))[:1])
            behind, telling = text.once(
                ("behind", place, words), lambda: links.behind(text, self.reading, place, words, 5)
            )
        logits = self.session.logits(slice(at[0], at[-1] + 1))
        likeliest = int(logits[0].argmax())
        ranks = [1 + int((row > row[token]).sum()) for row, token in zip(logits, tokens, strict=True)]
        return answer_of(
            found,
            before,
            inquiry.asks,
            target=asked,
            logprob=float(GivenWord(at, tokens).logprob(logits[None])[0]),
            rank=max(ranks),
            expected=END if likeliest in self._tokenizer.controls else self._tokenizer.spell(likeliest).strip(),
            foil=foil,
            links=behind,
            telling=telling,
        )

    def token_importance(
        self,
        word: str | int | None = None,
        *,
        foil: str | None = None,
        method: str | None = None,
        progress: Progress | None = None,
    ) -> dict[int, float]:
        """What `importance` measures, token by token: place in `tokens` → importance, for those before the word.

        Tokens that stand for no text, or were not measured, are left out. Raises RequestError as `importance` does.
        """
        if word is None:
            return self.ahead.token_importance(len(self.words) + 1, foil=foil, method=method, progress=progress)
        self.check_question(word, foil=foil, method=method)
        given.callback("progress", progress)
        place = self.place(word)
        asked = self.words[place]
        question = self._question(asked, foil)
        places = range(self.words[0].tokens.start, self.words[place].tokens.start)
        inquiry = Inquiry(self.session, question, tuple(range(i, i + 1) for i in places))
        found = importance.measure(inquiry, method, progress, checked=False)
        return {at: value for at, value in zip(places, found.values, strict=True) if value is not None}

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
        self,
        *,
        heads_off: Iterable[tuple[int, int]] = (),
        layers_off: Iterable[int] = (),
        attention_off: Iterable[int] = (),
        feedforward_off: Iterable[int] = (),
        positions: bool = True,
        means: Means | None = None,
    ) -> "Seen":
        """The same text looked at by a twin of the model without some heads, given as (layer, head), without some
        layers or their attention or feed-forward alone, or without positions; `limelight.look.compare` puts the two
        side by side.

        means: what stands in the place of what is off, see `limelight.Model.means`; nothing (zero) if None. Raises
        RequestError for a layer or head that does not exist.
        """
        given.flag("positions", positions)
        edited = edit(
            self._network,
            heads_off=heads_off,
            layers_off=layers_off,
            attention_off=attention_off,
            feedforward_off=feedforward_off,
            positions=positions,
            means=means,
        )
        return Seen(
            edited, self._tokenizer, self.text, f"a changed {self.title}", pieces=self._pieces, display=self._display
        )

    def replace(self, word: str | int, by: str) -> "Seen":
        """The text with other words in a word's place, looked at by the same model; white space stays as it is.

        word: its text, or its number from 1. Raises RequestError if there is no such word.
        """
        return self._instead({find(self.words, word): given.text("by", by)})

    def swap(self, one: str | int, other: str | int) -> "Seen":
        """The text with two words in each other's place, spelled as they are, looked at by the same model.

        one, other: their texts, or their numbers from 1. Raises RequestError if there is no such word, or if they are
        the same one.
        """
        a, b = find(self.words, one), find(self.words, other)
        if a == b:
            raise RequestError(
                f"word {a + 1}, “{self.words[a].text}”, cannot be swapped with itself; name another word"
            )
        return self._instead({a: self.words[b].text, b: self.words[a].text})

    def _instead(self, others: Mapping[int, str]) -> "Seen":
        """The text with something else in some places of `words`."""
        made, at = [], 0
        for place, text in sorted(others.items()):
            made += [self.text[at : self.words[place].start], text]
            at = self.words[place].end
        text = "".join((*made, self.text[at:]))
        return Seen(
            self._network,
            self._tokenizer,
            text,
            self.title,
            pieces=self._pieces,
            display=self._display,
            quick=self._quick,
        )

    def patch_into(
        self,
        corrupted: "Seen",
        answer: str | None = None,
        *,
        foil: str | None = None,
        part: str = "residual",
        tokens: bool = False,
        progress: Progress | None = None,
    ) -> Patching:
        """Activation patching: what each layer put out for this text, put into the reading of another, one place or
        head at a time; how much that restores of this text's answer there.

        corrupted: the other text, of as many words, each of as many tokens. answer: what comes behind this text, the
        likeliest token if None. foil: what it is held against, the likeliest token behind the other text if None; both
        by their first token. part: one of `limelight.look.PARTS`: "residual", "attention" and "feedforward" are put in
        word by word (tokens: token by token), of "heads" each head everywhere. It takes about as long as reading the
        text once for each place and two layers. Raises RequestError where the texts do not fit each other, for an
        answer that is the foil, and for a recurrent model.
        """
        given.a(Seen, "corrupted", corrupted, "another look, by the same model")
        return patch(self._tokenizer, self, corrupted, answer, foil, part, tokens, progress)

    def ablate(
        self,
        answer: str | None = None,
        *,
        foil: str | None = None,
        part: str = "heads",
        means: Means | None = None,
        tokens: bool = False,
        progress: Progress | None = None,
    ) -> Ablation:
        """Ablation of one part of one layer at a time: what that does to the answer that comes behind the text.

        answer: the likeliest token if None; foil: the likeliest other one; both by their first token. part, tokens:
        where, as in `patch_into`. means: what stands in the part's place, see `limelight.Model.means`; nothing (zero)
        if None. `what_if` is for several at once. Raises RequestError for an answer that is the foil, for means of
        another model, and for a recurrent model.
        """
        return ablate(self._tokenizer, self, answer, foil, part, means, tokens, progress)

    def logit_attribution(self, answer: str | None = None, *, foil: str | None = None) -> Attribution:
        """Direct logit attribution: what each head and feed-forward itself adds to the answer that comes behind the
        text, norms held at the scale they had. What they do by way of later layers is not in it; compare `ablate`.

        answer: the likeliest token if None; foil: the likeliest other one; both by their first token. Raises
        RequestError for an answer that is the foil, and for a recurrent model.
        """
        return attribute(self._tokenizer, self, answer, foil)

    def __repr__(self) -> str:
        return f"Seen({given.shown(self.text)}, {len(self.words)} words, by {self.title})"

    def _repr_html_(self) -> str | None:
        """What a notebook shows of it, if anything but text."""
        return None if self._display is None else self._display(self._network, self._tokenizer, self.text, self.title)

    def _question(self, word: Word, foil: str | None) -> GivenWord:
        """How likely a word is where it stands, or rather than a foil."""
        return GivenWord(*self._said(word)) if foil is None else self._foil(word, foil)

    def _said(self, word: Word) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The positions in front of a word's tokens, and the tokens."""
        span = word.tokens
        return tuple(range(span.start - 1, span.stop - 1)), self.reading.tokens[span.start : span.stop]

    def _foil(self, word: Word, foil: str) -> GivenWord:
        # The other word takes the same place in the sentence: with the white space that stands before this one.
        if not given.text("foil", foil).strip():
            raise RequestError("foil is an empty text; give a word that could have stood there instead")
        spaced = self.text[: word.start][len(self.text[: word.start].rstrip()) :] + foil.strip()
        other = known(self._tokenizer.encode(spaced).ids, self._tokenizer, self._network.vocab)
        return GivenWord.against(*self._said(word), other, foil)


def look_all(make: Callable[[str], Seen], texts: Iterable[str], layers: Iterable[int] = ()) -> Iterator[Seen]:
    """The texts looked at one by one, in their order, but read in batches; see `limelight.Model.look_all`.

    make: looks at one text; all by the same network.
    """
    asked = [given.whole(f"part {number} of layers", layer) for number, layer in given.many("layers", layers, "layers")]
    numbered = given.many("texts", texts, "strings")
    for lot in windows(given.text(f"part {number} of texts", text) for number, text in numbered):
        looks = [make(text) for text in lot]
        network = looks[0]._network
        for layer in asked:
            given.whole("layer", layer, 0, len(stream_of(network).blocks))

        def take(place: int, found: Mapping[str, list[Tensor]], hidden: Tensor, looks: Sequence[Seen] = looks) -> None:
            session = looks[place].session
            session.hidden = hidden.clone()
            for layer in asked:
                session.once(("hidden", layer), partial(_kept, found["residual"][layer]))

        together(network, [seen.ids for seen in looks], ["residual"] if asked else [], take)
        yield from looks


def _kept(states: Tensor) -> Tensor:
    return states.float().cpu().clone()  # the batch it was a part of can go
