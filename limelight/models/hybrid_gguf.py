"""How llama.cpp has Qwen3-Next and Qwen3.5."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from limelight.models import config as c
from limelight.models import hybrid
from limelight.models.family import Gguf
from limelight.models.mapping import NegativeExp, Operation, Shaped, WeightMapping

SSM = {
    "conv_kernel": "linear_conv_kernel_dim",
    "state_size": "linear_key_head_dim",
    "group_count": "linear_num_key_heads",
    "time_step_rank": "linear_num_value_heads",
    "inner_size": "inner",
}
"""Keys of GGUF files behind "ssm." ↔ those of configs, but for the width of all values together."""


def gguf(architecture: str, own: Callable[[c.ModelConfig], Sequence[WeightMapping]], **more: Any) -> Gguf:
    """How llama.cpp has a hybrid. more: what it says otherwise."""
    keys = {f"ssm.{name}": ours for name, ours in SSM.items()}
    others = {"full_attention_interval": "full_attention_interval", "rope.dimension_count": "turned"}
    return Gguf(
        architecture,
        whole={**keys, **others, **more.pop("whole", {})},
        complete=_from_gguf,
        names={"feedforward_norm": "post_attention_norm"},
        without=("attention_after", "feedforward_after"),
        shifted=True,
        needed=("embedding_length", "attention.head_count", *keys),
        own=own,
        **more,
    )


def _from_gguf(values: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in values.items() if name not in ("inner", "turned")}
    said["linear_value_head_dim"] = values["inner"] // values["linear_num_value_heads"]
    if turned := values.get("turned"):
        said["partial_rotary_factor"] = turned / values["head_dim"]
    return said


def in_gguf(
    config: c.ModelConfig, of_heads: Sequence[Operation] = (), of_channels: Sequence[Operation] = ()
) -> list[WeightMapping]:
    """The names of GGUF tensors, but for what leads to rates and steps. of_heads: what becomes of numbers of the heads
    of values; of_channels: of what the convolution reads."""
    unit, (hears, _) = hybrid.unit_of(config), hybrid.hearing(config)
    theirs, ours = "blk.{i}.", "decoder.blocks.{i}.attention."
    channels = 2 * unit.keys * unit.asking_width + unit.units * unit.unit_width
    shape = Shaped((channels, unit.conv), (channels, 1, unit.conv))
    return [
        hybrid.queries(f"{theirs}attn_q.{{p}}", hears),
        WeightMapping(f"{theirs}attn_qkv.weight", f"{ours}mixed.weight", *of_channels),
        WeightMapping(f"{theirs}ssm_conv1d.weight", f"{ours}conv.weight", *of_channels, shape),
        WeightMapping(f"{theirs}ssm_dt.bias", f"{ours}step_bias", *of_heads),
        WeightMapping(f"{theirs}ssm_a", f"{ours}log_rate", *of_heads, NegativeExp()),
        WeightMapping(f"{theirs}ssm_norm.weight", f"{ours}norm.weight"),
    ]
