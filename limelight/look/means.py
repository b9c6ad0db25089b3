"""What the parts of a network put out on average: what a part is replaced by that is to say nothing of a text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from limelight import given
from limelight.errors import RequestError
from limelight.look.many import together, windows
from limelight.look.parts import PARTS
from limelight.look.record import stack_of
from limelight.look.text import known, sink_tokens
from limelight.models.api import Decoder
from limelight.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False, repr=False)
class Means:
    """Means over all places of some texts but the sink token in front.

    of: part → its mean for each layer, [W], of "heads" [H · D], of "residual" one more; see `limelight.look.PARTS`.
    places: how many they are of.
    """

    of: Mapping[str, tuple[Tensor, ...]]
    places: int

    def __repr__(self) -> str:
        return f"Means({len(self.of['attention'])} layers, over {self.places:,} tokens)"


def fitting(means: Means, network: Decoder) -> Means:
    """The means, if they are of a model of the network's shape. Raises RequestError if not."""
    found = given.a(Means, "means", means, "what `model.means` returns")
    width = network.config.width
    if len(found.of["attention"]) != len(stack_of(network).blocks) or len(found.of["attention"][0]) != width:
        raise RequestError("these means are of a model of another shape; make them with this one's `means`")
    return found


def means(network: Decoder, tokenizer: Tokenizer, texts: Iterable[str]) -> Means:
    """See `limelight.Model.means`."""
    front = sink_tokens(tokenizer)
    sums: dict[str, list[Tensor]] = {}
    places = 0

    def take(place: int, found: dict[str, list[Tensor]], hidden: Tensor) -> None:
        nonlocal places
        places += len(hidden) - len(front)
        for part, layers in found.items():
            own = [made[len(front) :].double().sum(0).cpu() for made in layers]
            before = sums.get(part)
            sums[part] = own if before is None else [a + b for a, b in zip(before, own, strict=True)]

    numbered = given.many("texts", texts, "strings")
    for lot in windows(given.text(f"part {number} of texts", text) for number, text in numbered):
        ids = [[*front, *known(tokenizer.encode(text).ids, tokenizer, network.vocab)] for text in lot]
        for number, each in enumerate(ids, 1):
            if len(each) > network.context:
                raise RequestError(
                    f"text {number} of {len(ids)} has {len(each):,} tokens and the model sees at most "
                    f"{network.context:,}; shorten it"
                )
        together(network, ids, list(PARTS), take)
    if not places:
        raise RequestError("the texts have no tokens to take a mean of; give at least one word")
    return Means({part: tuple((each / places).float() for each in layers) for part, layers in sums.items()}, places)
