"""Tokens and their log-probabilities, as each path of the API tells them."""

from collections.abc import Callable, Sequence
from typing import Any

from limelight.serve.choice import Told


def legacy(told: Sequence[Told], start: int = 0) -> dict[str, Any]:
    """Tokens as /v1/completions tells them. start: characters in front of them."""
    return {
        "tokens": [each.text for each in told],
        "token_logprobs": [each.logprob for each in told],
        "top_logprobs": [None if each.logprob is None else _best(each) for each in told],
        "text_offset": [start + each.offset for each in told],
    }


def _best(told: Told) -> dict[str, float]:
    found: dict[str, float] = {}
    for _, text, value in told.best:
        found.setdefault(text, value)
    if told.logprob is not None:
        found.setdefault(told.text, told.logprob)
    return found


def modern(told: Sequence[Told], raw: Callable[[int], bytes]) -> dict[str, Any]:
    """Tokens as /v1/chat/completions tells them. raw: the bytes of a token, which may be part of a character."""

    def token(id: int, text: str, logprob: float | None) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(raw(id))}

    content = [
        {**token(each.id, each.text, each.logprob), "top_logprobs": [token(*likely) for likely in each.best]}
        for each in told
    ]
    return {"content": content, "refusal": None}


def prompt_told(told: Sequence[Told]) -> list[dict[str, Any] | None]:
    """The tokens of a prompt as vLLM tells them: by id, with rank."""
    found: list[dict[str, Any] | None] = []
    for each in told:
        if each.logprob is None:
            found.append(None)
            continue
        places = {id: (value, place, text) for place, (id, text, value) in enumerate(each.best, 1)}
        places.setdefault(each.id, (each.logprob, each.rank or 0, each.text))
        found.append(
            {
                str(id): {"logprob": value, "rank": rank, "decoded_token": text}
                for id, (value, rank, text) in places.items()
            }
        )
    return found
