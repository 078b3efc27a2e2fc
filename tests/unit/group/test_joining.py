"""How one group's state machine gets into its group: its entry, its incarnation, its successors and predecessors."""

import pytest

from aiopartition.errors import MemberSupersededError
from aiopartition.group.entry import MAX_INCARNATION, Entry
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.placement.view import Member
from tests.unit.group.driven import (
    HIGHER,
    LOWER,
    OURS,
    POLICY,
    another,
    build_table,
    connected_group,
    found,
    joined_group,
    members_of,
    new_group,
    read,
    read_news,
    unsure_group,
)


def test_rests_until_there_is_a_connection() -> None:
    """Nothing to be done without one; then it joins."""
    group = new_group()
    assert group.next_step() is Step.REST
    group.session_opened(fresh=True)
    assert group.next_step() is Step.JOIN
    assert group.unknown_reason == "this member has not joined yet"
    assert not group.settled
    assert not group.established


def test_first_entry_of_an_id() -> None:
    """Name, weight and nonce are ours, the incarnation is the first, whoever else is there."""
    group = connected_group(weight=3)
    assert group.choose_entry(found(7, another("n", incarnation=9))) == Entry("m", 3, 1, OURS)


@pytest.mark.parametrize("incarnations", [(1,), (3, 1), (2, 10), (9, 10, 2)])
def test_takes_the_highest_incarnation_of_its_id_plus_one(incarnations: tuple[int, ...]) -> None:
    """A restart comes after all that went before, compared as numbers."""
    group = connected_group()
    before = [another("m", incarnation=number, nonce=f"{number:016x}") for number in incarnations]
    assert group.choose_entry(found(7, *before, another("n", incarnation=50))).incarnation == max(incarnations) + 1


def test_incarnation_beyond_counting() -> None:
    """An entry that somebody has planted cannot make us write one that nobody can read."""
    group = connected_group()
    planted = another("m", incarnation=MAX_INCARNATION, nonce=LOWER)
    entry = group.choose_entry(found(1, planted))
    assert Entry.parse(entry.name) == entry
    assert entry.seniority > planted.seniority
    group.entered(entry)
    read(group, found(2, entry, planted))
    build_table(group)
    assert members_of(group.view) == {"m": 1}


def test_lost_answer_makes_no_second_entry() -> None:
    """Whether the create took effect is unknown: the same one is tried again, and no other."""
    group = connected_group()
    entry = group.choose_entry(found(1, another("m", incarnation=4)))
    group.session_suspended()
    group.interrupted()
    assert group.next_step() is Step.REST
    group.session_opened(fresh=False)
    assert group.next_step() is Step.JOIN
    assert group.choose_entry(found(2, another("m", incarnation=4), entry)) == entry
    assert group.leftovers.to_delete == set()


def test_what_was_deleted_is_deleted_again_after_reconnecting_unless_it_is_ours_by_now() -> None:
    """Servers forget. But incarnations may be counted anew, and an entry have the name of an earlier one."""
    group = connected_group()
    elder = another("m")
    first = group.choose_entry(found(1, elder))
    group.entered(first)
    restarted = another("m", incarnation=5)
    read(group, found(2, first, restarted))
    second = group.choose_entry(found(3, first, restarted))
    group.entered(second)
    assert group.next_step() is Step.WITHDRAW
    group.withdrawn(first.name)

    group.session_suspended()
    group.session_opened(fresh=False)
    assert group.leftovers.to_delete == {first.name}
    group.withdrawn(first.name)

    read(group, found(4))
    third = group.choose_entry(found(4, elder))
    assert third == first
    group.entered(third)
    group.session_suspended()
    group.session_opened(fresh=False)
    assert group.leftovers.to_delete == set()


def test_group_that_vanished_meanwhile_is_joined_with_the_same_entry() -> None:
    """As the owner does when the entry could not be created because somebody had deleted the group."""
    group = connected_group()
    entry = group.choose_entry(found(1))
    assert group.choose_entry(None) == entry


