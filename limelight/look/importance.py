"""Which words made the model say a word: the methods there are, and whether an answer can be trusted.

The yardstick is *blocking*: no later position may attend to a word's tokens, in any layer, and what is measured is
how far the log-odds of the word in question fall against its rivals. Nothing is tokenised again and every position
stays where it was (compare attention knockout, Geva et al., 2023). The last word before the one in question is where
the model asks from; it cannot be deaf to itself, so it is left out instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from limelight.look.attend import attention, rollout, value_weighted
from limelight.look.blend import alti_blend
from limelight.look.check import CHECKED, Check, check
from limelight.look.decompose import alti_logit
from limelight.look.gradients import gradient_input, integrated_gradients
from limelight.look.perturb import LONG, blocking, leave_one_out, leave_one_replaced
from limelight.look.target import Question
from limelight.look.text import Reading
from limelight.look.variants import Progress
from limelight.models.api import Decoder

__all__ = ["CHECKED", "DEFAULT", "METHODS", "Check", "Measured", "Method", "by_default", "measure"]

Run = Callable[[Decoder, Reading, int, Question, Progress | None], list[float]]
"""``run(network, reading, target, question, progress)`` → a value for each word before word number `target`."""


@dataclass(frozen=True)
class Method:
    """A way to rank words. answers: the question that its values answer. cost: for a text of T words. kind: what is
    measured, a change of the answer ("importance") or where the model looks ("attention")."""

    name: str
    title: str
    answers: str
    paper: str
    cost: str
    kind: Literal["importance", "attention"]
    run: Run


_METHODS = (
    Method(
        "blocking",
        "Blocking",
        "How far do the odds fall when nothing later may attend to the word?",
        "compare Geva et al. (2023), Dissecting Recall of Factual Associations in Auto-Regressive Language Models",
        "T variants of the text, T / 8 above 200 words",
        "importance",
        blocking,
    ),
    Method(
        "alti-logit",
        "ALTI-Logit",
        "What did the word give to the odds, through the attention of every layer?",
        "Ferrando et al. (2023), Explaining How Transformers Use Context to Build Predictions",
        "one pass",
        "importance",
        alti_logit,
    ),
    Method(
        "alti-blend",
        "ALTI, blended",
        "What did the upper layers hear from the word that raised the odds, and is the answer made of it?",
        "after Ferrando et al. (2022), Measuring the Mixing of Contextual Information in the Transformer, and (2023)",
        "one pass",
        "importance",
        alti_blend,
    ),
    Method(
        "leave-one-out",
        "Leave one out",
        "How far do the odds fall when the word is deleted?",
        "Li et al. (2016), Understanding Neural Networks through Representation Erasure",
        "T variants of the text",
        "importance",
        leave_one_out,
    ),
    Method(
        "leave-one-replaced",
        "Leave one replaced",
        "How far can the odds fall when another likely word stands in its place?",
        "compare Kim et al. (2020), Interpretation of NLP Models through Input Marginalization",
        "6 T variants of the text",
        "importance",
        leave_one_replaced,
    ),
    Method(
        "gradient-input",
        "Gradient × input",
        "Which way would the odds move if the word's embedding grew a little?",
        "Denil et al. (2014), Extraction of Salient Sentences from Labelled Documents",
        "one pass and one backward",
        "importance",
        gradient_input,
    ),
    Method(
        "integrated-gradients",
        "Integrated gradients",
        "What do the odds gain from the word, on the way from an empty text to this one?",
        "Sundararajan et al. (2017), Axiomatic Attribution for Deep Networks",
        "20 passes, each with a backward",
        "importance",
        integrated_gradients,
    ),
    Method(
        "attention",
        "Attention",
        "What does the asking position look at?",
        "Bahdanau et al. (2015), Neural Machine Translation by Jointly Learning to Align and Translate",
        "one pass",
        "attention",
        attention,
    ),
    Method(
        "attention-rollout",
        "Attention rollout",
        "What does the asking position look at, through all layers?",
        "Abnar & Zuidema (2020), Quantifying Attention Flow in Transformers",
        "one pass",
        "attention",
        rollout,
    ),
    Method(
        "value-weighted",
        "Value-weighted attention",
        "How long is what the asking position receives from the word?",
        "Kobayashi et al. (2020), Attention is Not Only a Weight: Analyzing Transformers with Vector Norms",
        "one pass",
        "attention",
        value_weighted,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _METHODS}
"""All methods by name, the yardstick first."""

DEFAULT = "alti-blend"
"""The method that is taken if none is named, where it finds a word that raised the odds; see `by_default`."""


@dataclass(frozen=True)
class Measured:
    """method: by which was measured. values: one for each word before the one in question, last of them the one that
    asks. check: None where it was not asked for, or where there are too few words to compare."""

    method: str
    values: tuple[float, ...]
    check: Check | None


def by_default(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> tuple[str, list[float]]:
    """The method that fits the question, and its values: `DEFAULT`, or blocking where that finds nothing.

    What a model would say can be taken apart into what each word gave. A word that nothing speaks for is one that the
    model would not have said: then what it hangs on is found by taking words away, if there are enough words that one
    can be missed, and not so many that it takes long.
    """
    values = METHODS[DEFAULT].run(network, reading, target, question, progress)
    if max(values) > 0 or not 2 * CHECKED < target <= LONG:
        return DEFAULT, values
    return "blocking", blocking(network, reading, target, question, progress)


def measure(
    network: Decoder,
    reading: Reading,
    target: int,
    question: Question,
    method: str | None,
    progress: Progress | None = None,
    checked: bool = True,
) -> Measured:
    """The importance of each word before word number `target` by one of METHODS, and the check of it.

    method: see `by_default` for None. The check needs the yardstick, which costs far more than a method that takes one
    pass: without `checked` it is left away.
    """
    if method is None:
        method, values = by_default(network, reading, target, question, progress)
    else:
        values = METHODS[method].run(network, reading, target, question, progress)
    if not checked:
        return Measured(method, tuple(values), None)
    yardstick = values if method == "blocking" else blocking(network, reading, target, question, None)
    return Measured(method, tuple(values), check(network, reading, target, question, values, yardstick))
