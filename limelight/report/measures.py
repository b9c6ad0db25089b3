"""What a model says and knows: instructions that it keeps, other text, and what its answer rests on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from limelight.completion import Opening, complete
from limelight.errors import RequestError
from limelight.look.answer import Importance
from limelight.model import Model
from limelight.report.instructions import INSTRUCTIONS
from limelight.train.chats import conversing

WRITTEN = 80  # tokens of an answer at most
AT_ONCE = 10  # answers

OTHER = """\
The old harbour lies behind two low islands, so that even in a storm the water there is calm. In the morning the boats
come back, and whoever wants fish has to be early, because the restaurants of the town buy most of it before seven.
Ten years ago there were forty boats; now there are eleven. The owner of the largest says that her grandchildren would
rather repair engines than catch anything, and that she cannot blame them. In summer she takes visitors to the
lighthouse, which has not been lit since the new one was built on the cape. They climb the hundred and twenty steps,
look at the sea, and ask whether it was lonely. It was not, she tells them: the keeper had a wife, four children, a
goat and a telephone, and on Sundays half of the village came to lunch.""".replace("\n", " ")
"""What perplexity is measured on where nobody names a text; written for this."""


@dataclass(frozen=True)
class Found:
    """What was found of a model. answers: to each of `INSTRUCTIONS`; kept: which of them. perplexity: a token of other
    text. answer: to the question; rests: on which of its words."""

    name: str
    answers: tuple[str, ...]
    kept: tuple[bool, ...]
    perplexity: float
    answer: str
    rests: Importance | None


def measure(model: Model, name: str, text: str, question: str, told: Callable[[int, int], None] | None = None) -> Found:
    """Asks a model all that a report tells; always its likeliest token. text: other text. Raises RequestError for a
    text that is too short."""
    model = replace(model, tokenizer=conversing(model.tokenizer))
    answers: list[str] = []
    asked = [instruction.asks for instruction in INSTRUCTIONS]
    for at in range(0, len(asked), AT_ONCE):
        answers += _answers(model, asked[at : at + AT_ONCE])
        if told is not None:
            told(len(answers), len(asked))
    (answer,) = _answers(model, [question])
    rests = None
    if answer.strip():
        rests = model.look([{"role": "user", "content": question}], answer).importance(by="word")
    kept = tuple(each.kept(said.strip()) for each, said in zip(INSTRUCTIONS, answers, strict=True))
    return Found(name, tuple(answers), kept, perplexity(model, text), answer, rests)


def perplexity(model: Model, text: str) -> float:
    """Of a token of a text, which is read in windows of what the model reads at once, 1,024 tokens at most."""
    tokenizer = model.tokenizer
    ids, front = tokenizer.encode(text).ids, list(tokenizer.prefix or (tokenizer.separator,))
    if len(ids) < 2:
        raise RequestError("the other text has fewer than two tokens; name a longer one")
    size = min(1024, model.network.context) - len(front)
    lost = 0.0
    with torch.inference_mode():
        for at in range(0, len(ids), size):
            part = ids[at : at + size]
            tokens = torch.tensor([[*front, *part]], device=model.network.device)
            scores = model.network(tokens)[0, len(front) - 1 : -1]
            lost += float(F.cross_entropy(scores, tokens[0, len(front) :], reduction="sum"))
    return float(torch.tensor(lost / len(ids)).exp())


def _answers(model: Model, questions: Sequence[str]) -> list[str]:
    chats = [model.tokenizer.chat([{"role": "user", "content": question}]) for question in questions]
    prompts = [model.tokenizer.encode(chat, special=True).ids for chat in chats]
    room = model.network.context - max(map(len, prompts))
    if room < 1:
        raise RequestError(f"a question is longer than the {model.network.context:,} tokens that {model.title} reads")
    found = complete(
        model.network,
        model.tokenizer,
        [Opening(prompt, after=prompt) for prompt in prompts],
        max_tokens=min(WRITTEN, room),
        sampling=None,
        stop=(),
        logprobs=False,
        draft="auto",
    )
    return [each.text for each in found]
