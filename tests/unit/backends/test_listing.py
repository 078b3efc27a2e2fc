"""The entries of a group as events tell them: believed only if the numbers say that nothing is missing."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiopartition.backends import listing as module
from aiopartition.backends.base import Entries
from aiopartition.backends.listing import WHOLE, Event, Listing, Tally

START = frozenset({"a", "b"})


def listing() -> Listing:
    """Two entries at generation 10, read on the first connection."""
    listing = Listing()
    assert not listing.known
    assert listing.counted(Tally(10, 2, 2), 1) is None
    assert listing.listed(Entries(10, START), Tally(10, 2, 2), 1) == Entries(10, START)
    return listing


def came(name: str) -> Event:
    return Event(name, came=True)


def went(name: str) -> Event:
    return Event(name, came=False)


def test_events_make_the_next_list() -> None:
    """Of any number of changes, and again after that."""
    known = listing()
    for event in (came("c"), went("a"), came("a")):
        known.event(event)
    assert known.counted(Tally(13, 5, 3), 1) == Entries(13, frozenset("abc"))
    known.event(went("b"))
    assert known.counted(Tally(20, 6, 2), 1) == Entries(20, frozenset("ac"))
    assert known.counted(Tally(20, 6, 2), 1) == Entries(20, frozenset("ac"))


def test_two_events_of_one_transaction_are_one_generation() -> None:
    """As when a member has another weight."""
    known = listing()
    known.event(went("a"))
    known.event(came("a2"))
    assert known.counted(Tally(11, 4, 2), 1) == Entries(11, frozenset({"a2", "b"}))


def test_the_count_of_changes_begins_anew_after_32_bits() -> None:
    """It is a signed number at the server."""
    known = Listing()
    known.listed(Entries(10, START), Tally(10, (1 << 31) - 1, 2), 1)
    known.event(came("c"))
    assert known.counted(Tally(11, -(1 << 31), 3), 1) == Entries(11, frozenset("abc"))


@pytest.mark.parametrize(
    ("events", "tally"),
    [
        pytest.param([], Tally(11, 3, 3), id="an event was lost"),
        pytest.param([came("c")], Tally(12, 4, 4), id="one of two was lost"),
        pytest.param([came("c")], Tally(12, 4, 2), id="that it went again was lost"),
        pytest.param([came("c"), came("c")], Tally(11, 3, 3), id="one came twice"),
        pytest.param([came("c"), came("c")], Tally(12, 4, 4), id="one came twice, and another was lost"),
        pytest.param([went("c"), came("c")], Tally(12, 4, 2), id="two came in the wrong order"),
        pytest.param([went("a"), went("a")], Tally(12, 4, 0), id="one went twice, and another was lost"),
        pytest.param([came("a")], Tally(10, 2, 2), id="one comes after the list that has it"),
        pytest.param([came("c")], Tally(10, 2, 2), id="one comes before the numbers that cover it"),
        pytest.param([came("c")], Tally(10, 3, 3), id="the same generation"),
        pytest.param([came("c")], Tally(9, 3, 3), id="an earlier generation"),
        pytest.param([], Tally(11, 2, 2), id="another generation, and nothing else"),
        pytest.param([came("c")], Tally(11, 3, 2), id="another number of entries"),
        pytest.param([WHOLE], Tally(11, 2, 2), id="the group came or went"),
    ],
)
def test_what_does_not_fit_is_not_believed(events: list[Event], tally: Tally) -> None:
    """Then the list has to be read, after which events count again."""
    known = listing()
    for event in events:
        known.event(event)
    assert known.counted(tally, 1) is None
    assert not known.known
    known.listed(Entries(20, frozenset("ax")), Tally(20, 9, 2), 1)
    known.event(went("x"))
    assert known.counted(Tally(21, 10, 1), 1) == Entries(21, frozenset("a"))


def test_after_another_connection_only_what_has_not_changed_is_believed() -> None:
    """Even if the numbers fit: an ensemble can forget what it has told, and then tell something else."""
    known = listing()
    known.event(came("c"))
    assert known.counted(Tally(11, 3, 3), 2) is None

    known = listing()
    assert known.counted(Tally(10, 2, 2), 2) == Entries(10, START)
    known.event(came("c"))
    assert known.counted(Tally(11, 3, 3), 2) == Entries(11, frozenset("abc"))

    known = listing()
    assert known.confirm(Tally(10, 2, 2), 2)  # a heartbeat
    known.event(came("c"))
    assert not known.confirm(Tally(11, 3, 3), 2)
    assert known.counted(Tally(11, 3, 3), 2) == Entries(11, frozenset("abc"))


def test_an_event_that_tells_its_generation_counts_for_that_one() -> None:
    """One that overtook the numbers is not taken for one that was lost, or came after a list that has it."""
    known = listing()
    known.event(Event("d", came=True, generation=13))
    assert known.counted(Tally(12, 3, 3), 1) is None  # that of c was lost
    known.listed(Entries(12, frozenset("abc")), Tally(12, 3, 3), 1)
    known.event(Event("c", came=True, generation=12))
    assert known.counted(Tally(13, 4, 4), 1) == Entries(13, frozenset("abcd"))
    known.event(Event("e", came=True, generation=14))
    assert known.confirm(Tally(13, 4, 4), 1)
    assert known.counted(Tally(13, 4, 4), 1) == Entries(13, frozenset("abcd"))
    assert known.counted(Tally(14, 5, 5), 1) == Entries(14, frozenset("abcde"))


def test_events_that_tell_their_generations_may_come_in_any_order() -> None:
    known = listing()
    for event in (Event("c", came=False, generation=12), Event("c", came=True, generation=11)):
        known.event(event)
    assert known.counted(Tally(12, 4, 2), 1) == Entries(12, START)


def test_the_first_change_after_a_look_is_news() -> None:
    """However many follow, and whether the list is known or not."""
    for known in (Listing(), listing()):
        assert not known.event(came("c"))  # nobody has looked yet
        for _ in range(2):
            known.look()
            assert [known.event(each) for each in (went("c"), came("c"), WHOLE)] == [True, False, False]


def test_a_flood_of_events_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a megabyte of names, or if the list would be longer than one that can be read."""
    known = listing()
    size = module.MAX_EVENTS // 4
    for number in range(6):
        known.event(came(f"{number:0{size}}"))
    assert not known.known
    assert known._events == []

    known = listing()
    monkeypatch.setattr(module, "MAX_NAMES", 3)
    known.event(came("c"))
    assert known.counted(Tally(11, 3, 3), 1) == Entries(11, frozenset("abc"))
    known.event(came("d"))
    assert known.counted(Tally(12, 4, 4), 1) is None


