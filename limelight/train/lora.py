"""LoRA (Hu et al., 2021): a frozen layer with a small product of two matrices beside it that learns."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from limelight.errors import FileError, RequestError, suggestion
from limelight.models.api import Network
from limelight.models.build import build
from limelight.models.mapping import Permute
from limelight.models.registry import family

ATTENTION = ("q", "k", "v", "out")


@final
class LoraLinear(nn.Module):
    """``base(x) + up(down(x)) · scale``; only `down` [R, in] and `up` [out, R] learn, and `up` begins at zero.

    shrink: by which share `scale` is smaller whenever it does not learn. So the finished weights lie between those that
    were learned and the first ones, and less is forgotten (WiSE-FT, Wortsman et al., 2022).
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float, shrink: float = 0.0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = scale
        self.used = scale * (1 - shrink)

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] → [.., out]."""
        added = nn.functional.linear(nn.functional.linear(x, self.down), self.up)
        out: Tensor = self.base(x) + added * (self.scale if self.training else self.used)
        return out

    def merged(self) -> nn.Linear:
        """One plain layer that does the same as this one where it does not learn."""
        layer = nn.Linear(1, 1, bias=False, device="meta")
        layer.in_features, layer.out_features = self.base.in_features, self.base.out_features
        with torch.no_grad():
            weight = self.base.weight + (self.up @ self.down) * self.used
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layer.bias = self.base.bias
        return layer


def tune(network: Network, rank: int, shrink: float = 0.0) -> None:
    """Readies an opened checkpoint for training: LoRA of `rank` beside its attention, or with rank 0 all its weights.
    shrink: see `LoraLinear`.

    Raises RequestError for weights in low bits or half precision, which cannot take small steps.
    """
    if rank:
        add_lora(network, rank, shrink=shrink)
        return
    plain = build(network.config, "meta").state_dict().keys() == network.state_dict().keys()  # not so for low bits
    if not plain or any(p.dtype != torch.float32 for p in network.parameters()):
        raise RequestError('to train all weights of a model open it with dtype="float32", or train it by LoRA')
    network.requires_grad_(True)


def add_lora(
    network: nn.Module, rank: int, *, alpha: float = 0.0, shrink: float = 0.0, layers: Sequence[str] = ATTENTION
) -> None:
    """Freezes the network and puts a LoraLinear of `rank` in place of each nn.Linear named one of `layers`.

    alpha: what the product is scaled by, times 1 / rank (0: 2 × rank). shrink: see `LoraLinear`. Raises RequestError if
    no layer has such a name.
    """
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    chosen = [name for name in names if name.rpartition(".")[2] in layers]
    if not chosen:
        leaves = sorted({name.rpartition(".")[2] for name in names})
        raise RequestError(
            f"no layer to adapt is called {' or '.join(layers)}{suggestion(layers[0], leaves)}"
            f" (full-precision layers: {', '.join(leaves) or 'none'})"
        )
    network.requires_grad_(False)
    for name in chosen:
        base = network.get_submodule(name)
        assert isinstance(base, nn.Linear)
        network.set_submodule(name, LoraLinear(base, rank, (alpha or 2 * rank) / rank, shrink))


def merge(network: nn.Module) -> dict[str, LoraLinear]:
    """Puts one plain layer in place of each adapted one, and returns what `unmerge` takes back."""
    adapted = {name: module for name, module in network.named_modules() if isinstance(module, LoraLinear)}
    for name, module in adapted.items():
        network.set_submodule(name, module.merged())
    return adapted


def unmerge(network: nn.Module, adapted: dict[str, LoraLinear]) -> None:
    """Puts the adapted layers back: the very same tensors, so that nothing was rounded."""
    for name, module in adapted.items():
        network.set_submodule(name, module)


@contextmanager
def merged(network: nn.Module) -> Iterator[None]:
    """For a while the network has plain layers only, as a checkpoint needs them."""
    adapted = merge(network)
    try:
        yield
    finally:
        unmerge(network, adapted)


def save_peft(network: Network, base: str, folder: Path) -> None:
    """Writes the adapters as peft opens them beside the model they learned on, if there are any that it can open.

    base: the model's name. A family that keeps queries, keys and values in one matrix has none. Raises FileError.
    """
    adapted = {f"{name}.weight": each for name, each in network.named_modules() if isinstance(each, LoraLinear)}
    tensors: dict[str, Tensor] = {}
    places = []
    for move in family(network.config.family).table(network.config).saves(adapted) if adapted else ():
        if len(move.theirs) != 1 or not all(isinstance(each, Permute) for each in move.mapping.operations):
            return
        layer, place = adapted[move.ours[0]], move.theirs[0].removesuffix(".weight")
        (up,) = move.mapping.save([layer.up.detach()])  # whose rows are those of the matrix
        tensors[f"base_model.model.{place}.lora_A.weight"] = layer.down.detach().contiguous().cpu()
        tensors[f"base_model.model.{place}.lora_B.weight"] = up.contiguous().cpu()
        places.append(place)
    if not places:
        return
    rank = len(layer.down)
    said = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "bias": "none"}
    sizes = {"r": rank, "lora_alpha": layer.used * rank, "lora_dropout": 0.0, "target_modules": sorted(places)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps(said | sizes, indent=2) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise FileError(f"{folder}: cannot be written ({error})") from None
