"""A member that gives no policy takes the one that its group has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from aiopartition import (
    ConfigurationError,
    GroupPolicy,
    OwnershipUnknownError,
    Partition,
    PartitionCoordinator,
    PolicyMismatchError,
    View,
    partitions,
)
from aiopartition.group.document import document_of
from tests.contract.cluster import Cluster
from tests.contract.exclusive import POLICY, alone, joined, shared_out, waiting, waits
from tests.support import wait_until
from tests.support.split import RESOURCES, current_view, split_exactly

POLICIES = {
    "exclusive": POLICY,
    "replicas": GroupPolicy(replicas=2),
    "partitions": GroupPolicy(partitions=24),
    "partitions, exclusive": GroupPolicy(partitions=24, exclusive=True),
    "all else": GroupPolicy(load_bound=1.25, slots=64, vnodes=7),
}

each_policy = pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))


async def set_up(cluster: Cluster, policy: GroupPolicy = POLICY) -> None:
    """Somebody has made the group, and is gone."""
    await cluster.put_document("g", document_of(policy))


async def disconnected(cluster: Cluster, member_id: str = "m", **arguments: Any) -> PartitionCoordinator:
    member = await cluster.started(member_id, **arguments)
    await cluster.cut_off(member)
    await wait_until(lambda: not member.connected)
    return member


async def forever(_resource: object) -> None:
    await asyncio.Event().wait()


# ---- who joins without a policy


@each_policy
async def test_a_plain_joiner_follows_the_group(cluster: Cluster, policy: GroupPolicy) -> None:
    """It divides the work with the others as if it had been given their policy."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g", policy=policy, settle=0)
    await second.join_group("g", settle=0)
    wanted = {
        each: View.of("g", 1, {"first": 1, "second": 1}, policy, each).mine(RESOURCES) for each in ("first", "second")
    }

    async def divided() -> bool:
        members = (first, second)
        return all([await each.extract_my_subset("g", RESOURCES) == wanted[each.member_id] for each in members])

    await wait_until(divided)
    assert second.status("g").policy == policy
    assert (await second.view("g")).policy == policy
    with pytest.raises(PolicyMismatchError):
        await (await cluster.started("third")).join_group("g", policy=GroupPolicy(slots=16))


async def test_a_new_group_gets_the_default(cluster: Cluster) -> None:
    """Which others then follow, or are refused."""
    first, second, third = [await cluster.started(name) for name in ("first", "second", "third")]
    await first.join_group("g")
    assert first.status("g").policy == GroupPolicy()
    await second.join_group("g", policy=GroupPolicy())
    await split_exactly(first, second)
    with pytest.raises(PolicyMismatchError) as caught:
        await third.join_group("g", policy=POLICY)
    assert caught.value.differences["exclusive"] == (False, True)


async def view(member: PartitionCoordinator) -> None:
    await member.view("g")


async def get_members(member: PartitionCoordinator) -> None:
    await member.get_members("g")


async def describe(member: PartitionCoordinator) -> None:
    await member.describe_member("g", "m")


async def changes(member: PartitionCoordinator) -> None:
    stream = member.changes("g")
    await anext(stream)
    await stream.aclose()


async def extract(member: PartitionCoordinator) -> None:
    assert await member.extract_my_subset("g", RESOURCES) == RESOURCES


async def stream(member: PartitionCoordinator) -> None:
    assert [each async for each in member.my_subset("g", RESOURCES)] == RESOURCES


