"""Clients of OpenAI's API, unchanged. openai is always there; the others are tested where they are installed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from api_server import Served
from cli.tiny_models import SENTENCE
from pydantic import BaseModel, Field
from test_shapes import TOOLS

openai = pytest.importorskip("openai")

HELLO: Any = [{"role": "user", "content": "The cat sat"}]


class Person(BaseModel):
    name: str = Field(max_length=8)
    age: int = Field(ge=0, le=99)


@pytest.fixture(scope="module")
def client(both: Served) -> Iterator[Any]:
    with openai.OpenAI(base_url=both.url, api_key="none", max_retries=0) as client:
        yield client


def test_openai_lists_and_writes(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "embedder"]
    assert client.models.retrieve("tiny").owned_by == "limelight"
    options = {"model": "tiny", "max_tokens": 8, "seed": 1}
    done = client.completions.create(prompt=SENTENCE, logprobs=2, **options)
    assert len(done.choices[0].logprobs.tokens) == done.usage.completion_tokens
    pieces = client.completions.create(prompt=SENTENCE, stream=True, **options)
    assert "".join(piece.choices[0].text for piece in pieces) == done.choices[0].text
    chat = client.chat.completions.create(messages=HELLO, n=2, **options)
    assert len(chat.choices) == 2
    assert chat.choices[0].message.role == "assistant"


def test_openai_streams(client: Any) -> None:
    with client.chat.completions.stream(
        model="tiny",
        messages=HELLO,
        seed=1,
        logprobs=True,
        stream_options={"include_usage": True},
        extra_body={"response_format": {"type": "regex", "grammar": "[ab]{6}"}},
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content
    assert len("".join(deltas)) == 6
    assert final.usage.completion_tokens == len(final.choices[0].logprobs.content) + 1  # and the end


def test_openai_parses_and_calls(client: Any) -> None:
    done = client.chat.completions.parse(
        model="tiny", messages=HELLO, response_format=Person, max_tokens=200, seed=1, temperature=1.5
    )
    assert isinstance(done.choices[0].message.parsed, Person)
    called = client.chat.completions.create(
        model="tiny", messages=HELLO, tools=TOOLS, tool_choice="required", max_tokens=300, seed=2
    )
    call = called.choices[0].message.tool_calls[0]
    said = [*HELLO, called.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "warm"}]
    more = client.chat.completions.create(model="tiny", messages=said, tools=TOOLS, max_tokens=3, seed=2)
    assert more.usage.prompt_tokens > called.usage.prompt_tokens


def test_openai_embeds(client: Any) -> None:
    done = client.embeddings.create(model="embedder", input=["w10 w11", "w12"])  # base64, unless told otherwise
    plain = client.embeddings.create(model="embedder", input=["w10 w11", "w12"], encoding_format="float")
    for one, other in zip(done.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)


def test_openai_responds(client: Any) -> None:
    body: Any = {"model": "tiny", "input": HELLO, "max_output_tokens": 8, "temperature": 0}
    done = client.responses.create(**body)
    events = list(client.responses.create(stream=True, **body))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == done.output_text
    assert events[-1].response.output_text == done.output_text
    tools = [{"type": "function", **tool["function"]} for tool in TOOLS]
    made = client.responses.create(model="tiny", input="Hello", tools=tools, tool_choice="required")
    call = made.output[0]
    assert call.type == "function_call"
    json.loads(call.arguments)
    said: Any = [*HELLO, call.model_dump(exclude_none=True, exclude={"namespace", "caller"})]
    said += [{"type": "function_call_output", "call_id": call.call_id, "output": "warm"}]
    assert client.responses.create(model="tiny", input=said, max_output_tokens=2, temperature=0).status == "incomplete"


def test_openai_tells_errors_apart(client: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-9", prompt="a")
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="tiny", prompt="cat " * 9000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as unknown:
        client.completions.create(model="tiny", prompt="a", extra_body={"mirostat": 1})
    assert unknown.value.param == "mirostat"


@pytest.mark.filterwarnings("ignore")  # its own
def test_litellm_writes_streams_and_embeds(both: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks another machine for prices
    litellm = pytest.importorskip("litellm")
    where = {"api_base": both.url, "api_key": "none"}
    options = {"model": "openai/tiny", "messages": HELLO, "max_tokens": 8, "seed": 1, **where}
    whole = litellm.completion(**options)
    pieces = litellm.completion(stream=True, **options)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == whole.choices[0].message.content != ""
    assert len(litellm.embedding(model="openai/embedder", input=["w5"], **where).data[0]["embedding"]) > 1


def test_langchain_writes_streams_calls_and_embeds(both: Served) -> None:
    langchain = pytest.importorskip("langchain_openai")
    where = {"base_url": both.url, "api_key": "none"}
    chat = langchain.ChatOpenAI(model="tiny", max_tokens=8, seed=1, **where)
    text = chat.invoke("The cat sat").content
    assert "".join(piece.content for piece in chat.stream("The cat sat")) == text != ""
    caller = langchain.ChatOpenAI(model="tiny", max_tokens=300, seed=2, **where)
    assert caller.bind_tools(TOOLS, tool_choice="required").invoke("The cat sat").tool_calls
    assert isinstance(caller.with_structured_output(Person).invoke("The cat sat"), Person)
    embed = langchain.OpenAIEmbeddings(model="embedder", check_embedding_ctx_length=False, **where)
    assert len(embed.embed_query("w5")) > 1


def test_llm_writes_and_streams(both: Served) -> None:
    llm = pytest.importorskip("llm")
    from llm.default_plugins.openai_models import Chat

    model = Chat("tiny", model_name="tiny", api_base=both.url)
    answers = [model.prompt("The cat sat", stream=stream, max_tokens=8, seed=1, key="none") for stream in (False, True)]
    texts = ["".join(answer) for answer in answers]
    assert llm.__name__
    assert texts[0] == texts[1] != ""


@pytest.mark.filterwarnings("ignore")  # its own
def test_lm_eval_scores_over_http_as_it_does_directly(both: Served, tiny: Path, tmp_path: Path) -> None:
    lm_eval = pytest.importorskip("lm_eval", reason="make clients installs lm-eval")
    from lm_eval.tasks import TaskManager

    words = [f"w{number}" for number in range(5, 60)]
    lines = [
        {"asked": " ".join(words[at : at + 3 + at % 5]), "choices": [words[at + 9], " ".join(words[at : at + 2])]}
        for at in range(20)
    ]
    (tmp_path / "asked.json").write_text("\n".join(map(json.dumps, lines)))
    task = {
        "task": "little",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "asked.json")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{asked}}",
        "doc_to_choice": "choices",
        "doc_to_target": 0,
        "metric_list": [{"metric": name, "aggregation": "mean"} for name in ("acc", "acc_norm")],
    }
    (tmp_path / "little.yaml").write_text(json.dumps(task))
    tasks = {"tasks": ["little"], "task_manager": TaskManager(include_path=str(tmp_path), include_defaults=False)}

    def scores(kind: str, **options: Any) -> tuple[Any, list[float]]:
        found = lm_eval.simple_evaluate(kind, model_args=options, bootstrap_iters=0, **tasks)
        each = [float(value) for sample in found["samples"]["little"] for (value, _), *_ in [sample["filtered_resps"]]]
        return {name: found["results"]["little"][f"{name},none"] for name in ("acc", "acc_norm")}, each

    where = {"base_url": f"{both.url}/completions", "model": "tiny", "tokenizer": str(tiny)}
    served, theirs = scores("local-completions", **where, tokenizer_backend="huggingface", max_length=128)
    directly, ours = scores("hf", pretrained=str(tiny), device="cpu", dtype="float32", max_length=128)
    assert served == directly
    assert theirs == pytest.approx(ours, abs=1e-3)


def test_captum_attributes_by_prompt_logprobs(both: Served, tiny: Path) -> None:
    captum = pytest.importorskip("captum.attr")
    transformers = pytest.importorskip("transformers")
    from captum.attr._core.remote_provider import VLLMProvider

    model = both.writer.model

    def likely(text: str) -> float:
        begin, ids = (torch.tensor(model.tokenizer.encode(each).ids) for each in (text, text + " mat because"))
        scores = model.network(ids[None])[0].log_softmax(-1)
        return sum(float(scores[at - 1, ids[at]]) for at in range(len(begin), len(ids)))

    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tiny / "tokenizer.json"))
    method = captum.FeatureAblation(captum.RemoteLLMAttribution.placeholder_model)
    remote = captum.RemoteLLMAttribution(method, tokenizer, VLLMProvider(both.url, "tiny"))
    given = captum.TextTemplateInput("{} cat {} on the", ["The", "sat"], baselines=["Mary", "gave"])
    found = remote.attribute(given, target=" mat because").seq_attr
    whole = likely("The cat sat on the")
    without = [whole - likely(text) for text in ("Mary cat sat on the", "The cat gave on the")]
    assert found.tolist() == pytest.approx(without, abs=1e-4)
