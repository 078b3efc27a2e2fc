"""Leaving a group in every phase, and that asking its state machine changes nothing."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from aiopartition.group.entry import Entry
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.placement.assign import build
from tests.unit.group.driven import (
    OURS,
    POLICY,
    REFUSED,
    another,
    connected_group,
    entered_group,
    found,
    joined_group,
    new_group,
    read,
    superseded_group,
)

# ---- leaving


def in_new() -> Group:
    return new_group()


def in_joining() -> Group:
    group = connected_group()
    return group


def in_entering() -> Group:
    group = in_joining()
    group.choose_entry(None)
    return group


def in_entering_with_a_ghost() -> Group:
    group, ghost = joined_group()
    group.session_expired()
    group.session_opened(fresh=True)
    group.choose_entry(found(5, ghost))
    return group


def in_entered() -> Group:
    return entered_group()[0]


def in_reading() -> Group:
    group, _ = entered_group()
    group.reading()
    return group


def in_building() -> Group:
    group, entry = entered_group()
    read(group, found(1, entry))
    return group


def in_rest() -> Group:
    return joined_group(another("n"))[0]


def in_settling() -> Group:
    group = in_rest()
    group.changed()
    return group


def in_probing() -> Group:
    group = in_rest()
    group.lease_renewed()
    return group


def in_shortage() -> Group:
    group, entry = entered_group(min_members=2)
    read(group, found(1, entry))
    return group


def in_failure() -> Group:
    group = in_settling()
    group.failed(REFUSED)
    return group


def in_failed_joining() -> Group:
    group = in_joining()
    group.failed(REFUSED)
    return group


def in_supersession() -> Group:
    return superseded_group()[0]


def in_supersession_done() -> Group:
    group, entry = superseded_group()
    group.withdrawn(entry.name)
    return group


PHASES: Final[list[tuple[Callable[[], Group], int]]] = [
    # and how many entries may have to be deleted
    (in_new, 0),
    (in_joining, 0),
    (in_entering, 1),
    (in_entering_with_a_ghost, 2),
    (in_entered, 1),
    (in_reading, 1),
    (in_building, 1),
    (in_rest, 1),
    (in_settling, 1),
    (in_probing, 1),
    (in_shortage, 1),
    (in_failure, 1),
    (in_failed_joining, 0),
    (in_supersession, 1),
    (in_supersession_done, 0),
]


each_phase: Final = pytest.mark.parametrize(("phase", "entries"), PHASES, ids=[phase.__name__ for phase, _ in PHASES])


@each_phase
@pytest.mark.parametrize("connected", [True, False])
def test_leaving_in_every_phase(phase: Callable[[], Group], entries: int, connected: bool) -> None:
    """Nothing is ours from the call on; what may exist is deleted as soon as there is a connection; then it is over."""
    group = phase()
    if not connected:
        group.session_suspended()
    group.leave()
    assert group.leaving
    assert group.view is None
    assert group.settled
    assert group.unknown_reason == "the group was left"
    assert len(group.leftovers.to_delete) == entries
    if entries and (not connected or phase is in_new):
        assert group.next_step() is Step.REST
        group.session_opened(fresh=False)
    for name in sorted(group.leftovers.to_delete):
        assert group.next_step() is Step.WITHDRAW
        group.withdrawn(name)
    assert group.next_step() is Step.FINISH


@each_phase
def test_nothing_comes_back_after_leaving(phase: Callable[[], Group], entries: int) -> None:
    """Whatever was under way and ends now, there is no view any more, and no step but towards the end."""
    group = phase()
    members = {"m": 1, "n": 1}
    wanted = group.wanted
    group.leave()
    entry = Entry("m", 1, 1, OURS)
    happenings: list[Callable[[], object]] = [
        lambda: group.read(found(50, entry, another("n"))),
        lambda: group.built(members, build(members, POLICY)),
        lambda: group.built(wanted, build(wanted or members, POLICY)),
        lambda: group.probed(1),
        lambda: group.probed(50),
        group.changed,
        group.heartbeat,
        group.lease_renewed,
        lambda: group.probed(50),
        group.interrupted,
        lambda: group.failed(REFUSED),
        group.heartbeat,
        group.session_suspended,
        lambda: group.session_opened(fresh=False),
    ]
    for happening in happenings:
        happening()
        assert group.view is None
        assert group.next_step() in (Step.REST, Step.WITHDRAW, Step.FINISH)
    # What was deleted before the connection broke is deleted again: the servers may have forgotten it.
    assert group.next_step() is (Step.WITHDRAW if entries or group.leftovers.deleted else Step.FINISH)


@each_phase
def test_end_of_the_session_completes_leaving(phase: Callable[[], Group], entries: int) -> None:
    """The entries went with it."""
    group = phase()
    group.session_suspended()
    group.leave()
    group.session_expired()
    assert group.next_step() is Step.FINISH
    assert group.leftovers.to_delete == set()


@each_phase
def test_abandoning_in_every_phase(phase: Callable[[], Group], entries: int) -> None:
    """The session is about to end: nothing is ours any more, and nothing is left to be done."""
    group = phase()
    group.abandon()
    assert group.view is None
    assert group.next_step() is Step.FINISH


def test_entry_that_comes_into_being_while_leaving() -> None:
    """The create was on its way: what it made is deleted."""
    group = in_entering()
    entry = Entry("m", 1, 1, OURS)
    group.leave()
    assert group.leftovers.to_delete == {entry.name}
    group.withdrawn(entry.name)
    group.entered(entry)
    assert group.leftovers.to_delete == {entry.name}
    assert group.next_step() is Step.WITHDRAW
    group.withdrawn(entry.name)
    assert group.next_step() is Step.FINISH


def test_leaving_twice_is_leaving() -> None:
    """stop() may come after leave_group()."""
    group, entry = joined_group()
    group.leave()
    group.leave()
    assert group.leftovers.to_delete == {entry.name}
    group.abandon()
    assert group.next_step() is Step.FINISH


def test_leaving_is_not_held_up_by_a_failure() -> None:
    """A step failed, and the heartbeat is far: the call to leave is reason enough to try."""
    group = in_failure()
    assert group.next_step() is Step.REST
    group.leave()
    assert group.next_step() is Step.WITHDRAW


def test_leaving_clears_nothing_but_ours() -> None:
    """Entries of other members, or other incarnations, are never ours to delete."""
    group, entry = joined_group(another("n"), another("m", incarnation=0))
    group.leave()
    assert group.leftovers.to_delete == {entry.name}


# ---- asking


@each_phase
def test_asking_changes_nothing(phase: Callable[[], Group], entries: int) -> None:
    """However often; in every phase."""
    group = phase()
    before = state_of(group)
    for _ in range(3):
        group.next_step()
        _ = group.view, group.settled, group.leaving, group.unknown_reason
    assert state_of(group) == before


def state_of(group: object) -> dict[str, Any]:
    return {
        name: value.copy()
        if isinstance(value, set | dict)
        else state_of(value)
        if name in PARTS and value is not None
        else value
        for name, value in vars(group).items()
    }


PARTS = {"leftovers", "candidacy", "_leftovers", "handoff"}
"""What a group's state is made of."""
