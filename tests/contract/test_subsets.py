"""What is mine: subsets of lists, of streams, and the changes of a group."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from operator import attrgetter

import anyio
import pytest

from aiopartition import Change, GroupPolicy, MemberSupersededError, OwnershipUnknownError, PartitionCoordinator
from aiopartition.testing import PartitionCluster, VirtualTimeLoop
from tests.contract.cluster import Cluster
from tests.support import wait_until
from tests.support.split import RESOURCES, split_exactly


@dataclass(frozen=True)
class Device:
    name: str
    address: bytes


async def test_objects_are_partitioned_by_key(cluster: Cluster) -> None:
    """key= decides; the objects themselves come back, in order, and two ways of naming the key agree."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await split_exactly(first, second)
    devices = [Device(name, name.encode()) for name in RESOURCES]
    mine = await first.extract_my_subset("g", devices, key=attrgetter("name"))
    assert [device.name for device in mine] == await first.extract_my_subset("g", RESOURCES)
    assert mine == await first.extract_my_subset("g", iter(devices), key=attrgetter("address"))
    assert mine == [device async for device in first.my_subset("g", devices, key=lambda device: device.name)]
    with pytest.raises(TypeError, match="Device.*key="):
        await first.extract_my_subset("g", devices)  # type: ignore[type-var, unused-ignore]


async def test_without_a_group_everything_is_mine(cluster: Cluster) -> None:
    """A falsy group id gives all, whatever the resources are, and joins nothing."""
    member = await cluster.started("m")
    things = [object(), None, 1.5]
    for nothing in (None, ""):
        assert await member.extract_my_subset(nothing, things) == things  # type: ignore[type-var]
        assert [thing async for thing in member.my_subset(nothing, things)] == things  # type: ignore[type-var]
    assert member.groups == ()


@pytest.mark.parametrize("wrong", ["hosts.txt", b"bytes", bytearray(b"x"), 5, None])
async def test_what_cannot_be_a_list_of_resources_is_refused(cluster: Cluster, wrong: object) -> None:
    """A lone text would be split into characters, silently; the error says so."""
    member = await cluster.started("m")
    with pytest.raises(TypeError):
        await member.extract_my_subset("g", wrong)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        member.my_subset("g", wrong)  # type: ignore[call-overload]


@pytest.mark.parametrize("wrong", [None, 1.5, True, object(), {}, bytearray(b"x"), ("a", None)])
async def test_keys_without_a_stable_encoding_are_refused(cluster: Cluster, wrong: object) -> None:
    """str(object) would hash a memory address; the error names the type and the way out, and nothing breaks."""
    member = await cluster.started("m")
    with pytest.raises(TypeError, match="key="):
        await member.extract_my_subset("g", ["fine", wrong])  # type: ignore[type-var]
    with pytest.raises(TypeError, match="key="):
        assert [item async for item in member.my_subset("g", [wrong])] == []  # type: ignore[type-var]
    assert await member.extract_my_subset("g", RESOURCES) == RESOURCES


async def test_long_inputs_leave_the_loop_free_and_use_one_view(cluster: Cluster) -> None:
    """Other tasks run while a long input is filtered; what changes meanwhile does not mix into the result."""
    first, second = await cluster.started("first"), await cluster.started("second")
    before = await split_exactly(first, second)
    turns = 0

    async def ticker() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with anyio.create_task_group() as others:
        others.start_soon(ticker)
        mine = await first.extract_my_subset("g", range(100_000))
        others.cancel_scope.cancel()
    assert turns >= 100_000 // 2048
    assert mine == [number for number in range(100_000) if before.owner(number) == "first"]


async def test_a_session_lost_while_filtering_leaves_nothing_to_hand_out(cluster: Cluster) -> None:
    """P4: what was computed under a session that has ended meanwhile is not returned."""
    member = await cluster.joined("m", on_unknown="raise")
    at_work = anyio.Event()

    def numbers() -> Iterator[int]:
        yield from range(3_000)
        at_work.set()
        # The input is endless until the session is over, which is noticed between two chunks.
        yield from itertools.takewhile(lambda _: not expired.is_set(), itertools.count(3_000))

    expired = anyio.Event()
    generation = (await member.view("g")).generation

    async def expire() -> None:
        await at_work.wait()
        await cluster.expire(member)
        await wait_until(lambda: _generation_passed(member, generation))
        expired.set()

    async with anyio.create_task_group() as others:
        others.start_soon(expire)
        with pytest.raises(OwnershipUnknownError):
            await member.extract_my_subset("g", numbers())
    assert await member.extract_my_subset("g", RESOURCES) == RESOURCES


