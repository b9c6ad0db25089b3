"""What an engine refuses before it computes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limelight.errors import RequestError
from limelight.models.api import Seq2Seq, begin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limelight.decode.draft import Drafting
    from limelight.models.api import LanguageModel


def check_prompt(model: LanguageModel, prompt: Sequence[int], positions: int, name: str) -> None:
    """Raises RequestError unless the model and a cache of so many positions can read a prompt."""
    if not prompt:
        raise RequestError(f"{name} is empty; give at least one token to continue")
    if len(prompt) > model.context:
        raise RequestError(
            f"{name} has {len(prompt):,} tokens and the model sees at most {model.context:,}: "
            f"shorten it by {len(prompt) - model.context:,}, or open a model with a longer context"
        )
    if len(prompt) > positions:
        raise RequestError(f"{name} has {len(prompt):,} tokens and the cache holds {positions:,}: enlarge it")
    if min(prompt) < 0 or max(prompt) >= model.vocab:
        raise RequestError(f"{name} holds a token outside the model's vocabulary of {model.vocab:,}")


def check_source(model: LanguageModel, source: Sequence[int], name: str) -> None:
    """Raises RequestError unless the model can write behind a source; no other model has one."""
    if not isinstance(model, Seq2Seq):
        if source:
            raise RequestError(f"{name} cannot be read: the model has no encoder; put it into the prompt")
        return
    if not source:
        raise RequestError(f"{name} is empty; an encoder–decoder writes behind a source, give it at least one token")
    if len(source) > model.context:
        raise RequestError(
            f"{name} has {len(source):,} tokens and the model reads at most {model.context:,}: "
            f"shorten it by {len(source) - model.context:,}"
        )
    if min(source) < 0 or max(source) >= model.source_vocab:
        raise RequestError(f"{name} holds a token outside the model's vocabulary of {model.source_vocab:,}")


def check_draft(model: LanguageModel, draft: Drafting, source: Sequence[int]) -> None:
    """Raises RequestError unless a draft can guess for the model, behind a source where there is one."""
    if not begin(model, 1, 1).rewinds:
        raise RequestError("a recurrent model cannot take back what it read, so it cannot use a draft; leave it out")
    if isinstance(draft, str):
        return
    if draft.vocab != model.vocab:
        raise RequestError(
            f"the draft has a vocabulary of {draft.vocab:,} and the model one of {model.vocab:,}: "
            "they must share their tokenizer"
        )
    if isinstance(draft, Seq2Seq):
        check_source(draft, source, "the draft's source")
