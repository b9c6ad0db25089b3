"""Answers about vectors, from a model whose vectors are known."""

import asyncio
import base64
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from limelight.serve.api import vectors
from limelight.serve.api.bodies import Embed, Rerank, Score
from limelight.serve.api.errors import ApiError

VECTORS = {1: [3.0, 4.0], 2: [4.0, 3.0], 3: [-3.0, -4.0]}  # by the first token
USAGE = {"prompt_tokens": 4, "total_tokens": 4}


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads numbers, at most 4 of them and each below 1,000."""

    async def do(work: Callable[[], Any]) -> Any:
        return work()

    model = SimpleNamespace(
        encode=lambda text: [int(word) for word in text.split()],
        embed_tokens=lambda tokens: torch.tensor([VECTORS[ids[0]] for ids in tokens]),
        longest=4,
        network=SimpleNamespace(vocab=1000, config=SimpleNamespace(width=2)),
    )
    monkeypatch.setattr(vectors, "_embedder", lambda reader: model)
    return SimpleNamespace(name="tiny", model=model, do=do)


@pytest.mark.parametrize("given", [["1 7 7", "2"], [[1, 999, 7], [2]]])
def test_texts_and_tokens_become_vectors(reader: Any, given: Any) -> None:
    def answer(**fields: Any) -> Any:
        return asyncio.run(vectors.embeddings(reader, Embed(model="tiny", input=given, **fields)))

    said = answer(dimensions=2)
    assert said == {
        "object": "list",
        "model": "tiny",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [3, 4]},
            {"object": "embedding", "index": 1, "embedding": [4, 3]},
        ],
        "usage": USAGE,
    }
    coded = answer(encoding_format="base64")["data"][1]["embedding"]
    assert np.frombuffer(base64.b64decode(coded), "<f4").tolist() == [4, 3]


@pytest.mark.parametrize(
    ("fields", "param", "code", "said"),
    [
        (
            {"input": "1 7 7 7 7"},
            "input",
            "context_length_exceeded",
            "tiny reads at most 4 tokens, and input[0] has 5;",
        ),
        ({"input": ["1", ""]}, "input", None, "input[1] is empty; give at least one word"),
        ({"input": [1, 1000]}, "input", None, "input[0] holds the token 1000; this model's vocabulary is 1,000"),
        (
            {"input": "1", "dimensions": 3},
            "dimensions",
            "unsupported_parameter",
            "dimensions can be nothing but 2 with",
        ),
    ],
)
def test_what_has_no_vector_is_refused(
    reader: Any, fields: dict[str, Any], param: str, code: str | None, said: str
) -> None:
    with pytest.raises(ApiError) as error:
        asyncio.run(
            vectors.embeddings(reader, Embed.model_construct(**{"encoding_format": None, "dimensions": None, **fields}))
        )
    assert (error.value.param, error.value.code, error.value.status) == (param, code, 400)
    assert error.value.message.startswith(said)


def test_documents_are_ranked_by_their_cosines(reader: Any) -> None:
    asked = Rerank(model="tiny", query="1", documents=["3", "2", "1"], top_n=2, return_documents=True)
    said = asyncio.run(vectors.rerank(reader, asked))
    assert said.pop("id").startswith("rerank-")
    first, second = (each.pop("relevance_score") for each in said["results"])
    assert (first, second) == (pytest.approx(1), pytest.approx(0.96))
    results = [{"index": 2, "document": {"text": "1"}}, {"index": 1, "document": {"text": "2"}}]
    assert said == {"object": "list", "model": "tiny", "results": results, "usage": USAGE}


def test_pairs_are_scored_one_beside_all_or_each_beside_its_own(reader: Any) -> None:
    def scores(left: Any, right: Any) -> list[float]:
        said = asyncio.run(vectors.score(reader, Score(model="tiny", text_1=left, text_2=right)))
        assert said["id"].startswith("score-")
        assert (said["object"], said["model"]) == ("list", "tiny")
        assert [(each["object"], each["index"]) for each in said["data"]] == [
            ("score", n) for n in range(len(said["data"]))
        ]
        return [each["score"] for each in said["data"]]

    assert scores("1", ["2", "3"]) == pytest.approx([0.96, -1])
    assert scores(["1", "2"], ["1", "1"]) == pytest.approx([1, 0.96])
    with pytest.raises(ApiError, match=r"^text_1 has 2 texts and text_2 1; give one, or as many of both$") as error:
        scores(["1", "2"], "1")
    assert error.value.param == "text_1"
