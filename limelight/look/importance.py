"""Which words made the model give its answer: the methods there are, and whether what they say can be trusted.

The yardstick is *blocking*: no other position may attend to a word's tokens, in any layer, and what is measured is how
far the log-odds of the answer fall against its alternatives. Nothing is tokenised again and every position stays where
it was (attention knockout, Geva et al., 2023). The last word before the one in question is where a decoder asks from;
it cannot be hidden from itself, so it is left out instead. In a recurrent model, which has no attention, all words are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from limelight import given
from limelight.errors import RequestError
from limelight.look.attend import attention, rollout, value_weighted
from limelight.look.blend import alti_blend
from limelight.look.check import CHECKED, Check, check
from limelight.look.decompose import alti_logit
from limelight.look.gradients import gradient_input, integrated_gradients
from limelight.look.inquiry import Inquiry
from limelight.look.perturb import LONG, blocking, leave_one_out, leave_one_replaced
from limelight.look.session import DecoderSession, Progress, Session, StackSession

__all__ = ["CHECKED", "DEFAULT", "METHODS", "Check", "Measured", "Method", "by_default", "chosen", "fitting", "measure"]

Run = Callable[[Inquiry, Progress | None], list[float]]
"""``run(inquiry, progress)`` → a value for each span of the inquiry."""


@dataclass(frozen=True)
class Method:
    """A way to rank words. answers: the question that its values answer. cost: for a text of T words. kind: what is
    measured, a change of the answer ("importance") or where the model looks ("attention"). sessions: the kinds of
    session it knows, of those whose positions can be blocked if it `blocks`. unit: of its values; None: they are what
    the question's value loses, in the question's unit."""

    name: str
    title: str
    answers: str
    paper: str
    cost: str
    kind: Literal["importance", "attention"]
    run: Run
    sessions: type = StackSession
    blocks: bool = False
    unit: str | None = None

    def fits(self, session: Session) -> bool:
        """Whether it can be used on that kind of text and network."""
        return isinstance(session, self.sessions) and (session.blocks or not self.blocks)

    def values(self, inquiry: Inquiry, progress: Progress | None = None) -> list[float]:
        """A value for each span of the inquiry; kept with the text once they are known."""
        if progress is not None and inquiry.session.knows((self, inquiry)):
            progress(len(inquiry.spans), len(inquiry.spans))
        return inquiry.session.once((self, inquiry), lambda: self.run(inquiry, progress))


_METHODS = (
    Method(
        "blocking",
        "Blocking",
        "How far do the odds fall when no later position may attend to the word?",
        "compare Geva et al. (2023), Dissecting Recall of Factual Associations in Auto-Regressive Language Models",
        "T variants of the text, T / 8 above 200 words",
        "importance",
        blocking,
        Session,
        blocks=True,
    ),
    Method(
        "alti-logit",
        "ALTI-Logit",
        "How much did the word add to the odds, through the attention of all layers?",
        "Ferrando et al. (2023), Explaining How Transformers Use Context to Build Predictions",
        "one pass",
        "importance",
        alti_logit,
        DecoderSession,
        unit="share of the log-odds",
    ),
    Method(
        "alti-blend",
        "ALTI, blended",
        "How much did the upper layers take from the word to raise the odds, and how much of the answer is made of it?",
        "after Ferrando et al. (2022), Measuring the Mixing of Contextual Information in the Transformer, and (2023)",
        "one pass",
        "importance",
        alti_blend,
        DecoderSession,
        unit="share of the log-odds",
    ),
    Method(
        "leave-one-out",
        "Leave one out",
        "How far do the odds fall when the word is deleted?",
        "Li et al. (2016), Understanding Neural Networks through Representation Erasure",
        "T variants of the text",
        "importance",
        leave_one_out,
        Session,
    ),
    Method(
        "leave-one-replaced",
        "Leave one replaced",
        "How far do the odds fall at most when another likely word takes its place?",
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
        unit="slope",
    ),
    Method(
        "integrated-gradients",
        "Integrated gradients",
        "How much do the odds gain from the word on the way from an empty text to this one?",
        "Sundararajan et al. (2017), Axiomatic Attribution for Deep Networks",
        "20 passes, each with a backward",
        "importance",
        integrated_gradients,
        unit="gain on the way",
    ),
    Method(
        "attention",
        "Attention",
        "How much does the position that asks attend to the word?",
        "Bahdanau et al. (2015), Neural Machine Translation by Jointly Learning to Align and Translate",
        "one pass",
        "attention",
        attention,
        unit="share of attention",
    ),
    Method(
        "attention-rollout",
        "Attention rollout",
        "How much does the position that asks attend to the word, through all layers?",
        "Abnar & Zuidema (2020), Quantifying Attention Flow in Transformers",
        "one pass",
        "attention",
        rollout,
        unit="share of attention",
    ),
    Method(
        "value-weighted",
        "Value-weighted attention",
        "How long is the vector that the position that asks receives from the word?",
        "Kobayashi et al. (2020), Attention is Not Only a Weight: Analyzing Transformers with Vector Norms",
        "one pass",
        "attention",
        value_weighted,
        unit="length",
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _METHODS}
"""All methods by name, the yardstick first, and what takes its place where nothing can be blocked next to it."""

DEFAULT = "alti-blend"
"""The method that is taken if none is named, where it finds a word that raised the odds; see `by_default`."""


def fitting(session: Session) -> list[Method]:
    """The methods that can be used on a text, the yardstick first."""
    return [method for method in METHODS.values() if method.fits(session)]


def chosen(name: str, session: Session) -> Method:
    """The method of that name. Raises RequestError if there is none, or if it does not fit the text's model."""
    method = METHODS[given.one_of("method", name, METHODS)]
    if not method.fits(session):
        known = ", ".join(each.name for each in fitting(session))
        raise RequestError(f"the method {name} cannot be used on {session.kind}; those that can: {known}")
    return method


