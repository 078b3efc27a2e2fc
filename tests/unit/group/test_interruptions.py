"""What one group's state machine does when sessions end, leases lapse and steps fail."""

import pytest

from aiopartition.errors import PartitionError, PolicyMismatchError
from aiopartition.group.step import Step
from aiopartition.placement.assign import build
from tests.unit.group.driven import (
    POLICY,
    REFUSED,
    another,
    build_table,
    connected_group,
    entered_group,
    found,
    joined_group,
    members_of,
    read,
    read_news,
)

# ---- sessions and leases


def test_short_disconnection_changes_nothing() -> None:
    """No other member can have taken over yet; what is believed is compared once there is a connection again."""
    group, _ = joined_group(generation=7)
    before, lapses = group.view, group.lapses
    group.session_suspended()
    assert group.view is before
    assert group.next_step() is Step.REST
    group.session_opened(fresh=False)
    assert group.view is before
    assert group.lapses == lapses
    assert group.next_step() is Step.PROBE
    group.probed(7)
    assert group.next_step() is Step.REST
    assert group.view is before


def test_what_is_due_survives_a_disconnection() -> None:
    """The change that was to be read is still to be read, after settling or at once."""
    group, _ = joined_group()
    group.changed()
    group.session_suspended()
    assert group.next_step() is Step.REST
    group.session_opened(fresh=False)
    assert group.next_step() is Step.SETTLE
    group.probed(99)
    group.session_suspended()
    group.session_opened(fresh=False)
    assert group.next_step() is Step.READ


def test_lapsed_lease_is_not_trusted_until_probed() -> None:
    """Others may have taken over meanwhile, and no watch told us."""
    group, _ = joined_group(generation=7)
    before, lapses = group.view, group.lapses
    group.lease_renewed()
    assert group.view is None
    assert group.lapses > lapses
    assert group.next_step() is Step.PROBE
    group.probed(7)
    assert group.view is before
    assert group.next_step() is Step.REST


def test_lapsed_lease_is_confirmed_by_a_heartbeat_too() -> None:
    """It asks the same question."""
    group, _ = joined_group(generation=7)
    group.lease_renewed()
    group.probed(7)
    group.heartbeat()
    assert group.view is not None


def test_outdated_view_does_not_come_back_after_a_lapse() -> None:
    """Known to be of the past, it is not believed for the time that the next one takes to compile."""
    group, entry = joined_group(generation=7)
    group.lease_renewed()
    group.probed(9)
    read(group, found(9, entry, another("n")))
    assert group.view is None
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 1}


def test_outdated_view_does_not_come_back_by_a_probe() -> None:
    """The probe confirms what was read last, of which there is no view yet."""
    group, entry = joined_group(generation=7)
    read_news(group, 9, entry, another("n"))
    assert group.next_step() is Step.BUILD
    group.lease_renewed()
    assert group.next_step() is Step.PROBE
    group.probed(9)
    assert group.view is None
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 1}


def test_table_that_is_ready_during_a_lapse_is_not_believed() -> None:
    """It is as unconfirmed as what it was made of."""
    group, entry = joined_group()
    read_news(group, 2, entry, another("n"))
    members = group.wanted
    group.lease_renewed()
    group.built(members, build(members, POLICY))
    assert group.view is None
    assert group.next_step() is Step.PROBE
    group.probed(2)
    assert members_of(group.view) == {"m": 1, "n": 1}


def test_lapse_during_a_read() -> None:
    """Its answer may be as old as the lapse: ask again."""
    group, entry = joined_group()
    group.changed()
    group.reading()
    group.lease_renewed()
    group.read(found(2, entry))
    assert group.view is None
    assert group.next_step() is Step.PROBE
    group.probed(2)
    assert group.view is not None


def test_lapse_before_a_read_is_confirmed_by_it() -> None:
    """A read that begins afterwards says more than any probe."""
    group, entry = joined_group()
    group.changed()
    group.lease_renewed()
    assert group.next_step() is Step.SETTLE
    assert group.view is None
    read(group, found(2, entry))
    assert group.view is not None


def test_lapse_without_an_entry_changes_nothing() -> None:
    """There is nothing to lose."""
    group = connected_group()
    group.lease_renewed()
    assert group.next_step() is Step.JOIN
    group, _ = entered_group()
    group.lease_renewed()
    assert group.next_step() is Step.READ