NAMES = st.sampled_from("abcd")


@given(
    st.lists(NAMES, max_size=30),
    st.lists(st.sampled_from(["told", "lost", "doubled", "looked at", "reconnected"]), max_size=30),
)
def test_whatever_is_lost_or_doubled_what_is_believed_is_true(toggled: list[str], fates: list[str]) -> None:
    """Unless one event is doubled after it was undone and as many are lost, which no stream of bytes does."""
    names, generation, changes, connection = set[str](), 0, 0, 0
    known = Listing()
    known.listed(Entries(0, frozenset()), Tally(0, 0, 0), connection)
    for name, fate in zip(toggled, fates, strict=False):
        (names.discard if name in names else names.add)(name)
        generation, changes = generation + 3, changes + 1
        event = Event(name, name in names)
        for _ in range({"lost": 0, "doubled": 2, "reconnected": 0}.get(fate, 1)):
            known.event(event)
        connection += fate == "reconnected"
        if fate in ("looked at", "reconnected"):
            believed = known.counted(Tally(generation, changes, len(names)), connection)
            assert believed in (None, Entries(generation, frozenset(names)))
            if believed is None:
                known.listed(Entries(generation, frozenset(names)), Tally(generation, changes, len(names)), connection)


@settings(max_examples=1500, deadline=None)
@given(st.lists(NAMES, max_size=12), st.randoms(use_true_random=False))
def test_whatever_the_order_in_which_messages_arrive_what_is_believed_is_true(
    toggled: list[str], chance: random.Random
) -> None:
    """If events tell their generations: lost, doubled, early, late, and so the answers."""
    names, messages = frozenset[str](), list[Event | tuple[Entries, Tally, bool]]()
    for number, name in enumerate(toggled, start=1):
        names ^= {name}
        generation = 3 * number
        messages += [Event(name, name in names, generation)] * chance.choice([0, 1, 1, 1, 1, 2])
        state = Entries(generation, names), Tally(generation, number, len(names))
        messages += [(*state, chance.random() < 0.5) for _ in range(chance.choice([0, 1, 2]))]
    mostly_in_order = chance.choice([0.5, 2.0, 10.0])
    places = sorted(range(len(messages)), key=lambda place: place + chance.random() * mostly_in_order)
    known = Listing()
    known.listed(Entries(0, frozenset()), Tally(0, 0, 0), 0)
    for message in map(messages.__getitem__, places):
        if isinstance(message, Event):
            known.event(message)
            continue
        entries, tally, whole = message
        if whole:
            known.listed(entries, tally, 0)
        else:
            assert known.counted(tally, 0) in (None, entries)
