"""/tokenize and /detokenize."""

import asyncio
from typing import Any

from limelight.serve.api.answers import Object
from limelight.serve.api.bodies import Detokenize, Tokenize
from limelight.serve.api.chat import flat
from limelight.serve.api.errors import ApiError
from limelight.serve.api.shelf import Reader, Writer


async def tokenize(model: Writer | Reader, body: Tokenize) -> Object:
    """The tokens of a text, or of a conversation by the model's template."""
    tokenizer = model.model.tokenizer
    given = [each for each in (body.content, body.prompt, body.messages) if each is not None]
    if len(given) != 1:
        raise ApiError("give one of content, prompt and messages", param="content")
    if body.messages is not None:
        text = await asyncio.to_thread(tokenizer.chat, flat(body.messages))
        ids = tokenizer.encode(text, special=True).ids
    else:
        ids = tokenizer.encode(body.content if body.content is not None else body.prompt or "").ids
        if body.add_special or body.add_special_tokens:
            ids = [*tokenizer.prefix, *ids, *tokenizer.suffix]
    pieces = [tokenizer.spell(id) for id in ids]
    tokens: list[Any] = ids
    if body.with_pieces:
        tokens = [{"id": id, "piece": piece} for id, piece in zip(ids, pieces, strict=True)]
    found: Object = {"tokens": tokens, "count": len(ids), "max_model_len": model.model.network.context}
    return {**found, "token_strs": pieces} if body.return_token_strs else found


async def detokenize(model: Writer | Reader, body: Detokenize) -> Object:
    """The text of tokens, special ones as they are spelled; by both of the names that servers have for it."""
    tokenizer = model.model.tokenizer
    if wrong := next((id for id in body.tokens if id >= model.model.network.vocab), None):
        raise ApiError(f"tokens holds {wrong}; this vocabulary is {model.model.network.vocab:,}", param="tokens")
    text = tokenizer.decode(body.tokens, special=True)
    return {"content": text, "prompt": text}
