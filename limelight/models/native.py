"""limelight's own ``config.json``: the nested config written out, for models that no other library has.

Every object says its type, ``{"type": "Block", ...}``; reading checks each value against the type that the config
declares, so a misspelt key or an impossible value is an error that names its place.
"""

import dataclasses
import reprlib
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from limelight.errors import ConfigError, suggestion
from limelight.models import config as c
from limelight.models.build import HEADS, build
from limelight.models.family import Family
from limelight.models.hf import INERT, LARGEST, is_number
from limelight.models.mapping import Table, WeightMapping
from limelight.models.ties import names


def native_family(name: str) -> Family:
    """A family of limelight's own, saved under ``model_type`` `name`."""
    return Family(name, dict.fromkeys(HEADS, "limelight"), from_hf, to_hf, table)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    """The nested config as JSON values, without its family and `extra`."""
    return {name: value for name, value in _write(config).items() if name not in {"type", "family", "extra"}}


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    """The config that `to_hf` wrote; keys that don't change what the model computes become `extra`.

    Raises ConfigError naming the first key that is unknown, missing or impossible.
    """
    fields = {field.name for field in dataclasses.fields(c.ModelConfig)} - {"family", "extra"}
    own = {name: value for name, value in values.items() if name in fields}
    extra = {name: value for name, value in values.items() if name not in fields and name != "model_type"}
    if unknown := sorted(extra.keys() - INERT):
        raise ConfigError(f"the model's config key {unknown[0]!r} is not known{suggestion(unknown[0], fields)}")
    for name in ("encoder", "decoder"):
        stack = own.get(name)
        if isinstance(stack, dict) and stack.get("type") == "TransformerStack" and "embeddings" not in stack:
            older = {key: value for key, value in stack.items() if key in _MOVED}
            rest = {key: value for key, value in stack.items() if key not in _MOVED}
            own[name] = {**rest, "embeddings": {"type": "Embeddings", **older}}
    config = _object({"type": "ModelConfig", "family": values["model_type"], **own}, (c.ModelConfig,), "")
    assert isinstance(config, c.ModelConfig)
    return dataclasses.replace(config, extra=extra)


def table(config: c.ModelConfig) -> Table:
    """Every weight under the name it has here."""
    return Table(tuple(WeightMapping(_OLDER.get(name, name), name) for name in sorted(names(build(config, "meta")))))


_OLDER = {"head.proj.weight": "head.weight", "head.proj.bias": "head.bias"}
"""Names that files keep though the weights have moved."""

_MAY_BE_ZERO = ("dropout", "offset")
"""Keys whose numbers may be zero, as no other may."""

_MOVED = ("scale", "positions", "dropout")
"""Keys of a stack that older files have, and that now are its embeddings'."""


def _write(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        given = [field.name for field in dataclasses.fields(value) if field.init]
        parts = {name: _write(getattr(value, name)) for name in given}
        return {"type": type(value).__name__, **parts}
    return [_write(item) for item in value] if isinstance(value, tuple) else value


def _read(value: Any, hint: Any, where: str) -> Any:
    """`value` from JSON as the type `hint` says."""
    options = get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)
    if isinstance(value, dict):
        return _object(value, [option for option in options if dataclasses.is_dataclass(option)], where)
    for option in options:
        if get_origin(option) is tuple and isinstance(value, list):
            return tuple(_read(item, get_args(option)[0], f"{where}[{i}]") for i, item in enumerate(value))
        if _fits(value, option, zero=where.endswith(_MAY_BE_ZERO)):
            return float(value) if option is float else value
    names = [_said(option) for option in options]
    raise ConfigError(f"the model's config key {where!r} is {reprlib.repr(value)}; it must be {' or '.join(names)}")


def _object(value: Mapping[str, Any], classes: Any, where: str) -> Any:
    known = {kind.__name__: kind for each in classes for kind in _kinds(each)}
    name = value.get("type")
    if not isinstance(name, str) or name not in known:
        near = suggestion(str(name), known)
        raise ConfigError(f"the model's config key {where!r} has the type {name!r}, which has no place there{near}")
    hints = get_type_hints(known[name])
    fields = {field.name: field for field in dataclasses.fields(known[name]) if field.init}
    prefix = f"{where}." if where else ""
    for key in value.keys() - {"type"} - fields.keys():
        raise ConfigError(f"the model's config key {prefix + key!r} is not known{suggestion(key, fields)}")
    for key, field in fields.items():
        if key not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"the model's config key {prefix + key!r} is missing")
    read = {key: _read(value[key], hints[key], prefix + key) for key in fields if key in value}
    return known[name](**read)


def _kinds(kind: type) -> Iterator[type]:
    """A class of configs, and those that it is a base of (the recurrent units, of attention)."""
    yield kind
    derived: list[type] = kind.__subclasses__()
    for each in derived:
        yield from _kinds(each)


def _fits(value: Any, hint: Any, zero: bool) -> bool:
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint is int:
        return isinstance(value, int) and (0 if zero else 1) <= value <= LARGEST
    if hint is float:
        return is_number(value) and (value > 0 or (zero and value == 0))
    return isinstance(hint, type) and isinstance(value, hint)


def _said(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if hint is int:
        return f"a whole number from 1 to {LARGEST:,}"
    if hint is type(None):
        return "null"
    names = {float: "a positive number", bool: "true or false", str: "a text"}
    return names.get(hint) or ("a list" if get_origin(hint) is tuple else f"an object of type {hint.__name__!r}")
