"""What one group's state machine makes of what it reads: views, supersession, too few members, news of changes."""

from collections.abc import Callable

import pytest

from aiopartition.backends.base import Entries
from aiopartition.errors import MemberSupersededError
from aiopartition.group.entry import Entry
from aiopartition.group.step import Step
from aiopartition.placement.assign import build
from aiopartition.placement.view import Member
from tests.unit.group.driven import (
    HIGHER,
    LOWER,
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
    superseded_group,
)

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
    read_news(group, 2, entry, live, another("n"))
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
    read_news(group, 2, entry, dead)
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
    read_news(group, 2, another("n"))
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
    read_news(group, 9, entry)
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
    read_news(group, 9, entry)
    assert group.reading()
    group.read(found(11, entry))
    assert group.next_step() is Step.REST
    group.changed()
    assert not group.reading()


def test_insists_again_when_the_answer_was_lost() -> None:
    """An interrupted look is no answer."""
    group, entry = joined_group(generation=10)
    read_news(group, 9, entry)
    assert group.reading()
    group.interrupted()
    group.heartbeat()
    assert group.next_step() is Step.READ
    assert group.reading()


def test_same_members_at_a_new_generation_keep_their_table() -> None:
    """A restart within one read of the others: nothing is compiled, nothing moves, the generation is the new one."""
    group, entry = joined_group(another("n"))
    before = group.view
    read_news(group, 5, entry, another("n", incarnation=2))
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
    read_news(group, 1, another("n"), entry)
    assert group.view is before
    assert group.next_step() is Step.REST


def test_weight_of_another_changes() -> None:
    """It has joined again with another one: a new table."""
    group, entry = joined_group(another("n", weight=1))
    before = group.view
    read_news(group, 2, entry, another("n", weight=2, incarnation=2))
    assert group.view is before  # until the new one is ready
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 2}


def test_table_that_is_out_of_date_is_not_published() -> None:
    """The members changed while it was compiled."""
    group, entry = entered_group()
    read(group, found(1, entry))
    outdated = group.wanted
    read_news(group, 2, entry, another("n"))
    group.built(outdated, build(outdated, POLICY))
    assert group.view is None
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 1}


def test_table_that_is_up_to_date_again_is_published() -> None:
    """Somebody came and went while it was compiled."""
    group, entry = entered_group()
    read(group, found(1, entry))
    members = group.wanted
    read_news(group, 2, entry, another("n"))
    read_news(group, 3, entry)
    group.built(members, build(members, POLICY))
    view = group.view
    assert view is not None
    assert view.generation == 3
    assert group.next_step() is Step.REST


def test_foreign_children_are_skipped() -> None:
    """However often they are read, and whether their names were taken apart before in steps or not."""
    group, entry = entered_group()
    names = (entry.name, "lock-0001", "x\ny")
    read(group, Entries(1, frozenset(names)))
    build_table(group)
    for generation in range(2, 6):
        group.changed()
        entries = Entries(generation, frozenset((*names, "late") if generation > 3 else names))
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
    read_news(group, 2, entry, another("n"))
    build_table(group)
    assert members_of(group.view) == {"m": 1, "n": 1}


def test_too_few_members_again() -> None:
    """Also later; and when they are back, the table of before will do."""
    group, entry = joined_group(another("n"), min_members=2)
    before = group.view
    assert before is not None
    read_news(group, 2, entry)
    assert group.view is None
    assert group.next_step() is Step.REST
    assert group.unknown_reason == "1 of at least 2 members are present"
    read_news(group, 3, entry, another("n", incarnation=2))
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
    read_news(group, 2, entry)
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
    group = connected_group()
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
    group = connected_group()
    group.entered(group.choose_entry(found(1, another("n"))))
    group.probed(generation)
    assert group.next_step() is Step.SETTLE
    group.session_expired()
    group.session_opened(fresh=True)
    group.probed(generation)
    assert group.next_step() is Step.JOIN
