"""One group's state machine, driven by hand: what it decides at each event, without any I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from aiopartition.backends.base import Entries
from aiopartition.errors import AuthenticationError, MemberSupersededError, PartitionError, PolicyMismatchError
from aiopartition.group.entry import MAX_INCARNATION, Entry
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.placement.assign import build
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import Member, View

POLICY: Final = GroupPolicy(slots=16, vnodes=1)

OURS: Final = 16 * "5"
LOWER: Final = 16 * "0"
HIGHER: Final = 16 * "f"

REFUSED: Final = AuthenticationError("these credentials do not have it", "/g/members", "READ")


def new_group(*, weight: int = 1, min_members: int = 1, policy: GroupPolicy = POLICY) -> Group:
    return Group("g", Member("m", weight), policy, min_members, OURS)


def another(member_id: str, *, weight: int = 1, incarnation: int = 1, nonce: str = LOWER) -> Entry:
    return Entry(member_id, weight, incarnation, nonce)


def found(generation: int, *entries: Entry) -> Entries:
    return Entries(generation, tuple(entry.name for entry in entries))


def build_table(group: Group) -> None:
    assert group.next_step() is Step.BUILD
    members = group.wanted
    group.built(members, build(members, group.policy))


def entered_group(*, weight: int = 1, min_members: int = 1) -> tuple[Group, Entry]:
    """A group whose entry exists, before the first read."""
    group = new_group(weight=weight, min_members=min_members)
    group.session_opened(fresh=True)
    assert group.next_step() is Step.JOIN
    entry = group.choose_entry(None)
    group.entered(entry)
    return group, entry


def read(group: Group, entries: Entries | None) -> None:
    assert group.next_step() in (Step.READ, Step.SETTLE)
    group.reading()
    group.read(entries)


def joined_group(*others: Entry, generation: int = 1, weight: int = 1, min_members: int = 1) -> tuple[Group, Entry]:
    """A group at rest, with a view of itself and ``others``."""
    group, entry = entered_group(weight=weight, min_members=min_members)
    read(group, found(generation, entry, *others))
    build_table(group)
    assert group.next_step() is Step.REST
    assert group.view is not None
    return group, entry


def superseded_group() -> tuple[Group, Entry]:
    group, entry = joined_group()
    group.changed()
    read(group, found(2, entry, another("m", incarnation=2)))
    assert isinstance(group.error, MemberSupersededError)
    return group, entry


def members_of(view: View | None) -> dict[str, int]:
    assert view is not None
    return {member.id: member.weight for member in view.members}


# ---- joining


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
    group = new_group(weight=3)
    group.session_opened(fresh=True)
    assert group.choose_entry(found(7, another("n", incarnation=9))) == Entry("m", 3, 1, OURS)


@pytest.mark.parametrize("incarnations", [(1,), (3, 1), (2, 10), (9, 10, 2)])
def test_takes_the_highest_incarnation_of_its_id_plus_one(incarnations: tuple[int, ...]) -> None:
    """A restart comes after all that went before, compared as numbers."""
    group = new_group()
    group.session_opened(fresh=True)
    before = [another("m", incarnation=number, nonce=f"{number:016x}") for number in incarnations]
    assert group.choose_entry(found(7, *before, another("n", incarnation=50))).incarnation == max(incarnations) + 1


def test_incarnation_beyond_counting() -> None:
    """An entry that somebody has planted cannot make us write one that nobody can read."""
    group = new_group()
    group.session_opened(fresh=True)
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
    group = new_group()
    group.session_opened(fresh=True)
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
    group = new_group()
    group.session_opened(fresh=True)
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
    group = new_group()
    group.session_opened(fresh=True)
    entry = group.choose_entry(found(1))
    assert group.choose_entry(None) == entry


def test_entry_of_a_session_that_has_ended_does_not_count() -> None:
    """The answer was on its way when the session expired, and the entry has gone with it."""
    group = new_group()
    group.session_opened(fresh=True)
    entry = group.choose_entry(None)
    group.session_expired()
    group.session_opened(fresh=True)
    group.entered(entry)
    assert group.next_step() is Step.JOIN


@pytest.mark.parametrize("others", [(), (another("n"),), (another("m", incarnation=0),)], ids=["nobody", "n", "m"])
def test_settles_before_it_reads_unless_it_is_alone(others: tuple[Entry, ...]) -> None:
    """The others settle before they do without our keys; then so do we before we have them."""
    group = new_group()
    group.session_opened(fresh=True)
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
    group = new_group()
    group.session_opened(fresh=True)
    older = another("m", incarnation=3, nonce=HIGHER)
    assert group.choose_entry(found(1, older)).incarnation == 4
    group.session_expired()
    group.session_opened(fresh=True)
    assert group.choose_entry(found(2, older)).incarnation == 4


def test_predecessor_never_supersedes() -> None:
    """Not even when both lost their entries and began to count anew at once: we take the next higher incarnation."""
    group = new_group()
    group.session_opened(fresh=True)
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
    group = new_group()
    group.session_opened(fresh=True)
    entry = group.choose_entry(None)
    group.session_suspended()
    group.interrupted()
    group.session_opened(fresh=False)
    with pytest.raises(MemberSupersededError) as caught:
        group.choose_entry(found(3, entry, another("m", incarnation=2)))
    group.failed(caught.value)
    assert group.leftovers.to_delete == {entry.name}
    assert group.next_step() is Step.WITHDRAW
    group.withdrawn(entry.name)
    assert group.next_step() is Step.REST


def test_superseded_by_what_a_lagging_server_shows() -> None:
    """It need not show yet what we have created without hearing of it. That is deleted all the same."""
    group = new_group()
    group.session_opened(fresh=True)
    entry = group.choose_entry(None)
    group.session_suspended()
    group.interrupted()
    group.session_opened(fresh=False)
    with pytest.raises(MemberSupersededError) as caught:
        group.choose_entry(found(3, another("m", nonce=HIGHER)))
    group.failed(caught.value)
    assert group.leftovers.to_delete == {entry.name}
    assert group.next_step() is Step.WITHDRAW


def test_attempt_that_is_replaced_is_deleted() -> None:
    """The same when it is a predecessor that the lagging server shows, and we count on."""
    group = new_group()
    group.session_opened(fresh=True)
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
    group.changed()
    read(group, found(5, entry, ghost))
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


# ---- reading


def test_the_way_into_a_group() -> None:
    """Join, read, build: then there is a view, which says what was read."""
    group, entry = entered_group(weight=2)
    assert group.next_step() is Step.READ
    assert group.unknown_reason == "the members are being read"
    assert not group.reading()
    group.read(found(7, another("z", weight=3), entry, another("a")))
    assert group.view is None
    assert group.established
    assert not group.settled
    build_table(group)
    assert group.settled
    assert group.next_step() is Step.REST
    view = group.view
    assert view is not None
    assert (view.group_id, view.generation, view.member_id) == ("g", 7, "m")
    assert view.members == (Member("a", 1), Member("m", 2), Member("z", 3))
    assert view.policy == POLICY


def test_incarnations_of_one_id_count_once() -> None:
    """With the weight of the live one; so a fast restart moves nothing."""
    group, _ = joined_group(
        another("n", weight=5, incarnation=2, nonce=HIGHER),
        another("n", weight=7, incarnation=10, nonce=LOWER),
        another("o", weight=4, incarnation=1, nonce=HIGHER),
        another("o", weight=6, incarnation=1, nonce=LOWER),
    )
    assert members_of(group.view) == {"m": 1, "n": 7, "o": 4}


def test_order_of_the_names_has_no_influence() -> None:
    """A server lists them as it likes."""
    others = [another("n", incarnation=2), another("n", incarnation=1, nonce=HIGHER), another("o"), another("l")]
    one, _ = joined_group(*others)
    other, _ = joined_group(*reversed(others))
    assert one.view == other.view
    assert list(one.wanted) == sorted(one.wanted)


@pytest.mark.parametrize("live", [another("m", incarnation=2, nonce=LOWER), another("m", incarnation=1, nonce=HIGHER)])
def test_superseded_by_a_higher_incarnation(live: Entry) -> None:
    """The entry is deleted, the error stays, and nothing is ours from that very moment."""
    group, entry = joined_group(another("n"))
    lapses = group.lapses
    group.changed()
    read(group, found(2, entry, live, another("n")))
    assert group.view is None
    assert group.lapses > lapses
    assert group.settled
    error = group.error
    assert isinstance(error, MemberSupersededError)
    assert (error.group_id, error.member_id, error.incarnation) == ("g", "m", live.incarnation)
    assert group.leftovers.to_delete == {entry.name}
    assert group.next_step() is Step.WITHDRAW
    group.withdrawn(entry.name)
    assert group.next_step() is Step.REST


@pytest.mark.parametrize("dead", [another("m", incarnation=0, nonce=HIGHER), another("m", incarnation=1, nonce=LOWER)])
def test_not_superseded_by_a_lower_incarnation(dead: Entry) -> None:
    """A zombie's entry is in nobody's way."""
    group, entry = joined_group()
    group.changed()
    read(group, found(2, entry, dead))
    assert members_of(group.view) == {"m": 1}
    assert group.error is None


def test_superseded_while_the_successor_is_there() -> None:
    """No heartbeat, session, event, refusal or answer brings it back: two processes would take turns for ever."""
    group, entry = superseded_group()
    error = group.error
    events: list[Callable[[], object]] = [
        lambda: group.withdrawn(entry.name),
        group.heartbeat,
        group.changed,
        group.lease_renewed,
        lambda: group.probed(99),
        lambda: group.probed(None),
        group.session_suspended,
        lambda: group.session_opened(fresh=False),
        lambda: group.failed(REFUSED),
        group.heartbeat,
        group.interrupted,
        group.session_expired,
        lambda: group.session_opened(fresh=True),
        lambda: group.read(found(100, entry)),
        lambda: group.built({"m": 1}, build({"m": 1}, POLICY)),
        group.heartbeat,
    ]
    for event in events:
        event()
        assert group.error is error
        assert group.view is None
        # JOIN looks first who is there.
        assert group.next_step() in (Step.REST, Step.WITHDRAW, Step.JOIN)
    assert group.next_step() is Step.REST
    group.leave()
    assert group.next_step() is Step.FINISH


def test_superseded_tries_again_to_delete_its_entry() -> None:
    """The deletion may be refused or interrupted like any other step."""
    group, entry = superseded_group()
    assert group.next_step() is Step.WITHDRAW
    group.failed(REFUSED)
    assert group.next_step() is Step.REST
    group.heartbeat()
    assert group.next_step() is Step.WITHDRAW
    group.session_suspended()
    group.interrupted()
    group.session_opened(fresh=False)
    assert group.next_step() is Step.WITHDRAW
    assert group.leftovers.to_delete == {entry.name}


def test_own_entry_deleted_by_an_operator() -> None:
    """Then others have our keys by now: we own nothing until we have joined again."""
    group, entry = joined_group(another("n"))
    lapses = group.lapses
    group.changed()
    read(group, found(2, another("n")))
    assert group.view is None
    assert group.lapses > lapses
    assert group.next_step() is Step.JOIN
    again = group.choose_entry(found(2, another("n")))
    group.entered(again)
    read(group, found(3, again, another("n")))
    assert members_of(group.view) == {"m": 1, "n": 1}
    assert group.next_step() is Step.REST
    assert again == entry  # it is the same participation


def test_group_deleted_by_an_operator() -> None:
    """That there is none may be an old story: the second look, at the latest state, decides."""
    group, _ = joined_group()
    group.changed()
    read(group, None)
    assert group.view is not None
    assert group.next_step() is Step.READ
    assert group.reading()
    group.read(None)
    assert group.view is None
    assert group.next_step() is Step.JOIN


def test_older_generation_is_believed_only_when_insisted_on() -> None:
    """A lagging server is not believed; a wiped ensemble, which counts anew, is."""
    group, entry = joined_group(another("n"), generation=10)
    before = group.view
    group.changed()
    read(group, found(9, entry))
    assert group.view is before
    assert group.next_step() is Step.READ
    assert group.reading()
    group.read(found(3, entry, another("o")))
    build_table(group)
    view = group.view
    assert view is not None
    assert view.generation == 3
    assert members_of(view) == {"m": 1, "o": 1}


def test_insisting_ends_with_the_answer() -> None:
    """Which asks the most of the servers; from then on any of them will do."""
    group, entry = joined_group(generation=10)
    group.changed()
    read(group, found(9, entry))
    assert group.reading()
    group.read(found(11, entry))
    assert group.next_step() is Step.REST
    group.changed()
    assert not group.reading()


def test_insists_again_when_the_answer_was_lost() -> None:
    """An interrupted look is no answer."""
    group, entry = joined_group(generation=10)
    group.changed()
    read(group, found(9, entry))
    assert group.reading()
    group.interrupted()
    group.heartbeat()
    assert group.next_step() is Step.READ
    assert group.reading()


def test_same_members_at_a_new_generation_keep_their_table() -> None:
    """A restart within one read of the others: nothing is compiled, nothing moves, the generation is the new one."""
    group, entry = joined_group(another("n"))
    before = group.view
    group.changed()
    read(group, found(5, entry, another("n", incarnation=2)))
    assert group.next_step() is Step.REST
    view = group.view
    assert view is not None
    assert before is not None
    assert view.generation == 5
    assert view.table is before.table


def test_same_generation_keeps_the_view() -> None:
    """The object itself, by which others notice changes."""
    group, entry = joined_group(another("n"))
    before = group.view
    group.changed()
    read(group, found(1, another("n"), entry))
    assert group.view is before
    assert group.next_step() is Step.REST


def test_weight_of_another_changes() -> None:
    """It has joined again with another one: a new table."""
    group, entry = joined_group(another("n", weight=1))
    before = group.view
    group.changed()
    read(group, found(2, entry, another("n", weight=2, incarnation=2)))
    assert group.view is before  # until the new one is ready
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 2}


def test_table_that_is_out_of_date_is_not_published() -> None:
    """The members changed while it was compiled."""
    group, entry = entered_group()
    read(group, found(1, entry))
    outdated = group.wanted
    group.changed()
    read(group, found(2, entry, another("n")))
    group.built(outdated, build(outdated, POLICY))
    assert group.view is None
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 1}


def test_table_that_is_up_to_date_again_is_published() -> None:
    """Somebody came and went while it was compiled."""
    group, entry = entered_group()
    read(group, found(1, entry))
    members = group.wanted
    group.changed()
    read(group, found(2, entry, another("n")))
    group.changed()
    read(group, found(3, entry))
    group.built(members, build(members, POLICY))
    view = group.view
    assert view is not None
    assert view.generation == 3
    assert group.next_step() is Step.REST


def test_foreign_children_are_skipped() -> None:
    """However often they are read, and whether their names were taken apart before in steps or not."""
    group, entry = entered_group()
    names = (entry.name, "lock-0001", "x\ny")
    read(group, Entries(1, names))
    build_table(group)
    for generation in range(2, 6):
        group.changed()
        entries = Entries(generation, (*names, "late") if generation > 3 else names)
        assert list(group.sift(entries)) == []  # one step
        roster = group.roster
        read(group, entries)
        assert group.roster is roster
    assert members_of(group.view) == {"m": 1}
    assert group.roster.foreign == {"lock-0001", "x\ny", "late"}


@pytest.mark.parametrize("order", [1, -1])
def test_entries_that_tie(order: int) -> None:
    """Same id, incarnation and nonce, another weight: not by the order in which a server lists them, but by name."""
    group, entry = entered_group()
    tied = [another("n", weight=weight) for weight in (2, 10, 20)]
    read(group, found(1, entry, *tied[::order]))
    assert group.wanted == {"m": 1, "n": max(tied, key=lambda each: each.name).weight}


# ---- min_members


def test_too_few_members_own_nothing() -> None:
    """Whose keys they are is unknown, the reason is said, and the join has come to an end."""
    group, entry = entered_group(min_members=3)
    read(group, found(1, entry, another("n")))
    assert group.view is None
    assert group.settled
    assert group.unknown_reason == "2 of at least 3 members are present"
    assert group.next_step() is Step.REST


def test_enough_members_at_last() -> None:
    """From then on there is a view."""
    group, entry = entered_group(min_members=2)
    read(group, found(1, entry))
    group.changed()
    read(group, found(2, entry, another("n")))
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 1}


def test_too_few_members_again() -> None:
    """Also later; and when they are back, the table of before will do."""
    group, entry = joined_group(another("n"), min_members=2)
    before = group.view
    assert before is not None
    group.changed()
    read(group, found(2, entry))
    assert group.view is None
    assert group.next_step() is Step.REST
    assert group.unknown_reason == "1 of at least 2 members are present"
    group.changed()
    read(group, found(3, entry, another("n", incarnation=2)))
    assert group.next_step() is Step.REST
    view = group.view
    assert view is not None
    assert view.table is before.table


def test_incarnations_do_not_make_up_the_numbers() -> None:
    """One id is one member."""
    group, entry = entered_group(min_members=2)
    read(group, found(1, entry, another("m", incarnation=0)))
    assert group.view is None
    assert group.next_step() is Step.REST


def test_table_that_is_ready_when_too_few_are_left_is_not_published() -> None:
    """The last of the others left while it was compiled."""
    group, entry = entered_group(min_members=2)
    read(group, found(1, entry, another("n")))
    members = group.wanted
    group.changed()
    read(group, found(2, entry))
    group.built(members, build(members, POLICY))
    assert group.view is None
    assert group.next_step() is Step.REST


# ---- news


def test_change_is_read_after_settling() -> None:
    """A burst of them is one read."""
    group, _ = joined_group()
    before = group.view
    for _ in range(3):
        group.changed()
        assert group.next_step() is Step.SETTLE
    assert group.view is before
    group.reading()
    assert group.next_step() is Step.REST


def test_who_joins_others_settles_before_the_first_read() -> None:
    """The others settle before they do without the keys that become ours; then so do we before we have them."""
    group = new_group()
    group.session_opened(fresh=True)
    other = another("other")
    entry = group.choose_entry(found(1, other))
    group.entered(entry)
    assert group.next_step() is Step.SETTLE
    group.changed()
    assert group.next_step() is Step.SETTLE


def test_change_before_the_first_read_does_not_delay_it() -> None:
    """Reading at once is due already."""
    group, _ = entered_group()
    group.changed()
    assert group.next_step() is Step.READ


def test_change_without_an_entry_means_nothing() -> None:
    """The watch of a participation that is over: joining comes first, and reads anyway."""
    group, _ = joined_group()
    group.session_expired()
    group.session_opened(fresh=True)
    group.changed()
    assert group.next_step() is Step.JOIN


def test_change_during_a_read_takes_nothing_away() -> None:
    """The news come on the answer's heels, usual in a burst of joins: the view of before holds until the next read."""
    group, entry = joined_group()
    before = group.view
    group.changed()
    group.reading()
    group.changed()
    group.read(found(2, entry, another("n")))
    assert group.view is before
    assert group.next_step() is Step.SETTLE
    read(group, found(3, entry, another("n"), another("o")))
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 1, "o": 1}