def test_entry_of_a_session_that_has_ended_does_not_count() -> None:
    """The answer was on its way when the session expired, and the entry has gone with it."""
    group = connected_group()
    entry = group.choose_entry(None)
    group.session_expired()
    group.session_opened(fresh=True)
    group.entered(entry)
    assert group.next_step() is Step.JOIN


@pytest.mark.parametrize("others", [(), (another("n"),), (another("m", incarnation=0),)], ids=["nobody", "n", "m"])
def test_settles_before_it_reads_unless_it_is_alone(others: tuple[Entry, ...]) -> None:
    """The others settle before they do without our keys; then so do we before we have them."""
    group = connected_group()
    group.entered(group.choose_entry(found(1, *others)))
    alone = all(entry.member_id == "m" for entry in others)
    assert group.next_step() is (Step.READ if alone else Step.SETTLE)


def test_joins_again_in_a_fresh_session() -> None:
    """Nothing that was known holds; the same participation goes on."""
    group, _ = joined_group(another("n"))
    lapses = group.lapses
    group.session_suspended()
    group.session_expired()
    assert group.view is None
    assert group.lapses > lapses
    group.session_opened(fresh=True)
    assert group.next_step() is Step.JOIN
    entry = group.choose_entry(found(5, another("n")))
    assert (entry.member_id, entry.nonce) == ("m", OURS)
    group.entered(entry)
    read(group, found(6, another("n"), entry))
    # The members are those of before, and so is the table.
    assert group.next_step() is Step.REST
    assert members_of(group.view) == {"m": 1, "n": 1}


def test_predecessor_does_not_supersede() -> None:
    """The older process that we have replaced may linger; coming back after an expired session it is still older."""
    group = connected_group()
    older = another("m", incarnation=3, nonce=HIGHER)
    assert group.choose_entry(found(1, older)).incarnation == 4
    group.session_expired()
    group.session_opened(fresh=True)
    assert group.choose_entry(found(2, older)).incarnation == 4


def test_predecessor_never_supersedes() -> None:
    """Not even when both lost their entries and began to count anew at once: we take the next higher incarnation."""
    group = connected_group()
    older = another("m", incarnation=1, nonce=HIGHER)
    entry = group.choose_entry(found(1, older))
    group.entered(entry)
    read(group, found(2, entry, older))
    build_table(group)
    group.changed()
    read(group, found(4))  # an operator deleted both
    again = group.choose_entry(found(4))
    assert again.seniority < older.seniority
    group.entered(again)
    read(group, found(6, again, older))
    assert group.error is None
    assert group.view is None
    assert group.next_step() is Step.JOIN
    higher = group.choose_entry(found(6, again, older))
    assert higher.seniority > older.seniority
    group.entered(higher)
    assert group.next_step() is Step.WITHDRAW
    assert group.leftovers.to_delete == {again.name}
    group.withdrawn(again.name)
    read(group, found(8, higher, older))
    assert group.view is not None


@pytest.mark.parametrize("incarnation", [1, 2, 9])
@pytest.mark.parametrize("nonce", [LOWER, HIGHER])
def test_successor_found_when_joining_again(incarnation: int, nonce: str) -> None:
    """Who has come while our session was gone came later, whatever the number: it may have begun to count anew."""
    group, _ = joined_group()
    group.session_expired()
    group.session_opened(fresh=True)
    successor = another("m", incarnation=incarnation, nonce=nonce)
    with pytest.raises(MemberSupersededError) as caught:
        group.choose_entry(found(5, successor))
    assert (caught.value.group_id, caught.value.member_id, caught.value.incarnation) == ("g", "m", incarnation)
    group.failed(caught.value)
    assert group.error is caught.value
    assert group.next_step() is Step.REST


def test_the_latest_of_several_successors_is_named() -> None:
    """A supervisor may have started more than one."""
    group, _ = joined_group()
    group.session_expired()
    group.session_opened(fresh=True)
    several = [another("m", incarnation=number, nonce=f"{number:016x}") for number in (3, 11, 7)]
    with pytest.raises(MemberSupersededError) as caught:
        group.choose_entry(found(5, *several))
    assert caught.value.incarnation == 11


