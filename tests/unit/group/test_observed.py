"""What an observer knows of a group while it takes a long list of entries apart, between turns of the event loop."""

from collections.abc import Callable

import pytest

from aiopartition import GroupPolicy
from aiopartition.backends.base import Entries
from aiopartition.group.document import document_of
from aiopartition.group.entry import Entry
from aiopartition.group.observed import ObservedGroup
from aiopartition.group.roster import NAMES_PER_STEP
from aiopartition.group.step import Step
from aiopartition.placement.assign import build

NAMES = tuple(Entry("member", 1, number + 1, "0" * 16).name for number in range(3 * NAMES_PER_STEP))
ENTRIES = Entries(7, frozenset(NAMES))
POLICY = GroupPolicy(slots=16, vnodes=1)


@pytest.mark.parametrize(
    ("event", "step"),
    [
        (ObservedGroup.changed, Step.SETTLE),
        (ObservedGroup.doubt, Step.READ),
        (ObservedGroup.session_expired, Step.READ),
        (lambda group: group.session_opened(fresh=True), Step.READ),
        (ObservedGroup.session_suspended, Step.REST),
        (ObservedGroup.interrupted, Step.REST),
        (ObservedGroup.leave, Step.FINISH),
        (lambda group: None, Step.BUILD),
    ],
    ids=["changed", "doubted", "expired", "opened", "suspended", "interrupted", "left", "nothing"],
)
def test_an_event_between_two_steps_is_not_lost(event: Callable[[ObservedGroup], None], step: Step) -> None:
    """What it asks for is done next, and what was read counts only if nothing speaks against it."""
    group = ObservedGroup("g", "observer")
    group.session_opened(fresh=True)
    for _ in range(2):  # the second time nothing is new
        group.reading()
        group.read(Entries(6, frozenset(NAMES[:1])), document_of(POLICY))
    group.reading()
    steps = group.sift(ENTRIES)
    next(steps)
    event(group)
    for _ in steps:
        pass
    group.read(ENTRIES, document_of(POLICY))
    assert group.next_step() is step
    assert group.roster.live() == {"member": Entry("member", 1, len(NAMES), "0" * 16)}

    assert group.model is not None
    group.built(group.model, build({"member": 1}, POLICY))
    assert (group.view is None) == (step in (Step.READ, Step.FINISH))
