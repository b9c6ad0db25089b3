"""What reading and writing cost by length, and how much of it must wait for what came before."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from limelight.models import config as c
from limelight.models import units as u
from limelight.models.api import Decoder
from limelight.nn.state import State
from limelight.nn.unit import CHUNK
from limelight.race.training import clock, new

LENGTHS = (16, 64, 256, 1024, 4096)
WRITTEN = 8
"""Tokens that are written to time one."""


@dataclass(frozen=True)
class Cost:
    """At one length, for one text. read, trained: seconds to read it, and for a step of training on it. written:
    seconds for one more token behind it. kept: bytes of the state that it leaves. chain: products that must follow one
    another to read it. products: multiplications and additions to read it."""

    contender: str
    length: int
    read: float
    trained: float
    written: float
    kept: int
    chain: int
    products: int


def costs(contender: str, config: c.ModelConfig, lengths: tuple[int, ...], most: float) -> list[Cost]:
    """The costs by length; those that would take more than `most` seconds in all are left out. Times are the best of
    three, or of fewer where they are long."""
    network = new(_stretched(config, lengths[-1] + 4 * WRITTEN), 0)
    network(torch.zeros(1, lengths[0], dtype=torch.int64)).sum().backward()  # what is made ready once is not timed
    begun = clock()
    found: list[Cost] = []
    for length in lengths:
        spent = clock() - begun
        if found and spent + 3 * length / found[-1].length * (found[-1].read + found[-1].trained) > most:
            break
        tokens = torch.randint(network.vocab, (1, length), generator=torch.Generator().manual_seed(length))

        def trained(tokens: Tensor = tokens) -> None:
            network.train()
            loss = torch.nn.functional.cross_entropy(network(tokens).flatten(0, 1), tokens.flatten())
            torch.autograd.backward(loss)

        with torch.inference_mode():
            network.eval()
            read = _best(partial(network, tokens))
            kept = sum(part.nbytes for part in network.start(1, length).parts)
            state = network.start(1, length + 3 * WRITTEN)
            network.step(tokens, state, last=True)
            word = tokens[:, -1:]

            def write(state: State = state, word: Tensor = word) -> None:
                for _ in range(WRITTEN):
                    network.step(word, state)

            written = _best(write) / WRITTEN
        waits, work = chain(config, length), products(network, length)
        found.append(Cost(contender, length, read, _best(trained), written, kept, waits, work))
    return found


def _stretched(config: c.ModelConfig, longest: int) -> c.ModelConfig:
    """The same for texts up to `longest` tokens; learned positions are looked up, which costs nothing."""
    stack = config.decoder
    if isinstance(stack, c.TransformerStack) and isinstance(stack.embeddings.positions, c.Learned):
        embeddings = dataclasses.replace(stack.embeddings, positions=c.Learned(longest))
        stack = dataclasses.replace(stack, embeddings=embeddings)
    return dataclasses.replace(config, context=longest, decoder=stack)


def chain(config: c.ModelConfig, length: int) -> int:
    """The longest row of products each of which needs the one before, to read `length` tokens at once.

    A recurrent layer has one for its inputs and one for each word; a block of a transformer six, however long the text:
    queries, scores, values, output, up and down. A unit with a parallel form (Mamba, the delta rule, RWKV-7) reads
    chunks at once and hands a state from one to the next, between its projections; a scan runs through pieces. The head
    is one more.
    """
    stack = config.decoder
    if isinstance(stack, c.RecurrentStack):
        return stack.layers + length + 1  # a layer may read a word as soon as the one below has
    assert stack is not None  # a language model has a decoder
    waits, cells = 1, False
    for block in stack.blocks:
        match block.attention:
            case u.Cells():
                waits, cells = waits + 2, True  # into the cells and out of them
            case u.MinGRU():
                waits += 2 + 2 * math.isqrt(length)
            case u.Recurrence():
                waits += 5 + -(-length // CHUNK)
            case _:
                waits += 4
        waits += 0 if isinstance(block.feedforward, u.NoFeedForward) else 2
    return waits + (length if cells else 0)


def products(network: Decoder, length: int) -> int:
    """Multiplications and additions of the matrix products, scores of attention counted for what is seen, and what a
    recurrent unit's state takes counted word by word."""
    # A tied embedding is the head's; learned positions are looked up.
    matrices = sum(p.numel() for name, p in network.named_parameters() if p.dim() > 1 and "positions" not in name)
    total = 2 * matrices * length
    stack = network.config.decoder
    if isinstance(stack, c.TransformerStack):
        for block in stack.blocks:
            match block.attention:
                case u.Mamba2(inner=inner, size=size):
                    total += 2 * 2 * inner * size * length
                case u.GatedDelta(asking_width=asks, units=units, unit_width=wide):  # asked twice, and written
                    total += 3 * 2 * units * asks * wide * length
                case u.TimeMix(wide=wide):  # what is removed is read and written, too
                    total += 4 * 2 * stack.width * wide * length
                case u.Recurrence():
                    pass  # its products are those of its matrices
                case c.Attention(heads=heads, head_width=wide):
                    total += 2 * 2 * heads * wide * length * (length + 1) // 2
    return total


def _best(act: Callable[[], object]) -> float:
    """The shortest of three times, or of one or two where they take long."""
    best, spent = float("inf"), 0.0
    for _ in range(3):
        begun = clock()
        act()
        took = clock() - begun
        best, spent = min(best, took), spent + took
        if spent > 0.5:
            break
    return best
