"""What may be asked: every field is one that is honoured, or one of the API's that can only have the value that this
server honours. A field that nobody knows is an error."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from limelight.decode import Sampling
from limelight.serve.api.errors import unsupported

LONGEST = 10_000_000
"""Characters of the longest text."""

TOP = 20
"""The most likely tokens that are told beside one."""

Text = Annotated[str, Field(max_length=LONGEST)]
Name = Annotated[str, Field(max_length=1000)]
Id = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Unit = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class Body(BaseModel):
    """An object of the API."""

    model_config = ConfigDict(extra="forbid")


class StreamOptions(Body):
    """How an answer is sent in pieces."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class Labels(Body):
    """Whom a request is for: kept with it where requests are kept, and of no influence."""

    model: Name | None = None
    user: Name | None = None


class Drawing(Labels):
    """How tokens are chosen, and when a text ends.

    top_k, min_p, repetition_penalty, ignore_eos and stop_token_ids are not OpenAI's but as other servers have them.
    """

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Unit | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    stop_token_ids: list[Id] | None = None
    ignore_eos: bool | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=TOP)] | None = None

    @property
    def sampling(self) -> Sampling:
        """The same, as the engine takes it. Raises RequestError."""
        return Sampling(
            temperature=1.0 if self.temperature is None else max(self.temperature, 1e-5) if self.temperature else 0.0,
            top_k=None if self.top_k is None or self.top_k < 1 else self.top_k,
            top_p=None if self.top_p is None else max(self.top_p, 1e-9),
            min_p=self.min_p,
            repetition=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            frequency=self.frequency_penalty or 0.0,
            presence=self.presence_penalty or 0.0,
        )

    @property
    def stops(self) -> list[str]:
        """The strings that end a text."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    @property
    def usage(self) -> bool:
        """Whether a stream ends with what it took."""
        if self.stream_options is not None and not self.stream:
            raise unsupported("stream_options", "says how an answer is streamed; leave it out or set stream")
        return bool(self.stream_options and self.stream_options.include_usage)


class JsonSchema(Body):
    """A schema by name."""

    name: Annotated[str, Field(max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")] = "answer"
    description: Text | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextFormat(Body):
    """Free text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Any JSON object, or what a schema describes, as llama.cpp has it."""

    type: Literal["json_object"]
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class JsonSchemaFormat(Body):
    """What a schema describes."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class GrammarFormat(Body):
    """What a grammar describes, in the Lark language as llguidance reads it, or a regular expression."""

    type: Literal["grammar", "regex"]
    grammar: Text


Format = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | GrammarFormat,
    Field(discriminator="type"),
]


class Shaped(Drawing):
    """What shape a text has."""

    response_format: Format | None = None


class TextPart(Body):
    """A part of a message."""

    type: Literal["text", "input_text", "output_text"]
    text: Text


class Called(Body):
    """A function and its arguments, in JSON."""

    name: Name
    arguments: Text


class ToolCall(Body):
    """A call that the model made."""

    id: Name
    type: Literal["function"] = "function"
    function: Called
    index: int | None = None


class Message(Body):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[TextPart], Field(min_length=1)] | None = None
    name: Name | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: Name | None = None
    refusal: Text | None = None
    reasoning_content: Text | None = None
    audio: None = None
    function_call: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None


class Function(Body):
    """What a model may call. parameters: a JSON schema."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A function."""

    type: Literal["function"]
    function: Function


class FunctionName(Body):
    """Which function."""

    name: Name


class ToolChoice(Body):
    """The function that must be called."""

    type: Literal["function"]
    function: FunctionName


class Chat(Shaped):
    """A conversation to be answered."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=TOP)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: Name | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: Literal[False] | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: Name | None = None
    prompt_cache_key: Name | None = None


class Complete(Shaped):
    """Texts to be continued: strings, or the ids of their tokens."""

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1)]
        | Annotated[list[Id], Field(min_length=1)]
        | Annotated[list[Annotated[list[Id], Field(min_length=1)]], Field(min_length=1)]
    )
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=TOP)] | None = None
    echo: bool | None = None
    suffix: None = None
    best_of: Annotated[int, Field(ge=0, le=20)] | None = None


class Embed(Labels):
    """Texts to be made vectors of: strings, or the ids of their tokens."""

    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=2048)]
        | Annotated[list[Id], Field(min_length=1)]
        | Annotated[list[Annotated[list[Id], Field(min_length=1)]], Field(min_length=1, max_length=2048)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None


class Rerank(Labels):
    """Documents to be put in the order of what they have to do with a query."""

    query: Text
    documents: Annotated[list[Text], Field(min_length=1, max_length=2048)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None


class Score(Labels):
    """Pairs of texts: one beside each of the others, or as many beside as many."""

    text_1: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    text_2: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]


class Tokenize(Body):
    """A text, or a conversation, to be cut into tokens. The names of both are as llama.cpp and vLLM have them."""

    model: Name | None = None
    content: Text | None = None
    prompt: Text | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    with_pieces: bool | None = None
    return_token_strs: bool | None = None


class Detokenize(Body):
    """Ids to be made a text of."""

    model: Name | None = None
    tokens: list[Id]
