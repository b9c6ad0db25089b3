"""What a language model is asked about a text: which label fits, what the answer is, what it says in short.

Nothing here cuts a text: one that is longer than the model reads is asked about part by part.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from limelight.decode import Engine, Sampling
from limelight.errors import RequestError
from limelight.look.context import SeenAnswer
from limelight.look.question import Question
from limelight.tasks.translate import translate

if TYPE_CHECKING:
    from limelight.decode import Constraint
    from limelight.models.api import Decoder, LanguageModel
    from limelight.models.config import ModelConfig
    from limelight.tasks.translate import Language
    from limelight.text.tokenizer import Tokenizer

Look = Callable[[Sequence[Mapping[str, Any]], str], SeenAnswer]

TOKENS = 4096
"""The most tokens, padding counted, that are read together."""

ANSWERED, SHORTENED, EXTRACTED = 48, 160, 1024
"""The most tokens of an answer, of a summary, and of what is extracted."""

LONGEST = 1024
"""The most tokens of a text that an encoder–decoder sums up at once; some have no limit of their own."""

NONE = "no answer"
"""What a model is to say where the text does not hold the answer."""


@dataclass(frozen=True)
class Said:
    """An answer and where the text says it: characters `[start, end)` of its words, or where these do not stand there,
    of the sentence that it rests on, which is found by hiding each; (0, 0) where no sentence makes a difference.

    logprob: the mean log-probability of its tokens. text is empty where the model says that there is no answer.
    """

    text: str
    start: int
    end: int
    logprob: float


def classify(network: Decoder, tokenizer: Tokenizer, texts: Sequence[str], labels: Sequence[str]) -> list[list[float]]:
    """The probability of each label for each text, by how much likelier the text makes it that the model says it.

    Labels that are likely behind any text gain nothing by it (Holtzman et al., 2021, domain-conditional PMI). Of a text
    that is too long the parts are judged, and the mean over them counts.
    """
    if len(set(labels)) < 2:
        raise RequestError("name at least two different labels to choose from")
    said = [tokenizer.encode(f" {label}").ids for label in labels]
    room = network.context - max(map(len, said)) - len(_asked(tokenizer, "", labels))
    if room < 16:
        raise RequestError(f"the labels take all of the {network.context:,} tokens that the model reads; name fewer")
    parts = [(row, part) for row, text in enumerate(texts) for part in _parts(tokenizer, text, room)]
    prompts = [_asked(tokenizer, part, labels) for part in ("", *(part for _, part in parts))]
    scores = logprobs(network, prompts, said)  # [1 + parts, labels]
    gains = scores[1:] - scores[:1]
    rows = torch.tensor([row for row, _ in parts])
    means = torch.stack([gains[rows == row].mean(0) for row in range(len(texts))])
    shares: list[list[float]] = means.softmax(-1).tolist()
    return shares


def answer(network: Decoder, tokenizer: Tokenizer, question: str, text: str, look: Look) -> Said:
    """The answer that a chat model finds in a text: of its parts the one that it is surest of. look: looks at messages
    and an answer, see `limelight.Model.look`."""
    found, rest = Said("", 0, 0, -torch.inf), ("", "")
    order = f'Answer in as few words as possible, from the text alone. If it does not say, answer "{NONE}".'
    room = _room(network, tokenizer, f"{order}{question}", ANSWERED)
    for part in _parts(tokenizer, text, room):
        asked = f"{part}\n\n{order}\nQuestion: {question}"
        said, logprob = chat(network, tokenizer, asked, ANSWERED)
        said = said.strip().rstrip(".").strip("\"'“”")
        if said and NONE not in said.casefold() and logprob > found.logprob:
            at = text.casefold().find(said.casefold())
            place = (at, at + len(said)) if at >= 0 and len(text.casefold()) == len(text) else (0, 0)
            found, rest = Said(said, *place, logprob), (part, asked)
    if found.text and not found.end:
        return Said(found.text, *_rests(look, found.text, *rest, text.find(rest[0])), found.logprob)
    return found


def _rests(look: Look, said: str, part: str, asked: str, at: int) -> tuple[int, int]:
    """The sentence of a part of a text, which stands in it at `at`, that an answer loses most without."""
    seen = look([{"role": "user", "content": asked}], said)
    base = seen.text.find(part.strip())
    matrix = seen.matrix("message", "sentence")
    ahead = at + len(part) - len(part.lstrip())
    inside = [
        (loss, column.start - base + ahead, column.end - base + ahead)
        for loss, column in zip(matrix.whole().tolist(), matrix.columns, strict=True)
        if base >= 0 and base <= column.start and column.end <= base + len(part.strip())
    ]
    loss, start, end = max(inside, default=(0.0, 0, 0))
    return (start, end) if loss > Question.least else (0, 0)


def to_summarise(text: str) -> str:
    """What a chat model is asked for a summary."""
    return f"Summarise this text in one or two short sentences.\n\n{text}"


def summarise(
    network: Decoder, tokenizer: Tokenizer, text: str, progress: Callable[[int, int], None] | None = None
) -> str:
    """A text in a few sentences, by a chat model; a long one part by part, and then the parts' summaries together."""
    room = _room(network, tokenizer, to_summarise(""), SHORTENED)
    while True:
        parts = list(_parts(tokenizer, text, room))
        found = []
        for number, part in enumerate(parts):
            found.append(chat(network, tokenizer, to_summarise(part), SHORTENED)[0].strip())
            if progress is not None:
                progress(number + 1, len(parts))
        shorter = "\n".join(found)
        if len(parts) == 1 or len(shorter) >= len(text):
            return shorter
        text = shorter


