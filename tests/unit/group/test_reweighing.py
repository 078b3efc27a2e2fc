"""How an entry with another weight comes in the place of ours, in the state of a group."""

import pytest

from aiopartition.errors import MemberSupersededError
from aiopartition.group.entry import MAX_INCARNATION, Entry
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from tests.unit.group.driven import (
    HIGHER,
    REFUSED,
    another,
    build_table,
    connected_group,
    entered_group,
    found,
    joined_group,
    members_of,
    new_group,
    read,
    read_news,
)


def asked(group: Group, weight: int) -> tuple[Entry, Entry]:
    """The step is due and taken, and the answer is on its way."""
    group.candidacy.set_weight(weight)
    assert group.next_step() is Step.REWEIGH
    return group.candidacy.replacement()


def test_one_step() -> None:
    """The view goes on until the new entry was read, and the old one is deleted if it should come back."""
    group, entry = joined_group(another("n"))
    old, new = asked(group, 3)
    assert (old, new) == (entry, Entry("m", 3, entry.incarnation + 1, entry.nonce))
    assert not group.weighed
    group.changed()
    assert members_of(group.view) == {"m": 1, "n": 1}
    read(group, found(2, new, another("n")))
    assert group.next_step() is Step.WITHDRAW
    assert group.leftovers.to_delete == {old.name}
    group.withdrawn(old.name)
    build_table(group)
    assert members_of(group.view) == {"m": 3, "n": 1}
    assert group.weighed
    assert group.lapses == joined_group()[0].lapses
    assert group.next_step() is Step.REST


def test_the_same_weight() -> None:
    group, _ = joined_group()
    group.candidacy.set_weight(1)
    assert group.weighed
    assert group.next_step() is Step.REST


def test_before_the_first_connection() -> None:
    """The first entry has it."""
    group = new_group()
    group.candidacy.set_weight(7)
    group.session_opened(fresh=True)
    assert group.choose_entry(None).weight == 7


def test_while_the_entry_is_made() -> None:
    """One that was asked for with the old weight is replaced when it is there."""
    group = connected_group()
    entry = group.choose_entry(None)
    group.candidacy.set_weight(7)
    group.entered(entry)
    read(group, found(1, entry))
    assert group.next_step() is Step.REWEIGH


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_lost_answer(carried_out: bool) -> None:
    """A read shows which entry is there; the step is taken again only if it is the old one."""
    group, _ = joined_group(another("n"))
    old, new = asked(group, 0)
    group.interrupted()
    group.heartbeat()
    read(group, found(2, new if carried_out else old, another("n")))
    if not carried_out:
        assert group.next_step() is Step.REWEIGH
        assert group.candidacy.replacement() == (old, new)
        read_news(group, 3, new, another("n"))
    group.withdrawn(old.name)
    build_table(group)
    assert members_of(group.view) == {"m": 0, "n": 1}
    assert group.weighed


def test_another_weight_after_a_lost_answer() -> None:
    """What may be there comes first: no entry is forgotten, and no third one is made beside it."""
    group, _ = joined_group()
    old, first = asked(group, 2)
    group.interrupted()
    group.candidacy.set_weight(5)
    group.heartbeat()
    read(group, found(1, old))  # by a server that lags
    assert group.candidacy.replacement() == (old, first)
    read_news(group, 2, first)
    group.withdrawn(old.name)
    assert group.next_step() is Step.REWEIGH
    assert group.candidacy.replacement() == (first, Entry("m", 5, first.incarnation + 1, first.nonce))


def test_an_old_entry_that_is_back() -> None:
    """An ensemble can forget that it was deleted: the new one counts, and the old one goes again."""
    group, _ = joined_group()
    old, new = asked(group, 2)
    read_news(group, 2, old, new)
    assert group.leftovers.to_delete == {old.name}
    group.withdrawn(old.name)
    build_table(group)
    assert members_of(group.view) == {"m": 2}


def test_a_change_that_was_forgotten() -> None:
    """The old entry alone is back: we join again, above it."""
    group, _ = joined_group()
    old, new = asked(group, 2)
    read_news(group, 2, new)
    group.withdrawn(old.name)
    read_news(group, 3, old)
    assert group.next_step() is Step.JOIN
    entry = group.choose_entry(found(3, old))
    assert (entry.weight, entry.incarnation) == (2, old.incarnation + 1)
    assert old.name in group.leftovers.to_delete


def test_deleted_by_an_operator_meanwhile() -> None:
    """Neither is there: we join again with the new weight."""
    group, _ = joined_group()
    asked(group, 2)
    read_news(group, 2, another("n"))
    assert group.next_step() is Step.JOIN
    assert group.choose_entry(found(2, another("n"))).weight == 2


def test_a_refusal() -> None:
    """The weight stays, and so does the view. Nothing is tried again until another weight is set."""
    group, _ = joined_group()
    asked(group, 2)
    group.candidacy.refused(REFUSED)
    assert group.candidacy.refusal is REFUSED
    assert members_of(group.view) == {"m": 1}
    assert group.member.weight == 1
    group.heartbeat()
    assert group.next_step() is Step.REST
    group.candidacy.set_weight(2)
    assert group.candidacy.refusal is None
    assert group.next_step() is Step.REWEIGH


def test_a_session_that_ends_meanwhile() -> None:
    """The next one begins with the new weight."""
    group, _ = joined_group()
    asked(group, 2)
    group.session_expired()
    group.session_opened(fresh=True)
    assert group.choose_entry(None).weight == 2


@pytest.mark.parametrize("carried_out", [False, True])
def test_left_meanwhile(carried_out: bool) -> None:
    """Either entry may be there: both are deleted."""
    group, _ = joined_group()
    old, new = asked(group, 2)
    group.leave()
    if carried_out:
        group.changed()
    else:
        group.candidacy.refused(REFUSED)
    assert group.leftovers.to_delete == {old.name, new.name}
    assert group.next_step() is Step.WITHDRAW
    for entry in (old, new):
        group.withdrawn(entry.name)
    assert group.next_step() is Step.FINISH


def test_superseded_meanwhile() -> None:
    """A later process has our id: none of our entries stays."""
    group, _ = joined_group()
    old, new = asked(group, 2)
    group.interrupted()
    group.heartbeat()
    read(group, found(2, old, another("m", incarnation=2, nonce=HIGHER)))
    assert isinstance(group.error, MemberSupersededError)
    assert group.leftovers.to_delete == {old.name, new.name}


def test_at_the_highest_incarnation() -> None:
    """Names differ by the weight alone then, also on the way back."""
    group, entry = entered_group()
    group.candidacy.entry = group.candidacy.attempted = highest = Entry("m", 1, MAX_INCARNATION, entry.nonce)
    read(group, found(1, highest))
    build_table(group)
    for generation, weight in enumerate((2, 1), start=2):
        old, new = asked(group, weight)
        assert new == Entry("m", weight, MAX_INCARNATION, entry.nonce)
        read_news(group, generation, new)
        group.withdrawn(old.name)
        build_table(group)
        assert members_of(group.view) == {"m": weight}
    assert group.leftovers.to_delete == set()
