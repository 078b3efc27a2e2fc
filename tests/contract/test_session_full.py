"""A session owns only as many ephemeral nodes as an ensemble survives when it ends."""

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator, SessionFullError
from aiopartition.backends.base import Mark, MarksCount
from aiopartition.backends.ephemerals import MAX_BYTES, Ephemerals
from tests.contract.cluster import Cluster
from tests.support import wait_until
from tests.support.joining import enter

pytestmark = pytest.mark.timeout(240)  # they make thousands of nodes

MEMBER = "ü" * 512
"""1,024 bytes, and three times as many in a path."""
POLICY = GroupPolicy(slots=16, vnodes=4)
EXCLUSIVE = GroupPolicy(slots=16, vnodes=4, exclusive=True)


def group(number: int) -> str:
    return f"{number:04}{'ö' * 510}"


def used(member: PartitionCoordinator) -> int:
    backend = member._registry.backend
    ephemerals = getattr(backend, "_ephemerals", None) or backend._session.ephemerals  # type: ignore[attr-defined]
    count: int = ephemerals.used
    return count


async def fill(member: PartitionCoordinator, policy: GroupPolicy) -> int:
    """Join groups until one is refused. Return the number of that one."""
    for number in range(1_000):
        try:
            await member.join_group(group(number), policy=policy, settle=0)
        except SessionFullError as error:
            assert error.limit == MAX_BYTES
            assert error.used <= MAX_BYTES
            for part in (f"{error.used:,}", f"{error.limit:,}", "fewer groups", "shorter ids", "several coordinators"):
                assert part in str(error)
            return number
    raise AssertionError("no group was refused")


async def owns(member: PartitionCoordinator, numbers: range) -> bool:
    return all([await member.extract_my_subset(group(number), ["key"]) == ["key"] for number in numbers])


async def test_a_full_session(cluster: Cluster) -> None:
    """It refuses another group; those that it has go on. Where one is left, another may be joined."""
    member = await cluster.started(MEMBER)
    refused = await fill(member, POLICY)
    assert 200 < refused < 260
    assert group(refused) not in member.groups
    with pytest.raises(SessionFullError):
        await member.join_group(group(refused), policy=POLICY)
    assert await owns(member, range(refused))
    await member.leave_group(group(0))
    await member.join_group(group(refused), policy=POLICY, settle=0)
    assert await owns(member, range(1, refused + 1))
    assert used(member) <= MAX_BYTES


