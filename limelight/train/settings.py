"""Every option of a training, with a default for each that is chosen from the size of the data."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from limelight.errors import ConfigError, FileError, suggestion
from limelight.train.schedule import Schedule
from limelight.train.tokenizers import Kind

Task = Literal[
    "translate",
    "summarise",
    "generate",
    "compose",
    "classify",
    "tag",
    "answer",
    "embed",
    "fill",
    "assistant",
    "prefer",
]
NOT_GENERATE: tuple[Task, ...] = tuple(task for task in get_args(Task) if task != "generate")
WRITE: tuple[Task, ...] = ("translate", "summarise", "generate", "compose")
TEXT: tuple[Task, ...] = ("translate", "summarise", "generate")
PAIRED: tuple[Task, ...] = ("translate", "summarise")
"""The tasks whose models may begin at nothing, those of them whose tokenizer is chosen, and those of these that learn
from a text to write another one; the other tasks train on a model that is there."""


@dataclass(frozen=True)
class Range:
    """Which numbers an option takes. least: the smallest, or, where `above`, what all are above. below: what all are
    below. open: a value beside these that leaves the choice to the data."""

    least: float
    below: float = inf
    above: bool = False
    open: int | None = None

    def __contains__(self, value: float) -> bool:
        return value == self.open or (self.least <= value < self.below and not (self.above and value == self.least))

    def __str__(self) -> str:
        ends = [f"above {self.least}" if self.above else f"of at least {self.least}"]
        ends += [f"below {self.below:,}"] if self.below < inf else []
        return " and ".join(ends) + ("" if self.open is None else f", or {self.open} for one that fits the data")


@dataclass(frozen=True)
class For:
    """The tasks in which an option does something."""

    tasks: tuple[Task, ...]


Count = Annotated[int, Range(1, 1 << 31)]
Chosen = Annotated[int, Range(1, 1 << 31, open=0)]
AtLeast0 = Annotated[int, Range(0, 1 << 31)]
Share = Annotated[float, Range(0, 1)]
ChosenShare = Annotated[float, Range(0, 1, open=-1)]
Amount = Annotated[float, Range(0)]
ChosenAmount = Annotated[float, Range(0, above=True, open=0)]


@dataclass(frozen=True)
class Settings:
    """What a run does. An option that is 0 (a share: -1) where that makes no sense is chosen from the data; `chosen`
    fills it in."""

    task: Task
    model: str = ""  # a preset, or a checkpoint to go on from; chosen from the data if empty
    width: Annotated[int, Range(1, 1 << 17, open=0), For(WRITE)] = 0  # of a preset; 0: its own
    parameters: Annotated[int, Range(1, 1 << 40, open=0), For(WRITE)] = (
        0  # in place of width: the widest that has no more
    )
    train: tuple[str, ...] = ()
    valid: tuple[str, ...] = ()  # without them, `held_out` of the training examples
    held_out: Annotated[float, Range(0, 1, above=True)] = 0.02
    columns: Annotated[
        tuple[str, ...], For(("translate", "summarise", "classify", "embed", "fill"))
    ] = ()  # what is read, what is to be said
    labels: Annotated[tuple[str, ...], For(("classify", "tag"))] = ()  # what can be said; found in the data if empty
    several: Annotated[bool, For(("classify",))] = False  # any number of labels a text; found in the data
    # From each text's label, or from pairs of texts, which have one label or two; auto: pairs where there are few.
    learns: Annotated[Literal["auto", "labels", "pairs"], For(("classify",))] = "auto"

    tokenizer: Annotated[Kind | Literal["auto"], For(TEXT)] = "auto"
    vocab: Annotated[int, Range(1, 1 << 24, open=0), For(TEXT)] = 0  # tokens at most
    shared: Annotated[bool, For(PAIRED)] = True  # one vocabulary for source and target
    lower: Annotated[bool, For(TEXT)] = False

    context: Annotated[int, Range(1, 1 << 24, open=0), For(("generate",))] = 0  # tokens of a window
    keys: Annotated[int, Range(1, 13, open=0), For(("compose",))] = 0  # that each piece of music is learned in
    # Tokens of a text: pairs, conversations and pieces of music with more are left out, an encoder's texts are cut or
    # read in windows.
    longest: Annotated[int, Range(1, 1 << 24, open=0), For(NOT_GENERATE)] = 0
    batch_tokens: Chosen = 0  # a step's tokens, padding counted, over all processes
    accumulate: Annotated[int, Range(1, 1 << 16)] = 1  # parts that a step's batch is computed in, one after another
    epochs: Annotated[float, Range(0, 1e9, above=True, open=0)] = 0.0
    steps: Chosen = 0  # in place of epochs
    minutes: Annotated[float, Range(0, 1e6, above=True, open=0)] = (
        0.0  # in place of both: as many steps as take so long
    )
    seed: Annotated[int, Range(0, 1 << 63)] = 1

    optimizer: Literal["auto", "adamw", "muon"] = "auto"  # auto: muon for what begins at nothing
    lr: ChosenAmount = 0.0
    schedule: Schedule = "auto"
    warmup: Chosen = 0
    floor: Annotated[float, Range(0, 1)] = 0.0  # where cosine and linear end, as a share of lr
    beta1: Share = 0.9
    beta2: Share = 0.98
    eps: Annotated[float, Range(0, above=True)] = 1e-9
    decay: Amount = 0.01
    clip: Amount = 1.0  # 0: gradients are not clipped
    smoothing: ChosenShare = -1.0  # -1: from the task
    dropout: ChosenShare = -1.0  # -1: from the data
    ema: Share = 0.0  # decay of the moving average of weights; 0: none
    average: Count = 5  # the last checkpoints that the final weights are the mean of; 1: none

    every: Chosen = 0  # steps between evaluations, each with a checkpoint
    patience: AtLeast0 = 8  # evaluations without a better one, after which training stops; 0: never
    watch: Literal["loss", "bleu", "accuracy", "f1", "exact", "ranked", "spearman"] = "loss"  # what "better" means
    keep: Count = 5  # last checkpoints that are kept, beside the best

    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of products; auto: bfloat16 where it is faster
    compile: bool = False
    threads: Annotated[int, Range(1, 1 << 10, open=0)] = 0
    device: str = "cpu"
    shard: bool = False  # several processes hold one model together (FSDP) in place of one each (DDP)
    lora: Annotated[int, Range(0, 1 << 16)] = 0  # rank; 0: all weights learn
    # By which share what was learned by LoRA is made smaller in the end, so that less is forgotten.
    shrink: Annotated[float, Range(0, 1), For(("assistant",))] = 0.0
    # How often each conversation is learned once more, under a constraint that a rule can check.
    constraints: Annotated[int, Range(0, 11), For(("assistant",))] = 0
    beta: Annotated[float, Range(0, above=True), For(("prefer",))] = 0.1  # how dear it is to leave the first model


BUDGET: dict[str, float] = {"translate": 4e6, "summarise": 4e6, "generate": 2e7, "compose": 1.5e7}
"""Tokens to predict, over all epochs; the smallest translator reads so many in about eight minutes of two cores."""


DROPOUT = ((1e5, 0.3), (1e6, 0.2), (1e8, 0.1), (float("inf"), 0.0))
"""The rate for data sets of fewer tokens."""


RATES = {"adamw": 0.512, "muon": 0.768}
"""Learning rates times the width: 4e-3 and 6e-3 for the tiny presets, 7e-4 and 1e-3 for GPT-2's width."""


