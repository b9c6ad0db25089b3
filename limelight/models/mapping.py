"""Checkpoint names as a table that runs both ways.

A mapping is their name pattern(s) ↔ our name pattern(s), with operations that can be undone. Patterns have named holes,
``{i}`` for a number, ``{rest}`` for any number of parts of a dotted name and any other ``{name}`` for one, so the same
table reads and writes::

    WeightMapping("h.{i}.c_attn.{p}", ("blocks.{i}.q.{p}", "blocks.{i}.k.{p}", "blocks.{i}.v.{p}"), Split((4, 4, 4)))

Exactly one mapping must match each tensor in each direction; anything else is an error that names the tensor.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from limelight.errors import ConfigError
from limelight.nn.positions import Layout, sinusoids


class Rows(Protocol):
    """A tensor kept in a packed form, of which output rows can be taken."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Output rows before input columns."""
        ...

    def rows(self, index: Tensor | slice) -> "Rows":
        """The given rows, still packed."""
        ...

    def dequantize(self) -> Tensor:
        """The numbers that it stands for."""
        ...


Weight = Tensor | Rows


class Operation(Protocol):
    """A change of layout that can be undone exactly."""

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        """From their layout to ours."""
        ...

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """From our layout to theirs."""
        ...


def exactly_rows(weight: Weight, count: int) -> None:
    """Raises ConfigError unless the weight has so many output rows: rows too many would be left out in silence."""
    if weight.shape[0] != count:
        raise ConfigError(f"it has {weight.shape[0]:,} rows where the config says {count:,}")


def take_rows(weight: Weight, index: Tensor | slice) -> Weight:
    """The given output rows of a tensor or of a packed one."""
    if not isinstance(weight, Tensor):
        return weight.rows(index)
    if weight.is_meta and isinstance(
        index, Tensor
    ):  # torch would import its symbolic shapes, which takes half a second
        return weight.new_empty(len(index), *weight.shape[1:])
    return weight[index]


@dataclass(frozen=True)
class Transpose:
    """[in, out] ↔ [out, in]; vectors stay as they are."""

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        return [self._turn(weight) for weight in weights]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [self._turn(weight) for weight in weights]

    @staticmethod
    def _turn(weight: Weight) -> Tensor:
        if not isinstance(weight, Tensor):
            raise ConfigError(
                "a packed low-bit tensor cannot be transposed; convert the file to one with [out, in] layout"
            )
        return weight.t().contiguous() if weight.dim() == 2 else weight


@dataclass(frozen=True)
class Split:
    """Each of theirs ↔ several, cut along the output rows into `sizes`."""

    sizes: tuple[int, ...]

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        pieces = []
        for whole in weights:
            exactly_rows(whole, sum(self.sizes))
            start = 0
            for size in self.sizes:
                pieces.append(take_rows(whole, slice(start, start + size)))
                start += size
        return pieces

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        count = len(self.sizes)
        return [torch.cat(list(weights[i : i + count])) for i in range(0, len(weights), count)]


@dataclass(frozen=True, eq=False)
class Permute:
    """Output rows in another order: row j of ours is row index[j] of theirs."""

    index: Tensor

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        for weight in weights:
            exactly_rows(weight, len(self.index))
        return [take_rows(weight, self.index) for weight in weights]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [weight[self.index.argsort()] for weight in weights]


@dataclass(frozen=True)
class Shift:
    """Their value is ours plus `amount`."""

    amount: float

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        return [weight - self.amount for weight in weights if isinstance(weight, Tensor)]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [weight + self.amount for weight in weights]


class Row:
    """[1, n] ↔ [n]."""

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        for weight in weights:
            exactly_rows(weight, 1)
        return [weight[0] for weight in weights if isinstance(weight, Tensor)]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [weight[None] for weight in weights]


@dataclass(frozen=True)
class Zeros:
    """Nothing → zeros, for what a file may leave out."""

    shape: tuple[int, ...]

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        return [torch.zeros(self.shape)]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return []


