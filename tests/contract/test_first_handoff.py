"""Joining an exclusive group ends with the first handoff: what is asked from then on is answered by what is ours."""

import asyncio

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.contract.cluster import Cluster
from tests.support import wait_until
from tests.support.split import RESOURCES

POLICY = GroupPolicy(exclusive=True, slots=64, vnodes=16)


async def arrives(member: PartitionCoordinator, how: str) -> list[str]:
    if how == "extract_my_subset":
        return await member.extract_my_subset("g", RESOURCES)
    if how == "view":
        return (await member.view("g")).mine(RESOURCES)
    await member.join_group("g", policy=POLICY)
    return await member.extract_my_subset("g", RESOURCES)


async def test_a_lone_member_has_all(cluster: Cluster) -> None:
    """A job that runs once must not take an unfinished handoff for having nothing to do."""
    member = await cluster.started("member")
    assert await arrives(member, "join_group") == RESOURCES


async def test_a_later_member_has_its_share(cluster: Cluster) -> None:
    """Its first answer is its whole share."""
    members = [await cluster.started(name) for name in ("first", "second", "third")]
    for member in members:
        subset = await arrives(member, "join_group")
        view = await member.view("g")
        assert subset == [key for key in RESOURCES if view.owner(key) == member.member_id]
        assert subset


async def test_all_at_once(cluster: Cluster) -> None:
    """Whichever generation each of them arrives at, none has nothing."""
    members = [await cluster.started(name) for name in ("first", "second", "third")]
    subsets = await asyncio.gather(*(arrives(member, "join_group") for member in members))
    assert all(subsets)


@pytest.mark.parametrize("how", ["join_group", "extract_my_subset", "view"])
async def test_joining_is_bounded(cluster: Cluster, how: str) -> None:
    """Another member may take its time: then joining ends after connect_timeout, and later calls do not wait again."""
    first = await cluster.started("first")
    await first.join_group("g", policy=POLICY)
    second = await cluster.started("second", connect_timeout=0.5)
    loop = asyncio.get_running_loop()
    async with first.hold("g"):
        if how != "join_group":
            await second.join_group("g", policy=POLICY)
        began = loop.time()
        assert await arrives(second, how) == []
        if how == "join_group":
            assert loop.time() - began >= 0.5
        else:
            assert loop.time() - began < 0.5
    await wait_until(lambda: second.status("g").state == "steady")
    assert await arrives(second, how)


async def test_too_few_members_are_a_result(cluster: Cluster) -> None:
    """While nobody owns anything there is no handoff to wait for."""
    member = await cluster.started("member", connect_timeout=60.0)
    await member.join_group("g", policy=POLICY, min_members=2)
    assert member.status("g").state == "unknown"
    other = await cluster.started("other")
    await other.join_group("g", policy=POLICY, min_members=2)
    assert await other.extract_my_subset("g", RESOURCES)
