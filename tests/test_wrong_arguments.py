"""Whatever is given to the public API, it answers, or refuses in one sentence; found by introspection, so that a new
method or parameter is walked as soon as it is there."""

import builtins
import inspect
import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch
from cli.tiny_models import SENTENCE, random_llama, trained
from tasks.small_languages import language, network

import limelight
from limelight.errors import LimelightError
from limelight.labels import kind_of
from limelight.look.session import Session
from limelight.models.api import Encoder
from limelight.models.build import build
from limelight.models.registry import config_from_hf
from limelight.tasks import Language
from limelight.tasks.evaluation.alignment import Asking
from limelight.text.tokenizer import Tokenizer

GOOD: dict[str, Any] = {
    "text": SENTENCE,
    "texts": [SENTENCE, "The cat"],
    "messages": [{"role": "user", "content": "The cat"}],
    "source": "ein hund",
    "sources": ["ein hund", "hund"],
    "lines": ["ein hund", ""],
    "layer": 0,
    "head": 1,
    "word": "it",
    "by": "dog",
    "one": "cat",
    "other": "mat",
    "token": "The",
    "id": 5,
    "ids": [5, 6],
    "importance": torch.ones(2, 2),
    "question": "Where?",
    "first": "The cat",
    "second": "The mat",
    "words": [(0, 3), (4, 7)],
    "template": "{{ messages }}",
    "prompt": [5, 6],
    "answer": [7],
    "schema": {"enum": [1]},
    "labels": ["w", "x"],
    "documents": [SENTENCE, "The cat"],
    "query": "a cat",
    "metadata": {"tokenizer.ggml.model": "gpt2"},
}
"""A value that fits, for each parameter that has no default."""

SHORT = {"max_tokens": 2}
"""What is given in place of a default, to take less time."""

WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**70, 1.5, math.nan, -math.inf, "", " ", "no such", "\ud800", "a\0b", b"bytes", 3 + 4j),
    *([], [3], [None], ["", "x"], [(0, 99)], [("a", "b")], [-1], (), {}, {"a": 1}, {3}, object(), int, len),
    *(torch.zeros(2), torch.zeros(()), Path("nowhere"), torch.float32, torch.device("cpu")),
)


def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The public functions and classes, and every object of ours that calling or reading them leads to."""
    model = limelight.open(random_llama(tmp_path_factory, context=40))
    assert isinstance(model, limelight.Model)
    GOOD.update(model=model, network=model.network, tokenizer=model.tokenizer, name="tiny", path=model.path)
    GOOD.update(corrupted=model.look(SENTENCE).swap("cat", "mat"))
    GOOD.update(pairs=[("The cat", "The mat")])
    GOOD.update(vector=model.steering_vector(GOOD["pairs"], layer=0))
    GOOD.update(folder="saved", language=language(), target="hund ein")
    translator = limelight.Translator(network("transformer-modern-tiny"), language(), "small", Path("small"))
    waiting: list[Any] = [getattr(limelight, name) for name in limelight.__all__]
    waiting += [
        model,
        translator,
        *(
            encoder(f"Bert{kind}")
            for kind in ("Model", "ForMaskedLM", "ForQuestionAnswering", "ForTokenClassification")
        ),
    ]
    waiting += [encoder("BertForSequenceClassification")]
    seen: set[type] = set()
    while waiting:
        each = waiting.pop(0)
        if inspect.isfunction(each) or inspect.isclass(each):
            yield each
        elif ours(each) and type(each) not in seen:
            seen.add(type(each))
            yield each
            waiting += led_to(each)


def encoder(architecture: str) -> limelight.EncoderModel:
    """A tiny encoder with random weights."""
    tokenizer = trained()
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    values = {"model_type": "bert", "architectures": [architecture], "vocab_size": tokenizer.vocab, **sizes}
    network = build(config_from_hf(values | {"max_position_embeddings": 64}))
    assert isinstance(network, Encoder)
    return kind_of(network)(network.eval(), tokenizer, "tiny", Path("tiny"))


def ours(value: Any) -> bool:
    """Whether it is an object of ours that people call; not what is below: networks, configs, languages, sessions."""
    kind = type(value)
    made_of = kind.__module__.startswith(("limelight.models", "limelight.nn")) or kind is Language
    made_of = made_of or issubclass(kind, Session)
    return kind.__module__.startswith("limelight") and not kind.__name__.startswith("_") and not made_of


def led_to(each: Any) -> Iterable[Any]:
    """What the attributes of an object hold, and what its methods return for good arguments."""
    for name in public(each):
        value = getattr(each, name)
        if inspect.isroutine(value):
            try:
                value = value(**good(value))
            except LimelightError:  # where the usual arguments do not fit, as they may for one way of making it
                continue
        value = list(islice(value, 3)) if isinstance(value, Iterator) else value
        yield from value[:1] if isinstance(value, list | tuple) else [value]


def public(each: Any) -> list[str]:
    return [name for name in dir(each) if not name.startswith("_")]


def good(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    required = {}
    for name in (name for name, p in parameters.items() if p.default is p.empty):
        assert name in GOOD, f"{function.__qualname__} takes {name!r}: add a value that fits it to GOOD, {__file__}"
        required[name] = GOOD[name]
    return required | {name: value for name, value in SHORT.items() if name in parameters}


def functions(each: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    if inspect.isfunction(each):
        yield each.__name__, each
    elif inspect.isclass(each):
        stores = is_dataclass(each) and not hasattr(each, "__post_init__")  # what others return, checked by nobody
        if not stores and not issubclass(each, Exception):
            yield each.__name__, each
    else:
        for name in public(each):
            if inspect.isroutine(method := getattr(each, name)):
                yield f"{type(each).__name__}.{name}", method


class Names(dict[str, Any]):
    """What the names in annotations mean, those included that only a type checker imports; `object` for the rest."""

    def __missing__(self, name: str) -> Any:
        known = {"Sampling": limelight.Sampling, "Language": Language, "Asking": Asking, "Tensor": torch.Tensor}
        known |= {"Model": limelight.Model, "Translator": limelight.Translator, "Tokenizer": Tokenizer}
        return known.get(name, self.get("", {}).get(name, getattr(builtins, name, object)))


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the parameters."""
    subject = function.__init__ if inspect.isclass(function) else function
    subject = inspect.unwrap(getattr(subject, "__func__", subject))
    return get_type_hints(subject, localns=Names({"": subject.__globals__}))


