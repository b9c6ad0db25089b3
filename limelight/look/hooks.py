"""Functions that see what a network's modules read and put out, and may put something else there: torch's own hooks,
by the names of the modules, on a twin."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from limelight import given
from limelight.errors import RequestError, suggestion
from limelight.look.record import N, twin

Hook = Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]
"""``hook(module, inputs, output) → output``, or None to leave it: what torch calls behind a module."""

PreHook = Callable[[nn.Module, tuple[Any, ...]], Any]
"""``hook(module, inputs) → inputs``, one or a tuple, or None to leave them: what torch calls in front of a module."""

LISTED = 6
"""Names that an error lists."""


def hooked(network: N, hooks: Mapping[str, Hook] | None = None, pre_hooks: Mapping[str, PreHook] | None = None) -> N:
    """A twin of `network` that calls each of `hooks` behind the module of that name whenever it runs, and each of
    `pre_hooks` in front of it.

    Names are those of ``network.named_modules()``; a module that stands in several places, as rotary embeddings do, is
    hooked in the place named alone. New hooks come after those that `network` has. Raises RequestError for a name that
    no module has, or that of one which never runs; and, when it runs, for a hook that returns anything but a tensor of
    the output's shape.
    """
    other = twin(network)
    for name, hook in _functions("hooks", hooks):
        _own(other, name).register_forward_hook(_held(name, hook))
    for name, pre_hook in _functions("pre_hooks", pre_hooks):
        _own(other, name).register_forward_pre_hook(pre_hook)
    return other


def _functions(what: str, hooks: Mapping[str, Any] | None) -> list[tuple[str, Callable[..., Any]]]:
    found = given.mapping(what, {} if hooks is None else hooks, "functions by the names of modules")
    for name, hook in found.items():
        if not callable(hook):
            raise RequestError(f"the hook of {given.shown(name)} is {given.shown(hook)}; it must be a function")
    return list(found.items())


def _own(network: nn.Module, name: str) -> nn.Module:
    """The module of that name, which after that stands in no other place."""
    modules = dict(network.named_modules(remove_duplicate=False))
    if not isinstance(name, str) or name not in modules:
        near = ""
        if isinstance(name, str):  # what a name begins with is no suggestion: there is a list of what it holds
            near = suggestion(name, (other for other in modules if not name.startswith(f"{other}.")))
        raise RequestError(f"no module is called {given.shown(name)}{near or _there(network, name)}")
    module: nn.Module = modules[name]
    if not name or type(module).forward is nn.Module.forward:
        raise RequestError(f"{name!r} holds modules and never runs itself{_there(network, name)}")
    place, _, last = name.rpartition(".")
    if last == "matrix":
        raise RequestError(f"{name!r} is where {place!r} keeps its weights, and need not run; name {place!r}")
    if sum(each is module for each in modules.values()) > 1:
        module = copy.copy(module)
        module._forward_hooks = OrderedDict(module._forward_hooks)
        module._forward_pre_hooks = OrderedDict(module._forward_pre_hooks)
        network.set_submodule(name, module)
    return module


def _there(network: nn.Module, name: object) -> str:
    """What there is at the last place of a name that exists."""
    parts = name.split(".") if isinstance(name, str) and name else []
    module = network
    for i, part in enumerate(parts):
        if part not in module._modules:
            parts = parts[:i]
            break
        module = module.get_submodule(part)
    names = [repr(".".join((*parts, child))) for child, _ in module.named_children()]
    if not names:
        return ""
    return f"; there are {', '.join(names[:LISTED])}{' …' if len(names) > LISTED else ''}"


def _held(name: str, hook: Hook) -> Hook:
    """The hook, held to what may stand in the output's place."""

    def held(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        made = hook(module, inputs, output)
        if made is None or (isinstance(made, Tensor) and made.shape == output.shape):
            return made
        got = f"one of shape {list(made.shape)}" if isinstance(made, Tensor) else given.shown(made)
        raise RequestError(
            f"the hook of {name!r} returned {got}; it must be a tensor of the output's shape, {list(output.shape)}, or "
            "None to leave it"
        )

    return held