async def test_streams_follow_the_group(cluster: Cluster) -> None:
    """my_subset looks at ownership when it hands out each item: a newcomer's items are passed over at once."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g")
    source, taken = asyncio.Queue[str](), list[str]()

    async def items() -> AsyncIterator[str]:
        while (item := await source.get()) != "end":
            yield item

    async def consume() -> None:
        async for item in first.my_subset("g", items()):
            taken.append(item)

    async with anyio.create_task_group() as consumer:
        consumer.start_soon(consume)
        for resource in RESOURCES:
            source.put_nowait(resource)
        await wait_until(lambda: taken == RESOURCES)
        taken.clear()
        view = await split_exactly(first, second)
        for resource in [*RESOURCES, "end"]:
            source.put_nowait(resource)
    assert taken == [resource for resource in RESOURCES if view.owner(resource) == "first"]


@pytest.mark.parametrize("policy", [None, GroupPolicy(exclusive=True)], ids=["ordinary", "exclusive"])
@pytest.mark.parametrize("source", ["a list", "an async source"])
def test_ownership_is_looked_at_last(policy: GroupPolicy | None, source: str) -> None:
    """P4: a key() that takes its time, a source likewise, cannot have an item handed out whose lease has ended."""
    late: list[int] = []

    async def main() -> None:
        async with PartitionCluster(session_timeout=3.0) as cluster:
            member = await cluster.join("m", "g", policy=policy)
            await cluster.settle("g")

            def key(item: int) -> int:
                if item == 5:
                    cluster.silence("m")
                    cluster.stall(2.5)
                return item

            async def items() -> AsyncIterator[int]:
                for item in range(10):
                    yield item

            stream = member.my_subset("g", range(10) if source == "a list" else items(), key=key)
            late.extend([item async for item in stream if member.status("g").lease_left == 0])
            assert member.status("g").lease_left == 0

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    assert late == []


async def test_a_lazy_source_is_not_read_ahead(cluster: Cluster) -> None:
    """An iterator that depends on what the loop does with its items gives them one by one."""
    member = await cluster.started("m")
    queue = ["a"]

    def frontier() -> Iterator[str]:
        while queue:
            yield queue.pop()

    seen: list[str] = []
    async for item in member.my_subset("g", frontier()):
        seen.append(item)
        if len(seen) < 5:
            queue.append(item + item)
    assert seen == ["a", "aa", "aaaa", "a" * 8, "a" * 16]


async def test_streams_end_when_the_group_is_left(cluster: Cluster) -> None:
    """An endless iteration ends with the membership, not with the process."""
    member = await cluster.started("m")
    taken = 0
    async for _ in member.my_subset("g", itertools.count()):
        taken += 1
        if taken == 10:
            await member.leave_group("g")
    assert taken == 10
    async for _ in member.my_subset("h", itertools.count()):
        taken += 1
        if taken == 20:
            await member.stop()
    assert taken == 20


async def test_endless_streams_of_others_leave_the_loop_free(cluster: Cluster) -> None:
    """A stream in which nothing is mine for long does not starve the loop, and can be cancelled."""
    member, other = await cluster.started("m"), await cluster.started("other")
    view = await split_exactly(member, other)
    theirs = next(resource for resource in RESOURCES if view.owner(resource) == "other")
    with anyio.move_on_after(0.2) as scope:
        async for _ in member.my_subset("g", itertools.repeat(theirs)):
            raise AssertionError("it is not mine")
    assert scope.cancelled_caught


async def test_streams_of_mine_leave_the_loop_free_too(cluster: Cluster) -> None:
    """Also where every item is mine and the body of the loop never waits for anything."""
    member = await cluster.started("m")
    turns = 0

    async def ticker() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def endless() -> AsyncIterator[int]:
        for number in itertools.count():
            yield number

    async with anyio.create_task_group() as others:
        others.start_soon(ticker)
        for source in (itertools.count(), endless()):
            turns = 0
            taken = 0
            async for _ in member.my_subset("g", source):
                taken += 1
                if taken == 20_000:
                    break
            assert turns >= 20_000 // 2048 - 1
        others.cancel_scope.cancel()


async def test_unknown_is_empty_with_one_warning_an_episode(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """P3: by default nothing is handed out, with one warning for each episode, and view() says why."""
    member = await cluster.joined("m")
    for episode in (1, 2):
        await cluster.cut_off(member)
        await wait_until(lambda: _is_empty(member))
        for _ in range(3):
            assert await member.extract_my_subset("g", RESOURCES) == []
            assert [item async for item in member.my_subset("g", RESOURCES)] == []
        with pytest.raises(OwnershipUnknownError):
            await member.view("g")
        warnings = [record for record in caplog.records if "is unknown" in record.getMessage()]
        assert len(warnings) == episode
        assert warnings[0].levelno == logging.WARNING
        await cluster.reconnect(member)
        await split_exactly(member)


async def test_unknown_raises_if_asked_to(cluster: Cluster) -> None:
    """P3: with on_unknown="raise" nothing is silently empty."""
    member = await cluster.joined("m", on_unknown="raise")
    await cluster.cut_off(member)

    async def raises() -> bool:
        try:
            await member.extract_my_subset("g", RESOURCES)
        except OwnershipUnknownError:
            return True
        return False

    await wait_until(raises)
    with pytest.raises(OwnershipUnknownError, match="'g'"):
        async for _ in member.my_subset("g", RESOURCES):
            raise AssertionError("nothing can be known to be mine")


async def test_changes_tell_who_came_and_went(cluster: Cluster) -> None:
    """The current view first, then each change with who joined, who left and how much moved."""
    first = await cluster.started("first")
    changes = first.changes("g")
    change = await anext(changes)
    assert (change.previous, change.joined, change.left, change.moved) == (None, ("first",), (), 1.0)
    second = await cluster.joined("second")
    change = await anext(changes)
    assert (change.joined, change.left) == (("second",), ())
    assert 0.4 < change.moved < 0.6
    assert change.view == await first.view("g")
    await second.stop()
    change = await anext(changes)
    assert (change.joined, change.left) == ((), ("second",))
    await changes.aclose()


async def test_a_slow_consumer_gets_the_newest_change(cluster: Cluster) -> None:
    """What happened meanwhile comes as one change: never a backlog, never a gap."""
    first = await cluster.started("first")
    changes = first.changes("g")
    start = await anext(changes)
    second, third = await cluster.started("second"), await cluster.started("third")
    await split_exactly(first, second)
    await split_exactly(first, second, third)
    await second.stop()
    view = await split_exactly(first, third)
    change = await anext(changes)
    assert (change.previous, change.joined, change.left) == (start.view, ("third",), ())
    assert change.view is not None
    assert change.view.generation == view.generation
    await changes.aclose()


async def test_changes_tell_of_the_unknown(cluster: Cluster) -> None:
    """At the end of the lease, without anybody asking, there is a change with no view; then the view is back."""
    first, second = await cluster.started("first"), await cluster.started("second", session_timeout=10)
    await split_exactly(first, second)
    changes = first.changes("g")
    known = await anext(changes)
    await cluster.cut_off(first)
    with anyio.fail_after(5):
        unknown = await anext(changes)
    assert unknown == Change(None, known.view, (), (), 0.0)
    await cluster.reconnect(first)
    with anyio.fail_after(5):
        back = await anext(changes)
    assert back.view is not None
    assert back.previous == known.view
    await changes.aclose()


async def test_changes_end_with_the_membership(cluster: Cluster) -> None:
    """Leaving and stopping end the iteration; being superseded raises."""
    first, second = await cluster.started("twin"), await cluster.started("twin")

    seen: list[Change] = []

    async def exhaust(coordinator: PartitionCoordinator, group_id: str) -> None:
        async for change in coordinator.changes(group_id):
            seen.insert(0, change)

    async with anyio.create_task_group() as consumers:
        consumers.start_soon(exhaust, first, "left")
        await wait_until(lambda: seen)
        await first.leave_group("left")
    changes = first.changes("g")
    await anext(changes)
    await second.join_group("g")
    with pytest.raises(MemberSupersededError), anyio.fail_after(5):
        while True:
            await anext(changes)
    seen.clear()
    async with anyio.create_task_group() as consumers:
        consumers.start_soon(exhaust, second, "g")
        await wait_until(lambda: seen)
        await second.stop()


async def _is_empty(member: PartitionCoordinator) -> bool:
    return not await member.extract_my_subset("g", RESOURCES)


async def _generation_passed(member: PartitionCoordinator, generation: int) -> bool:
    try:
        return (await member.view("g")).generation > generation
    except OwnershipUnknownError:
        return False
