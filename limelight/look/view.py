"""What is the same for every text that is looked at: its words, and where heads look."""

from typing import Generic, TypeVar

import torch
from torch import Tensor

from limelight import given
from limelight.errors import RequestError
from limelight.look import links
from limelight.look.links import Link
from limelight.look.record import block_of
from limelight.look.session import Session, stacked
from limelight.look.text import Reading, known
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word, find

S = TypeVar("S", bound=Session)


class View(Generic[S]):
    """One text under one network. session: the text under the network. reading: its words and tokens. title: what the
    model is called. Raises RequestError for a text that is longer than the model reads, or has a token it lacks."""

    def __init__(self, session: S, tokenizer: Tokenizer, reading: Reading, title: str) -> None:
        self.title = given.text("title", title)
        self.session = session
        self.reading = reading
        self._tokenizer = tokenizer
        network = session.network
        if (length := len(reading.tokens)) > network.context:
            raise RequestError(
                f"the text has {length:,} tokens and the model sees at most {network.context:,}; shorten it"
            )
        known(reading.tokens, tokenizer, network.vocab)

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
        """The tokens that the model reads, as text, the sink token first; the axes of `attention` with
        ``tokens=True``."""
        return tuple(self._tokenizer.token(id) for id in self.reading.tokens)

    def place(self, word: str | int | None = None) -> int:
        """The place in `words` of one given by its text, or by its number from 1; the last one if None.

        Raises RequestError if there is no such word.
        """
        if word is None:
            return len(self.words) - 1
        return find(self.words, word)

    def attention(self, layer: int, head: int, *, tokens: bool = False) -> Tensor:
        """How much each word attends to each: [N, N] over `words`, a row for each word that asks.

        A word's row is the mean over its tokens, and what goes to a word is the sum over its tokens; a row sums to one
        with what is parked. With ``tokens=True`` [T, T] over `tokens`, as the model computed it. Raises RequestError
        for a layer or head that does not exist, both counted from 0, and for a recurrent model.
        """
        session = stacked(self.session)
        block_of(session.network, layer, given.whole("head", head))
        given.flag("tokens", tokens)
        (heads,) = links.attention(session, [layer], Tensor.cpu)
        return heads[head] if tokens else links.by_word(heads[head], self.reading)

    def every_attention(self) -> Tensor:
        """All heads of all layers over `tokens`, from one reading: [L, H, T, T] in float32.

        They take 4 · L · H · T² bytes. Raises RequestError for a recurrent model.
        """
        session = stacked(self.session)
        return torch.stack(links.attention(session, range(len(session.stack.blocks)), Tensor.cpu))

    def links(self, word: str | int | None = None, n: int = 10) -> list[Link]:
        """The n strongest links of single heads from a word to words before it, or in an encoder to all others.

        Raises RequestError if there is no such word, and for a recurrent model.
        """
        session = stacked(self.session)
        given.whole("n", n, 1)
        source = self.place(word)
        others = range(source if session.causal else len(self.words))
        return links.strongest(session, self.reading, [source], others, n)
