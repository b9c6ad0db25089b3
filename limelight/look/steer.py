"""Steering vectors: a direction of the residual stream, made from pairs of texts and added to it (Turner et al., 2023;
Rimsky et al., 2024, section 3)."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from limelight import given
from limelight.errors import FileError, RequestError
from limelight.look.many import together
from limelight.look.record import stream_of, twin
from limelight.look.text import known, sink_tokens
from limelight.models.api import Decoder
from limelight.text.tokenizer import Tokenizer

KIND = "limelight steering vector"
"""What a file of one says that it is."""


@dataclass(frozen=True, eq=False, repr=False)
class SteeringVector:
    """A direction [W] of the residual stream, in float32.

    layer: where it is added, as in `Seen.hidden`: 0 behind the embeddings, L behind the last layer. model: what the
    model is called that it was made with.
    """

    direction: Tensor
    layer: int
    model: str

    def __repr__(self) -> str:
        length = float(self.direction.norm())
        return f"SteeringVector(layer {self.layer} of {self.model}, width {len(self.direction)}, length {length:.1f})"

    def save(self, path: str | Path) -> None:
        """Writes it as a safetensors file, in place of one that is there. Raises FileError if it cannot be written."""
        place = Path(given.path("path", path))
        about = {"kind": KIND, "layer": str(self.layer), "model": self.model}
        data = serialised({"direction": self.direction.contiguous()}, about)
        beside = None
        try:
            with NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}.", delete=False) as file:
                beside = file.name
                file.write(data)
            os.replace(beside, place)
        except (OSError, ValueError) as error:
            if beside is not None:
                Path(beside).unlink(missing_ok=True)
            raise FileError(f"{place} cannot be written: {error}") from None

    @staticmethod
    def load(path: str | Path) -> "SteeringVector":
        """Reads one that was saved. Raises FileError if there is none, or if the file holds anything else."""
        place = Path(given.path("path", path))
        try:
            with safe_open(place, "pt") as file:
                about = file.metadata() or {}
                direction = file.get_tensor("direction") if about.get("kind") == KIND else None
        except (SafetensorError, OSError, ValueError) as error:
            raise FileError(f"{place} is not a steering vector that can be read: {error}") from None
        layer = about.get("layer", "")
        sound = direction is not None and direction.dim() == 1 and bool(direction.float().isfinite().all())
        if direction is None or not sound or not (layer.isascii() and layer.isdigit()):
            raise FileError(f"{place} holds no steering vector; give a file that `SteeringVector.save` has written")
        return SteeringVector(direction.float(), int(layer), about.get("model", "a model"))


def steering_vector(
    network: Decoder, tokenizer: Tokenizer, pairs: Iterable[tuple[str, str]], layer: int, model: str
) -> SteeringVector:
    """See `limelight.Model.steering_vector`."""
    given.whole("layer", layer, 0, len(stream_of(network).blocks))
    texts: list[str] = []
    for number, pair in given.many("pairs", pairs, "pairs of texts"):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise RequestError(f"part {number} of pairs is {given.shown(pair)}; it must be a pair of texts")
        texts += [given.text(f"a text of pair {number}", text) for text in pair]
    if not texts:
        raise RequestError("there are no pairs; give at least one, a text that has what is wanted and one that has not")
    front, ids = sink_tokens(tokenizer), []
    for text in texts:
        read = known(tokenizer.encode(text).ids, tokenizer, network.vocab)
        if not read:
            raise RequestError("a text of the pairs is empty; give at least one word")
        if len(front) + len(read) > network.context:
            raise RequestError(
                f"{given.shown(text)} has {len(read):,} tokens and the model sees at most {network.context:,}; "
                "shorten it"
            )
        ids.append([*front, *read])
    total = torch.zeros(network.config.width, dtype=torch.float64)

    def take(place: int, found: dict[str, list[Tensor]], hidden: Tensor) -> None:
        ends = found["residual"][layer][-1].double().cpu()
        total.add_(ends if place % 2 == 0 else -ends)

    together(network, ids, ["residual"], take)
    return SteeringVector((total / (len(texts) / 2)).float(), layer, model)


def steered(network: Decoder, vector: SteeringVector, strength: float) -> Decoder:
    """A twin of `network` with a vector, times `strength`, added to the residual stream at every place.

    Raises RequestError for a vector of another width or of a layer that there is not, and for a recurrent model.
    """
    other = twin(network)
    stack = stream_of(other)
    given.a(SteeringVector, "vector", vector, "a SteeringVector")
    added = vector.direction * given.number("strength", strength)
    if len(added) != network.config.width:
        raise RequestError(
            f"{vector!r} does not fit: this model's stream has a width of {network.config.width}; use one made with it"
        )
    given.whole("layer of the vector", vector.layer, 0, len(stack.blocks))
    module: nn.Module = stack.blocks[vector.layer - 1] if vector.layer else stack.embeddings
    module.register_forward_hook(lambda module, inputs, output: output + added.to(output))
    return other
