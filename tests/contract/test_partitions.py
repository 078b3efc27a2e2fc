"""Groups with numbered partitions: each member has its quota, whatever call asks for it."""

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest

from aiopartition import GroupPolicy, Partition, PartitionCoordinator, PolicyMismatchError, View, partitions
from tests.contract.cluster import Cluster
from tests.support import split, wait_until
from tests.support.joining import enter
from tests.support.split import split_exactly

ALL = partitions(24)
ORDINARY = GroupPolicy(partitions=24)
EXCLUSIVE = GroupPolicy(partitions=24, exclusive=True)

both_policies = pytest.mark.parametrize("policy", [ORDINARY, EXCLUSIVE], ids=["ordinary", "exclusive"])


async def joined(cluster: Cluster, member_id: str, policy: GroupPolicy, **arguments: Any) -> PartitionCoordinator:
    return await enter(await cluster.started(member_id), policy=policy, settle=0, **arguments)


def will_own(member_id: str, policy: GroupPolicy, **weights: int) -> list[Partition]:
    return View.of("g", 1, weights, policy, member_id).mine(partitions(policy.partitions))


async def shared_out(policy: GroupPolicy, *members: PartitionCoordinator, **weights: int) -> None:
    await split.shared_out(policy, weights, *members, resources=partitions(policy.partitions))


@both_policies
async def test_each_has_its_quota(cluster: Cluster, policy: GroupPolicy) -> None:
    """After each join and each leave, by weight, rounded down or up."""
    first = await joined(cluster, "first", policy)
    await shared_out(policy, first, first=1)
    second = await joined(cluster, "second", policy)
    await shared_out(policy, first, second, first=1, second=1)
    heavy = await joined(cluster, "heavy", policy, weight=500)
    idle = await joined(cluster, "idle", policy, weight=0)
    await shared_out(policy, first, second, heavy, idle, first=1, second=1, heavy=500, idle=0)
    assert len(await heavy.extract_my_subset("g", ALL)) == 24
    await heavy.leave_group("g")
    await shared_out(policy, first, second, idle, first=1, second=1, idle=0)
    subsets = [await member.extract_my_subset("g", ALL) for member in (first, second, idle)]
    assert [len(subset) for subset in subsets] == [12, 12, 0]
    assert sorted([*subsets[0], *subsets[1]]) == list(ALL)
    assert {type(each) for each in subsets[0]} == {Partition}


async def test_each_partition_has_its_replicas(cluster: Cluster) -> None:
    """Each has two owners; so has each member its share of twice as many; and keys go to the owners of theirs."""
    policy = GroupPolicy(partitions=24, replicas=2)
    members = [await joined(cluster, name, policy) for name in ("a", "b", "c")]
    view = await split_exactly(*members, replicas=2)
    assert view.shares() == dict.fromkeys("abc", 16 / 24)
    assert Counter(view.owner(each) for each in ALL) == dict.fromkeys("abc", 8)
    for number in range(100):
        key = f"order-{number}"
        assert view.owners(key) == view.owners(view.partition_of(key))
        owns = [key in await member.extract_my_subset("g", [key]) for member in members]
        assert owns == [member.member_id in view.owners(key) for member in members]


@pytest.mark.parametrize(
    ("count", "names", "sizes"),
    [
        (12, ("scheduler-1", "scheduler-2"), [6, 6]),
        (10, ("a", "b", "c", "d"), [2, 2, 3, 3]),
        (6, ("a", "b", "c"), [2, 2, 2]),
        (2, ("harry", "lloyd"), [1, 1]),
    ],
)
async def test_few_items_are_shared_fairly(
    cluster: Cluster, count: int, names: tuple[str, ...], sizes: list[int]
) -> None:
    """With few heavy items hashing is a lottery; partitions are not."""
    policy = GroupPolicy(partitions=count)
    members = [await joined(cluster, name, policy) for name in names]
    await shared_out(policy, *members, **dict.fromkeys(names, 1))
    subsets = [await member.extract_my_subset("g", partitions(count)) for member in members]
    assert sorted(map(len, subsets)) == sizes


