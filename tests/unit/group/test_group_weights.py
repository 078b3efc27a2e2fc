"""Members of weight 0, and groups that are too large, in the state of a group."""

import pytest

from aiopartition.errors import GroupTooLargeError
from aiopartition.group.step import Step
from tests.unit.group.driven import (
    another,
    build_table,
    entered_group,
    found,
    joined_group,
    members_of,
    read,
    read_news,
)

TOO_LARGE = GroupTooLargeError(3, 2)


def test_no_weight_anywhere() -> None:
    """Nobody can own anything: that is told apart from too few members, and is a first result of a join."""
    group, entry = entered_group(weight=0)
    read(group, found(1, entry, another("n", weight=0)))
    assert group.view is None
    assert group.settled
    assert group.unknown_reason == "no member has a weight above 0"
    assert group.next_step() is Step.REST


def test_a_weight_at_last() -> None:
    """With the first member that has one there is a view, in which the others own nothing."""
    group, entry = entered_group(weight=0)
    read(group, found(1, entry))
    read_news(group, 2, entry, another("n"))
    build_table(group)
    assert members_of(group.view) == {"m": 0, "n": 1}
    assert group.view is not None
    assert group.view.shares() == {"m": 0.0, "n": 1.0}


def test_no_weight_any_more() -> None:
    """A view in which somebody owned something does not outlive the last weight."""
    group, entry = joined_group(another("n"), weight=0)
    read_news(group, 2, entry, another("n", weight=0, incarnation=2))
    assert group.view is None
    assert group.unknown_reason == "no member has a weight above 0"


def test_drained_members_count_as_present() -> None:
    """min_members is about members, not about who works."""
    group, entry = entered_group(min_members=2)
    read(group, found(1, entry, another("n", weight=0)))
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 0}


@pytest.mark.parametrize("left", [False, True])
def test_a_group_that_is_too_large(left: bool) -> None:
    """It is refused, with one and the same error at each attempt, until its members are others."""
    group, entry = joined_group()
    read_news(group, 2, entry, another("n"), another("o"))
    assert group.next_step() is Step.BUILD
    group.failed(TOO_LARGE)
    for _ in range(2):
        assert group.view is None
        assert group.error is TOO_LARGE
        assert group.next_step() is Step.REST
        group.heartbeat()
        read(group, found(2, entry, another("n"), another("o")))
        assert group.error is TOO_LARGE  # nothing has changed, so nothing is better
        assert group.next_step() is Step.BUILD
        group.failed(TOO_LARGE)
    group.heartbeat()
    read(group, found(3, entry) if left else found(3, entry, another("n")))
    assert group.error is None
    if not left:  # the table of its former members is there still
        build_table(group)
    assert group.view is not None
    assert group.view.generation == 3
