"""captum's methods on the network that ours run on, as its documentation shows them for language models.

inseq is not measured beside them: its methods are these of captum's, called on a model of transformers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from limelight.look.inquiry import Inquiry
from limelight.look.session import stacked

Ranker = Callable[[Inquiry], Sequence[float | None]]
"""A value for each span of an inquiry, None for one that was not measured."""

PREFIX = "captum "
"""What the names of these methods begin with."""


def captum() -> dict[str, Ranker]:
    """Its methods for a transformer that continues texts. What is explained is the question's value; the baseline is
    the token in front of the text. Raises ImportError where captum is not installed."""
    from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, Saliency

    def ablation(inquiry: Inquiry) -> list[float]:
        network, question = inquiry.session.network, inquiry.question
        tokens = torch.tensor([inquiry.session.tokens[: question.at[-1] + 1]], device=network.device)

        def forward(tokens: torch.Tensor) -> torch.Tensor:
            return question.value(network.logits(network.read(tokens)[:, list(question.at)]))

        with torch.inference_mode():
            found = FeatureAblation(forward).attribute(tokens, baselines=int(tokens[0, 0]))
        return inquiry.by_span(found[0].float())

    def gradients(kind: Callable[..., Any], reduce: Callable[[torch.Tensor], torch.Tensor], baseline: bool) -> Ranker:
        def rank(inquiry: Inquiry) -> list[float]:
            session, question = stacked(inquiry.session), inquiry.question
            embedded = session.embedded(question)[None]
            more: dict[str, Any] = {}
            if baseline:
                more = {"baselines": embedded[:, :1].expand_as(embedded), "internal_batch_size": 8}
            explained = kind(lambda points: session.value_from(question, points))
            found = explained.attribute(embedded.requires_grad_(), **more)
            return inquiry.by_span(reduce(found[0].detach()))

        return rank

    def length(values: torch.Tensor) -> torch.Tensor:
        norms: torch.Tensor = values.norm(dim=-1)
        return norms

    def summed(values: torch.Tensor) -> torch.Tensor:
        return values.sum(-1)

    return {
        f"{PREFIX}feature ablation": ablation,
        f"{PREFIX}saliency": gradients(Saliency, length, baseline=False),
        f"{PREFIX}input × gradient": gradients(InputXGradient, summed, baseline=False),
        f"{PREFIX}integrated gradients": gradients(IntegratedGradients, summed, baseline=True),
    }
