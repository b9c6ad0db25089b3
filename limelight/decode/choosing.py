"""How requests that run together choose their next tokens: one pass for all that choose alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from limelight.decode.constraint import allowed
from limelight.decode.processors import History
from limelight.decode.sampling import likeliest
from limelight.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from limelight.decode.request import Request


def choose(requests: Sequence[Request], logits: Tensor) -> list[int | Exception]:
    """The next token of each request, from the logits [B, V] behind its last one, or what went wrong with it.

    A request chooses what it would alone, to the bit.
    """
    chosen: dict[int, int | Exception] = {}
    alike: dict[tuple[object, ...], list[int]] = {}
    own = logits
    for row, request in enumerate(requests):
        if request.rules.last is not None and request.left == 1:
            chosen[row] = request.rules.last
            continue
        if request.constraint is not None:
            try:
                mask = allowed(request.constraint, logits.shape[1])
            except Exception as error:
                chosen[row] = error
                continue
            if mask is not None:
                own = logits.clone() if own is logits else own
                own[row].masked_fill_(~mask.to(own.device), -torch.inf)
        alike.setdefault(request.manner, []).append(row)
    for rows in alike.values():
        together = own if len(rows) == len(own) else own[rows]
        chosen |= zip(rows, _choose([requests[row] for row in rows], together), strict=True)
    return [chosen[row] for row in range(len(requests))]


def _choose(requests: Sequence[Request], logits: Tensor) -> list[int | Exception]:
    """For requests that choose in the same manner."""
    history = History([request.text for request in requests])
    sampling = requests[0].sampling
    try:
        scores = logits
        for processor in requests[0].rules.processors:
            scores = processor(scores, history)
        if sampling.greedy:
            ids = likeliest(scores)
            best = scores.gather(1, torch.tensor(ids, device=scores.device)[:, None])[:, 0].tolist()
        else:
            best = scores.amax(-1).tolist()
            ids = sampling.choose(scores, history, [request.generator for request in requests]).tolist()
    except Exception as error:
        if len(requests) == 1:
            return [error]
        return [_choose([request], logits[row : row + 1])[0] for row, request in enumerate(requests)]
    return [id if math.isfinite(score) else _nothing(score) for id, score in zip(ids, best, strict=True)]


def _nothing(best: float) -> RequestError:
    if best == -math.inf:
        return RequestError("nothing may come next: every token that the model could say is forbidden here")
    return RequestError("the model's logits are not numbers: its number type overflows; open it as float32 or bfloat16")