def test_change_during_the_first_read() -> None:
    """It is read again; only then the table is built, and the join is through."""
    group, entry = entered_group()
    group.reading()
    group.changed()
    group.read(found(2, entry, another("n")))
    assert group.next_step() is Step.SETTLE
    assert not group.settled
    read(group, found(3, entry, another("n"), another("o")))
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 1, "o": 1}


def test_probe_that_finds_nothing_new() -> None:
    """The usual heartbeat."""
    group, _ = joined_group(generation=7)
    before = group.view
    group.probed(7)
    assert group.view is before
    assert group.next_step() is Step.REST


@pytest.mark.parametrize("generation", [8, 6, None])
def test_probe_that_finds_a_change(generation: int | None) -> None:
    """A watch was lost: read at once, for the change is older than the question."""
    group, _ = joined_group(generation=7)
    before = group.view
    group.probed(generation)
    assert group.next_step() is Step.READ
    assert group.view is before


def test_probe_does_not_take_back_what_is_due() -> None:
    """That the newest generation is the known one now says nothing of the news on their way."""
    group, _ = joined_group(generation=7)
    group.changed()
    group.probed(7)
    assert group.next_step() is Step.SETTLE
    group.probed(8)
    group.probed(7)
    assert group.next_step() is Step.READ


@pytest.mark.parametrize("generation", [1, None])
def test_probe_before_the_first_read_means_nothing(generation: int | None) -> None:
    """There is nothing to compare with yet."""
    group = new_group()
    group.session_opened(fresh=True)
    group.entered(group.choose_entry(found(1, another("n"))))
    group.probed(generation)
    assert group.next_step() is Step.SETTLE
    group.session_expired()
    group.session_opened(fresh=True)
    group.probed(generation)
    assert group.next_step() is Step.JOIN


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
    group.changed()
    read(group, found(9, entry, another("n")))
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
    group.changed()
    read(group, found(2, entry, another("n")))
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
    group = new_group()
    group.session_opened(fresh=True)
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
    group = new_group()
    group.session_opened(fresh=True)
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


# ---- leaving


def in_new() -> Group:
    return new_group()


def in_joining() -> Group:
    group = new_group()
    group.session_opened(fresh=True)
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


PARTS = {"leftovers", "_candidacy", "_leftovers", "handoff"}
"""What a group's state is made of."""