def chosen(settings: Settings, tokens: int, threads: int) -> Settings:
    """The same settings with every open one filled in, from how many tokens there are to predict in an epoch.

    Small data sets are read more often, with a smaller vocabulary, more dropout and smaller batches. BUDGET says how
    much is read in all, so that by default a small model is done in minutes; whoever has more time asks for more
    epochs.
    """
    from limelight.models.presets import PRESETS  # here, since it brings torch: a misspelt option is answered at once

    translate = settings.task in PAIRED
    batch = settings.batch_tokens or min(max(tokens // 100 // 256 * 256, 256), 4096 if translate else 8192)
    epoch = max(1, -(-tokens // batch))
    epochs = settings.epochs or min(40.0, max(1.0, BUDGET[settings.task] / tokens))
    steps = settings.steps or max(100, round(epochs * epoch))
    model = settings.model or _fitting(settings.task, tokens)
    optimizer = settings.optimizer
    if optimizer == "auto":
        optimizer = "muon" if model in PRESETS else "adamw"
    width = settings.width or (PRESETS[model].width if model in PRESETS else 128)
    return replace(
        settings,
        model=model,
        batch_tokens=batch,
        epochs=settings.epochs or round(steps / epoch, 2),
        steps=steps,
        context=settings.context or 256,
        longest=settings.longest or 256,
        optimizer=optimizer,
        lr=settings.lr or RATES[optimizer] / max(width, 128),
        schedule="cosine" if settings.schedule == "auto" else settings.schedule,
        warmup=settings.warmup or min(4000, max(10, steps // 10)),
        smoothing=settings.smoothing if settings.smoothing >= 0 else (0.1 if translate else 0.0),
        dropout=settings.dropout if settings.dropout >= 0 else next(rate for most, rate in DROPOUT if tokens < most),
        every=settings.every or max(10, min(epoch, steps // 10)),
        threads=settings.threads or threads,
        precision=fastest(settings.device) if settings.precision == "auto" else settings.precision,
    )


def fastest(device: str) -> Literal["float32", "bfloat16"]:
    """The precision in which products are faster on this machine: bfloat16 where the processor computes in it."""
    import torch

    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if native else "float32"


def _fitting(task: Task, tokens: int) -> str:
    """The preset that so much text can fill."""
    size = "tiny" if tokens < 5e6 else "small" if tokens < 1e8 else "base"
    return f"transformer-modern-{size}" if task in PAIRED else f"gpt-modern-{size}"


def vocabulary(settings: Settings, characters: int) -> Settings:
    """The same settings with a tokenizer chosen from how much text there is."""
    size = 1000
    while size < 32_000 and size * 800 < characters:
        size *= 2
    kind: Kind = "bpe" if settings.task in PAIRED else "byte" if characters > 5e6 else "character"
    return replace(
        settings,
        tokenizer=kind if settings.tokenizer == "auto" else settings.tokenizer,
        vocab=settings.vocab or size,
    )


def from_toml(path: Path) -> dict[str, Any]:
    """The options in a TOML file. Raises FileError or ConfigError, naming the option and the nearest known one."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: not valid TOML: {error}") from None
    return checked(values, str(path))


def checked(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options, each of its type: an int may stand for a float, a list for a tuple.

    Raises ConfigError that names `where` they stand, the option, and what belongs there.
    """
    hints = get_type_hints(Settings, include_extras=True)
    for name in values:
        if name not in hints:
            raise ConfigError(f"{where}: no option {name!r}{suggestion(str(name), hints)}")
    return {name: _checked(value, hints[name], f"{where}: {name}") for name, value in values.items()}


def idle(name: str, task: str) -> bool:
    """Whether an option does nothing in a task."""
    hint = get_type_hints(Settings, include_extras=True)[name]
    return any(isinstance(each, For) and task not in each.tasks for each in getattr(hint, "__metadata__", ()))


def asked(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options that ask for something, as `checked` gives them: those left to the data are as good as not there."""
    hints = get_type_hints(Settings, include_extras=True)

    def said(name: str, value: Any) -> bool:
        ranges = [each for each in get_args(hints[name]) if isinstance(each, Range)]
        return not (value in ("", "auto") or (ranges and value == ranges[0].open))

    return {name: value for name, value in checked(values, where).items() if said(name, value)}


def to_toml(settings: Settings) -> str:
    """Every option, as TOML that `from_toml` reads back."""
    return "".join(f"{f.name} = {_toml(getattr(settings, f.name))}\n" for f in fields(settings))


def _checked(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) is Annotated and get_origin(get_args(hint)[0]) is not None:  # a Literal, or a tuple
        hint = get_args(hint)[0]
    words = _choices(hint)
    if words:
        if value not in words:
            raise ConfigError(f"{where} is {value!r}; it is one of {', '.join(words)}{suggestion(str(value), words)}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise ConfigError(f"{where} is {value!r}; it takes a list of texts")
        return tuple(value)
    kind, *range = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    range = [each for each in range if isinstance(each, Range)]
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ConfigError(f"{where} is {value!r}; it takes {_KINDS[kind]}{f' {range[0]}' if range else ''}")
    if range and value not in range[0]:
        raise ConfigError(f"{where} is {value!r}; it takes {_KINDS[kind]} {range[0]}")
    return kind(value)


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _choices(hint: Any) -> tuple[str, ...]:
    """The words of a Literal, or of a union of them."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(word for part in get_args(hint) for word in _choices(part))


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False).replace(
            "\x7f", "\\u007f"
        )  # which JSON leaves bare and TOML forbids
    return repr(value)
