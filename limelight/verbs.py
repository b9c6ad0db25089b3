"""What a language model can be asked about texts, by the names that other models have for the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limelight import given

if TYPE_CHECKING:
    from limelight.models.api import Decoder
    from limelight.tasks.prompts import Said
    from limelight.text.tokenizer import Tokenizer


class Verbs:
    """For models with a `network` that writes and a `tokenizer`. What is asked needs no training; how well it is
    answered is up to the model."""

    network: Decoder
    tokenizer: Tokenizer
    look: Callable[..., Any]

    def classify(self, texts: Sequence[str], labels: Sequence[str]) -> list[dict[str, float]]:
        """For each text the labels and their probabilities, likeliest first, by how much likelier the text makes it
        that the model says a label; see `limelight.tasks.prompts.classify`. Raises RequestError for fewer than two."""
        from limelight.tasks.prompts import classify

        named = given.texts("labels", labels)
        found = classify(self.network, self.tokenizer, given.texts("texts", texts), named)
        return [dict(sorted(zip(named, shares, strict=True), key=lambda pair: -pair[1])) for shares in found]

    def answer(self, question: str, texts: Sequence[str]) -> list[Said]:
        """The answer to a question that each text holds, or none, and where it stands; for chat models. Raises
        TextError for a model without a chat template."""
        from limelight.tasks.prompts import answer

        asked = given.text("question", question)
        return [answer(self.network, self.tokenizer, asked, text, self.look) for text in given.texts("texts", texts)]

    def summarise(self, text: str, progress: Callable[[int, int], None] | None = None) -> str:
        """A text in a sentence or two, a long one by parts; for chat models. progress: parts done, and in all. Raises
        TextError for a model without a chat template."""
        from limelight.tasks.prompts import summarise

        given.callback("progress", progress)
        return summarise(self.network, self.tokenizer, given.text("text", text), progress)

    def extract(self, text: str, schema: Mapping[str, Any]) -> Any:
        """What a JSON schema asks for, as the text has it; the schema is enforced token by token. For chat models.

        Raises RequestError for a schema that cannot be enforced, or an answer that does not end; TextError for a model
        without a chat template.
        """
        from limelight.tasks.prompts import extract

        wanted = given.mapping("schema", schema, "a JSON schema")
        return extract(self.network, self.tokenizer, given.text("text", text), wanted)
