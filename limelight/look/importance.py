"""Which words made the model give its answer: the methods there are, and the check of what they say.

Whatever the method, what is told of the words that it names is measured on this text: what the answer loses when other
likely words stand in their places, when they are hidden from all others (attention knockout, Geva et al., 2023), and,
as the check, when they are deleted. The last word before the one in question is where a decoder asks from. It cannot be
hidden from itself, and without it the model asks from another; so it is replaced, and named only by the default method
and where that alone outweighs all else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from limelight import given
from limelight.errors import RequestError
from limelight.look.attend import attention, rollout, value_weighted
from limelight.look.check import Check, check
from limelight.look.decompose import alti_logit
from limelight.look.gradients import gradient_input, integrated_gradients
from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.measured import ALL, measured, smallest
from limelight.look.perturb import blocking, leave_one_out, leave_one_replaced
from limelight.look.session import DecoderSession, Progress, Session, StackSession

__all__ = ["ALL", "DEFAULT", "METHODS", "Check", "Measured", "Method", "chosen", "fitting", "measure"]

Values = Sequence[float | None]
"""A value for each span of an inquiry; None for one that was not measured."""

Run = Callable[[Inquiry, Progress | None], Values]
"""``run(inquiry, progress)`` → the values of its spans."""


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

    def values(self, inquiry: Inquiry, progress: Progress | None = None) -> Values:
        """A value for each span of the inquiry; kept with the text once they are known."""
        if progress is not None and inquiry.session.knows((self, inquiry)):
            progress(len(inquiry.spans), len(inquiry.spans))
        return inquiry.session.once((self, inquiry), lambda: self.run(inquiry, progress))


def _measured(inquiry: Inquiry, progress: Progress | None) -> Values:
    return measured(inquiry, progress).values


_METHODS = (
    Method(
        "measured",
        "Measured",
        "How much less likely is the answer, on average, when another likely word stands in the word's place?",
        "compare Kim et al. (2020), Interpretation of NLP Models through Input Marginalization",
        "some 12 T variants of the text, of long texts some 100",
        "importance",
        _measured,
        Session,
    ),
    Method(
        "blocking",
        "Blocking",
        "How much less likely is the answer when no other position may attend to the word?",
        "compare Geva et al. (2023), Dissecting Recall of Factual Associations in Auto-Regressive Language Models",
        "T variants of the text, T / 8 or 50 above 200 words",
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
        "leave-one-out",
        "Leave one out",
        "How much less likely is the answer when the word is deleted?",
        "Li et al. (2016), Understanding Neural Networks through Representation Erasure",
        "T variants of the text",
        "importance",
        leave_one_out,
        Session,
    ),
    Method(
        "leave-one-replaced",
        "Leave one replaced",
        "How much less likely is the answer, on average, when another likely word stands in the word's place?",
        "compare Kim et al. (2020), Interpretation of NLP Models through Input Marginalization",
        "3 T variants of the text",
        "importance",
        leave_one_replaced,
        Session,
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
"""All methods by name."""

DEFAULT = "measured"
"""The method that is taken if none is named."""


def fitting(session: Session) -> list[Method]:
    """The methods that can be used on a text."""
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
    """method: by which was measured. unit: of the values, one for each span, None where it was not measured.
    answer_unit: of the answer, and so of the losses and the check. named: the spans that the method names, the
    strongest first; none where no word lowers the answer. losses: what the answer loses without those, by the ways of
    `look.inquiry.WAYS` in which they can be taken away; the one by which they are checked is there only if they were.
    check: None where it was not asked for, or no word is named."""

    method: str
    unit: str
    answer_unit: str
    values: tuple[float | None, ...]
    named: tuple[int, ...]
    losses: dict[str, float]
    check: Check | None


def measure(inquiry: Inquiry, name: str | None, progress: Progress | None = None, checked: bool = True) -> Measured:
    """The importance of each span of the inquiry by one of METHODS (DEFAULT for None), and the check of those named.

    The check costs more than a method that takes one pass: without `checked` it is left out. Raises RequestError for a
    method that does not fit.
    """
    method = chosen(DEFAULT if name is None else name, inquiry.session)
    values = method.values(inquiry, progress)
    named = measured(inquiry).named if method.name == DEFAULT else _highest(inquiry, values)
    losses: dict[str, float] = {}
    found = None
    if named:
        losses = {way: inquiry.losses(WAYS[way], [named])[0] for way in inquiry.ways}
        if checked:
            found = check(inquiry, named, progress)
            losses["deleted"] = inquiry.losses(WAYS["deleted"], [named])[0]
    unit = inquiry.question.unit
    return Measured(method.name, method.unit or unit, unit, tuple(values), named, losses, found)


def _highest(inquiry: Inquiry, values: Values) -> tuple[int, ...]:
    """As many words as the default names at least, of those that a method ranks highest above zero."""
    worth = {i: value for i in inquiry.others if (value := values[i]) is not None and value > 0}
    return tuple(sorted(worth, key=lambda i: -worth[i])[: smallest(len(inquiry.others))])
