"""Importance measured by taking words away and looking at what the answer loses: the methods that need no theory."""

from limelight.look.inquiry import Inquiry
from limelight.look.session import DecoderSession, Progress, Variant, stacked

LONG = 200
"""Words above which blocking measures groups of words first."""

GROUP = 32
"""Words in the first groups; halved until single words are left."""

REPLACEMENTS = 6
"""Likely other words that each word is replaced by."""


def blocking(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The fall when no other position may attend to a word; the one that asks is left out instead."""
    if len(inquiry.spans) > LONG and isinstance(inquiry.session, DecoderSession):
        return _in_groups(inquiry, progress)
    return inquiry.drops([inquiry.knockout([i]) for i in range(len(inquiry.spans))], progress)


def _in_groups(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """Blocking for long texts: groups of words, of which the most important are halved again and again.

    About one variant for eight words. The words of a group that is not looked into share its fall equally.
    """
    words = len(inquiry.spans)
    groups = [range(start, min(start + GROUP, words - 1)) for start in range(0, words - 1, GROUP)]
    rounds = GROUP.bit_length() - 1
    refined = max(2, (words // 8 - len(groups)) // (2 * rounds))
    ahead = len(groups) + 1 + 2 * rounds * refined
    measured = 0

    def tell(done: int, all: int) -> None:
        if progress is not None:
            progress(min(measured + done, ahead), ahead)

    values = [0.0] * words
    (values[-1],) = inquiry.drops([inquiry.knockout([words - 1])])
    while groups:
        falls = inquiry.drops([inquiry.knockout(group) for group in groups], tell)
        measured += len(groups)
        for group, fall in zip(groups, falls, strict=True):
            for i in group:
                values[i] = fall / len(group)
        wide = [(fall, group) for fall, group in zip(falls, groups, strict=True) if len(group) > 1]
        best = sorted(wide, key=lambda pair: -pair[0])[:refined]
        groups = [half for _, group in best for half in (group[: len(group) // 2], group[len(group) // 2 :])]
    if progress is not None:
        progress(ahead, ahead)
    return values


def leave_one_out(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The fall when a word is deleted and what follows moves up."""
    return inquiry.drops([Variant(left_out=(span,)) for span in inquiry.spans], progress)


def leave_one_replaced(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The most that the value falls when a word gives way to another that the model finds likely in its place."""
    variants, owners = [], []
    for i, span in enumerate(inquiry.spans):
        others = stacked(inquiry.session).likely(span, REPLACEMENTS)
        variants += [Variant(replaced=((span, other),)) for other in others]
        owners += [i] * len(others)
    falls = inquiry.drops(variants, progress)
    return [
        max((fall for fall, owner in zip(falls, owners, strict=True) if owner == i), default=0.0)
        for i in range(len(inquiry.spans))
    ]