@dataclass(frozen=True)
class Measured:
    """method: by which was measured. unit: of the values, one for each span. check: None where it was not asked for, or
    where there are too few words to compare."""

    method: str
    unit: str
    values: tuple[float, ...]
    check: Check | None


def by_default(inquiry: Inquiry, progress: Progress | None = None) -> tuple[Method, list[float]]:
    """The method that fits the question, and its values: `DEFAULT`, or the yardstick where that finds nothing.

    What a decoder would say can be taken apart into what each word gave. A word that nothing speaks for is one that the
    model would not have said: then what it hangs on is found by taking words away, if there are enough words that one
    can be missed, and not so many that it takes long.
    """
    yardstick, *_ = fitting(inquiry.session)
    default = METHODS[DEFAULT]
    if not default.fits(inquiry.session):
        return yardstick, yardstick.values(inquiry, progress)
    values = default.values(inquiry, progress)
    if max(values) > 0 or not 2 * CHECKED < len(inquiry.spans) <= LONG:
        return default, values
    return yardstick, yardstick.values(inquiry, progress)


def measure(inquiry: Inquiry, name: str | None, progress: Progress | None = None, checked: bool = True) -> Measured:
    """The importance of each span of the inquiry by one of METHODS, and the check of it.

    name: see `by_default` for None. The check needs the yardstick, which costs far more than a method that takes one
    pass: without `checked` it is left out. Raises RequestError for a method that does not fit.
    """
    if name is None:
        method, values = by_default(inquiry, progress)
    else:
        method = chosen(name, inquiry.session)
        values = method.values(inquiry, progress)
    yardstick, *_ = fitting(inquiry.session)
    found = check(inquiry, values, yardstick.values(inquiry)) if checked else None
    return Measured(method.name, method.unit or inquiry.question.unit, tuple(values), found)
