"""Generation of several prompts together: prompts in, tokens out, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from limelight.decode.engine import Engine
from limelight.decode.request import CHUNK, Finish, Request, Rules, Step, Token
from limelight.decode.sampling import Sampling
from limelight.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from limelight.decode.draft import Drafting
    from limelight.models.api import LanguageModel

ROWS = 64
"""The most prompts that are continued together; further ones wait until others end."""


@dataclass(frozen=True, slots=True)
class Generated:
    """All that was generated for one prompt; the last token says why it ended."""

    tokens: tuple[Token, ...]

    @property
    def finish(self) -> Finish | None:
        """Why it ended; None if the steps were cut short."""
        return self.tokens[-1].finish if self.tokens else None

    @property
    def ids(self) -> list[int]:
        """The tokens to show: all but a stop token."""
        return [token.id for token in self.tokens if token.finish != "stop"]


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    sources: Sequence[Sequence[int]] = (),
    max_tokens: int,
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
    stop: frozenset[int] = frozenset(),
    logprobs: int | None = None,
    draft: Drafting | None = "auto",
) -> Generator[Step, None, None]:
    """Continues every prompt by up to `max_tokens` tokens, yielding each step as soon as it is known.

    Prompts of any lengths share a batch and give what each would give alone; a row leaves the batch when it ends.
    Nothing is computed before the first step is asked for, and the iteration may be left at any time.

    prompts: token ids. sources: for an encoder–decoder, the token ids of each prompt's source, behind which the prompt
    is the beginning of what is written: mostly a start token. stop: token ids that end a row. logprobs: None, or how
    many of the likeliest tokens to report beside the chosen token's own log-probability (0 for that one alone). draft:
    "auto", "lookup", or a smaller model of the same vocabulary, whose guesses at the next tokens are checked several in
    one step; they change no token (see `Drafting`).

    Raises RequestError, at once, for a prompt or source that is empty, longer than the model's context, or not of its
    vocabulary, for sources that the model cannot read or does not get, for numbers out of range, and for a draft that
    the model cannot use; and on the first step if the model's logits are not numbers.
    """
    engine, _ = start(
        model,
        prompts,
        sources=sources,
        max_tokens=max_tokens,
        sampling=sampling,
        stop=stop,
        logprobs=logprobs,
        draft=draft,
    )
    return engine.run()


def start(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    sources: Sequence[Sequence[int]],
    max_tokens: int,
    sampling: Sampling,
    stop: frozenset[int],
    logprobs: int | None,
    draft: Drafting | None,
    rules: Sequence[Rules] = (),
) -> tuple[Engine, list[Request]]:
    """What `generate` runs: an engine with one request for each prompt, which may be cancelled between steps."""
    if not prompts:
        raise RequestError("there is no prompt to continue")
    if sources and len(sources) != len(prompts):
        raise RequestError(f"there are {len(prompts)} prompts and {len(sources)} sources; give each prompt its own")
    pairs = list(zip(sources or [()] * len(prompts), prompts, strict=True))
    generators = sampling.generators([(tuple(source), tuple(prompt)) for source, prompt in pairs])
    engine = Engine(model, rows=min(ROWS, len(prompts)), chunk=CHUNK, keep=False)
    requests = [
        engine.submit(
            prompt,
            source=source,
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            logprobs=logprobs,
            draft=draft,
            generator=generator,
            rules=rule,
            name="the prompt" if len(prompts) == 1 else f"prompt {number}",
        )
        for number, ((source, prompt), generator, rule) in enumerate(
            zip(pairs, generators, rules or [Rules()] * len(pairs), strict=True), 1
        )
    ]
    return engine, requests


def collect(steps: Iterable[Step]) -> list[Generated]:
    """Runs `steps` to the end and gathers them by prompt."""
    rows: dict[int, list[Token]] = {}
    for step in steps:
        for token in step:
            rows.setdefault(token.row, []).append(token)
    return [Generated(tuple(rows[row])) for row in sorted(rows)]