def test_superseded_while_the_answer_was_lost() -> None:
    """Our entry may exist after all, and is deleted: nobody must take it for the live one when the other leaves."""
    group, entry = unsure_group()
    with pytest.raises(MemberSupersededError) as caught:
        group.choose_entry(found(3, entry, another("m", incarnation=2)))
    group.failed(caught.value)
    assert group.leftovers.to_delete == {entry.name}
    assert group.next_step() is Step.WITHDRAW
    group.withdrawn(entry.name)
    assert group.next_step() is Step.REST


def test_superseded_by_what_a_lagging_server_shows() -> None:
    """It need not show yet what we have created without hearing of it. That is deleted all the same."""
    group, entry = unsure_group()
    with pytest.raises(MemberSupersededError) as caught:
        group.choose_entry(found(3, another("m", nonce=HIGHER)))
    group.failed(caught.value)
    assert group.leftovers.to_delete == {entry.name}
    assert group.next_step() is Step.WITHDRAW


def test_attempt_that_is_replaced_is_deleted() -> None:
    """The same when it is a predecessor that the lagging server shows, and we count on."""
    group = connected_group()
    older = another("m", incarnation=1, nonce=HIGHER)
    group.choose_entry(found(1, older))
    group.session_expired()
    group.session_opened(fresh=True)
    first = group.choose_entry(None)
    group.interrupted()
    group.heartbeat()
    second = group.choose_entry(found(3, older))
    assert second.seniority > older.seniority > first.seniority
    group.entered(second)
    assert group.leftovers.to_delete == {first.name}
    assert group.next_step() is Step.WITHDRAW


@pytest.mark.parametrize("first", [True, False])
def test_two_that_start_at_once_never_both_give_up(first: bool) -> None:
    """Both saw nobody, both lost an answer: the higher of the two nonces stays, as in any reading."""
    mine, theirs = new_group(), Group("g", Member("m"), POLICY, 1, HIGHER)
    entries = []
    for group in (mine, theirs):
        group.session_opened(fresh=True)
        entries.append(group.choose_entry(None))
        group.interrupted()
        group.heartbeat()
    if first:
        assert theirs.choose_entry(found(2, *entries)) == entries[1]
    with pytest.raises(MemberSupersededError):
        mine.choose_entry(found(2, *entries))
    assert theirs.choose_entry(found(2, *entries)) == entries[1]


def test_ghost_of_an_earlier_session_is_deleted_once_we_are_back() -> None:
    """It would count until its session ends; but first comes the new entry, lest our keys move for a moment."""
    group, ghost = joined_group()
    group.session_expired()
    group.session_opened(fresh=True)
    entry = group.choose_entry(found(5, ghost))
    assert entry.seniority > ghost.seniority
    assert group.leftovers.to_delete == {ghost.name}
    assert group.next_step() is Step.JOIN
    group.entered(entry)
    assert group.next_step() is Step.WITHDRAW
    group.withdrawn(ghost.name)
    assert group.next_step() is Step.READ
    read(group, found(7, entry))
    assert group.next_step() is Step.REST  # the table is the one of before
    assert members_of(group.view) == {"m": 1}


@pytest.mark.parametrize("incarnation", [0, 2])
def test_ghost_found_later_is_deleted(incarnation: int) -> None:
    """A server that lagged did not show it when we joined. The nonce says that it is ours, whenever it is found."""
    group, entry = joined_group()
    ghost = another("m", incarnation=incarnation, nonce=OURS)
    read_news(group, 5, entry, ghost)
    assert group.leftovers.to_delete == {ghost.name}
    assert group.next_step() is Step.WITHDRAW
    assert members_of(group.view) == {"m": 1}
    assert group.error is None


def test_ghost_seen_beside_a_successor_is_deleted_too() -> None:
    """Superseded or not, what is ours is ours to delete."""
    group, ghost = joined_group()
    group.session_expired()
    group.session_opened(fresh=True)
    with pytest.raises(MemberSupersededError) as caught:
        group.choose_entry(found(5, ghost, another("m", incarnation=2)))
    group.failed(caught.value)
    assert group.leftovers.to_delete == {ghost.name}
    assert group.next_step() is Step.WITHDRAW