@dataclass(frozen=True)
class Unstack:
    """One tensor ↔ its `count` parts along the first dimension, which is lost."""

    count: int

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        (whole,) = weights
        exactly_rows(whole, self.count)
        if isinstance(whole, Tensor):
            return list(whole.unbind(0))
        rows = whole.shape[1]
        return [whole.rows(slice(i * rows, (i + 1) * rows)) for i in range(self.count)]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [torch.stack(list(weights))]


@dataclass(frozen=True)
class Deal:
    """Each of theirs, whose rows belong to two of ours in turn ↔ those two."""

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        dealt = [take_rows(weight, slice(i, None, 2)) for weight in weights for i in range(2)]
        return [weight.contiguous() if isinstance(weight, Tensor) else weight for weight in dealt]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [torch.stack(pair, 1).flatten(0, 1) for pair in zip(weights[::2], weights[1::2], strict=True)]


@dataclass(frozen=True)
class Shaped:
    """Tensors of the shape `theirs` ↔ of the shape `ours`, with the same numbers in the same order."""

    theirs: tuple[int, ...]
    ours: tuple[int, ...]

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        for weight in weights:
            if tuple(weight.shape) != self.theirs:
                raise ConfigError(f"it has the shape {tuple(weight.shape)} where the config says {self.theirs}")
        return [weight.view(self.ours) if isinstance(weight, Tensor) else weight for weight in weights]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [weight.view(self.theirs) for weight in weights]


@dataclass(frozen=True)
class Merge:
    """[n, rows, columns] ↔ [n · rows, columns]. turned: theirs is [n, columns, rows], of which a packed tensor becomes
    numbers."""

    count: int
    turned: bool = False

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        (whole,) = weights
        exactly_rows(whole, self.count)
        if self.turned:
            numbers = whole if isinstance(whole, Tensor) else whole.dequantize()
            return [numbers.transpose(1, 2).flatten(0, 1)]
        return [whole.flatten(0, 1) if isinstance(whole, Tensor) else whole.rows(slice(None))]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        apart = [weight.view(self.count, -1, weight.shape[1]) for weight in weights]
        return [weight.transpose(1, 2).contiguous() for weight in apart] if self.turned else apart


@dataclass(frozen=True)
class NegativeExp:
    """Their value is minus the exponential of ours."""

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        return [(-weight).log() for weight in weights if isinstance(weight, Tensor)]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [-weight.exp() for weight in weights]


@dataclass(frozen=True, eq=False)
class PermuteColumns:
    """Input columns in another order: column j of ours is column index[j] of theirs. A packed one becomes numbers."""

    index: Tensor

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        made: list[Weight] = []
        for weight in weights:
            numbers = weight if isinstance(weight, Tensor) else weight.dequantize()
            moved = take_rows(numbers.mT, self.index)
            assert isinstance(moved, Tensor)
            made.append(moved.mT.contiguous())
        return made

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [weight[:, self.index.argsort()] for weight in weights]


@dataclass(frozen=True)
class AsRow:
    """[n] or [1, n] → [1, n]."""

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        return [weight.view(1, -1) if isinstance(weight, Tensor) else weight for weight in weights]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return list(weights)


def interleaved_rotary(heads: int, width: int, turned: int | None = None) -> Permute:
    """Rotary pairs (2i, 2i + 1) within each head of theirs ↔ (i, i + width / 2) in ours; turned: in so many of its
    features (None: in all)."""
    end = width if turned is None else turned
    head = torch.cat((torch.arange(0, end, 2), torch.arange(1, end, 2), torch.arange(end, width)))
    return Permute((torch.arange(heads)[:, None] * width + head).flatten())


def grouped_by_head(kv_heads: int, width: int, queries: int = 1) -> tuple[Permute, Split]:
    """One tensor of theirs in which behind each group of `queries` heads stand their key and value ↔ q, k and v."""
    rows = torch.arange(kv_heads * (queries + 2) * width).view(kv_heads, queries + 2, width)
    parts = (rows[:, :queries], rows[:, queries], rows[:, queries + 1])
    sizes = (kv_heads * queries * width, kv_heads * width, kv_heads * width)
    return Permute(torch.cat([part.flatten() for part in parts])), Split(sizes)