async def test_the_count_begins_anew_with_another_session(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the groups could not be joined again."""
    member = await cluster.started(MEMBER)
    refused = await fill(member, POLICY)
    before = used(member)
    cleared: list[int] = []
    clear = Ephemerals.clear

    def note(ephemerals: Ephemerals) -> None:
        cleared.append(ephemerals.used)
        clear(ephemerals)

    monkeypatch.setattr(Ephemerals, "clear", note)
    await cluster.expire(member)
    await wait_until(lambda: bool(cleared))

    async def whole() -> bool:
        return used(member) == before and await owns(member, range(refused))

    await wait_until(whole, timeout=30.0)
    with pytest.raises(SessionFullError):
        await member.join_group(group(refused), policy=POLICY)


async def test_a_full_session_hands_over(cluster: Cluster) -> None:
    """There is room for the acknowledgements of all the entries that it may have."""
    first = await cluster.started(MEMBER)
    refused = await fill(first, EXCLUSIVE)
    assert 60 < refused < 90
    second = await cluster.started("second")
    for number in range(refused):
        await second.join_group(group(number), policy=EXCLUSIVE, settle=0)

    def handed_over() -> bool:
        statuses = [each.status(group(number)) for each in (first, second) for number in range(refused)]
        return all(status.state == "steady" and len(status.members) == 2 for status in statuses)

    await wait_until(handed_over, timeout=30.0)
    await wait_until(lambda: len(ephemerals_of(first)) == refused)  # the acknowledgements have gone


async def test_acknowledgements_that_were_overtaken_make_room(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generations that follow each other while one member cannot acknowledge do not fill the session for good."""
    members = [await cluster.started("a", session_timeout=3.0)]

    async def join(member_id: str) -> None:
        members.append(await cluster.started(member_id, session_timeout=3.0))
        await enter(members[-1], policy=EXCLUSIVE, settle=0)

    def steady(*members: PartitionCoordinator) -> bool:
        statuses = [member.status("g") for member in members]
        return all(each.state == "steady" and len(each.members) == len(members) for each in statuses)

    await members[0].join_group("g", policy=EXCLUSIVE, settle=0)
    await wait_until(lambda: steady(*members))
    await wait_until(lambda: len(ephemerals_of(members[0])) == 1)
    # Room for an entry and its marks in one handoff.
    room = 3 * (used(members[0]) + 26)
    monkeypatch.setattr("aiopartition.backends.ephemerals.MAX_BYTES", room)
    await join("b")
    await wait_until(lambda: steady(*members))
    await cluster.cut_off(members[1])
    for member_id in ("c", "d"):
        await join(member_id)
        await wait_until(lambda: all(members[0].status("g").generation == each.status("g").generation
                                     for each in members[2:]))  # fmt: skip
        await wait_until(lambda: members[0].status("g").state == "handing over")
        await wait_until(lambda: bool(members[0].status("g").waiting_for))
    del members[1]
    await wait_until(lambda: steady(*members), timeout=20.0)


async def test_nothing_is_counted_that_has_gone(cluster: Cluster) -> None:
    """After joining and leaving, with handoffs, again and again."""
    first = await cluster.started("first")
    second = await cluster.started("second")
    for number in range(5):
        for member in (first, second):
            await member.join_group(group(number), policy=EXCLUSIVE, settle=0)

            def steady(member: PartitionCoordinator = member, number: int = number) -> bool:
                return member.status(group(number)).state == "steady"

            await wait_until(steady)
        for member in (first, second):
            await member.leave_group(group(number))
    await wait_until(lambda: used(first) == used(second) == 0)


async def test_an_answer_that_is_lost_counts(cluster: Cluster) -> None:
    """The node may exist. It counts once, however often its creation is asked for, until it has been deleted."""
    member = await cluster.started("member")
    await member.join_group("g", policy=EXCLUSIVE, settle=0)
    await wait_until(lambda: member.status("g").state == "steady")
    await wait_until(lambda: len(ephemerals_of(member)) == 1)
    (entry,) = await cluster.entries("g")
    before = used(member)
    await cluster.cut_off(member)
    await wait_until(lambda: not member.connected)
    assert used(member) == before
    await cluster.reconnect(member)
    await wait_until(lambda: member.connected)
    backend = member._registry.backend
    for _ in range(3):
        assert await backend.enter("g", entry, b"")
        assert used(member) == before
    await backend.withdraw("g", entry)
    assert used(member) == 0
    await wait_until(lambda: used(member) == before)  # it joins again


def ephemerals_of(member: PartitionCoordinator) -> dict[str, int]:
    backend = member._registry.backend
    ephemerals = getattr(backend, "_ephemerals", None) or backend._session.ephemerals  # type: ignore[attr-defined]
    sizes: dict[str, int] = ephemerals._sizes
    return sizes


async def test_acknowledgements_count(cluster: Cluster) -> None:
    """Together with the entries."""
    member = await cluster.started("member")
    await member.join_group("g", policy=EXCLUSIVE, settle=0)
    backend = member._registry.backend
    generation = 1 << 40
    name = "x" * 100
    with pytest.raises(SessionFullError) as refused:
        for step in range(100_000):
            assert await backend.mark("g", Mark(generation + step, f"{name}{step}" * 30)) == MarksCount(0, 1)
    assert refused.value.limit == MAX_BYTES
    assert refused.value.path is not None
    assert str(generation)[:8] in refused.value.path
    at_the_limit = used(member)
    assert at_the_limit > MAX_BYTES - 4_000
    await backend.unmark("g", Mark(generation, f"{name}0" * 30))
    assert used(member) < at_the_limit
    assert await backend.mark("no such group", Mark(generation, name)) is None
    assert used(member) < at_the_limit
