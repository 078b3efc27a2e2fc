"""The entries last read: names taken apart in bounded steps, each once while it is there."""

from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiopartition.group.entry import Entry
from aiopartition.group.roster import EXAMPLES, NAMES_PER_STEP, Roster

LOWER, HIGHER = "0" * 16, "f" * 16


def read(roster: Roster, *names: str) -> Roster:
    return count_steps(roster.steps(frozenset(names)))[0]


def count_steps(steps: Generator[None, None, Roster]) -> tuple[Roster, int]:
    count = 1
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value, count
        count += 1


@pytest.mark.parametrize("pieces", [1, 2, 40])
def test_each_step_takes_a_bounded_number_of_names(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the names are."""
    parsed = 0
    parse = Entry.parse

    def counted(name: str) -> Entry | None:
        nonlocal parsed
        parsed += 1
        return parse(name)

    monkeypatch.setattr(Entry, "parse", counted)
    numbers = range(pieces * NAMES_PER_STEP)
    names = tuple(Entry(f"m{n // 4}", 1, n, LOWER).name if n % 4 else f"lock-{n}" for n in numbers)
    steps = Roster().steps(frozenset(names))
    for turn in range(1, pieces + 1):
        next(steps)
        assert parsed == turn * NAMES_PER_STEP
    roster, more = count_steps(steps)
    assert more == 1 + len(numbers) // 4 // NAMES_PER_STEP  # in which the entries of one id are put together
    assert len(roster.entries) + len(roster.foreign) == len(names)

    # The next reading: nothing is taken apart again.
    again, count = count_steps(roster.steps(frozenset(names[1:])))
    assert count == 1
    assert parsed == len(names)
    assert (again.entries, again.foreign, again.appeared) == (roster.entries, roster.foreign - {names[0]}, 0)


def test_foreign_names_appear_once() -> None:
    """While they are there; the first few of them are examples."""
    roster = read(Roster(), "a", Entry("m", 1, 1, LOWER).name, "b")
    assert (roster.examples, roster.appeared) == (("a", "b"), 2)
    roster = read(roster, "a", "b", "c")
    assert (roster.examples, roster.appeared) == (("c",), 1)
    roster = read(roster, "b", "c")
    assert (roster.examples, roster.appeared) == ((), 0)
    roster = read(roster, *map(str, range(1000)))
    assert (roster.examples, roster.appeared) == (("0", "1", "10")[:EXAMPLES], 1000)
    assert read(roster).names == frozenset()


def test_the_live_one_of_each_id() -> None:
    """By incarnation, then nonce, then name; orphans count for nobody."""
    entries = [
        Entry("m", 1, 9, HIGHER), Entry("m", 1, 10, LOWER), Entry("m", 3, 11, LOWER),
        Entry("n", 2, 1, LOWER), Entry("n", 10, 1, LOWER), Entry("n", 5, 1, HIGHER), Entry("o", 1, 1, LOWER),
    ]  # fmt: skip
    for ordered in (entries, entries[::-1]):
        roster = read(Roster(), *(entry.name for entry in ordered))
        assert {each.member_id: each.weight for each in roster.live().values()} == {"m": 3, "n": 5, "o": 1}
        live = roster.live({entries[2].name, entries[6].name})
        assert live == {"m": entries[1], "n": entries[5]}
        assert sorted(each.weight for each in roster.of_member("n")) == [2, 5, 10]
    tied = [entries[3].name, entries[4].name]
    assert {read(Roster(), *order).live()["n"].name for order in (tied, tied[::-1])} == {max(tied)}


some_names = st.frozensets(
    st.sampled_from([
        *(Entry(each, 1, number, nonce).name for each in "mno" for number in (1, 2) for nonce in (LOWER, HIGHER)),
        "lock-1", "lock-2",
    ])
)  # fmt: skip


@given(st.lists(some_names))
def test_what_follows_the_names_is_what_a_fresh_look_gives(readings: list[frozenset[str]]) -> None:
    """Of any history nothing remains."""
    roster = Roster()
    for names in readings:
        before, roster = roster, roster.after(names)
        fresh = Roster().after(names)
        assert (roster.names, roster.entries, roster.foreign) == (names, fresh.entries, fresh.foreign)
        assert roster.live() == fresh.live()
        assert all(roster.of_member(each) == fresh.of_member(each) for each in "mno")
        orphans = sorted(names)[::2]
        assert roster.live(orphans) == Roster().after(names - frozenset(orphans)).live()
        assert (roster is before) == (names == before.names)