class WeightMapping:
    """One line of the table; see the module's docstring."""

    def __init__(self, theirs: str | tuple[str, ...], ours: str | tuple[str, ...], *operations: Operation) -> None:
        self.theirs = (theirs,) if isinstance(theirs, str) else theirs
        self.ours = (ours,) if isinstance(ours, str) else ours
        self.operations = operations

    def at(self, layer: int) -> "WeightMapping":
        """The same line for one layer alone, its number in the place of ``{i}``."""
        theirs, ours = (tuple(n.replace("{i}", str(layer)) for n in names) for names in (self.theirs, self.ours))
        return WeightMapping(theirs, ours, *self.operations)

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        """Their tensors, in the mapping's order → ours."""
        moved = list(weights)
        for operation in self.operations:
            moved = operation.load(moved)
        return moved

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Our tensors, in the mapping's order → theirs."""
        moved = list(weights)
        for operation in reversed(self.operations):
            moved = operation.save(moved)
        return moved


def in_layers(place: str, names: Mapping[str, str]) -> list[WeightMapping]:
    """The parts of a decoder's layers at `place` in theirs that differ in name alone ↔ parts of our blocks; names
    without ``.weight`` and ``.bias``."""
    return [WeightMapping(f"{place}{name}.{{p}}", f"decoder.blocks.{{i}}.{part}.{{p}}") for name, part in names.items()]


@dataclass(frozen=True)
class Move:
    """A mapping with its holes filled: these tensors of theirs are these of ours."""

    mapping: WeightMapping
    theirs: tuple[str, ...]
    ours: tuple[str, ...]


@dataclass(frozen=True)
class Sinusoids:
    """Sinusoidal positions [count, width], which need no weights and which some files hold all the same."""

    count: int
    width: int
    layout: Layout

    @property
    def shape(self) -> tuple[int, int]:
        """Its shape, for who compares before anything is made."""
        return self.count, self.width

    def tensor(self) -> Tensor:
        """The vectors."""
        return sinusoids(self.count, self.width, self.layout)


