"""/v1/embeddings, and what vectors are good for: /rerank and /score."""

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
        if len(ids) > model.longest:
            raise ApiError(
                f"{reader.name} reads at most {model.longest:,} tokens, and {where} has {len(ids):,}; shorten it",
                param=param,
                code="context_length_exceeded",
            )
        if max(ids) >= model.network.vocab:
            raise ApiError(
                f"{where} holds the token {max(ids)}; this model's vocabulary is {model.network.vocab:,}", param=param
            )
    return await reader.do(lambda: model.embed_tokens(tokens)), sum(map(len, tokens))


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
    """The answer of /rerank: by the cosine of a document's vector and the query's."""
    vectors, tokens = await _vectors(reader, [body.query, *body.documents], "documents")
    scores = _cosines(vectors[:1], vectors[1:])
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.top_n]
    results: list[Object] = [{"index": index, "relevance_score": scores[index]} for index in order]
    if body.return_documents:
        results = [{**each, "document": {"text": body.documents[each["index"]]}} for each in results]
    id = f"rerank-{secrets.token_hex(12)}"
    return {"id": id, "object": "list", "model": reader.name, "results": results, "usage": _usage(tokens)}


async def score(reader: "Reader", body: Score) -> Object:
    """The answer of /score: the cosine of each pair's vectors."""
    left, right = ([each] if isinstance(each, str) else each for each in (body.text_1, body.text_2))
    if len(left) not in (1, len(right)):
        raise ApiError(
            f"text_1 has {len(left)} texts and text_2 {len(right)}; give one, or as many of both", param="text_1"
        )
    vectors, tokens = await _vectors(reader, [*left, *right], "text_1 and text_2")
    scores = _cosines(vectors[: len(left)], vectors[len(left) :])
    data = [{"object": "score", "index": index, "score": value} for index, value in enumerate(scores)]
    head = {"id": f"score-{secrets.token_hex(12)}", "object": "list", "created": int(time.time())}
    return {**head, "model": reader.name, "data": data, "usage": _usage(tokens)}


def _cosines(left: "Tensor", right: "Tensor") -> list[float]:
    import torch

    found: list[float] = torch.nn.functional.cosine_similarity(left, right).tolist()
    return found
