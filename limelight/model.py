"""The opened model that writes: a network, its tokenizer, and what one does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from limelight import given
from limelight.completion import Completion, Opening, complete, stream
from limelight.errors import RequestError
from limelight.verbs import Verbs

if TYPE_CHECKING:
    from limelight.decode import Drafting, Sampling
    from limelight.look import Seen, SeenAnswer
    from limelight.look.hooks import Hook, PreHook
    from limelight.look.means import Means
    from limelight.look.steer import SteeringVector
    from limelight.models.api import Decoder, LanguageModel
    from limelight.models.config import ModelConfig
    from limelight.tasks import Language, Translation
    from limelight.tasks.look_translation import SeenTranslation
    from limelight.text.tokenizer import Tokenizer

Message = Mapping[str, Any]
"""One turn of a conversation: a "role" and a "content", and whatever else the model's template knows."""

ANSWER = 64
"""The most tokens of an answer that is written to be looked at."""


@dataclass(frozen=True, repr=False)
class Model(Verbs):
    """An opened model. network runs tokens, tokenizer makes them of text; name is what was asked for, path what was
    read."""

    network: Decoder
    tokenizer: Tokenizer
    name: str
    path: Path

    def __repr__(self) -> str:
        return f"Model({self.name}: {_described(self.network)})"

    @property
    def config(self) -> ModelConfig:
        """What the network is made of."""
        return self.network.config

    @property
    def title(self) -> str:
        """What to call it in a sentence: its name, without the folders where that is a path."""
        return self.path.stem if self.name == str(self.path) else self.name

    def stream(
        self,
        text: str,
        *,
        max_tokens: int = 256,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        sink: bool = False,
        draft: Literal["auto", "lookup"] | Model | None = "auto",
    ) -> Iterator[str]:
        """Continues `text`, yielding pieces of the continuation as they are known; never half a character.

        sampling: how tokens are chosen (always the likeliest one, if not given). stop: strings that end the text and
        are not part of it. sink: the text is read as `look` reads it, behind the model's document separator. draft:
        for speed alone, guess the next tokens from what the text said before ("lookup"; "auto": where that pays and is
        exact to the bit), or by a smaller model with the same tokenizer; the model checks all guesses in one step.
        None: guess nothing. Raises RequestError if the text does not fit the
        model's context, or if the model cannot use the draft.
        """
        return stream(
            self.network,
            self.tokenizer,
            self._opening(text, sink),
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            draft=_drafting(draft),
        )

    def complete(
        self,
        text: str,
        *,
        max_tokens: int = 256,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        logprobs: bool = False,
        sink: bool = False,
        draft: Literal["auto", "lookup"] | Model | None = "auto",
    ) -> Completion:
        """Continues `text` and returns the whole continuation; see `stream`."""
        return self.complete_all(
            [text], max_tokens=max_tokens, sampling=sampling, stop=stop, logprobs=logprobs, sink=sink, draft=draft
        )[0]

    def complete_all(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int = 256,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        logprobs: bool = False,
        sink: bool = False,
        draft: Literal["auto", "lookup"] | Model | None = "auto",
    ) -> list[Completion]:
        """Continues several texts of any lengths together; each gives what it would give alone.

        When the same text is there more than once and tokens are drawn, its copies go on differently: the n-th copy,
        from 0, as the text alone does with ``seed + n``.
        """
        return complete(
            self.network,
            self.tokenizer,
            [self._opening(text, sink) for text in given.texts("texts", texts)],
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            logprobs=logprobs,
            draft=_drafting(draft),
        )

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 1024,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Answers a conversation by the model's own chat template, yielding pieces of the answer.

        Raises TextError if the model has no template, RequestError if the conversation does not fit its context.
        """
        prompt = self.tokenizer.encode(self.tokenizer.chat(messages), special=True).ids
        return stream(
            self.network,
            self.tokenizer,
            Opening(prompt, after=prompt),
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            draft="auto",
        )

    @overload
    def look(self, text: str, answer: None = ...) -> Seen: ...

    @overload
    def look(self, text: str, answer: str) -> SeenAnswer: ...

    @overload
    def look(self, text: Sequence[Message], answer: str | None = ...) -> SeenAnswer: ...

    def look(self, text: str | Sequence[Message], answer: str | None = None) -> Seen | SeenAnswer:
        """Looks at a text: which words mattered, where heads look, what comes next. Or at a whole answer: which
        message, document or sentence it rests on, then which words.

        text: a text, or the messages of a conversation, by the model's own chat template. answer: what was said behind
        it; a conversation that ends with the assistant's message has its answer, to another the model gives one, always
        taking the likeliest token but repeating itself little, of `ANSWER` tokens at most. What is looked at is a twin
        over the same weights, whose low-bit layers multiply without rounding their inputs; only what is measured by
        changing the text is read as in use, which is twice as fast. A notebook shows the look at a text as a page, see
        `limelight.notebook`. Raises RequestError for what cannot be looked at, TextError for messages to a model
        without a template.
        """
        if isinstance(text, str) and answer is None:
            return self._looking()(text)
        from limelight.look.context import SeenAnswer, conversation, passage

        if answer is not None:
            given.text("answer", answer)
        if isinstance(text, str):
            prompted = passage(self.tokenizer, text, answer or "")
            return SeenAnswer(self.opened, self.tokenizer, prompted, self.title, self._checked)
        messages = _messages(text)
        if answer is None and messages and messages[-1].get("role") == "assistant":
            answer = str(messages.pop().get("content"))
        if answer is None:
            from limelight.decode import Sampling

            said = "".join(self.chat(messages, max_tokens=ANSWER, sampling=Sampling(repetition=1.1)))
            prompted = conversation(self.tokenizer, messages, said, self.network.context)
        else:
            prompted = conversation(self.tokenizer, messages, answer)
        return SeenAnswer(self.opened, self.tokenizer, prompted, self.title, self._checked)

    def look_generated(
        self, prompt: Sequence[int], answer: Sequence[int], messages: Sequence[Message] | None = None
    ) -> SeenAnswer:
        """Looks at an answer by the very tokens that were generated behind a prompt's; see `look`.

        messages: those that the prompt was made of, if it is a conversation. Raises RequestError where the template
        does not show a message as it is.
        """
        from limelight.look.context import SeenAnswer, generated

        vocab = self.network.vocab
        ids = given.ids("prompt", prompt, vocab), given.ids("answer", answer, vocab)
        prompted = generated(self.tokenizer, *ids, messages)
        return SeenAnswer(self.opened, self.tokenizer, prompted, self.title, self._checked)

    def look_all(self, texts: Iterable[str], *, layers: Iterable[int] = ()) -> Iterator[Seen]:
        """Looks at many texts of any lengths, in their order; each gives what `look` would give.

        They are read in batches, dozens at a time, and none is taken before it is needed. So `next_words` and `logits`
        of each are at hand, and `hidden` of these `layers` (from 0, behind the embeddings, to L); anything else is
        computed when it is asked for. Raises RequestError for a layer that does not exist, and for layers of a
        recurrent model.
        """
        from limelight.look.seen import look_all

        return look_all(self._looking(), texts, layers)

    def _looking(self) -> Callable[[str], Seen]:
        from limelight.look import Seen
        from limelight.views.frame import display

        return partial(Seen, self.opened, self.tokenizer, title=self.title, display=display, quick=self._checked)

    def encode(self, text: str, *, sink: bool = False) -> list[int]:
        """The ids of the tokens that `complete` reads for `text`, those that the model begins with first.

        sink: as `look` reads it, behind the model's document separator. Raises RequestError for an empty text.
        """
        return list(self._opening(text, sink).prompt)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, without special tokens. Raises RequestError for what is no id."""
        return self.tokenizer.decode(ids)

    @property
    def _checked(self) -> Decoder:
        """A twin of the network as it is in use, which raises RequestError where its numbers are none."""
        from limelight.look.record import numeric, twin

        return numeric(twin(self.network))

    @property
    def opened(self) -> Decoder:
        """A twin of the network to look at: over the same weights, but its low-bit layers multiply exactly, and it
        raises RequestError where its numbers are none."""
        from limelight.look.record import numeric, twin
        from limelight.quant.linear import exactly

        return numeric(exactly(twin(self.network)))

    def means(self, texts: Iterable[str]) -> Means:
        """What the parts of each layer put out on average over all places of some texts: what stands in the place of a
        part that is ablated (`Seen.ablate` and `Seen.what_if`), so that it says nothing and later layers still read
        what they are used to.

        Raises RequestError for texts without tokens or that are too long, and for a recurrent model.
        """
        from limelight.look.means import means

        return means(self.opened, self.tokenizer, texts)

    def steering_vector(self, pairs: Iterable[tuple[str, str]], *, layer: int) -> SteeringVector:
        """The direction from texts without something to texts with it: the mean, over pairs (with, without), of the
        difference of the residual stream at their last tokens.

        layer: where the stream is taken and will be steered, from 0, behind the embeddings, to L, behind the last
        layer; as a rule one in the middle. Texts are read as `look` reads them. Raises RequestError for a layer that
        does not exist, for pairs that are none, and for a recurrent model.
        """
        from limelight.look.steer import steering_vector

        return steering_vector(self.opened, self.tokenizer, pairs, layer, self.title)

    def steered(self, vector: SteeringVector, strength: float = 1.0) -> Model:
        """A twin of the model, over the same weights, that adds a vector to its residual stream, at every place.

        It does all that a model does, a little slower: its layers run one after another, not in one call. strength:
        how many times the vector is added; below 0 it leads away. Raises RequestError for a vector that does not fit.
        """
        from limelight.look.steer import steered

        return replace(self, network=steered(self.network, vector, strength))

    def hooked(self, hooks: Mapping[str, Hook] | None = None, pre_hooks: Mapping[str, PreHook] | None = None) -> Model:
        """A twin of the model, over the same weights, that calls functions whenever some of its modules run.

        hooks: ``hook(module, inputs, output)`` by the names of modules (``model.network.named_modules()``); what it
        returns, if anything, stands in the output's place. pre_hooks: ``hook(module, inputs)``, called in front of a
        module; what it returns stands in the inputs' place. Both are as torch has them. It does all that a model does;
        its layers run one after another, not in one call. Raises RequestError for a name that no module has.
        """
        from limelight.look.hooks import hooked

        return replace(self, network=hooked(self.network, hooks, pre_hooks))

    def _opening(self, text: str, sink: bool) -> Opening:
        given.text("text", text)
        front = self.tokenizer.prefix
        if given.flag("sink", sink):
            from limelight.look.text import sink_tokens

            front = sink_tokens(self.tokenizer)
        ids = [*front, *self.tokenizer.encode(text).ids]
        if not ids:
            raise RequestError("the text is empty; give at least one character to continue")
        return Opening(ids, after=ids)


