"""What families of experts share: how a Llama-shaped model gets them, and what they are called."""

from collections.abc import Callable
from dataclasses import replace

from limelight.models import config as c
from limelight.models.mapping import WeightMapping

FEEDFORWARD = {"gate_proj": "gate", "up_proj": "up", "down_proj": "down"}


def sparse(config: c.ModelConfig, experts: c.Experts, chosen: Callable[[int], bool] = lambda i: True) -> c.ModelConfig:
    """The same model, with experts in the place of the feed-forward of the layers that are `chosen` by number."""
    return config.with_blocks(lambda i, block: replace(block, feedforward=experts) if chosen(i) else block)


def experts_of(config: c.ModelConfig) -> c.Experts:
    """The experts of the first layer that has any; what stands for them where none has."""
    found = (block.feedforward for block in config.transformer.blocks)
    return next((part for part in found if isinstance(part, c.Experts)), NONE)


NONE = c.Experts(c.GatedFeedForward(1, "silu"), 1, c.Router(1))


def dense_of(config: c.ModelConfig) -> c.FeedForward | c.GatedFeedForward | None:
    """The feed-forward of the first layer that has no experts."""
    found = (block.feedforward for block in config.transformer.blocks)
    return next((part for part in found if isinstance(part, c.FeedForward | c.GatedFeedForward)), None)


def mappings(place: str = "mlp", names: dict[str, str] = FEEDFORWARD) -> tuple[WeightMapping, ...]:
    """The names of experts in checkpoints, one tensor for each layer of each."""
    theirs, ours = f"model.layers.{{i}}.{place}.", "decoder.blocks.{i}.feedforward."
    return (
        WeightMapping(f"{theirs}gate.weight", f"{ours}router.weight"),
        *(
            WeightMapping(f"{theirs}experts.{{e}}.{name}.weight", f"{ours}experts.{{e}}.{part}.weight")
            for name, part in names.items()
        ),
    )


def shared_mappings(name: str) -> tuple[WeightMapping, ...]:
    """The names of a shared expert."""
    theirs, ours = f"model.layers.{{i}}.mlp.{name}", "decoder.blocks.{i}.feedforward.shared"
    return tuple(WeightMapping(f"{theirs}.{old}.weight", f"{ours}.{new}.weight") for old, new in FEEDFORWARD.items())
