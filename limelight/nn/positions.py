"""Where a token stands: rotary embeddings with their scalings, and the positions of one step.

A `Rotary` holds only frequencies. What belongs to one request, the positions and the cosines made from them, lives
in a `Positions` object that is made once per step and shared by all layers.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Scaling(Protocol):
    """A rule that stretches rotary frequencies beyond the length a model was first trained on."""

    def frequencies(self, width: int, base: float, length: Tensor) -> Tensor:
        """Inverse frequencies in float32, [.., width / 2] or, where they are the same for all, [width / 2].

        length: [..] int64, how long a text each position is turned for.
        """
        ...

    @property
    def amplitude(self) -> float:
        """What cosines and sines are multiplied by."""
        ...


class FollowingScaling(Scaling, Protocol):
    """A scaling whose frequencies follow the length of the text."""

    def reach(self, length: Tensor, given: Tensor) -> Tensor:
        """The least length that all positions of a text are turned for, [B] int64; where it changes, what was read
        before must be read anew.

        length: [B], tokens of each text so far. given: [B], how many of them it was given with before it was
        continued; 0 where nobody said so.
        """
        ...


def plain_frequencies(width: int, base: float) -> Tensor:
    """``base ** (-2i / width)`` for i < width / 2 (Su et al., 2021, section 3.2.2)."""
    return 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.float32) / width))


@dataclass(frozen=True)
class LinearScaling:
    """All positions divided by `factor` (Chen et al., 2023)."""

    factor: float
    amplitude: float = 1.0

    def frequencies(self, width: int, base: float, length: Tensor) -> Tensor:
        return plain_frequencies(width, base) / self.factor


@dataclass(frozen=True)
class DynamicScaling:
    """The base grows with the text once it passes `original` positions ("dynamic NTK").

    A text is turned for the length that it has. When it is continued, the base would grow with every token and all
    would have to be read anew each time; as in the reference, what was given stays as it is and each token that is
    added is turned for the length that the text has with it.
    """

    factor: float
    original: int
    amplitude: float = 1.0

    def frequencies(self, width: int, base: float, length: Tensor) -> Tensor:
        stretch = self.factor * length.clamp(min=self.original) / self.original - (self.factor - 1)
        grown = base * stretch[..., None] ** (width / (width - 2))
        return 1.0 / (grown ** (torch.arange(0, width, 2, dtype=torch.float32, device=length.device) / width))

    def reach(self, length: Tensor, given: Tensor) -> Tensor:
        return torch.where(given > 0, given, length).clamp(min=self.original)


@dataclass(frozen=True)
class Llama3Scaling:
    """Long wavelengths divided by `factor`, short ones kept, a linear blend between (Llama 3.1, Meta 2024)."""

    factor: float
    low: float
    high: float
    original: int
    amplitude: float = 1.0

    def frequencies(self, width: int, base: float, length: Tensor) -> Tensor:
        plain = plain_frequencies(width, base)
        wavelength = 2 * math.pi / plain
        smooth = (self.original / wavelength - self.low) / (self.high - self.low)
        blended = (1 - smooth) * plain / self.factor + smooth * plain
        scaled = torch.where(wavelength > self.original / self.low, plain / self.factor, plain)
        between = (wavelength >= self.original / self.high) & (wavelength <= self.original / self.low)
        return torch.where(between, blended, scaled)


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (Peng et al., 2023): slow dimensions are interpolated, fast ones kept, a ramp between (section 3.2).

    fast, slow: rotations within `original` positions that bound the ramp. whole: the bounds are rounded outwards to
    whole dimensions. amplitude: the temperature of section 3.4, ``0.1 ln(factor) + 1`` unless the model says so.
    """

    factor: float
    original: int
    amplitude: float
    fast: float = 32.0
    slow: float = 1.0
    whole: bool = True

    def frequencies(self, width: int, base: float, length: Tensor) -> Tensor:
        def dimension(rotations: float) -> float:
            return width * math.log(self.original / (rotations * 2 * math.pi)) / (2 * math.log(base))

        low, high = dimension(self.fast), dimension(self.slow)
        if self.whole:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, width - 1)
        if low == high:
            high += 0.001  # a ramp of no length would divide by zero
        keep = 1 - ((torch.arange(width // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
        powers = base ** (torch.arange(0, width, 2).float() / width)
        return (1.0 / (self.factor * powers)) * (1 - keep) + (1.0 / powers) * keep


@dataclass(frozen=True)
class LongRopeScaling:
    """A factor of its own for each dimension, one set for texts of up to `original` tokens and one for longer ones
    (Ding et al., 2024).

    short, long: [width / 2] divisors. A text that grows past `original` is read anew with the other set, as the
    reference does.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int
    amplitude: float

    def frequencies(self, width: int, base: float, length: Tensor) -> Tensor:
        short, long = torch.tensor((self.short, self.long), dtype=torch.float32, device=length.device)
        factors = torch.where(length[..., None] > self.original, long, short)
        return 1.0 / (factors * base ** (torch.arange(0, width, 2, dtype=torch.float32, device=length.device) / width))

    def reach(self, length: Tensor, given: Tensor) -> Tensor:
        return length.maximum(given).clamp(self.original, self.original + 1)  # only the side of the border counts


class Positions:
    """The positions of one step and the rotations made from them, each made once for all layers.

    index: [T] where every row stands at the same positions, otherwise [B, T]; int64.
    longest: one more than the largest position.
    length, given: [B] int64 on CPU, see `FollowingScaling.reach`; None: all rows are `longest`, and nobody said.
    counts: [B] int64 on CPU, how many of the positions of each row are real; None: all. values: [B, T, W], what the
    first layer of RWKV-7 has left for those behind it.
    """

    def __init__(
        self,
        index: Tensor,
        longest: int,
        length: Tensor | None = None,
        given: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> None:
        self.index = index
        self.longest = longest
        self.length = length
        self.given = given
        self.counts = counts
        self.values: Tensor | None = None
        self._rotations: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]] = {}
        self._biases: dict[int, Tensor | None] = {}

    def reach(self, scaling: FollowingScaling) -> Tensor:
        """See `FollowingScaling.reach`; [B], or [1] where all rows are alike."""
        length = torch.tensor([self.longest]) if self.length is None else self.length
        return scaling.reach(length, torch.zeros_like(length) if self.given is None else self.given)

    def rotation(self, rotary: "Rotary", dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines [T, R] or [B, 1, T, R] in `dtype`, to broadcast over heads."""
        key = (id(rotary), dtype)
        if key not in self._rotations:
            self._rotations[key] = rotary.table(self, dtype)
        return self._rotations[key]

    def bias(self, module: nn.Module) -> Tensor | None:
        """What a module of `nn.bias` adds to the scores of this step: [B or 1, H, T, S], or None."""
        if id(module) not in self._biases:
            self._biases[id(module)] = module(self)
        return self._biases[id(module)]


class Rotary(nn.Module):
    """Rotary position embedding (Su et al., 2021) on the first `width` features of each head, half-split layout.

    The feature pairs are (i, i + width / 2), as Hugging Face's checkpoints store them; readers of other layouts
    permute the weights.
    """

    def __init__(self, width: int, base: float, scaling: Scaling | None = None) -> None:
        super().__init__()
        self.width = width
        self.base = base
        self.scaling = scaling
        self._tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
        self._made_of: tuple[int, float, Scaling | None] | None = None

    def table(self, positions: Positions, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines, [T, R] or, where rows differ, [B, 1, T, R].

        The sine's first half is negated, so that rotating is ``x·cos + swap_halves(x)·sin``.
        """
        index = positions.index
        if self.following is None:
            whole = self.whole(positions.longest, dtype, index.device)
            cos, sin = (F.embedding(index, each) for each in whole)
        else:
            reach = positions.reach(self.following)
            alike = index.dim() == 1 and bool((reach == reach[0]).all())
            reach = reach.to(index.device)
            least = reach[0] if alike else reach[:, None]
            cos, sin = self._made(index, least.maximum(index + 1), dtype)
        return (cos, sin) if cos.dim() == 2 else (cos[:, None], sin[:, None])

    @property
    def following(self) -> FollowingScaling | None:
        """The scaling, if its frequencies follow the length of the text."""
        match self.scaling:
            case DynamicScaling():
                return self.scaling
            case LongRopeScaling(short, long) if short != long:
                return self.scaling
        return None

    def whole(self, longest: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """The table of all positions up to `longest` and more [.., R], which is kept: making it takes as long as a
        small layer. Only where it does not follow the text."""
        settings = (self.width, self.base, self.scaling)
        if self._made_of != settings:
            self._tables, self._made_of = {}, settings
        cos, sin = self._tables.get((dtype, device), (None, None))
        if cos is None or sin is None or len(cos) < longest:
            with torch.inference_mode(False):  # what is kept is used where gradients are wanted, too
                index = torch.arange(max(256, 1 << (longest - 1).bit_length()), device=device)
                cos, sin = self._made(index, index, dtype)
            self._tables[dtype, device] = cos, sin
        return cos, sin

    def _made(self, index: Tensor, length: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if self.scaling is None:
            frequencies, amplitude = plain_frequencies(self.width, self.base), 1.0
        else:
            frequencies, amplitude = self.scaling.frequencies(self.width, self.base, length), self.scaling.amplitude
        angles = index[..., None].float() * frequencies.to(index.device)  # [..., T, R / 2]
        cos, sin = angles.cos() * amplitude, angles.sin() * amplitude
        return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        """Rotates heads x [B, H, T, D] by their positions."""
        cos, sin = positions.rotation(self, x.dtype)
        if self.width == x.shape[-1]:
            return torch.addcmul(x * cos, x.roll(self.width // 2, -1), sin)
        turned, rest = x[..., : self.width], x[..., self.width :]
        return torch.cat((torch.addcmul(turned * cos, turned.roll(self.width // 2, -1), sin), rest), -1)


class NoRotary(nn.Module):
    """Leaves heads as they are: positions come from elsewhere, or from nowhere."""

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        return x


class LearnedPositions(nn.Module):
    """A learned vector for each position, added to the token's (GPT-2, BERT).

    offset: rows in front of position 0 that are never read; fairseq's models have two (RoBERTa, BART).
    """

    def __init__(self, context: int, width: int, offset: int = 0) -> None:
        super().__init__()
        self.offset = offset
        self.weight = nn.Parameter(torch.randn(offset + context, width) * 0.02)

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        """x [B, T, W] plus the vectors of its positions."""
        return x + nn.functional.embedding(positions.index + self.offset, self.weight)


Layout = Literal["interleaved", "halves", "fairseq"]
"""See `sinusoids`."""


def sinusoids(count: int, width: int, layout: Layout) -> Tensor:
    """Sines and cosines of the first `count` positions at wavelengths from 2π to 10000 · 2π: [count, width] float32.

    "interleaved" is the paper's (Vaswani et al., 2017, section 3.5): feature 2i is a sine and 2i + 1 the cosine of the
    same angle, ``position / 10000^(2i / width)``. "halves" puts all sines first, as transformers' Marian and Pegasus
    do; the two differ by a fixed order of the features. "fairseq" (and tensor2tensor, and Marian itself) has halves,
    too, but divides the exponent by ``width / 2 - 1``, so that the longest wavelength is exactly 10000 · 2π.
    """
    half = width // 2
    if layout == "fairseq":  # in float32 throughout, as the models that have it were trained
        frequencies = torch.exp(torch.arange(half).float() * -(math.log(10000) / max(half - 1, 1)))
        angles = torch.arange(count).float()[:, None] * frequencies
    else:
        frequencies = 10000.0 ** (torch.arange(half, dtype=torch.float64) * (-2 / width))
        angles = torch.arange(count, dtype=torch.float64)[:, None] * frequencies
    pair = (angles.sin().float(), angles.cos().float())
    return torch.stack(pair, -1).flatten(-2) if layout == "interleaved" else torch.cat(pair, -1)


class SinusoidalPositions(nn.Module):
    """The `sinusoids` of each position, added to the token's vector. offset: the number of the first position."""

    def __init__(self, width: int, layout: Layout, offset: int = 0) -> None:
        super().__init__()
        self.width = width
        self.layout: Layout = layout
        self.offset = offset
        self._tables: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        """x [B, T, W] plus the vectors of its positions."""
        return x + F.embedding(positions.index + self.offset, self._table(positions.longest + self.offset, x))

    def _table(self, longest: int, x: Tensor) -> Tensor:
        """The vectors of all positions up to `longest` and more, which are kept."""
        table = self._tables.get((x.dtype, x.device))
        if table is None or len(table) < longest:
            with torch.inference_mode(False), torch.device("cpu"):
                table = sinusoids(max(256, 1 << (longest - 1).bit_length()), self.width, self.layout)
                table = self._tables[x.dtype, x.device] = table.to(x.device, x.dtype)
        return table


class NoPositions(nn.Module):
    """Adds nothing: the stack's attention knows positions by rotation, or not at all."""

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        return x