@both_policies
async def test_a_worker_for_each_partition(cluster: Cluster, policy: GroupPolicy) -> None:
    """run() follows the group, and no two members are ever at work on one partition of an exclusive group."""
    working: list[tuple[str, Partition]] = []
    tasks: list[asyncio.Task[None]] = []

    async def attend(member_id: str, partition: Partition) -> None:
        assert policy is not EXCLUSIVE or partition not in [each for _, each in working]
        working.append((member_id, partition))
        try:
            await asyncio.Event().wait()
        finally:
            working.remove((member_id, partition))

    async def start(name: str) -> PartitionCoordinator:
        member = await joined(cluster, name, policy)
        run = member.run("g", ALL, lambda partition: attend(name, partition))
        tasks.append(asyncio.create_task(run))
        return member

    def at_work(*names: str) -> bool:
        weights = dict.fromkeys(names, 1)
        return sorted(working) == sorted((name, each) for name in names for each in will_own(name, policy, **weights))

    try:
        await start("first")
        await wait_until(lambda: at_work("first"), what="all work at the first member")
        second = await start("second")
        await wait_until(lambda: at_work("first", "second"), what="half of the work at each")
        await second.leave_group("g")
        await wait_until(lambda: at_work("first"), what="all work at the first member again")
        assert all(not task.done() or task.exception() is None for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@both_policies
async def test_streams(cluster: Cluster, policy: GroupPolicy) -> None:
    """my_subset() hands out partitions, what is keyed by one, and ordinary keys of ours."""
    first, second = await joined(cluster, "first", policy), await joined(cluster, "second", policy)
    await shared_out(policy, first, second, first=1, second=1)
    view = await first.view("g")
    orders = [(Partition(number % 24), number) for number in range(100)]
    assert [each async for each in first.my_subset("g", ALL)] == view.mine(ALL)
    assert [each async for each in first.my_subset("g", orders, key=lambda order: order[0])] == [
        order for order in orders if view.owner(order[0]) == "first"
    ]
    keys = [f"order-{number}" for number in range(100)]
    assert [each async for each in second.my_subset("g", keys)] == [
        key for key in keys if view.owner(view.partition_of(key)) == "second"
    ]


async def test_a_hold_keeps_partitions(cluster: Cluster) -> None:
    """While it lasts, nothing passes to a member that joins."""
    first = await joined(cluster, "first", EXCLUSIVE)
    await shared_out(EXCLUSIVE, first, first=1)
    async with first.hold("g", drain_timeout=60.0) as view:
        assert view.mine(ALL) == list(ALL)
        second = await joined(cluster, "second", EXCLUSIVE)
        await wait_until(lambda: second.status("g").state == "handing over", what="the second waits for the first")
        assert await second.extract_my_subset("g", ALL) == []
    await shared_out(EXCLUSIVE, first, second, first=1, second=1)


async def test_all_members_have_as_many(cluster: Cluster) -> None:
    """The number belongs to the policy, on which all have to agree."""
    await joined(cluster, "first", ORDINARY)
    other = await cluster.started("other")
    for policy in (GroupPolicy(partitions=25), GroupPolicy()):
        with pytest.raises(PolicyMismatchError, match=f"partitions is 24 there and {policy.partitions} here"):
            await other.join_group("g", policy=policy)
        await other.leave_group("g")


async def test_partitions_that_are_not_there(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Each call that is given one says so; run() leaves out what a callable lists, and works on the others."""
    plain = await cluster.started("plain")
    await plain.join_group("plain")
    with pytest.raises(TypeError, match="group without partitions"):
        await plain.extract_my_subset("plain", ALL)
    with pytest.raises(TypeError, match="group without partitions"):
        [each async for each in plain.my_subset("plain", ALL)]

    async def attend(partition: Partition) -> None:
        begun.add(partition)
        await asyncio.Event().wait()

    begun = set[Partition]()
    with pytest.raises(TypeError, match="group without partitions"):
        await plain.run("plain", ALL, attend)
    await plain.join_group("g", policy=ORDINARY)
    with pytest.raises(TypeError, match="out of range"):
        await plain.extract_my_subset("g", partitions(25))

    async def too_many() -> tuple[Partition, ...]:
        return partitions(26)

    task = asyncio.create_task(plain.run("g", too_many, attend))
    await wait_until(lambda: begun == set(ALL), what="a worker for each partition that is there")
    task.cancel()
    await asyncio.wait({task})
    (error,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "Partition(24) is out of range" in error.getMessage()


async def test_without_a_group_everything_is_ours(cluster: Cluster) -> None:
    """Partitioning is off: nobody has to say how many there are."""
    member = await cluster.started("m")
    assert [each async for each in member.my_subset(None, ALL)] == list(ALL)
