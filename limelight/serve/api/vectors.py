"""/v1/embeddings, /rerank and /score: vectors of texts, and how much texts have to do with each other."""

import base64
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from limelight.serve.api.answers import Object
from limelight.serve.api.bodies import Embed, Rerank, Score
from limelight.serve.api.errors import ApiError, unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from limelight import Embedder
    from limelight.serve.api.shelf import Reader

Given = Sequence[str] | Sequence[Sequence[int]]


def _embedder(reader: "Reader") -> "Embedder":
    import limelight

    if not isinstance(reader.model, limelight.Embedder):
        raise ApiError(f"{reader.name} {reader.model.kind}; name a model that embeds texts", param="model")
    return reader.model


async def _vectors(reader: "Reader", texts: Given, param: str) -> "tuple[Tensor, int]":
    """A vector of each text, and how many tokens were read. Raises ApiError for one that is too long: none is cut."""
    model = _embedder(reader)
    tokens = [model.encode(text) if isinstance(text, str) else text for text in texts]
    for number, (ids, text) in enumerate(zip(tokens, texts, strict=True)):
        where = f"{param}[{number}]"
        if not text:
            raise ApiError(f"{where} is empty; give at least one word", param=param)
        _check(reader, len(ids), model.longest, where, param)
        if max(ids) >= model.network.vocab:
            raise ApiError(
                f"{where} holds the token {max(ids)}; this model's vocabulary is {model.network.vocab:,}", param=param
            )
    return await reader.do(lambda: model.embed_tokens(tokens)), sum(map(len, tokens))


def _check(reader: "Reader", tokens: int, longest: int, where: str, param: str) -> None:
    """Raises ApiError for a text, or a pair, that is too long."""
    if tokens > longest:
        raise ApiError(
            f"{reader.name} reads at most {longest:,} tokens, and {where} has {tokens:,}; shorten it",
            param=param,
            code="context_length_exceeded",
        )


async def _beside(
    reader: "Reader", left: Sequence[str], right: Sequence[str], params: tuple[str, str]
) -> tuple[list[float], int]:
    """What each text on the right has to do with that on the left, or with the only one there, and how many tokens were
    read: the score of a cross-encoder, else the cosine of two vectors. params: what the request calls them.

    Raises ApiError for a text that is too long or empty, and for a model that does neither.
    """
    import torch

    import limelight

    model = reader.model
    if isinstance(model, limelight.Classifier) and model.scores:
        pairs = [(left[number % len(left)], text) for number, text in enumerate(right)]
        lengths = [len(model.encode_pair(*pair)[0]) for pair in pairs]
        for number, length in enumerate(lengths):
            _check(reader, length, model.network.context, f"{params[0]} with {params[1]}[{number}]", params[1])
        return await reader.do(lambda: model.score(pairs)), sum(lengths)
    ours, read = await _vectors(reader, left, params[0])
    theirs, more = await _vectors(reader, right, params[1])
    return torch.nn.functional.cosine_similarity(ours, theirs).tolist(), read + more


def _usage(tokens: int) -> Object:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


async def embeddings(reader: "Reader", body: Embed) -> Object:
    """The answer of /v1/embeddings."""
    width = _embedder(reader).network.config.width
    if body.dimensions not in (None, width):
        raise unsupported("dimensions", f"can be nothing but {width} with {reader.name}; leave it out")
    given = body.input if isinstance(body.input, list) else [body.input]
    texts = cast("Given", [given] if isinstance(given[0], int) else given)
    vectors, tokens = await _vectors(reader, texts, "input")
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
            if body.encoding_format == "base64"
            else vector.tolist(),
        }
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "model": reader.name, "data": data, "usage": _usage(tokens)}


async def rerank(reader: "Reader", body: Rerank) -> Object:
    """The answer of /rerank."""
    scores, tokens = await _beside(reader, [body.query], body.documents, ("query", "documents"))
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.top_n]
    results: list[Object] = [{"index": index, "relevance_score": scores[index]} for index in order]
    if body.return_documents:
        results = [{**each, "document": {"text": body.documents[each["index"]]}} for each in results]
    id = f"rerank-{secrets.token_hex(12)}"
    return {"id": id, "object": "list", "model": reader.name, "results": results, "usage": _usage(tokens)}


async def score(reader: "Reader", body: Score) -> Object:
    """The answer of /score."""
    left, right = ([each] if isinstance(each, str) else each for each in (body.text_1, body.text_2))
    if len(left) not in (1, len(right)):
        raise ApiError(
            f"text_1 has {len(left)} texts and text_2 {len(right)}; give one, or as many of both", param="text_1"
        )
    scores, tokens = await _beside(reader, left, right, ("text_1", "text_2"))
    data = [{"object": "score", "index": index, "score": value} for index, value in enumerate(scores)]
    head = {"id": f"score-{secrets.token_hex(12)}", "object": "list", "created": int(time.time())}
    return {**head, "model": reader.name, "data": data, "usage": _usage(tokens)}
