"""What is meant where nothing is said: one rule for all that may be left out."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import limelight


def modules() -> Iterator[Any]:
    for each in pkgutil.walk_packages(limelight.__path__, "limelight."):
        if not re.search(r"\.(__main__|_native|cli)\b", each.name):
            yield importlib.import_module(each.name)


def optional(module: Any) -> Iterator[tuple[str, Any]]:
    """What may be None and has a default: arguments, and fields of classes."""
    for name, each in list(vars(module).items()):
        if getattr(each, "__module__", None) != module.__name__:
            continue
        functions = [each]
        if inspect.isclass(each):
            functions = [getattr(made, "__func__", made) for made in list(vars(each).values())]
            fields = {**getattr(each, "model_fields", {}), **getattr(each, "__dataclass_fields__", {})}
            for field, kind in inspect.get_annotations(each).items():
                if field in fields and _missing(kind):
                    yield f"{module.__name__}.{name}.{field}", fields[field].default
        for function in filter(inspect.isfunction, functions):
            for given in inspect.signature(function).parameters.values():
                if given.default is not given.empty and _missing(given.annotation):
                    yield f"{module.__name__}.{name} {function.__name__}({given.name})", given.default


def _missing(kind: Any) -> bool:
    return re.search(r"\| None|Optional\[", str(kind)) is not None


def test_what_may_be_none_is_none_where_nobody_says_anything() -> None:
    """And never an empty text, which says something."""
    found = dict(each for module in modules() for each in optional(module))
    assert len(found) > 700
    assert [name for name, default in found.items() if isinstance(default, str) and not default] == []
