"""A conversation looked at: its turns cut into words, and which of them an answer, or a part of one, came from."""

from collections.abc import Mapping, Sequence
from typing import Any

from limelight.errors import RequestError
from limelight.look.context import Level, SeenAnswer, Segment, conversation
from limelight.look.session import Progress
from limelight.models.api import Decoder
from limelight.text.tokenizer import Tokenizer
from limelight.views.numbers import Numbers
from limelight.views.parts import told

MANY = 40
"""Words of a conversation beyond which its sentences are hidden and not its words."""

Message = Mapping[str, Any]


def prompt(tokenizer: Tokenizer, messages: Sequence[Message], context: int) -> list[int]:
    """The tokens behind which a model answers a conversation by its own chat template; where that ends with an answer,
    goes on with it. Raises TextError if the model has no template, RequestError if it sees fewer tokens."""
    begun = str(messages[-1]["content"]) if messages and messages[-1]["role"] == "assistant" else ""
    before = messages[:-1] if begun else messages
    ids = tokenizer.encode(tokenizer.chat(before) + begun, special=True).ids
    if len(ids) > context:
        raise RequestError(f"the conversation has {len(ids):,} tokens and the model sees {context:,}; start a new one")
    return ids


class ConversationViews:
    """A conversation that ends with the model's answer, under a model that is opened for looking. Turns, and the words
    of each, are numbered from 0."""

    def __init__(
        self, network: Decoder, tokenizer: Tokenizer, messages: Sequence[Message], quick: Decoder | None = None
    ) -> None:
        """quick: see `limelight.Seen`. Raises RequestError where the last message is no answer, or as `SeenAnswer`."""
        if not messages or messages[-1]["role"] != "assistant":
            raise RequestError("the conversation ends without an answer; ask for one before you ask where it is from")
        answer = str(messages[-1]["content"]).strip()
        prompted = conversation(tokenizer, messages[:-1], answer, network.context)
        self.seen = SeenAnswer(network, tokenizer, prompted, quick=quick)
        self._places = [place for place, message in enumerate(messages) if str(message["content"]).strip()]
        self._count = len(messages)
        self._answer = answer

    def turns(self) -> list[Numbers]:
        """Each turn as words: gap, what stands before each in the turn; of the last turn also the number of the
        sentence that each is in, and in `tail` what of it the model cannot see any more."""
        messages = [*self.seen.prompt("message"), *self.seen.parts("message")]
        words = [*self.seen.prompt("word"), *self.seen.parts("word")]
        turns: list[Numbers] = [{"words": []} for _ in range(self._count)]
        for place, message in zip(self._places, messages, strict=True):
            at = message.start
            for word in _inside(words, message):
                turns[place]["words"].append({"gap": self.seen.text[at : word.start], "text": word.text})
                at = word.end
        numbers = [number for number, part in enumerate(self.seen.parts("sentence")) for _ in _inside(words, part)]
        for word, number in zip(turns[-1]["words"], numbers, strict=True):
            word["sentence"] = number
        turns[-1]["tail"] = self._answer[len(self.seen.answer) :]
        return turns

    def light(self, progress: Progress | None = None) -> Numbers:
        """What each word of the answer owes to each word before it, or each sentence where there are many: values
        [R][C], by hiding each; columns: the turn of each, its first word and the one behind its last."""
        by: Level = "word" if len(self.seen.prompt("word")) <= MANY else "sentence"
        found, words = self.seen.matrix("word", by, progress), self.seen.prompt("word")
        columns = []
        for place, message in zip(self._places, self.seen.prompt("message"), strict=False):
            starts = [word.start for word in _inside(words, message)]
            for part in _inside(found.columns, message):
                first = starts.index(part.start)
                columns.append([place, first, first + len(_inside(words, part))])
        return {"values": found.values.tolist(), "columns": columns}

    def came_from(self, part: int | None, of: Level, progress: Progress | None = None) -> Numbers:
        """What a part of the answer owes to the turns before it: `told`, with values for each turn's words and, behind
        `turns`, for each turn whole; None where nothing was measured. part: its number among the answer's parts by
        `of`; the whole answer if None."""
        number = None if part is None else part + 1
        found = self.seen.importance(number, of=of, by="word", progress=progress)
        whole = self.seen.importance(number, of=of, by="message", check=False)
        by_start = {heard.start: heard.importance for heard in found.words}
        messages, words = self.seen.prompt("message"), self.seen.prompt("word")
        values: list[list[float | None]] = [[] for _ in range(self._count)]
        turns: list[float | None] = [None] * self._count
        for place, message, heard in zip(self._places, messages, whole.words, strict=False):
            values[place] = [by_start.get(word.start) for word in _inside(words, message)]
            turns[place] = heard.importance
        return {**told(found), "values": values, "turns": turns}


def _inside(words: Sequence[Segment], part: Segment) -> list[Segment]:
    return [word for word in words if part.start <= word.start and word.end <= part.end]