def in_front(config: ModelConfig) -> str:
    """What stands in front of a text that an encoder–decoder is to sum up."""
    return "summarize: " if config.family == "t5" else ""


def shorten(network: LanguageModel, language: Language, text: str) -> str:
    """A text in short, by an encoder–decoder that was made for it; a long one part by part, and then together."""
    order = in_front(network.config)
    source = language.source
    room = min(network.context, LONGEST) - len(source.encode(order).ids) - len(language.front) - len(language.back)
    while True:
        parts = list(_parts(source, text, room))
        written = translate(network, language, [order + " ".join(part.split()) for part in parts])
        shorter = " ".join(each.text for each in written)
        if len(parts) == 1 or len(shorter) >= len(text):
            return shorter
        text = shorter


def extract(network: Decoder, tokenizer: Tokenizer, text: str, schema: Mapping[str, Any]) -> Any:
    """What a JSON schema asks for, as a chat model reads it off a text. Raises RequestError for an answer that does not
    end, and for a schema that cannot be enforced."""
    from limelight.decode.grammar import of_schema

    constraint = of_schema(tokenizer, network.vocab, schema)
    asked = [f"{name} ({each['description']})" if "description" in each else name for name, each in _fields(schema)]
    order = f"Extract from the text, as JSON: {', '.join(asked)}." if asked else "Extract what the text says, as JSON."
    message = f"{order}\n\nText: {text}"
    room = network.context - len(tokenizer.encode(tokenizer.chat([{"role": "user", "content": message}])).ids)
    if room < 32:
        raise RequestError(f"the text is longer than the {network.context:,} tokens that the model reads; shorten it")
    said, _ = chat(network, tokenizer, message, min(EXTRACTED, room), constraint())
    try:
        return json.loads(said)
    except ValueError:
        raise RequestError(
            f"the model did not come to the end of the JSON ({said[-60:]!r}); bound texts and lists in the schema with"
            " maxLength and maxItems"
        ) from None


def _fields(schema: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    properties = schema.get("properties")
    found = properties.items() if isinstance(properties, Mapping) else ()
    return [(str(name), each) for name, each in found if isinstance(each, Mapping)]


def chat(
    network: Decoder, tokenizer: Tokenizer, message: str, most: int, constraint: Constraint | None = None
) -> tuple[str, float]:
    """What a chat model answers, always the likeliest token, and the mean log-probability of these. Raises TextError
    for a model without a template, RequestError for a message that is too long."""
    prompt = tokenizer.encode(tokenizer.chat([{"role": "user", "content": message}]), special=True).ids
    engine = Engine(network, rows=1, keep=False)
    sampling = Sampling(repetition=1.0 if constraint is not None else 1.1)
    engine.submit(prompt, max_tokens=most, sampling=sampling, stop=tokenizer.eos, logprobs=0, constraint=constraint)
    made = [token for step in engine.run() for token in step]
    ids = [token.id for token in made if token.finish != "stop"]
    total = sum(token.logprob or 0.0 for token in made)
    return tokenizer.decode(ids), total / max(len(made), 1)


def _asked(tokenizer: Tokenizer, text: str, labels: Sequence[str]) -> list[int]:
    prompt = f"Text: {text}\nWhich of these fits the text: {', '.join(labels)}?\nAnswer:"
    return [*tokenizer.prefix, *tokenizer.encode(prompt).ids]


def logprobs(network: Decoder, prompts: Sequence[Sequence[int]], said: Sequence[Sequence[int]]) -> torch.Tensor:
    """The mean log-probability of what is said behind each prompt, over its tokens: [prompts, said]."""
    pairs = [(row, column) for row in range(len(prompts)) for column in range(len(said))]
    found = torch.zeros(len(prompts), len(said))
    pairs.sort(key=lambda pair: len(prompts[pair[0]]) + len(said[pair[1]]))
    with torch.inference_mode():
        while pairs:
            longest = len(prompts[pairs[-1][0]]) + max(map(len, said))
            batch = [pairs.pop() for _ in range(min(len(pairs), max(1, TOKENS // longest)))]
            rows = [torch.tensor([*prompts[row], *said[column]]) for row, column in batch]
            tokens = pad_sequence(rows, batch_first=True).to(network.device)
            hidden = network.read(tokens)
            for at, (row, column) in enumerate(batch):
                begin, ids = len(prompts[row]) - 1, torch.tensor(said[column])
                scores = network.logits(hidden[at, begin : begin + len(ids)]).float().log_softmax(-1).cpu()
                found[row, column] = scores[range(len(ids)), ids].mean()
    return found


def _room(network: Decoder, tokenizer: Tokenizer, around: str, written: int) -> int:
    """Tokens of a text that leave room for what stands around it and for an answer."""
    framed = tokenizer.encode(tokenizer.chat([{"role": "user", "content": around}]), special=True).ids
    room = network.context - len(framed) - written - 8
    if room < 32:
        raise RequestError(f"the model reads {network.context:,} tokens, and the question leaves no room for a text")
    return room


def _parts(tokenizer: Tokenizer, text: str, room: int) -> Iterator[str]:
    """The text, or where it has more than `room` tokens parts of it that end at paragraphs, sentences or words."""
    places = [start for start, _ in tokenizer.encode(text).offsets]
    start, token = 0, 0
    while len(places) - token > room:
        last = places[token + room]
        half = start + (last - start) // 2
        ends = [text.rfind(mark, half, last) + len(mark) for mark in ("\n\n", ". ", " ")]
        cut = next((end for end in ends if end > half), last)
        yield text[start:cut]
        start, token = cut, bisect_left(places, cut)
    yield text[start:]
