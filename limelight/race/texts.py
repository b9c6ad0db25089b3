"""What they learn from text: running text or translations, much of it or little."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from limelight.errors import FileError, RequestError
from limelight.race.contenders import HEADS
from limelight.race.problems import TESTED, Test
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import IGNORE, Batch
from limelight.train.data import TABLES, TEXTS, Pair, existing, kind, read_pairs, read_texts
from limelight.train.tokenizers import train_tokenizer

HELD_OUT = 0.1
CHARACTERS = 2_000_000
"""The most text that is read."""

LITTLE = 20_000
"""Characters of a little text."""

VOCAB = 256


class Text:
    """Running text: the next piece of it, in windows."""

    name, title = "text", "Text"
    says = "Running text, and its next character each time."
    context, rows = 64, 16
    chance: float | None = None
    heads, conv = HEADS, 0

    def __init__(self, training: Tensor, validation: Tensor, vocab: int) -> None:
        """training, validation: token ids [N]."""
        self.vocab = vocab
        self.training = training
        self.validation = validation

    def over(self, steps: int) -> float:
        """How often so many steps read all that there is to learn from."""
        return steps * self.rows * self.context / len(self.training)

    def little(self) -> "Text":
        """The same with LITTLE characters to learn from."""
        training = self.training[:LITTLE]
        return _called_little(Text(training, self.validation, self.vocab), len(training))

    def _windows(self, text: Tensor, starts: Tensor) -> Batch:
        windows = text[starts[:, None] + torch.arange(self.context + 1)]
        return Batch(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())

    def batch(self, generator: torch.Generator, done: float = 1.0) -> Batch:
        starts = torch.randint(len(self.training) - self.context, (self.rows,), generator=generator)
        return self._windows(self.training, starts)

    def tests(self) -> list[Test]:
        starts = torch.linspace(0, len(self.validation) - self.context - 1, TESTED).long()
        return [Test("characters", self.context, True, self._windows(self.validation, starts))]


class Translation(Text):
    """A sentence, and what it is in another language, one behind the other; asked for is the translation alone."""

    title = "Translation"
    says = "A sentence is read and then its translation written, character by character; counted is the translation."
    context = 192

    def __init__(self, training: Tensor, validation: Tensor, vocab: int) -> None:
        """training, validation: pairs [N, 2, context], the tokens that are read and what they are asked for."""
        super().__init__(training, validation, vocab)

    def over(self, steps: int) -> float:
        return steps * self.rows / len(self.training)

    def little(self) -> Text:
        asked = (self.training[:, 1] != IGNORE).sum(1).cumsum(0)
        enough = min(int((asked < LITTLE).sum()) + 1, len(asked))
        training = self.training[:enough]
        return _called_little(Translation(training, self.validation, self.vocab), int(asked[enough - 1]))

    def batch(self, generator: torch.Generator, done: float = 1.0) -> Batch:
        return _cut(self.training[torch.randint(len(self.training), (self.rows,), generator=generator)])

    def tests(self) -> list[Test]:
        return [Test("characters", self.context, True, _cut(self.validation[:TESTED]))]


def _called_little(text: Text, characters: int) -> Text:
    text.name, text.title = "little", f"Little {text.title.lower()}"
    text.says = f"The same, with {characters:,} characters to learn from, read again and again."
    return text


def _cut(pairs: Tensor) -> Batch:
    """As a batch that is no longer than its longest pair."""
    longest = int((pairs[:, 1] != IGNORE).any(0).nonzero().max()) + 1
    return Batch(pairs[:, 0, :longest].contiguous(), pairs[:, 1, :longest].contiguous())


def read(files: Sequence[str]) -> tuple[Text, Tokenizer, str]:
    """The problem that files make, what it is read by, and their text; without files, Python's documentation.

    Tables hold pairs, and so do two files that differ in how they end (train.en, train.de); others hold running text.
    Raises a LimelightError for what cannot be read, or is too short.
    """
    for file in files:
        existing(file)
    if paired(files):
        return _translation(files)
    text = "".join(piece for piece, _ in read_texts(files))[:CHARACTERS] if files else python()[:CHARACTERS]
    tokenizer = train_tokenizer([text], "character", VOCAB, document=True)
    ids = torch.tensor(tokenizer.encode(text).ids)
    cut = round(len(ids) * (1 - HELD_OUT))
    if len(ids) - cut < 4 * Text.context:
        raise RequestError(f"a race needs a text of {40 * Text.context:,} characters, and this one has {len(ids):,}")
    return Text(ids[:cut], ids[cut:], tokenizer.vocab), tokenizer, text


def paired(files: Sequence[str]) -> bool:
    """Whether files hold sentences and their translations."""
    paths = [Path(file) for file in files]
    kinds = [kind(path) for path in paths]
    if paths and all(each in TABLES for each in kinds):
        return True
    stems = {path.name.removesuffix(path.suffix).removesuffix(each) for path, each in zip(paths, kinds, strict=True)}
    plain = any(path.is_dir() or each in TEXTS for path, each in zip(paths, kinds, strict=True))
    return len(paths) == 2 and len(stems) == 1 and len(set(kinds)) == 2 and not plain


def _translation(files: Sequence[str]) -> tuple[Text, Tokenizer, str]:
    pairs: list[Pair] = []
    long = 0
    for source, target in read_pairs(files):
        if len(source) + len(target) + 2 <= Translation.context:
            pairs.append((source, target))
            long += len(source) + len(target) + 2
        if long >= CHARACTERS:
            break
    text = "".join(f"{source}\t{target}\n" for source, target in pairs)
    held = round(len(pairs) * HELD_OUT)
    if held < 4:
        raise RequestError(
            f"a race needs 40 pairs of at most {Translation.context} characters, and here are {len(pairs):,}"
        )
    tokenizer = train_tokenizer([text], "character", VOCAB, document=True)
    table = torch.zeros(len(pairs), 2, Translation.context, dtype=torch.int64)
    table[:, 1] = IGNORE
    for row, (source, target) in enumerate(pairs):
        ids = torch.tensor(tokenizer.encode(f"{source}\t{target}\n").ids)
        table[row, 0, : len(ids) - 1] = ids[:-1]
        before = len(tokenizer.encode(f"{source}\t").ids) - 1
        table[row, 1, before : len(ids) - 1] = ids[before + 1 :]
    return Translation(table[:-held], table[-held:], tokenizer.vocab), tokenizer, text


def python() -> str:
    """Python's own documentation. Raises FileError where it comes without."""
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError:
        raise FileError("this Python comes without its documentation; name a text by --data") from None
    return "\n".join(topics.values())
