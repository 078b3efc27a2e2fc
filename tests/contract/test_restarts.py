"""stop(hand_over=False): a process that comes back under its id finds its keys, and none of the others' has moved."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import chain

import pytest

from aiopartition import Change, GroupPolicy, PartitionCoordinator
from tests.contract.cluster import Cluster
from tests.contract.exclusive import POLICY, shared_out
from tests.contract.working import Floor, running
from tests.support import wait_until
from tests.support.split import RESOURCES

PATIENCE = 4.0
"""Seconds of a session that is to outlive a restart; servers in the tests grant no more."""

ORDINARY = GroupPolicy(slots=64, vnodes=16)
NAMES = ("a", "b", "c", "d")


async def started(cluster: Cluster, name: str, policy: GroupPolicy) -> PartitionCoordinator:
    member = await cluster.started(name, session_timeout=PATIENCE)
    await member.join_group("g", policy=policy, settle=0)
    return member


async def sees_all(*members: PartitionCoordinator) -> None:
    async def done() -> bool:
        return all([await member.get_members("g") == NAMES for member in members])

    await wait_until(done)


@asynccontextmanager
async def observed(member: PartitionCoordinator) -> AsyncGenerator[list[Change]]:
    """The changes that a member sees meanwhile, after the first."""
    seen: list[Change] = []

    async def follow() -> None:
        async for change in member.changes("g"):
            seen.append(change)  # noqa: PERF401 (they are looked at meanwhile)

    task = asyncio.create_task(follow())
    await wait_until(lambda: seen)
    seen.clear()
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_rolling_restart_moves_no_key(cluster: Cluster) -> None:
    """Four members are restarted one by one: at the others nothing moves, nor when the old sessions have ended."""
    members = {name: await started(cluster, name, ORDINARY) for name in NAMES}
    await sees_all(*members.values())
    mine = {name: await member.extract_my_subset("g", RESOURCES) for name, member in members.items()}
    for name in NAMES:
        others = [member for other, member in members.items() if other != name]
        async with observed(others[0]) as first, observed(others[1]) as second, observed(others[2]) as third:
            before = [(await member.view("g")).generation for member in others]
            await members[name].stop(hand_over=False)
            assert members[name].groups == ()
            members[name] = await started(cluster, name, ORDINARY)
            assert await members[name].extract_my_subset("g", RESOURCES) == mine[name]

            async def noticed(others: list[PartitionCoordinator] = others, before: list[int] = before) -> bool:
                after = [(await member.view("g")).generation for member in others]
                return all(new > old for new, old in zip(after, before, strict=True))

            await wait_until(noticed)
            for change in (*first, *second, *third):
                assert (change.moved, change.joined, change.left) == (0.0, (), ())
    assert len(await cluster.entries("g")) > len(NAMES)

    async def ended() -> bool:
        return len(await cluster.entries("g")) == len(NAMES)

    async with observed(members["a"]) as changes:
        await wait_until(ended, timeout=30)
        assert sum(change.moved for change in changes) == 0
    for name, member in members.items():
        assert await member.extract_my_subset("g", RESOURCES) == mine[name]


async def test_a_rolling_restart_with_handing_over_moves_keys(cluster: Cluster) -> None:
    """As it is by default: others take over at once."""
    members = {name: await started(cluster, name, ORDINARY) for name in NAMES}
    await sees_all(*members.values())
    async with observed(members["a"]) as changes:
        await members["b"].stop()
        await wait_until(lambda: [change.left for change in changes] == [("b",)])
        assert changes[0].moved > 0


async def test_a_member_that_does_not_come_back(cluster: Cluster) -> None:
    """Its keys are nobody's until its session has timed out."""
    members = {name: await started(cluster, name, ORDINARY) for name in NAMES}
    await sees_all(*members.values())
    await members["b"].stop(hand_over=False)
    assert len(await cluster.entries("g")) == len(NAMES)

    async def taken_over() -> bool:
        subsets = [await members[name].extract_my_subset("g", RESOURCES) for name in ("a", "c", "d")]
        return sorted(chain.from_iterable(subsets)) == sorted(RESOURCES)

    await wait_until(taken_over, timeout=30)


async def test_in_an_exclusive_group(cluster: Cluster) -> None:
    """Work has ended before, others go on undisturbed with theirs, and the keys come back once the session is over."""
    first, second = [await started(cluster, name, POLICY) for name in ("first", "second")]
    await shared_out(first, second)
    here, there = Floor(), Floor()
    async with running(first.run("g", RESOURCES, here.worker)):
        task = asyncio.create_task(second.run("g", RESOURCES, there.worker))
        await wait_until(lambda: len(here.working) + len(there.working) == len(RESOURCES))
        kept, lost = sorted(here.working), sorted(there.working)
        await second.stop(hand_over=False)
        assert there.working == []
        await asyncio.wait({task}, timeout=10)
        assert task.done()
        assert len(await cluster.entries("g")) == 2
        assert [name for name in await cluster.acknowledgements("g") if "/second;" in name] == []

        again = await started(cluster, "second", POLICY)
        async with running(again.run("g", RESOURCES, there.worker)):
            await wait_until(lambda: there.works_on(*lost), timeout=30)
        assert here.works_on(*kept)
        assert sorted(here.started) == kept  # none was stopped, none was taken up by it


@pytest.mark.parametrize("first_hands_over", [False, True])
async def test_the_first_stop_counts(cluster: Cluster, first_hands_over: bool) -> None:
    """async with stops once more, which changes nothing."""
    member, _witness = [await started(cluster, name, ORDINARY) for name in ("a", "b")]
    await member.stop(hand_over=first_hands_over)
    await member.stop(hand_over=not first_hands_over)
    assert len(await cluster.entries("g")) == (1 if first_hands_over else 2)


async def test_within_async_with(cluster: Cluster) -> None:
    """How it is written where a service stops."""
    await started(cluster, "witness", ORDINARY)
    coordinator = await cluster.coordinator("a", session_timeout=PATIENCE)
    async with coordinator:
        await coordinator.join_group("g", policy=ORDINARY)
        await coordinator.stop(hand_over=False)
    assert len(await cluster.entries("g")) == 2


async def test_without_a_connection(cluster: Cluster) -> None:
    """It takes no longer than any other stop."""
    member = await started(cluster, "a", ORDINARY)
    await cluster.cut_off(member)
    await asyncio.wait_for(member.stop(hand_over=False), 10)