def fits(value: Any, hint: Any) -> bool:
    """Whether the annotation allows the value, as far as it says."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (Any, object) or hint is inspect.Parameter.empty:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if hint is int:
        several = torch.is_tensor(value) and value.numel() != 1
        return hasattr(value, "__index__") and not isinstance(value, bool) and not several
    if hint is float:
        return fits(value, int) or isinstance(value, float) or torch.is_tensor(value)
    if origin is tuple:
        return isinstance(value, tuple | list) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin in (Iterable, Sequence, list):
        parts = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else None
        if torch.is_tensor(value) and value.dim() == 0:
            return False
        return parts is not None and all(fits(part, inner[0]) for part in parts)
    if origin in (Mapping, dict):
        return isinstance(value, Mapping)
    if origin is Callable or str(origin) == "<class 'collections.abc.Callable'>":
        return callable(value)
    return isinstance(value, hint) if inspect.isclass(hint) else True


def outcome(function: Callable[..., Any], arguments: Mapping[str, Any]) -> LimelightError | None:
    try:
        value = function(**arguments)
        if isinstance(value, Iterator):
            list(islice(value, 50))
    except LimelightError as error:
        return error
    return None


def test_every_argument_is_taken_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    walked, kinds, faults = set(), set(), []
    for each in objects(tmp_path_factory):
        kinds.add(type(each).__name__)
        for name, function in functions(each):
            usual, annotated = good(function), hints(function)
            for parameter in inspect.signature(function).parameters:
                walked.add(f"{name}({parameter})")
                for number, value in enumerate(WRONG):
                    if name in ("save", "Tokenizer.save") and isinstance(value, str) and value.isprintable():
                        value = folder / f"{name}-{number}"
                    said = f"{name}({parameter}={value!r})"
                    try:
                        error = outcome(function, usual | {parameter: value})
                    except Exception as raw:
                        if callable(value) and fits(value, annotated.get(parameter, Any)):
                            continue  # what a caller's own function raises is the caller's
                        faults.append(f"{said}: {type(raw).__name__}: {raw}")
                        continue
                    if error is None and not fits(value, annotated.get(parameter, Any)):
                        faults.append(f"{said} was accepted")
                    if error is not None and ("\n" in str(error) or not 10 < len(str(error)) < 600):
                        faults.append(f"{said}: not one sentence: {error}")
    assert not faults, "\n".join(faults)
    wanted = (
        "Model.complete_all(stop)",
        "Seen.importance(method)",
        "SeenEncoded.importance(foil)",
        "Roles.of(head)",
        "Translator.translate(alpha)",
    )
    classes = {name for name in limelight.__all__ if inspect.isclass(getattr(limelight, name))}
    # What all encoders share is walked as theirs.
    assert classes - kinds == {"LimelightError", "Sampling", "EncoderModel"}, (
        "a public class of which no object was walked"
    )
    assert walked.issuperset({*wanted, "SeenTranslation.alignment(step)", "open(dtype)", "save(folder)"})
