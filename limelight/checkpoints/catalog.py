"""The models that have a short name, read from `catalog.toml`."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import Any

KINDS = {
    "chat": "Chat",
    "complete": "Continue",
    "translate": "Translate",
    "fill": "Fill gaps",
    "embed": "Embed",
    "classify": "Classify",
    "": "Others",
}
"""What models do, most of them by the verb of that name, and what a list says above them."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """The wheel on the package index that carries a model's file as `member`, and small files `beside` it that opening
    the model needs."""

    requirement: str
    file: str
    size: int
    sha256: str
    member: str
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One row of the table: what the model is, and the file that it comes as (`size` in bytes).

    more: the wheels that hold the rest of the file, where it is cut in parts. terms: the address of a licence that
    whoever fetches the model has to know, or empty. kind: of `KINDS`. says: by the files beside it, what they leave
    out.
    """

    name: str
    title: str
    family: str
    licence: str
    file: str
    size: int
    sha256: str
    wheel: Wheel
    more: tuple[Wheel, ...] = ()
    terms: str = ""
    kind: str = ""
    good_for: str = ""
    says: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """All wheels, in the order of the parts that they hold."""
        return self.wheel, *self.more


@functools.cache
def catalog() -> Mapping[str, CatalogEntry]:
    """Every named model by its short name, the default one first."""
    table = tomllib.loads(resources.files(__package__).joinpath("catalog.toml").read_text("utf-8"))
    rows = {
        name: CatalogEntry(
            name=name, **{**row, "wheel": _wheel(row["wheel"]), "more": tuple(map(_wheel, row.get("more", ())))}
        )
        for name, row in sorted(table["models"].items(), key=lambda item: item[0] != table["default"])
    }
    return MappingProxyType(rows)


def _wheel(row: Mapping[str, Any]) -> Wheel:
    return Wheel(**{**row, "beside": tuple(row.get("beside", ()))})


def default() -> str:
    """The short name of the model that is opened when none is named."""
    return next(iter(catalog()))
