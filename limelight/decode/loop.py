"""The generation loop: prompts in, tokens out, one step of the whole batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from limelight.decode.rules import History
from limelight.decode.sampling import Sampling
from limelight.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from torch import Tensor

    from limelight.models.api import Decoder
    from limelight.nn.state import State

CHUNK = 512
"""The most tokens of a prompt that a row reads in one step, so that memory doesn't grow with the prompt."""

Finish: TypeAlias = Literal["stop", "length", "context"]
"""Why a row ended: a stop token, `max_tokens` reached, or the model's context full."""


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token.

    row: which prompt it continues. id: the token. finish: why the row ends with it, or None if it goes on; with "stop"
    the token is the stop token itself. logprob, best: the natural logarithm of its probability and the likeliest
    (id, logprob), best first, both by the model's own distribution, before any rule; only if asked for.
    """

    row: int
    id: int
    finish: Finish | None = None
    logprob: float | None = None
    best: tuple[tuple[int, float], ...] = ()


Step: TypeAlias = tuple[Token, ...]
"""What one step of the model gives: the next token of each row that is still running, in the order of the prompts."""


@dataclass(frozen=True, slots=True)
class Generated:
    """All that was generated for one prompt; the last token says why it ended."""

    tokens: tuple[Token, ...]

    @property
    def finish(self) -> Finish | None:
        """Why it ended; None if the steps were cut short."""
        return self.tokens[-1].finish if self.tokens else None

    @property
    def ids(self) -> list[int]:
        """The tokens to show: all but a stop token."""
        return [token.id for token in self.tokens if token.finish != "stop"]


def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
    stop: frozenset[int] = frozenset(),
    logprobs: int | None = None,
) -> Generator[Step, None, None]:
    """Continues every prompt by up to `max_tokens` tokens, yielding each step as soon as it is known.

    Prompts of any lengths share a batch and give what each would give alone; a row leaves the batch when it ends.
    Nothing is computed before the first step is asked for, and the iteration may be left at any time.

    prompts: token ids. stop: token ids that end a row. logprobs: None, or how many of the likeliest tokens to report
    beside the chosen token's own log-probability (0 for that one alone).

    Raises RequestError, at once, for a prompt that is empty, longer than the model's context, or not of its vocabulary,
    and for numbers out of range; and on the first step if the model's logits are not numbers.
    """
    _check(model, prompts, max_tokens, logprobs)
    return _steps(model, prompts, max_tokens=max_tokens, sampling=sampling, stop=stop, logprobs=logprobs)


def collect(steps: Iterable[Step]) -> list[Generated]:
    """Runs `steps` to the end and gathers them by prompt."""
    rows: dict[int, list[Token]] = {}
    for step in steps:
        for token in step:
            rows.setdefault(token.row, []).append(token)
    return [Generated(tuple(rows[row])) for row in sorted(rows)]


@torch.inference_mode()
def _steps(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    sampling: Sampling,
    stop: frozenset[int],
    logprobs: int | None,
) -> Generator[Step, None, None]:
    lengths = [len(prompt) for prompt in prompts]
    given = max(lengths)
    # The last token need not be read again, so a row may go one token past what the model can see.
    limits = [min(max_tokens, model.context - length + 1) for length in lengths]
    tokens = torch.empty(len(prompts), given + max(limits), dtype=torch.int64)  # [B, P + N], see History
    for row, prompt in enumerate(prompts):
        tokens[row, : lengths[row]] = torch.tensor(prompt)
        tokens[row, lengths[row] :] = prompt[-1]
    tokens = tokens.to(model.device)

    rows = list(range(len(prompts)))
    generators = sampling.generators(prompts)
    state = model.start(len(rows), room=min(model.context, given + max_tokens))
    logits = _prefill(model, state, tokens[:, :given], torch.tensor(lengths))  # [B, V]
    for n in count(1):
        chosen = sampling.choose(logits, History(tokens[:, : given + n - 1], given), generators)  # [B]
        tokens[:, given + n - 1] = chosen

        ids = chosen.tolist()
        ends = [_finish(id, n, limits[row], max_tokens, stop) for id, row in zip(ids, rows, strict=True)]
        if logprobs is None:
            yield tuple(map(Token, rows, ids, ends))
        else:
            yield tuple(map(Token, rows, ids, ends, *_logprobs(logits, chosen, logprobs)))

        running = [at for at, end in enumerate(ends) if end is None]
        if not running:
            return
        if len(running) < len(rows):
            keep = torch.tensor(running)
            state = state.select(keep)
            tokens, chosen = tokens[keep], chosen[keep]
            rows = [rows[at] for at in running]
            generators = [generators[at] for at in running]
        logits = model.step(chosen[:, None], state, last=True)[:, 0]


def _prefill(model: Decoder, state: State, prompts: Tensor, lengths: Tensor) -> Tensor:
    """Reads the prompts [B, P] chunk by chunk and returns the logits [B, V] after each row's last token."""
    logits: Tensor | None = None
    for start in range(0, prompts.shape[1], CHUNK):
        chunk = prompts[:, start : start + CHUNK]
        counts = (lengths - start).clamp(0, chunk.shape[1])  # [B]; 0 for a row that has been read already
        full = bool((counts == chunk.shape[1]).all())
        latest = model.step(chunk, state, counts=None if full else counts, last=True)[:, 0]
        if logits is None or full:
            logits = latest
        else:
            logits = torch.where(counts.to(latest.device)[:, None] > 0, latest, logits)
    assert logits is not None
    if bool(logits.isnan().any()):
        raise RequestError(
            "the model's logits are not numbers: its number type overflows; open it as float32 or bfloat16"
        )
    return logits


def _finish(id: int, n: int, limit: int, max_tokens: int, stop: frozenset[int]) -> Finish | None:
    """Why a row ends with `id` as its n-th token, or None."""
    if id in stop:
        return "stop"
    if n == max_tokens:
        return "length"
    return "context" if n == limit else None


def _logprobs(logits: Tensor, chosen: Tensor, n: int) -> tuple[list[float], list[tuple[tuple[int, float], ...]]]:
    """Of each row, the chosen token's log-probability and the n likeliest tokens with theirs."""
    scores = logits.log_softmax(-1)  # [B, V]
    own: list[float] = scores.gather(1, chosen[:, None])[:, 0].tolist()
    values, ids = scores.topk(n)  # [B, n]
    best = [tuple(zip(*pair, strict=True)) for pair in zip(ids.tolist(), values.tolist(), strict=True)]
    return own, best


def _check(model: Decoder, prompts: Sequence[Sequence[int]], max_tokens: int, logprobs: int | None) -> None:
    if not prompts:
        raise RequestError("there is no prompt to continue")
    if max_tokens < 1:
        raise RequestError(f"max_tokens is {max_tokens}; it must be at least 1")
    if logprobs is not None and not 0 <= logprobs <= model.vocab:
        raise RequestError(f"logprobs is {logprobs}; it must be from 0 to {model.vocab:,}, the model's vocabulary")
    for row, prompt in enumerate(prompts, 1):
        name = "the prompt" if len(prompts) == 1 else f"prompt {row}"
        if not prompt:
            raise RequestError(f"{name} is empty; give at least one token to continue")
        if len(prompt) > model.context:
            raise RequestError(
                f"{name} has {len(prompt):,} tokens and the model sees at most {model.context:,}: "
                f"shorten it by {len(prompt) - model.context:,}, or open a model with a longer context"
            )
        if min(prompt) < 0 or max(prompt) >= model.vocab:
            raise RequestError(f"{name} holds a token outside the model's vocabulary of {model.vocab:,}")
