"""How llama.cpp has RWKV-7."""

from limelight.models import config as c
from limelight.models import units
from limelight.models.family import Gguf
from limelight.models.mapping import Shaped, Unstack, WeightMapping

LOW_RANK = {"w": "fall", "a": "rate", "v": "share", "g": "gate"}
"""What comes through few numbers: its letter in files ↔ ours."""


def _in_gguf(config: c.ModelConfig) -> list[WeightMapping]:
    width, unit = config.transformer.width, config.transformer.blocks[0].attention
    assert isinstance(unit, units.TimeMix)
    theirs, ours = "blk.{i}.time_mix_", "decoder.blocks.{i}.attention."
    mixtures = tuple(f"{ours}mix.{part}" for part in "rwkvag")
    names = {"receptance": "r.weight", "key": "k.weight", "value": "v.weight", "output": "out.weight"}
    names |= {"k_k": "key_removed", "k_a": "key_rate"}
    for name, part in LOW_RANK.items():
        names |= {f"{name}0": f"{part}_bias", f"{name}1": f"{part}.narrow.weight", f"{name}2": f"{part}.wide.weight"}
    channel = {"lerp_k": "mix", "key": "up.weight", "value": "down.weight"}
    return [
        *(WeightMapping(f"{theirs}{name}.weight", ours + own) for name, own in names.items()),
        *(
            WeightMapping(f"blk.{{i}}.channel_mix_{name}.weight", f"decoder.blocks.{{i}}.feedforward.{own}")
            for name, own in channel.items()
        ),
        WeightMapping(f"{theirs}ln.{{p}}", f"{ours}norm.{{p}}"),
        WeightMapping(f"{theirs}r_k.weight", f"{ours}bonus", Shaped((width,), (width // unit.wide, unit.wide))),
        WeightMapping(f"{theirs}lerp_fused.weight", mixtures, Shaped((6, 1, 1, width), (6, width)), Unstack(6)),
    ]


GGUF = Gguf(
    "rwkv7",
    eps=("attention.layer_norm_epsilon", "norm_eps"),
    whole={
        "wkv.head_size": "head_dim",
        "attention.decay_lora_rank": "decay_low_rank_dim",
        "attention.iclr_lora_rank": "a_low_rank_dim",
        "attention.value_residual_mix_lora_rank": "v_low_rank_dim",
        "attention.gate_lora_rank": "gate_low_rank_dim",
    },
    names={"feedforward_norm": "attn_norm_2"},
    needed=("embedding_length", "feed_forward_length", "wkv.head_size"),
    own=_in_gguf,
    ignored=tuple(f"blk.0.time_mix_v{i}.weight" for i in range(3)),  # which repeat others
)
