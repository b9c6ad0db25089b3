"""A tokenizer and small models that the tests of tasks share."""

import functools

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from limelight.models.api import Decoder, Network, Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import preset
from limelight.tasks import Language
from limelight.train.batches import IGNORE
from limelight.train.tokenizers import train_tokenizer

SENTENCES = [
    "ein kleiner hund läuft",
    "zwei kinder spielen im schnee und ein hund läuft",
    "ein hund",
    "kinder läuft schnee im ein",
    "spielen",
    "und und und zwei zwei kleiner",
]


@functools.cache
def language() -> Language:
    """One tokenizer for both sides."""
    tokenizer = train_tokenizer(iter(SENTENCES), "word", 100)
    return Language(tokenizer, tokenizer)


@functools.cache
def network(name: str) -> Network:
    """A model that has learnt by heart to say SENTENCES backwards, and has ideas about others."""
    words, marks = language(), language().marks
    model = build(preset(name, words.target.vocab, width=32, dropout=0.0, context=64))
    initialise(model, torch.Generator().manual_seed(0))
    sources, targets = [words.read(line) for line in SENTENCES], [backwards(line) for line in SENTENCES]
    joined = isinstance(model, Decoder)
    beside = [source if joined else [] for source in sources]
    tokens = padded([[*s, marks.start, *t] for s, t in zip(beside, targets, strict=True)], marks.pad)
    wanted = padded([[*[IGNORE] * len(s), *t, marks.end] for s, t in zip(beside, targets, strict=True)], IGNORE)
    source = padded([[*ids, marks.end] for ids in sources], marks.pad)
    lengths = torch.tensor([len(ids) + 1 for ids in sources])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        logits = model(source, lengths, tokens) if isinstance(model, Seq2Seq) else model(tokens)
        loss = cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def padded(rows: list[list[int]], fill: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=fill)


def backwards(line: str) -> list[int]:
    return language().read(line)[::-1]


def logprobs(model: Network, line: str, target: list[int]) -> Tensor:
    """The log-probability of each target token and of the end, with the marks where a training has them."""
    words = language()
    marks = words.marks
    source, tokens = words.read(line), torch.tensor([[marks.start, *target]])
    if isinstance(model, Seq2Seq):
        logits = model(torch.tensor([[*source, marks.end]]), None, tokens)[0]
    else:
        logits = model(torch.cat((torch.tensor([source]), tokens), 1))[0, len(source) :]
    wanted = torch.tensor([*target, marks.end])
    return -cross_entropy(logits, wanted, reduction="none")
