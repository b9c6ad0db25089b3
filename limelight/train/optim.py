"""The optimisers and the moving average of weights."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from limelight.nn.unit import RecurrentUnit
from limelight.train.parallel import like, whole

MOMENTUM = 0.95  # of Muon
ROUNDS = (3.4445, -4.775, 2.0315)  # of Newton–Schulz: x ← a x + b x³ + c x⁵ on the singular values


def optimizers(
    network: nn.Module, name: str, betas: tuple[float, float], eps: float, decay: float, product: torch.dtype
) -> list[torch.optim.Optimizer]:
    """What updates the weights that learn: AdamW (Loshchilov and Hutter, 2019), for "muon" with `Muon` beside it.

    Muon takes the matrices between embeddings and head, those of a recurrent cell gate by gate. Only matrices decay:
    not biases, norms, rates of recurrent units or embeddings (tied ones are embeddings). product: the type that Muon
    computes in.
    """
    owners = [module for module in network.modules() if isinstance(module, nn.Embedding | RecurrentUnit)]
    spared = {id(p) for module in owners for p in module.parameters(recurse=False)}
    learning = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in learning if p.dim() > 1 and id(p) not in spared]
    hidden = defaultdict[int, list[nn.Parameter]](list)  # by how many matrices stand below each other in one
    if name == "muon":
        answering = {m for name, m in network.named_modules() if name.startswith("head.")}
        stacked = {id(m.weight): 1 for m in network.modules() if isinstance(m, nn.Linear) and m not in answering}
        for cells in (m for m in network.modules() if isinstance(m, nn.RNNBase)):
            stacked |= {id(p): len(p) // cells.hidden_size for p in cells.parameters()}
        for p in matrices:
            if id(p) in stacked:
                hidden[stacked[id(p)]].append(p)
        matrices = [p for p in matrices if id(p) not in stacked]
    others = [p for p in learning if p.dim() <= 1 or id(p) in spared]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    made: list[torch.optim.Optimizer] = []
    if groups:
        made.append(torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=eps, fused=True))
    if hidden:
        made.append(Muon([{"params": those, "stacked": n} for n, those in hidden.items()], decay, product))
    return made


class Muon(torch.optim.Optimizer):
    """Momentum whose singular values are all made about one, so that no direction of a matrix learns slowly.

    Jordan et al. (2024), "Muon: an optimizer for hidden layers", with the scale of Liu et al. (2025),
    "Muon is scalable for LLM training": an update is as large as AdamW's usually are, so that both take the same rate.
    As torch.optim.Muon, but for all matrices of a shape at once, and for shares of matrices (FSDP), which are put
    together to be updated.
    """

    def __init__(self, matrices: ParamsT, decay: float, product: torch.dtype) -> None:
        """matrices: what learns; the `stacked` of a group is how many matrices stand below each other in one of it."""
        super().__init__(matrices, {"lr": 0.0, "weight_decay": decay, "stacked": 1})
        self.product = product

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Moves every matrix that has a gradient."""
        for group in self.param_groups:
            lr, shapes = group["lr"], defaultdict[torch.Size, list[nn.Parameter]](list)
            for p in group["params"]:
                if p.grad is not None:
                    shapes[p.shape].append(p)
            for (rows, columns), matrices in shapes.items():
                rows //= group["stacked"]
                updates = torch.stack([self._update(p) for p in matrices]).view(-1, rows, columns)
                scale = 0.2 * max(rows, columns) ** 0.5  # orthogonal ones times this have elements of size 0.2
                moves = orthogonal(updates.to(self.product)).reshape(len(matrices), -1, columns)
                for p, update in zip(matrices, moves, strict=True):
                    p.mul_(1 - lr * group["weight_decay"]).sub_(like(update, p), alpha=lr * scale)

    def _update(self, p: nn.Parameter) -> Tensor:
        """The momentum of a whole matrix, as it will be one step on (Nesterov)."""
        assert p.grad is not None
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p.grad)
        momentum: Tensor = state["momentum"].lerp_(p.grad, 1 - MOMENTUM)
        return whole(p.grad.lerp(momentum, MOMENTUM))


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices [N, R, C] with the same singular vectors and singular values between about 0.7 and 1.2, where they are
    not far below the largest: five rounds of Newton–Schulz."""
    a, b, c = ROUNDS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x


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