@dataclass(frozen=True)
class Table:
    """All mappings of a family, in one direction or the other.

    prefix: what every name of theirs begins with, and some files leave out. ignored: patterns of tensors in their
    files that hold no weights (masks, frequencies). tied: their name → our name of tensors that some files repeat, and
    that stand for it where it is missing; a head that differs is one of its own. repeated: the same of tensors that may
    not differ. zero: our name → shape of weights that a file may leave out, and are then
    zero. sinusoids: their name → positions that follow from the config; files may hold them, and an export does.
    body: where there is no prefix, what the names of the body begin with in files of a model with a head; that head is
    left out.
    spare: how many numbers of our weights no file has. only_read: further mappings, of weights that some files hold in
    another form, which is not written.
    """

    mappings: tuple[WeightMapping, ...]
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    tied: dict[str, str] = field(default_factory=dict)
    repeated: dict[str, str] = field(default_factory=dict)
    zero: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sinusoids: dict[str, Sinusoids] = field(default_factory=dict)
    body: str = ""
    spare: int = 0
    only_read: tuple[WeightMapping, ...] = ()

    def replaced(self, *mappings: WeightMapping, without: Sequence[str] = ()) -> "Table":
        """This table with `mappings`, in place of those for the same names of theirs or ours and of those for which one
        of `without` stands in the name of theirs."""
        new = {name for mapping in mappings for name in (*mapping.theirs, *mapping.ours)}
        kept = tuple(
            mapping
            for mapping in self.mappings
            if new.isdisjoint((*mapping.theirs, *mapping.ours))
            and not any(part in name for part in without for name in mapping.theirs)
        )
        return replace(self, mappings=kept + mappings)

    def loads(self, names: Iterable[str], wanted: Iterable[str]) -> list[Move]:
        """How the tensors `names` of a file become the tensors `wanted` of a model.

        Raises ConfigError naming the tensor that fits no mapping, fits two, is missing, or has no place in the model.
        """
        names, wanted = list(names), set(wanted)
        if not self.prefix and self.body and any(name.startswith(self.body) for name in names):
            within = {name.removeprefix(self.body): name for name in names if name.startswith(self.body)}
            within |= {name: name for name in names if self._known(name)}
            return self._loads(within, wanted)
        bare = bool(self.prefix) and not any(name.startswith(self.prefix) for name in names)
        full = {(self.prefix + name if bare and not self._known(name) else name): name for name in names}
        return self._loads(full, wanted)

    def _loads(self, full: Mapping[str, str], wanted: Set[str]) -> list[Move]:
        """`loads`, of names as the table has them, each with the file's own."""
        ignored = [_regex(pattern) for pattern in self.ignored]
        known = {*self.tied, *self.repeated, *self.sinusoids}
        present = [n for n in full if n not in known and not any(pattern.fullmatch(n) for pattern in ignored)]
        moves = self._match(present, "theirs")
        made = {name for move in moves for name in move.ours}
        for name, ours in (self.tied | self.repeated).items():
            if name in full and ours not in made:
                moves.append(Move(WeightMapping(name, ours), (name,), (ours,)))
                made.add(ours)
        for ours in sorted(wanted - made):
            if ours in self.zero:
                moves.append(Move(WeightMapping((), ours, Zeros(self.zero[ours])), (), (ours,)))
                made.add(ours)
        if missing := sorted(wanted - made):
            more = f" (and {len(missing) - 1} more are missing)" if missing[1:] else ""
            raise ConfigError(f"the checkpoint has no tensor for {missing[0]!r}{more}")
        if extra := sorted(made - wanted):
            raise ConfigError(
                f"the checkpoint has a tensor for {extra[0]!r}, which this model's config has no place for"
            )
        return [Move(move.mapping, tuple(full[name] for name in move.theirs), move.ours) for move in moves]

    def saves(self, names: Iterable[str]) -> list[Move]:
        """How the tensors `names` of our model become theirs."""
        return self._match(list(names), "ours")

    def _known(self, name: str) -> bool:
        patterns = [pattern for mapping in self.mappings + self.only_read for pattern in mapping.theirs]
        return any(
            _regex(pattern).fullmatch(name) for pattern in [*patterns, *self.tied, *self.repeated, *self.ignored]
        )

    def _match(self, names: Sequence[str], side: str) -> list[Move]:
        mappings = self.mappings + (self.only_read if side == "theirs" else ())
        patterns = [(_regex(pattern), mapping) for mapping in mappings for pattern in getattr(mapping, side)]
        moves: dict[tuple[int, tuple[tuple[str, str], ...]], Move] = {}
        available = set(names)
        for name in names:
            hits = [(match.groupdict(), mapping) for regex, mapping in patterns if (match := regex.fullmatch(name))]
            if len(hits) != 1:
                what = "no place in" if not hits else "two places in"
                raise ConfigError(f"the tensor {name!r} has {what} a model of this family")
            holes, mapping = hits[0]
            move = Move(
                mapping,
                tuple(pattern.format(**holes) for pattern in mapping.theirs),
                tuple(pattern.format(**holes) for pattern in mapping.ours),
            )
            for other in getattr(move, side):
                if other not in available:
                    raise ConfigError(f"the tensor {name!r} needs {other!r} beside it, which is missing")
            moves[id(mapping), tuple(sorted(holes.items()))] = move
        return list(moves.values())


HOLES = {"i": r"[0-9]+", "rest": r".+"}
"""What fills a hole, where it is not one part of a name."""


def _regex(pattern: str) -> re.Pattern[str]:
    """A pattern with holes as a regular expression with named groups."""
    parts = re.split(r"\{(\w+)\}", pattern)
    out = re.escape(parts[0])
    for hole, text in zip(parts[1::2], parts[2::2], strict=True):
        out += f"(?P<{hole}>{HOLES.get(hole, r'[^.]+')})" + re.escape(text)
    return re.compile(out)