def _drafting(draft: Literal["auto", "lookup"] | Model | Translator | None) -> Drafting | None:
    if isinstance(draft, Model | Translator):
        return draft.network
    if draft is None or draft in ("auto", "lookup"):
        return draft
    raise RequestError(f'draft is {given.shown(draft)}; it must be "auto", "lookup" or a smaller model that was opened')


def _described(network: LanguageModel) -> str:
    """A network in a few words."""
    layers = len(network.decoder.blocks)
    return f"{network.config.family}, {layers} layers of width {network.config.width:,}, context {network.context:,}"


@dataclass(frozen=True, repr=False)
class Translator:
    """An opened translation model. network reads source tokens and writes target tokens, language makes them of text
    and text of them; name is what was asked for, path what was read."""

    network: LanguageModel
    language: Language
    name: str
    path: Path

    def __repr__(self) -> str:
        return f"Translator({self.name}: {_described(self.network)})"

    @property
    def config(self) -> ModelConfig:
        """What the network is made of."""
        return self.network.config

    @property
    def model(self) -> Model | None:
        """A language model that has learnt to translate, as the language model that it is, to continue texts and to be
        looked at; None for an encoder–decoder."""
        from limelight.models.api import Decoder

        if not isinstance(self.network, Decoder):
            return None
        return Model(self.network, self.language.target, self.name, self.path)

    def between(self, source: str | None, target: str) -> Translator:
        """The same translator from one of its languages into another: ``translator.between("en", "fr")``.

        source, target: codes as the model knows them ("eng_Latn", "en_XX", "en"), or what stands before the underscore.
        source is None for a model that is only told what to translate into. Raises RequestError for a model of two
        languages, and for a language that it does not know, with the nearest that it knows.
        """
        return replace(self, language=self.language.between(source, target))

    def translate(
        self,
        lines: Iterable[str],
        *,
        beam: int | None = None,
        alpha: float | None = None,
        best: int = 1,
        window: int = 2048,
    ) -> Iterator[Translation]:
        """Translates line by line, in order, by beam search; see `limelight.tasks.translate`.

        beam: hypotheses that are followed (1: greedy). alpha: length penalty. Without them both are what the model's
        files say, or else 5 and 1. best: translations of each line. window: lines that are read ahead, which is faster;
        1 answers each line at once.
        """
        from limelight.tasks import translate

        return translate(self.network, self.language, lines, beam=beam, alpha=alpha, best=best, window=window)

    def summarise(self, text: str) -> str:
        """A text in short, by an encoder–decoder that was made for it; a long one by parts, each as long as the model
        reads. A T5 is asked for it as it was trained to be."""
        from limelight.tasks.prompts import shorten

        return shorten(self.network, self.language, given.text("text", text))

    def stream(
        self,
        source: str,
        *,
        max_tokens: int = 256,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        draft: Literal["auto", "lookup"] | Model | Translator | None = "auto",
    ) -> Iterator[str]:
        """Writes behind `source`, from left to right, yielding pieces of the text as they are known.

        As it stands this is a beam of one, but only what the model's files forbid is forbidden, and the text may have
        lines. All else is as in
        `Model.stream`; where the draft is an encoder–decoder, it hears the source, too. Raises RequestError if the
        source is empty or does not fit the model's context, or if the model cannot use the draft.
        """
        return stream(
            self.network,
            self.language.target,
            self._opening(source, "source"),
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            draft=_drafting(draft),
        )

    def complete(
        self,
        source: str,
        *,
        max_tokens: int = 256,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        logprobs: bool = False,
        draft: Literal["auto", "lookup"] | Model | Translator | None = "auto",
    ) -> Completion:
        """Writes behind `source` and returns the whole text; see `stream`."""
        return self.complete_all(
            [source], max_tokens=max_tokens, sampling=sampling, stop=stop, logprobs=logprobs, draft=draft
        )[0]

    def complete_all(
        self,
        sources: Sequence[str],
        *,
        max_tokens: int = 256,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        logprobs: bool = False,
        draft: Literal["auto", "lookup"] | Model | Translator | None = "auto",
    ) -> list[Completion]:
        """Writes behind several sources of any lengths together; each gives what it would give alone, see
        `Model.complete_all`."""
        read = given.texts("sources", sources)
        names = ["source"] if len(read) == 1 else [f"source {number}" for number in range(1, len(read) + 1)]
        return complete(
            self.network,
            self.language.target,
            [self._opening(source, name) for source, name in zip(read, names, strict=True)],
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            logprobs=logprobs,
            draft=_drafting(draft),
        )

    def _opening(self, source: str, name: str) -> Opening:
        ids = self.language.read(given.text(name, source))
        if not ids:
            raise RequestError(f"{name} is empty; give at least one word to write behind")
        heard, begins = self.language.opening(self.network, ids)
        return Opening(begins, source=heard, rules=self.language.rules(heard))

    def look(self, source: str, target: str | None = None) -> SeenTranslation:
        """Looks at a translation of `source`, the model's own if none is given: what each word listens to, and which
        words of the source made the model say it. Raises RequestError for a language model that has learnt to
        translate: look at its `model`."""
        from limelight.look.record import numeric, twin
        from limelight.models.api import Seq2Seq
        from limelight.tasks.look_translation import SeenTranslation

        if not isinstance(self.network, Seq2Seq):
            raise RequestError("a translation by a language model is looked at as one text, with translator.model.look")
        given.text("source", source)
        if target is None:
            target = next(self.translate([source])).text
        return SeenTranslation(numeric(twin(self.network)), self.language, source, target)


def _messages(text: object) -> list[Message]:
    """The messages of a conversation. Raises RequestError if it is none."""
    if not isinstance(text, Sequence) or not all(isinstance(message, Mapping) for message in text):
        wanted = 'a string, or a list of messages such as {"role": "user", "content": "Hello"}'
        raise RequestError(f"text is {given.shown(text)}; it must be {wanted}")
    return list(text)
