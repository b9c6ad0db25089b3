"""Opened encoders: models that read a text whole and answer by their head, each kind of answer with its verb."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from limelight import given
from limelight.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.checkpoints.sentences import Sentences
    from limelight.look.encoded import SeenEncoded
    from limelight.models.api import Encoder
    from limelight.models.config import ModelConfig
    from limelight.text.tokenizer import Tokenizer

BATCH = 1024
"""The most tokens, padding counted, that are read together: what lies between two layers stays in the cache."""


@dataclass(frozen=True, repr=False)
class EncoderModel:
    """An opened encoder. network reads tokens, tokenizer makes them of text; name is what was asked for, path what was
    read. Kinds whose answer has a verb are subclasses."""

    network: Encoder
    tokenizer: Tokenizer
    name: str
    path: Path

    @property
    def config(self) -> ModelConfig:
        """What the network is made of."""
        return self.network.config

    kind: ClassVar[str] = "reads texts"
    """What it does, in words."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({given.shown(self.name)}, {self.kind})"

    def look(self, text: str) -> SeenEncoded:
        """Looks at `text`: which words made the model give its answer, and where heads look.

        What is looked at is a twin over the same weights, whose low-bit layers multiply without rounding their inputs.
        """
        from limelight.look.encoded import SeenEncoded

        return SeenEncoded(self.opened, self.tokenizer, text, self.name)

    @property
    def opened(self) -> Encoder:
        """A twin of the network to look at, see `limelight.Model.opened`."""
        from limelight.look.record import numeric, twin
        from limelight.quant.linear import exactly

        return numeric(exactly(twin(self.network)))

    def answers(self, texts: Sequence[str]) -> list[Tensor]:
        """What the head answers for each text, in float32 on the CPU: [n] for a whole text, [T, n] for its T tokens,
        the model's own marks around it counted. Raises RequestError for a text that is longer than the model reads."""
        return self._answers([self.encode(text) for text in self._texts(texts)])

    def encode(self, text: str) -> list[int]:
        """The ids of the tokens that are read of a text, the model's own marks around it among them."""
        tokenizer = self.tokenizer
        return [*tokenizer.prefix, *tokenizer.encode(text).ids, *tokenizer.suffix]

    def encode_pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """The ids of two texts that are read as one, the model's marks around and between them, and their types."""
        return self._joined(self.tokenizer.encode(first).ids, self.tokenizer.encode(second).ids)

    def _joined(self, first: Sequence[int], second: Sequence[int]) -> tuple[list[int], list[int]]:
        tokenizer = self.tokenizer
        ahead = [*tokenizer.prefix, *first, *tokenizer.between]
        behind = [*second, *tokenizer.suffix]
        return [*ahead, *behind], [0] * len(ahead) + [tokenizer.second] * len(behind)

    def _texts(self, texts: Sequence[str]) -> list[str]:
        return [given.text("text", text) for _, text in given.many("texts", texts, "strings")]

    def _answers(self, texts: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> list[Tensor]:
        """What the head answers for texts given as tokens. types: of the tokens (None: all 0)."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        longest = self.network.context
        for number, ids in enumerate(texts, 1):
            if not ids:
                raise RequestError(f"text {number} is empty; give at least one word")
            if len(ids) > longest:
                raise RequestError(
                    f"text {number} has {len(ids):,} tokens and the model reads at most {longest:,}: shorten it"
                )
        found: dict[int, Tensor] = {}
        with torch.inference_mode():
            for rows in _batches([len(ids) for ids in texts]):
                lengths = torch.tensor([len(texts[row]) for row in rows])
                tokens = pad_sequence([torch.tensor(texts[row]) for row in rows], batch_first=True)
                kinds = None
                if types is not None:
                    kinds = pad_sequence([torch.tensor(types[row]) for row in rows], batch_first=True)
                    kinds = kinds.to(self.network.device)
                answers = self.network(tokens.to(self.network.device), lengths, types=kinds).cpu()
                for row, answer in zip(rows, answers, strict=True):
                    found[row] = answer[: len(texts[row])] if answer.dim() > 1 else answer
        return [found[row] for row in range(len(texts))]


@dataclass(frozen=True, repr=False)
class Embedder(EncoderModel):
    """An opened model that makes one vector of a text. sentences: what a folder of sentence-transformers says of its
    texts, if it comes from one."""

    sentences: Sentences | None = None

    kind = "embeds texts"

    @property
    def prompts(self) -> dict[str, str]:
        """What can be put in front of a text for a use of its vector, by name."""
        return {} if self.sentences is None else dict(self.sentences.prompts)

    def embed(self, texts: Sequence[str], prompt: str | None = None) -> Tensor:
        """Vectors [N, W] in float32, pooled and normalised as the model declares; texts of any lengths are read
        together and give what each would give alone.

        prompt: the name of one of `prompts`; without it the model's own choice, mostly none. Of a text longer than a
        folder of sentence-transformers declares the end is left out, with a warning. Raises RequestError for no texts,
        a text that is too long for a model from elsewhere, or a prompt that there is not.
        """
        return self.embed_tokens(self._cut([self.encode(self._front(prompt) + text) for text in self._texts(texts)]))

    def embed_tokens(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Vectors [N, W] of texts that are given as their tokens, by `encode`. Raises RequestError for no texts, and
        for one that is empty, too long or of other tokens than the model's."""
        import torch

        vocab = self.network.vocab
        vectors = self._answers(
            [given.ids(f"text {n}", ids, vocab) for n, ids in given.many("texts", texts, "lists of token ids")]
        )
        if not vectors:
            raise RequestError("there is no text to embed; give at least one")
        return torch.stack(vectors)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """How near the two texts of each pair are: the cosine of their vectors."""
        import torch

        if not (pairs := given.pairs("pairs", pairs)):
            return []
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        found: list[float] = torch.cosine_similarity(self.embed(first), self.embed(second)).tolist()
        return found

    def rerank(self, query: str, texts: Sequence[str]) -> list[tuple[int, float]]:
        """The places of the texts and the cosines of their vectors and the query's, best first. The model's prompt of
        the name "query", if it has one, is put in front of that."""
        import torch

        prompt = "query" if "query" in self.prompts else None
        asked = self.embed([given.text("query", query)], prompt)
        scores = torch.cosine_similarity(asked, self.embed(texts)).tolist()
        return sorted(enumerate(scores), key=lambda pair: -pair[1])

    @property
    def longest(self) -> int:
        """The most tokens of a text that are read, by what its folder says."""
        context = self.network.context
        return context if self.sentences is None else min(self.sentences.longest or context, context)

    def _front(self, prompt: str | None) -> str:
        if prompt is None and self.sentences is not None:
            prompt = self.sentences.default
        if prompt is None:
            return ""
        name = given.text("prompt", prompt)
        if not self.prompts:
            raise RequestError(f"{self.name} has no prompts; leave out {given.shown(name)}")
        return self.prompts[given.one_of("prompt", name, tuple(self.prompts))]

    def _cut(self, texts: Sequence[list[int]]) -> list[list[int]]:
        """The texts, each no longer than the model's folder says that it is read."""
        if self.sentences is None:
            return list(texts)
        longest = self.longest
        if long := [number for number, ids in enumerate(texts, 1) if len(ids) > longest]:
            which = f"text {long[0]} is" if not long[1:] else f"text {long[0]} and {len(long) - 1} others are"
            warnings.warn(f"{which} longer than {longest:,} tokens; what is beyond them is not read", stacklevel=3)
        end = self.tokenizer.suffix
        return [ids if len(ids) <= longest else [*ids[: longest - len(end)], *end] for ids in texts]


@dataclass(frozen=True, repr=False)
class MaskedModel(EncoderModel):
    """An opened model that fills gaps."""

    kind = "fills gaps"

    def fill(self, text: str, n: int = 5) -> list[list[tuple[str, float]]]:
        """For each mask in `text` the n likeliest tokens, as text, and their probabilities.

        Raises RequestError if the text has no mask, spells out another mark of the model, or is too long.
        """
        given.whole("n", n, 1)
        tokenizer = self.tokenizer
        ids = [*tokenizer.prefix, *tokenizer.encode_masked(text), *tokenizer.suffix]
        places = [place for place, id in enumerate(ids) if id == tokenizer.mask]
        (logits,) = self._answers([ids])
        likeliest = logits[places].softmax(-1).topk(min(n, self.network.vocab))
        return [
            [(tokenizer.spell(id).strip(), value) for id, value in zip(ids, values, strict=True)]
            for ids, values in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        ]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The places of all texts, shortest first, in batches of at most `BATCH` tokens, padding counted."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[row] * (len(batch) + 1) > BATCH:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
