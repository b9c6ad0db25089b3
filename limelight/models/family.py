"""A family of models as data: how its configs and weights are read and written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limelight.models.config import ModelConfig
from limelight.models.mapping import Table, WeightMapping


def _as_it_is(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(values)


NEEDED = ("context_length", "embedding_length", "feed_forward_length", "attention.head_count")
"""Keys without which the file of an architecture that does not say otherwise is refused."""


def _nothing(config: ModelConfig) -> Sequence[WeightMapping]:
    return ()


@dataclass(frozen=True)
class Gguf:
    """How llama.cpp's converter writes a family, where that is not what `limelight.models.gguf` says for all.

    architecture: its name there. eps: the metadata key of the norms' epsilon. whole, numbers, truths: more keys of
    the architecture, and the keys of a foreign config that they stand for. tensors: keys of a foreign config that
    are true where the file has such a tensor; rows: that are the number of a tensor's rows. fixed: what every
    foreign config of the family says. complete: changes the keys so found where a rule is needed. names: of parts
    of our blocks; without: those that it has not. joint: whether q, k and v are one tensor; halves: whether gate
    and up are. interleaved: whether the rows of q and k are in the order that turns neighbouring pairs. shifted:
    whether one was added to the norms. experts: whether the file holds experts. causal: whether a position sees
    those before it alone. hybrid: whether layers without attention have no heads of keys; `complete` is then told which
    have, as "heard". needed: keys without which a file is refused; those of `NEEDED` that it leaves out may be zero.
    own: names in a model of the config that take the place of those for all. ignored: tensors that hold no weights of
    it.
    """

    architecture: str
    eps: tuple[str, str] = ("attention.layer_norm_rms_epsilon", "rms_norm_eps")
    whole: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    truths: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    complete: Callable[[Mapping[str, Any]], dict[str, Any]] = _as_it_is
    names: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    joint: bool = False
    halves: bool = False
    interleaved: bool = False
    shifted: bool = False
    experts: bool = False
    causal: bool = True
    hybrid: bool = False
    needed: tuple[str, ...] = NEEDED
    own: Callable[[ModelConfig], Sequence[WeightMapping]] = _nothing
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """One family.

    name: Hugging Face's ``model_type``, or one of limelight's own. architectures: the class that an export names, by
    the kind of head (`limelight.models.config`), unless `to_hf` names another.
    from_hf and to_hf turn a foreign config into ours and back. table: the names of the weights. gguf: how llama.cpp
    has it (None: not at all, or not yet read).
    """

    name: str
    architectures: Mapping[type, str]
    from_hf: Callable[[Mapping[str, Any]], ModelConfig]
    to_hf: Callable[[ModelConfig], dict[str, Any]]
    table: Callable[[ModelConfig], Table]
    gguf: Gguf | None = None
