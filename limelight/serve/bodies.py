"""What the page asks its server: every field has a range, and one that nobody knows is an error."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LONGEST = 100_000
"""Characters of the longest text."""

Words = Annotated[str, Field(max_length=LONGEST)]
Word = Annotated[int, Field(ge=0, le=LONGEST)]
Small = Annotated[int, Field(ge=0, le=10_000)]


class Body(BaseModel):
    """What is asked; a field that nobody knows is an error."""

    model_config = ConfigDict(extra="forbid")


class Opening(Body):
    """The name of a listed model."""

    name: Annotated[str, Field(max_length=1000)]


class Text(Body):
    """A text as it was given, and what the model added to it, be it a translation. tokens: whether each token is taken
    for a word. ahead: whether the word that the model says next stands behind all that. beside: what an encoder reads
    besides: a question, or a text to hold this one against."""

    given: Words
    added: Words = ""
    tokens: bool = False
    ahead: bool = False
    beside: Words = ""

    @property
    def text(self) -> tuple[str, str, bool, bool, str]:
        """The arguments of `PageSession.views`."""
        return self.given, self.added, self.tokens, self.ahead, self.beside


class Settings(Body):
    """How the next token is drawn."""

    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_k: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0


class Continue(Settings):
    """A text to be continued."""

    given: Words
    most: Annotated[int, Field(ge=1, le=512)] = 24


class Next(Text, Settings):
    """The place of a word, or behind the text."""

    word: Word | None = None


class Ask(Text):
    """A word in question; if none is named, the one that the model says next, or the last of a translation. check: it
    may take longer than the answer itself."""

    word: Word | None = None
    foil: Annotated[str, Field(max_length=200)] | None = None
    method: Annotated[str, Field(max_length=50)] | None = None
    check: bool = True

    @property
    def text(self) -> tuple[str, str, bool, bool, str]:
        return self.given, self.added, self.tokens, self.ahead or self.word is None, self.beside


class Save(Ask, Settings):
    """What to keep in a file. title: what to call the model there."""

    title: Annotated[str, Field(max_length=1000)] = ""


class WhatIf(Body):
    """A text under a model without some heads, given as [layer, head], some layers, or positions. name: another model
    of the list. asked: the word in question, the last one that is spelled like that, else the last one; None: the one
    that the model says next, or the last of a translation."""

    text: Words
    asked: Annotated[str, Field(max_length=1000)] | None = None
    foil: Annotated[str, Field(max_length=200)] | None = None
    method: Annotated[str, Field(max_length=50)] | None = None
    heads_off: Annotated[list[tuple[Small, Small]], Field(max_length=10_000)] = []
    layers_off: Annotated[list[Small], Field(max_length=1000)] = []
    positions: bool = True
    name: Annotated[str, Field(max_length=1000)] | None = None
    tokens: bool = False
    beside: Words = ""


class Message(Body):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Words


class Conversation(Body):
    """The turns so far."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]

    @property
    def turns(self) -> list[dict[str, str]]:
        """As `limelight.Model.chat` takes them."""
        return [{"role": message.role, "content": message.content} for message in self.messages]


class Reply(Conversation, Settings):
    """A conversation that the model is to answer."""

    most: Annotated[int, Field(ge=1, le=4096)] = 160


class CameFrom(Conversation):
    """A part of the last turn's answer: its number among the words or sentences, or the whole answer."""

    of: Literal["word", "sentence", "message"] = "message"
    part: Word | None = None


class Layer(Text):
    """One layer's attention. head: of one head alone."""

    layer: Small
    head: Small | None = None


class Toward(Text):
    """Words that heads may look back at."""

    toward: Annotated[list[Word], Field(max_length=100)] = []


class Guesses(Body):
    """A text that goes on, its words with or without their positions."""

    text: Words
    positions: bool = True


class Place(Text):
    """A word."""

    word: Word


class Follow(Place):
    """A word that is followed through one head, and the token it is looked at beside."""

    layer: Small
    head: Small
    other: Word | None = None


class Inside(Place):
    """What parts of the network do for a word rather than a foil, see `limelight.views.inside`. changed: the place of
    a word that is replaced where two texts are compared; instead: the other text itself."""

    kind: Literal["adds", "needs", "carries", "brings"]
    foil: Annotated[str, Field(max_length=200)] | None = None
    changed: Word | None = None
    instead: Words | None = None


class Steer(Place):
    """What comes at a word when a vector is added, so many times; None: the first vector there is."""

    vector: Annotated[str, Field(max_length=1000)] | None = None
    strength: Annotated[float, Field(ge=-10, le=10)] = 1.0


class Pair(Text):
    """A word that looks, and one that may be looked at."""

    source: Word
    target: Word
