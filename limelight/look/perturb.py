"""Importance measured by taking words away and looking at what the answer loses: the methods that need no theory."""

import torch

from limelight.look.target import Question
from limelight.look.text import Reading
from limelight.look.variants import Deaf, Progress, drops
from limelight.models.api import Decoder

LONG = 200
"""Words above which blocking measures spans of words first."""

SPAN = 32
"""Words in the first spans; halved until single words are left."""

REPLACEMENTS = 6
"""Likely other words that each word is replaced by."""

LOOKED_AT = 200
"""Of so many likeliest tokens those that could stand in a word's place are taken."""


def blocking(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """The fall in log-odds when nothing behind a word may attend to it; the asking word is left out instead."""
    if target > LONG:
        return _in_spans(network, reading, target, question, progress)
    before = reading.words[:target]
    variants = [Deaf(blocked=(word.tokens,)) for word in before[:-1]] + [Deaf(without=before[-1].tokens)]
    return drops(network, reading.tokens, question, variants, progress)


def _in_spans(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """Blocking for long texts: spans of words, of which the most important are halved again and again.

    About one variant for eight words. The words of a span that is not looked into share its fall equally.
    """
    words = reading.words[:target]
    spans = [range(start, min(start + SPAN, target - 1)) for start in range(0, target - 1, SPAN)]
    rounds = SPAN.bit_length() - 1
    refined = max(2, (target // 8 - len(spans)) // (2 * rounds))
    ahead = len(spans) + 1 + 2 * rounds * refined
    measured = 0

    def tell(done: int, all: int) -> None:
        if progress is not None:
            progress(min(measured + done, ahead), ahead)

    values = [0.0] * target
    (values[-1],) = drops(network, reading.tokens, question, [Deaf(without=words[-1].tokens)])
    while spans:
        variants = [Deaf(blocked=tuple(words[i].tokens for i in span)) for span in spans]
        falls = drops(network, reading.tokens, question, variants, tell)
        measured += len(spans)
        for span, fall in zip(spans, falls, strict=True):
            for i in span:
                values[i] = fall / len(span)
        wide = [(fall, span) for fall, span in zip(falls, spans, strict=True) if len(span) > 1]
        best = sorted(wide, key=lambda pair: -pair[0])[:refined]
        spans = [half for _, span in best for half in (span[: len(span) // 2], span[len(span) // 2 :])]
    if progress is not None:
        progress(ahead, ahead)
    return values


def leave_one_out(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """The fall in log-odds when a word is deleted and what follows moves up."""
    variants = [Deaf(without=word.tokens) for word in reading.words[:target]]
    return drops(network, reading.tokens, question, variants, progress)


def leave_one_replaced(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """The most that the log-odds fall when a word gives way to another that the model finds likely in its place."""
    words = reading.words[:target]
    with torch.inference_mode():
        tokens = torch.tensor([reading.tokens[: words[-1].tokens.stop]], device=network.device)
        hidden, most = network.read(tokens)[0], min(LOOKED_AT, network.vocab)
        likely = [network.logits(hidden[word.tokens.start - 1]).topk(most).indices.tolist() for word in words]
    variants, owners = [], []
    for i, (word, ids) in enumerate(zip(words, likely, strict=True)):
        own = reading.tokens[word.tokens.start]
        fitting = [id for id in ids if id != own and _alike(reading.spell(id), reading.spell(own))][:REPLACEMENTS]
        variants += [Deaf(without=word.tokens, instead=(id,)) for id in fitting]
        owners += [i] * len(fitting)
    falls = drops(network, reading.tokens, question, variants, progress)
    values = [0.0] * target
    for i in range(target):
        values[i] = max((fall for fall, owner in zip(falls, owners, strict=True) if owner == i), default=0.0)
    return values


def _alike(token: str, own: str) -> bool:
    """Whether a token could stand where another does: it begins a word if that does, and is letters if that is."""
    return token[:1].isspace() == own[:1].isspace() and token.strip().isalpha() == own.strip().isalpha()
