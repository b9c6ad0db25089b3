"""What a tokenizer is made of, wherever it was read from: the value that the readers hand to `Tokenizer`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import tokenizers


@dataclass(frozen=True, slots=True)
class Parts:
    """A working `tokenizers.Tokenizer`, and what the model's files say about its tokens.

    `what` names it in errors.
    `bos`, `eos`, `pad` and `unk` are spellings as they stand in the vocabulary. `ends` are the ids that the model's
    files name as the end of a text, beyond `eos`. `others` are further special tokens by their role ("sep", "cls",
    "mask"), for chat templates alone. The tokens that go around every document are in the inner
    tokenizer's post-processor, and nowhere else.
    """

    inner: tokenizers.Tokenizer
    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    unk: str | None = None
    ends: tuple[int, ...] = ()
    template: str | None = None
    what: str = "the model's tokenizer"
    others: Mapping[str, str] = field(default_factory=dict)
