"""The optimiser and the moving average of weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from limelight.train.parallel import like


def adamw(network: nn.Module, betas: tuple[float, float], eps: float, decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) over all weights that learn, in one fused pass.

    Only matrices decay: not biases, norms or embeddings (tied ones are embeddings).
    """
    spared = {id(p) for module in network.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    learning = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in learning if p.dim() > 1 and id(p) not in spared]
    others = [p for p in learning if p.dim() <= 1 or id(p) in spared]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=eps, fused=True)


class Average:
    """The exponential moving average of a network's weights.

    The first steps weigh less, so that the weights that a run began with are soon forgotten: step n moves the average
    by at least 1 / (n + 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves the average towards the weights after `step` steps."""
        now = [p.detach() for p in network.parameters() if p.requires_grad]
        torch._foreach_lerp_(list(self.weights.values()), now, max(1 - self.decay, 1 / (step + 1)))

    @contextmanager
    def inside(self, network: nn.Module) -> Iterator[None]:
        """Puts the average into the network for a while; afterwards the weights are, bit for bit, what they were."""
        own = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}
        put(network, self.weights)
        try:
            yield
        finally:
            put(network, own)


@torch.no_grad()
def put(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights, whole or cut like the network's own, into the network's tensors."""
    for name, p in network.named_parameters():
        if name in weights:
            p.copy_(like(weights[name], p))