@pytest.mark.parametrize("told", [True, False])
def test_expired_session(told: bool) -> None:
    """Whether the backend says that the old one has ended, or just that this one is new."""
    group, _ = joined_group()
    lapses = group.lapses
    if told:
        group.session_expired()
        assert group.view is None
    group.session_opened(fresh=True)
    assert group.view is None
    assert group.lapses > lapses
    assert group.wanted == {}
    assert not group.settled
    assert group.unknown_reason == "this member has not joined yet"
    assert group.next_step() is Step.JOIN


def test_ensemble_that_was_wiped() -> None:
    """With it went our session; what the new one tells is believed at once, though it begins to count anew."""
    group, _ = joined_group(generation=1000)
    group.session_expired()
    group.session_opened(fresh=True)
    entry = group.choose_entry(None)
    group.entered(entry)
    read(group, found(2, entry))
    assert group.next_step() is Step.REST
    assert group.view is not None


# ---- steps that fail


def test_refused_step_is_tried_again_at_the_next_heartbeat() -> None:
    """An operator may have mended the cause. Until then nothing is ours, and the reason can be asked for."""
    group, entry = joined_group()
    group.changed()
    group.reading()
    group.failed(REFUSED)
    assert group.error is REFUSED
    assert group.view is None
    assert group.settled
    assert group.next_step() is Step.REST
    group.changed()
    assert group.next_step() is Step.REST
    group.heartbeat()
    assert group.next_step() is Step.READ
    assert group.error is REFUSED
    read(group, found(2, entry))
    error: PartitionError | None = group.error
    assert error is None
    assert group.view is not None


def test_refused_step_is_tried_again_on_the_next_connection() -> None:
    """Another server may know better."""
    group, _ = joined_group()
    group.changed()
    group.failed(REFUSED)
    group.session_suspended()
    group.session_opened(fresh=False)
    assert group.next_step() is Step.READ


def test_refused_join_is_tried_again_at_the_next_heartbeat() -> None:
    """For a group with another policy, say, which everybody may leave."""
    group = connected_group()
    mismatching = PolicyMismatchError("g", {"slots": (16, 32)})
    group.failed(mismatching)
    assert group.error is mismatching
    assert group.settled
    assert not group.established
    assert group.next_step() is Step.REST
    group.heartbeat()
    assert group.next_step() is Step.JOIN


def test_outdated_view_does_not_come_back_after_a_refusal() -> None:
    """As after a lapse: it was unknown for a while what had happened."""
    group, entry = joined_group(generation=7)
    group.changed()
    group.reading()
    group.failed(REFUSED)
    group.heartbeat()
    read(group, found(9, entry, another("n")))
    assert group.view is None
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 1}


@pytest.mark.parametrize("mend", ["heartbeat", "connection"])
def test_interrupted_step_is_tried_again(mend: str) -> None:
    """The watch may have been armed or not: read again. Nothing is taken away meanwhile."""
    group, _ = joined_group()
    before = group.view
    group.changed()
    group.reading()
    group.session_suspended()
    group.interrupted()
    assert group.view is before
    assert group.error is None
    assert group.next_step() is Step.REST
    group.session_opened(fresh=False)
    if mend == "heartbeat":
        group.interrupted()
        assert group.next_step() is Step.REST
        group.heartbeat()
    assert group.next_step() is Step.READ


def test_reads_that_are_interrupted_time_and_again() -> None:
    """A server hangs up on each answer, say. What is believed may be as old as one likes, so it is believed no more."""
    group, entry = joined_group()
    group.changed()
    group.reading()
    group.interrupted()
    assert group.view is not None
    group.heartbeat()
    group.reading()
    group.interrupted()
    assert group.view is None
    assert group.error is None
    group.heartbeat()
    assert group.next_step() is Step.READ
    read(group, found(2, entry))
    assert group.view is not None


def test_interruptions_with_a_read_between_them_are_single_ones() -> None:
    """A short disconnection now and then takes nothing away."""
    group, entry = joined_group()
    for generation in range(2, 6):
        group.changed()
        group.reading()
        group.interrupted()
        assert group.view is not None
        group.heartbeat()
        read(group, found(generation, entry))
        assert group.view is not None


def test_interrupted_deletion_is_tried_again() -> None:
    """Until it is known that the entry is gone."""
    group, entry = joined_group()
    group.leave()
    group.session_suspended()
    group.interrupted()
    assert group.next_step() is Step.REST
    group.session_opened(fresh=False)
    assert group.next_step() is Step.WITHDRAW
    group.interrupted()
    group.heartbeat()
    assert group.next_step() is Step.WITHDRAW
    group.withdrawn(entry.name)
    assert group.next_step() is Step.FINISH
