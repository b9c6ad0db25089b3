"""Importance measured by taking one word away and looking at what the answer loses: the methods that need no theory."""

from limelight.look.inquiry import WAYS, Inquiry, Way
from limelight.look.session import Progress

LONG = 200
"""Words above which blocking measures groups of words first."""

GROUP = 32
"""Words in the first groups; halved until single words are left."""

REFINED = 4
"""Groups that are always looked into, one more than words are named."""


def blocking(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The loss when no other position may attend to a word; the one that asks is left out instead."""
    if len(inquiry.spans) > LONG:
        return in_groups(inquiry, progress)
    return _one_by_one(inquiry, WAYS["blocked"], progress)


def leave_one_out(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The loss when a word is deleted and what follows moves up."""
    return _one_by_one(inquiry, WAYS["deleted"], progress)


def leave_one_replaced(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The loss when a word gives way to another that is likely in its place, on average over some of those."""
    return _one_by_one(inquiry, WAYS["replaced"], progress)


def _one_by_one(inquiry: Inquiry, way: Way, progress: Progress | None) -> list[float]:
    return inquiry.losses(way, [(i,) for i in range(len(inquiry.spans))], progress)


def in_groups(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """Blocking for long texts: groups of words, of which the most important are halved again and again.

    About one variant for eight words, or fifty. The words of a group that is not looked into share its loss equally.
    """
    others, blocked = inquiry.others, WAYS["blocked"]
    groups = [others[start : start + GROUP] for start in range(0, len(others), GROUP)]
    rounds = GROUP.bit_length() - 1
    refined = max(REFINED, (len(others) // 8 - len(groups)) // (2 * rounds))
    ahead = len(groups) + 1 + 2 * rounds * refined
    done = 0

    def tell(more: int, all: int) -> None:
        if progress is not None:
            progress(min(done + more, ahead), ahead)

    values = [0.0] * len(inquiry.spans)
    if inquiry.asks is not None:
        (values[inquiry.asks],) = inquiry.losses(blocked, [(inquiry.asks,)])
    while groups:
        losses = inquiry.losses(blocked, groups, tell)
        done += len(groups)
        for group, loss in zip(groups, losses, strict=True):
            for i in group:
                values[i] = loss / len(group)
        wide = [(loss, group) for loss, group in zip(losses, groups, strict=True) if len(group) > 1]
        best = sorted(wide, key=lambda pair: -pair[0])[:refined]
        groups = [half for _, group in best for half in (group[: len(group) // 2], group[len(group) // 2 :])]
    if progress is not None:
        progress(ahead, ahead)
    return values