async def run(member: PartitionCoordinator) -> None:
    begun = asyncio.Event()

    async def worker(_resource: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(member.run("g", RESOURCES[:3], worker))
    async with asyncio.timeout(10):
        await begun.wait()
    assert member.status("g").in_flight == 3
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


CALLS = [view, get_members, describe, changes, extract, stream, run]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_every_call_that_joins_follows_the_group(
    cluster: Cluster, call: Callable[[PartitionCoordinator], Awaitable[None]]
) -> None:
    """And takes part in its handoffs."""
    await set_up(cluster)
    member = await cluster.started("m")
    await call(member)
    assert member.status("g").policy == POLICY
    second = await joined(cluster, "second")
    await shared_out(member, second)


async def test_work_in_flight_is_waited_for(cluster: Cluster) -> None:
    """A member that took the policy keeps its promise: what it has in hand nobody else begins."""
    await set_up(cluster)
    plain = await cluster.started("first")
    items = plain.my_subset("g", RESOURCES)
    await anext(items)
    assert plain.status("g").in_flight == 1
    async with plain.hold("g") as held:
        second = await waiting(cluster, "second")
        assert await second.extract_my_subset("g", RESOURCES) == []
        assert held.mine(RESOURCES) == RESOURCES
    await items.aclose()
    await shared_out(plain, second)


@pytest.mark.parametrize("policy", [POLICY, GroupPolicy(partitions=24)], ids=["exclusive", "partitions"])
async def test_two_first_joiners_at_once(cluster: Cluster, policy: GroupPolicy) -> None:
    """One of them sets up the group. If it is the one that gives no policy, the other is refused; never do both take
    part by different ones."""
    plain, other = await cluster.started("plain"), await cluster.started("other")
    results = await asyncio.gather(plain.join_group("g"), other.join_group("g", policy=policy), return_exceptions=True)
    assert results[0] is None
    if plain.status("g").policy == policy:
        assert results[1] is None
        assert other.status("g").policy == policy
    else:
        assert plain.status("g").policy == GroupPolicy()
        assert isinstance(results[1], PolicyMismatchError)
        assert other.groups == ()


# ---- joining again


@each_policy
async def test_joining_again_needs_no_policy(cluster: Cluster, policy: GroupPolicy) -> None:
    """Neither whoever gave it nor whoever took it; the same one may be given; another is refused, and all goes on."""
    await set_up(cluster, policy)
    for member_id, given in (("gave", policy), ("took", None)):
        member = await cluster.started(member_id)
        for again in (given, None, policy):
            await member.join_group("g", policy=again)
        with pytest.raises(PolicyMismatchError):
            await member.join_group("g", policy=GroupPolicy(slots=16))
        with pytest.raises(ConfigurationError, match="weight"):
            await member.join_group("g", weight=2)
        assert member.status("g").policy == policy
        await member.leave_group("g")


# ---- without a connection at first


async def test_before_the_policy_is_known(cluster: Cluster) -> None:
    """Nothing is owned, no promise is made, and the status does not pretend to know."""
    await set_up(cluster)
    member = await disconnected(cluster)
    await member.join_group("g")
    assert await member.extract_my_subset("g", RESOURCES) == []
    status = member.status("g")
    assert (status.policy, status.state, status.active_generation) == (None, "unknown", None)
    with pytest.raises(OwnershipUnknownError):
        async with member.hold("g"):
            raise AssertionError("nothing can be held")
    await cluster.reconnect(member)
    await shared_out(member)
    assert member.status("g").policy == POLICY
    async with member.hold("g") as held:
        assert held.mine(RESOURCES) == RESOURCES


async def test_a_hold_in_what_turns_out_to_be_an_ordinary_group(cluster: Cluster) -> None:
    """It is refused once that is known. And where nothing was joined, at once."""
    await set_up(cluster, GroupPolicy(replicas=2))
    member = await cluster.started("m")
    with pytest.raises(ConfigurationError, match="not exclusive"):
        async with member.hold("g"):
            raise AssertionError("nothing was joined")
    assert "g" not in member.groups
    joining = asyncio.create_task(member.join_group("g"))
    await wait_until(lambda: member.groups == ("g",))
    with pytest.raises(ConfigurationError, match="not exclusive"):
        async with member.hold("g"):
            raise AssertionError("nothing can be promised")
    await joining


async def test_a_hold_waits_until_the_policy_is_known(cluster: Cluster) -> None:
    """Whoever asks while the group is being joined is not told that it is not exclusive."""
    await set_up(cluster)
    member = await cluster.started("m")
    joining = asyncio.create_task(member.join_group("g"))
    await wait_until(lambda: member.groups == ("g",))
    async with member.hold("g") as held:
        assert held.policy == POLICY
    await joining


async def test_a_stream_that_began_before_the_policy_was_known(cluster: Cluster) -> None:
    """Its items are in flight all the same: a handoff waits for the body of the loop."""
    await set_up(cluster)
    member = await disconnected(cluster, "first")
    await member.join_group("g")
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def source() -> AsyncIterator[str]:
        while True:
            yield await queue.get()

    items = member.my_subset("g", source())
    queue.put_nowait("nobody's, as nothing is known")
    item = asyncio.create_task(anext(items))
    await wait_until(queue.empty)
    await cluster.reconnect(member)
    await shared_out(member)
    queue.put_nowait("ours")
    assert await item == "ours"
    assert member.status("g").in_flight == 1
    second = await waiting(cluster, "second")
    item = asyncio.create_task(anext(items))
    await shared_out(member, second)
    item.cancel()
    with suppress(asyncio.CancelledError):
        await item


async def test_workers_that_wait_for_the_policy(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """What ``run()`` lists is looked at by the partitions that the group turns out to have."""
    await set_up(cluster, GroupPolicy(partitions=4))
    member = await disconnected(cluster)
    working: set[Partition] = set()

    async def worker(partition: Partition) -> None:
        working.add(partition)
        await asyncio.Event().wait()

    running = asyncio.create_task(member.run("g", lambda: partitions(6), worker))
    await wait_until(lambda: member.groups == ("g",))
    await cluster.reconnect(member)
    await wait_until(lambda: working == set(partitions(4)), what=lambda: f"{working}")
    assert any("without a usable key are left out" in record.getMessage() for record in caplog.records)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_list_with_a_partition_that_the_group_does_not_have(cluster: Cluster) -> None:
    """``run()`` says so, as soon as the policy is known."""
    await set_up(cluster, GroupPolicy(partitions=4))
    member = await disconnected(cluster)
    running = asyncio.create_task(member.run("g", partitions(6), forever))
    await wait_until(lambda: member.groups == ("g",))
    await cluster.reconnect(member)
    with pytest.raises(TypeError):
        await asyncio.wait_for(running, 15)


@pytest.mark.parametrize("policy", [POLICY, GroupPolicy(replicas=2)], ids=["exclusive", "ordinary"])
async def test_a_policy_may_be_given_as_long_as_none_is_known(cluster: Cluster, policy: GroupPolicy) -> None:
    """A first call joined without one, but nothing was read yet. From then on it counts as given."""
    member = await disconnected(cluster)
    assert await member.extract_my_subset("g", RESOURCES) == []
    await member.join_group("g", policy=policy)
    assert member.status("g").policy == policy
    with pytest.raises(PolicyMismatchError):
        await member.join_group("g", policy=GroupPolicy(slots=32))
    await cluster.reconnect(member)
    await wait_until(lambda: member.status("g").state == "steady")
    assert await member.extract_my_subset("g", RESOURCES) == RESOURCES
    await (await cluster.started("second")).join_group("g", policy=policy)


@pytest.mark.parametrize("new", [True, False], ids=["a new group", "one that is there"])
async def test_a_policy_given_while_another_call_joins(cluster: Cluster, new: bool) -> None:
    """At the start of a service many calls come at once, and one of them says what they all need."""
    if not new:
        await set_up(cluster)
    member = await cluster.started("m")
    await asyncio.gather(member.extract_my_subset("g", RESOURCES), member.join_group("g", policy=POLICY, settle=0.05))
    await shared_out(member)
    assert member.status("g").policy == POLICY


async def test_leaving_before_the_policy_is_known(cluster: Cluster) -> None:
    """Nothing of it remains, and another policy may be given afterwards."""
    await set_up(cluster)
    member = await disconnected(cluster)
    await member.join_group("g")
    await member.leave_group("g")
    assert member.groups == ()
    await cluster.reconnect(member)
    await wait_until(lambda: member.connected)
    await shared_out(await joined(cluster, "other"))
    with pytest.raises(PolicyMismatchError):
        await member.join_group("g", policy=GroupPolicy())
    await member.leave_group("g")


@pytest.mark.parametrize("end", ["leave", "cancel", "stop"])
async def test_an_end_in_the_midst_of_joining(cluster: Cluster, end: str) -> None:
    """Whatever comes first, no entry is left behind; whoever only stops waiting has joined."""
    await set_up(cluster)
    member, other = await cluster.started("m"), await cluster.started("other")
    joining = asyncio.create_task(member.join_group("g"))
    await wait_until(lambda: member.groups == ("g",))
    if end == "leave":
        await member.leave_group("g")
    elif end == "stop":
        await member.stop()
    else:
        joining.cancel()
    with suppress(asyncio.CancelledError):
        await joining
    if end == "cancel":
        await shared_out(member)
        await member.leave_group("g")

    await other.join_group("g")
    await shared_out(other)


# ---- later


async def test_work_of_an_earlier_participation_is_waited_for(cluster: Cluster) -> None:
    """A group that is left and joined anew without a policy: what was in hand before still has to end."""
    member = await alone(cluster, "m")
    let_go = asyncio.Event()

    async def hold() -> None:
        async with member.hold("g"):
            await let_go.wait()

    holding = asyncio.create_task(hold())
    await wait_until(lambda: member.status("g").in_flight == 1)
    leaving = asyncio.create_task(member.leave_group("g"))
    await wait_until(lambda: "g" not in member.groups)
    joining = asyncio.create_task(member.join_group("g"))
    await wait_until(lambda: member.groups == ("g",) and member.status("g").policy == POLICY)
    await waits(member)
    assert await member.extract_my_subset("g", RESOURCES) == []
    let_go.set()
    await asyncio.gather(holding, leaving, joining)
    await shared_out(member)


async def test_after_an_expired_session(cluster: Cluster) -> None:
    """It joins again by what it took."""
    await set_up(cluster)
    member, other = await cluster.started("m", session_timeout=5), await joined(cluster, "other")
    await member.view("g")
    await shared_out(member, other)
    await cluster.expire(member)
    await shared_out(member, other)
    assert member.status("g").policy == POLICY


async def test_a_deleted_group_is_made_anew_by_what_was_taken(cluster: Cluster) -> None:
    """Its members set it up as it was."""
    await set_up(cluster, GroupPolicy(load_bound=1.25))
    member = await cluster.started("m")
    before = await member.view("g")
    await cluster.delete_group("g")

    async def again() -> bool:
        now = await current_view(member)
        return now is not None and now.generation != before.generation

    await wait_until(again)
    second = await cluster.joined("second")
    assert second.status("g").policy == GroupPolicy(load_bound=1.25)
    await split_exactly(member, second)


async def test_a_group_that_gets_another_policy(cluster: Cluster) -> None:
    """Whoever has to join again keeps to what it took, owns nothing and says why; having left, it takes the new one."""
    await set_up(cluster, GroupPolicy(load_bound=1.25))
    member = await cluster.started("m", heartbeat=0.2)
    await member.view("g")
    await cluster.put_document("g", document_of(POLICY))
    (entry,) = await cluster.entries("g")
    await cluster.delete_entry("g", entry)
    await wait_until(lambda: member.status("g").state == "refused")
    assert member.status("g").policy == GroupPolicy(load_bound=1.25)
    for policy in (None, POLICY):
        with pytest.raises(PolicyMismatchError):
            await member.join_group("g", policy=policy)
    assert await cluster.entries("g") == []
    await member.leave_group("g")
    await member.join_group("g")
    await shared_out(member)
