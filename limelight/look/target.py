"""What is asked of the model: a word, and the words it is held against."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limelight.errors import RequestError

RIVALS = 10


@dataclass(frozen=True)
class Question:
    """Tokens of a word in place, and at each of them the tokens it is held against.

    at: positions [n] whose next token is asked for. tokens: [n] the word's tokens. rivals: for each, token ids.
    """

    at: tuple[int, ...]
    tokens: tuple[int, ...]
    rivals: tuple[tuple[int, ...], ...]

    def odds(self, logits: Tensor) -> Tensor:
        """Log-odds of the word against its rivals, summed over its tokens: [B] from logits [B, n, V] at `at`."""
        total = torch.zeros(len(logits))
        for i, (token, rivals) in enumerate(zip(self.tokens, self.rivals, strict=True)):
            total = total + (logits[:, i, token] - logits[:, i, list(rivals)].logsumexp(-1)).cpu()
        return total

    def logprob(self, logits: Tensor) -> Tensor:
        """Natural logarithm of the word's probability, summed over its tokens: [B] from logits [B, n, V]."""
        scores = logits.log_softmax(-1)
        return scores[:, range(len(self.tokens)), list(self.tokens)].sum(-1).cpu()


def likeliest_rivals(logits: Tensor, first: int, tokens: Sequence[int]) -> Question:
    """The word `tokens` at position `first`, each of its tokens against the ten likeliest others there.

    logits: [n, V], the model's own at the positions before each token.
    """
    rivals = []
    for scores, token in zip(logits, tokens, strict=True):
        best = scores.topk(RIVALS + 1).indices.tolist()
        rivals.append(tuple(id for id in best if id != token)[:RIVALS])
    return Question(tuple(range(first - 1, first - 1 + len(tokens))), tuple(tokens), tuple(rivals))


def one_rival(first: int, tokens: Sequence[int], other: Sequence[int], spelled: str) -> Question:
    """The word `tokens` at position `first` against another word, at the first token where the two differ.

    Raises RequestError if one is the beginning of the other, so that no token tells them apart.
    """
    for i, (token, rival) in enumerate(zip(tokens, other, strict=False)):
        if token != rival:
            return Question((first - 1 + i,), (token,), ((rival,),))
    raise RequestError(
        f"{spelled!r} and the word in question begin alike, so no token tells them apart; name another word"
    )
