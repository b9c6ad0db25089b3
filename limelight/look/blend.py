"""The default method: what the upper layers heard from each word, and what the answer is made of.

ALTI-Logit holds every layer's attention against the logit (see `limelight.look.decompose`). The lower half of the
layers gathers what words there are more than it decides, so only the upper half is counted. To it is added, with a
small weight, how much of the asking position is made of each word, whatever that does to the logit (ALTI, Ferrando et
al., 2022). A foil is held against the word beside its ten likeliest alternatives, not in their stead: what rules the
foil out may be what all others lack. All this is read off one pass.
"""

import torch
from torch import Tensor

from limelight.look.decompose import Trace, explained
from limelight.look.inquiry import Inquiry
from limelight.look.question import GivenWord
from limelight.look.session import Progress

MADE = 0.2
"""The most that a word can reach by being what the answer is made of, where 1 is the most by its share in the logit."""


def alti_blend(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The upper layers' share in the log-odds and the share in the asking position, from one reading of the text."""
    question = inquiry.odds
    trace = Trace(inquiry.session.network, inquiry.session.tokens[: question.at[-1] + 1], question.at)
    return blended(trace, inquiry)


def blended(trace: Trace, inquiry: Inquiry) -> list[float]:
    """`alti_blend` read off the trace of a text, whose asking positions are the question's.

    Both parts are held against their largest; that of the log-odds against the likeliest alternatives is the unit.
    """
    network, question = inquiry.session.network, inquiry.odds
    upper = len(network.decoder.blocks) // 2
    contrasts = [question]
    if len(question.alternatives[0]) == 1:  # a foil
        with torch.inference_mode():
            logits = network.logits(trace.hidden.to(network.dtype))
        contrasts.append(GivenWord.likeliest(question.at[:1], question.answer[:1], logits))

    def by_word(parts: list[Tensor]) -> Tensor:
        tokens = torch.stack(parts).sum(0)  # [T]
        return torch.stack([tokens[span.start : span.stop].sum() for span in inquiry.spans])

    places = range(len(question.at))
    given = [
        by_word([trace.shares(*explained(network, held, i, trace.hidden[i]), i, upper).tokens for i in places])
        for held in contrasts
    ]
    made = by_word([trace.rollout(i) for i in places])
    summed = torch.stack([*map(_to_one, given), MADE * _to_one(made)]).sum(0)
    values: list[float] = (summed * given[-1].abs().max()).tolist()
    return values


def _to_one(values: Tensor) -> Tensor:
    """Values divided by their largest size; zeros stay zeros."""
    return values / values.abs().max().clamp(min=torch.finfo(values.dtype).tiny)
