"""Weights that stand in a model under several names."""

from collections.abc import Mapping

from torch import nn


def ties(network: nn.Module) -> dict[str, str]:
    """Each name of a weight that is another name for an earlier one, and that one: read off a network as `build` made
    it, which is where a tie is declared."""
    first: dict[int, str] = {}
    found = {}
    for name, weight in network.named_parameters(remove_duplicate=False):
        if first.setdefault(id(weight), name) != name:
            found[name] = first[id(weight)]
    return found


def tie(network: nn.Module, repeated: Mapping[str, str]) -> None:
    """Makes one again of the weights that `ties` found to be one, after others were assigned."""
    for name, first in repeated.items():
        place, _, leaf = name.rpartition(".")
        owner, _, kept = first.rpartition(".")
        setattr(network.get_submodule(place), leaf, getattr(network.get_submodule(owner), kept))


def names(network: nn.Module) -> list[str]:
    """The weights of a network as `build` made it, each by one name."""
    repeated = ties(network)
    return [name for name in network.state_dict() if name not in repeated]
