"""What a model says and knows: instructions that it keeps, questions with four answers, other text, and what its answer
rests on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from limelight.completion import Opening, complete
from limelight.errors import RequestError
from limelight.look.answer import Importance
from limelight.model import Model
from limelight.report.choices import QUESTIONS
from limelight.report.instructions import INSTRUCTIONS, repeats
from limelight.tasks.prompts import logprobs
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
    """What was found of a model. answers: to each of `INSTRUCTIONS`; kept: which of them. chosen: the likeliest answer
    to each of `QUESTIONS`. loss: nats a token of other text; bits: a byte of it. answer: to the question; rests: on
    which of its words."""

    name: str
    answers: tuple[str, ...]
    kept: tuple[bool, ...]
    chosen: tuple[str, ...]
    loss: float
    bits: float
    answer: str
    rests: Importance | None

    @property
    def perplexity(self) -> float:
        """Of a token of the other text."""
        return math.exp(self.loss)

    @property
    def right(self) -> int:
        """How many of `QUESTIONS` have the right answer."""
        return sum(chosen == each.right for chosen, each in zip(self.chosen, QUESTIONS, strict=True))


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
    kept = tuple(
        each.kept(said.strip()) and not repeats(each.asks, said)
        for each, said in zip(INSTRUCTIONS, answers, strict=True)
    )
    lost, bits = loss(model, text)
    return Found(name, tuple(answers), kept, chosen(model), lost, bits, answer, rests)


def chosen(model: Model) -> tuple[str, ...]:
    """The answer to each of `QUESTIONS` whose tokens are the likeliest on average. No template stands around them, so
    that a model is asked the same before it learned to converse and after."""
    tokenizer = model.tokenizer
    found = []
    for question in QUESTIONS:
        prompt = tokenizer.encode(f"Question: {question.asks}\nAnswer:").ids
        said = [tokenizer.encode(f" {answer}").ids for answer in question.answers]
        scores = logprobs(model.network, [[*tokenizer.prefix, *prompt]], said)[0]
        found.append(question.answers[int(scores.argmax())])
    return tuple(found)


def loss(model: Model, text: str) -> tuple[float, float]:
    """Nats a token of a text and bits a byte, which can be compared where tokens differ. The text is read in windows of
    what the model reads at once, 1,024 tokens at most."""
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
    return lost / len(ids), lost / math.log(2) / len(text.encode())


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
