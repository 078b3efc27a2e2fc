"""From start() to stop(), in any order, cancelled anywhere."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from aiopartition import BackendUnavailableError, ConfigurationError, GroupPolicy, NotStartedError, PartitionCoordinator
from tests.contract.cancelling import cancelled_at
from tests.contract.cluster import Cluster
from tests.support import wait_until
from tests.support.split import RESOURCES, split_exactly

STEPS = 60
"""More suspensions than any call has; a test that got that far without an end has found a livelock."""

CALLS: dict[str, Callable[[PartitionCoordinator], Coroutine[Any, Any, object]]] = {
    "join_group": lambda member: member.join_group("g"),
    "leave_group": lambda member: member.leave_group("g"),
    "view": lambda member: member.view("g"),
    "get_members": lambda member: member.get_members("g"),
    "extract_my_subset": lambda member: member.extract_my_subset("g", RESOURCES),
    "heartbeat": lambda member: member.heartbeat(),
    "set_weight": lambda member: member.set_weight("g", 0),
}


@pytest.mark.parametrize("call", CALLS)
async def test_use_before_start_and_after_stop_is_refused(cluster: Cluster, call: str) -> None:
    """Each call says what was called, and whether the coordinator was never started or is stopped."""
    member = await cluster.coordinator("m")
    with pytest.raises(NotStartedError, match=rf"{call}\(\).*was never started"):
        await CALLS[call](member)
    await member.start()
    await member.stop()
    with pytest.raises(NotStartedError, match=rf"{call}\(\).*was stopped"):
        await CALLS[call](member)


async def test_iterators_before_start_are_refused(cluster: Cluster) -> None:
    """At the call already, not at the first step."""
    member = await cluster.coordinator("m")
    with pytest.raises(NotStartedError):
        member.my_subset("g", RESOURCES)
    with pytest.raises(NotStartedError):
        member.changes("g")


async def test_iterators_that_outlive_the_coordinator_are_refused(cluster: Cluster) -> None:
    """Made before stop() and begun after it, they join nothing."""
    member = await cluster.started("m")
    mine, changes = member.my_subset("g", RESOURCES), member.changes("g")
    await member.stop()
    for iterator in (mine, changes):
        with pytest.raises(NotStartedError):
            await anext(iterator)
    assert member.groups == ()


async def test_starting_twice_is_an_error(cluster: Cluster) -> None:
    """Also after a stop: a coordinator that was stopped stays stopped."""
    member = await cluster.started("m")
    with pytest.raises(RuntimeError, match="is started"):
        await member.start()
    await member.stop()
    with pytest.raises(RuntimeError, match="was stopped"):
        await member.start()


async def test_stop_is_idempotent(cluster: Cluster) -> None:
    """Before start, twice, and several at once."""
    unused = await cluster.coordinator("unused")
    await unused.stop()
    await unused.stop()
    with pytest.raises(RuntimeError):
        await unused.start()
    member = await cluster.joined("m")
    async with anyio.create_task_group() as stops:
        for _ in range(3):
            stops.start_soon(member.stop)
    await member.stop()
    assert not member.connected
    assert member.groups == ()


async def test_the_context_manager_starts_and_stops(cluster: Cluster) -> None:
    """Also when the body raises, whose error is the one that comes out."""
    member = await cluster.coordinator("m")
    with pytest.raises(KeyError):
        async with member as entered:
            assert entered is member
            assert member.connected
            raise KeyError("the body's own")
    assert not member.connected
    assert "was stopped" in repr(member)


async def test_stop_during_start(cluster: Cluster) -> None:
    """Whoever stops a coordinator that is still starting ends both calls soon, and start() says so."""
    member = await cluster.coordinator("m", connect_timeout=30)

    async def start() -> None:
        with pytest.raises(NotStartedError, match="was stopped"):
            await member.start()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as calls:
            calls.start_soon(start)
            await asyncio.sleep(0)
            calls.start_soon(member.stop)
    with pytest.raises(NotStartedError):
        await member.join_group("g")


async def test_start_cancelled_at_any_step_stops_cleanly(cluster: Cluster) -> None:
    """A start that was cancelled leaves nothing running, and says so afterwards."""
    for step in range(1, STEPS):
        member = await cluster.coordinator("m")
        if not await cancelled_at(step, member.start()):
            break
        with pytest.raises(NotStartedError):
            await member.join_group("g")
        await member.stop()
    else:
        raise AssertionError("start() never came to its end")
    assert step > 1
    assert await member.extract_my_subset("g", RESOURCES) == RESOURCES


async def test_start_cancelled_through_a_scope(cluster: Cluster) -> None:
    """anyio cancels again and again until the scope is left; that must not disturb the stopping."""
    member = await cluster.coordinator("m")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await member.start()
    await member.stop()


@pytest.mark.parametrize("call", ["join_group", "extract_my_subset", "view", "heartbeat"])
async def test_calls_cancelled_at_any_step_leave_it_usable(cluster: Cluster, call: str) -> None:
    """After a cancellation anywhere the next call works, and the others see this member exactly once."""
    other = await cluster.joined("other")
    for step in range(1, STEPS):
        member = await cluster.started(f"m{step}")
        ended = not await cancelled_at(step, CALLS[call](member))
        await split_exactly(member, other)
        await member.stop()
        if ended:
            break
    else:
        raise AssertionError(f"{call}() never came to its end")


async def test_leave_cancelled_at_any_step_still_leaves(cluster: Cluster) -> None:
    """The leaving goes on in the background."""
    other = await cluster.started("other")
    for step in range(1, STEPS):
        member = await cluster.started("m")
        await split_exactly(member, other)
        ended = not await cancelled_at(step, member.leave_group("g"))
        await split_exactly(other)
        await member.stop()
        if ended:
            break
    else:
        raise AssertionError("leave_group() never came to its end")


async def test_stop_cancelled_at_any_step_still_stops(cluster: Cluster) -> None:
    """The stopping goes on in the background; from the call on nothing is ours."""
    other = await cluster.started("other", session_timeout=20)
    for step in range(1, STEPS):
        member = await cluster.started("m", session_timeout=20)
        await split_exactly(member, other)
        ended = not await cancelled_at(step, member.stop())
        with pytest.raises(NotStartedError):
            await member.extract_my_subset("g", RESOURCES)
        await split_exactly(other, timeout=5)  # far below the session timeout
        await member.stop()
        if ended:
            break
    else:
        raise AssertionError("stop() never came to its end")


async def test_a_cancelled_join_can_be_taken_back(cluster: Cluster) -> None:
    """A cancelled join_group() goes on in the background, until leave_group()."""
    member, other = await cluster.started("m"), await cluster.started("other")
    await other.join_group("g")
    assert await cancelled_at(1, member.join_group("g"))
    await member.leave_group("g")
    await split_exactly(other)
    assert len(await cluster.entries("g")) == 1


async def test_joins_and_leaves_in_quick_succession(cluster: Cluster) -> None:
    """Whatever the order in which things finish, the last word counts."""
    member, other = await cluster.started("m"), await cluster.started("other")
    for _ in range(10):
        await member.join_group("g")
        await member.leave_group("g")
    async with anyio.create_task_group() as calls:
        for _ in range(10):
            calls.start_soon(member.join_group, "g")
            calls.start_soon(member.leave_group, "g")
    await member.join_group("g")
    await split_exactly(member, other)
    assert len(await cluster.entries("g")) == 2


async def test_concurrent_first_calls_join_once(cluster: Cluster) -> None:
    """However many ask at once, there is one entry."""
    member = await cluster.started("m")
    results = await asyncio.gather(*(member.extract_my_subset("g", RESOURCES) for _ in range(20)))
    assert all(result == RESOURCES for result in results)
    assert len(await cluster.entries("g")) == 1


async def test_a_heartbeat_without_a_connection_says_so(cluster: Cluster) -> None:
    """The explicit call raises; the one in the background goes on trying."""
    member = await cluster.started("m")
    await member.heartbeat()
    await member.join_group("g")
    await member.heartbeat()
    await cluster.cut_off(member)
    await wait_until(lambda: not member.connected)
    with pytest.raises(BackendUnavailableError):
        await member.heartbeat()
    await cluster.reconnect(member)
    await split_exactly(member)


async def test_joining_without_a_connection_returns_and_goes_on(cluster: Cluster) -> None:
    """Like start(): the service need not care; the group is joined once there is a connection."""
    member = await cluster.started("m", connect_timeout=60)
    await cluster.cut_off(member)
    await wait_until(lambda: not member.connected)
    with anyio.fail_after(2):
        await member.join_group("g")
        assert await member.extract_my_subset("g", RESOURCES) == []
    await cluster.reconnect(member)
    await split_exactly(member)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"weight": -1}, "weight"),
        ({"weight": 1.5}, "weight"),
        ({"weight": True}, "weight"),
        ({"weight": 10**9}, "weight"),
        ({"min_members": 0}, "min_members"),
        ({"settle": -1}, "settle"),
        ({"settle": float("nan")}, "settle"),
        ({"policy": {"replicas": 2}}, "policy"),
    ],
)
async def test_bad_arguments_are_named(cluster: Cluster, arguments: dict[str, Any], part: str) -> None:
    """And leave nothing behind."""
    member = await cluster.started("m")
    with pytest.raises(ConfigurationError) as caught:
        await member.join_group("g", **arguments)
    assert caught.value.part == part
    assert member.groups == ()


@pytest.mark.parametrize("group_id", ["", None, 5, "x" * 2000])
async def test_bad_group_ids_are_named(cluster: Cluster, group_id: Any) -> None:
    """By each call that takes one."""
    member = await cluster.started("m")
    for call in (member.join_group, member.view, member.get_members):
        with pytest.raises(ConfigurationError, match="group_id"):
            await call(group_id)
    with pytest.raises(ConfigurationError, match="group_id"):
        member.changes(group_id)
    await member.leave_group("never joined")


async def test_a_memory_cluster_is_empty_again_after_its_last_coordinator() -> None:
    """What one test leaves in a cluster of that name is not there for the next, whoever still holds the coordinator."""
    async with PartitionCoordinator("memory://reused") as first:
        await first.join_group("g", policy=GroupPolicy(replicas=2))
    async with PartitionCoordinator("memory://reused") as second:
        await second.join_group("g")
        assert await second.get_members("g") == (second.member_id,)
    assert first.member_id != second.member_id


async def test_partitioning_may_be_off() -> None:
    """Without a backend everything is mine, whatever it is, and all calls work."""
    async with PartitionCoordinator(member_id="m") as member:
        assert not member.is_active()
        things = [object(), None]
        assert await member.extract_my_subset("g", things) == things  # type: ignore[type-var]
        assert [thing async for thing in member.my_subset("g", things)] == things  # type: ignore[type-var]
        await member.join_group("g", weight=5, min_members=3, policy=GroupPolicy(replicas=2))
        assert await member.get_members("g") == ("m",)
        assert (await member.view("g")).owner("x") == "m"
        await member.heartbeat()
        await member.leave_group("g")
    with pytest.raises(NotStartedError):
        await member.extract_my_subset("g", [])


async def test_nothing_is_logged_as_an_error_in_a_normal_life(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Starting, rebalancing and stopping are no reason to wake anybody."""
    members = [await cluster.started(f"m{number}") for number in range(3)]
    await split_exactly(*members)
    for member in members:
        await member.stop()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
