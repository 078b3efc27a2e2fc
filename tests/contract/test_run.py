"""run(): a worker for each resource that is mine, and none for any that is not."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.contract.cluster import Cluster
from tests.contract.exclusive import POLICY, joined, shared_out
from tests.contract.working import RESOURCES, Floor, running
from tests.support import wait_until

# ---- who works on what


@pytest.mark.parametrize("exclusive", [False, True])
async def test_workers_follow_the_group(cluster: Cluster, exclusive: bool) -> None:
    """Started when gained, cancelled and awaited when lost; what is kept goes on undisturbed."""
    policy = POLICY if exclusive else GroupPolicy(slots=64, vnodes=16)
    first, second = await cluster.started("first"), await cluster.started("second")
    here, there = Floor(), Floor()
    await first.join_group("g", policy=policy, settle=0)
    async with running(first.run("g", RESOURCES, here.worker)):
        await wait_until(lambda: here.works_on(*RESOURCES))
        await second.join_group("g", policy=policy, settle=0)
        async with running(second.run("g", RESOURCES, there.worker)):
            await wait_until(lambda: there.working and not set(here.working) & set(there.working))
            await wait_until(lambda: here.works_on(*set(RESOURCES) - set(there.working)))
            assert sorted(here.started) == sorted(RESOURCES)  # none was started twice
            assert sorted(here.ended) == sorted(there.working)
        await second.leave_group("g")
        await wait_until(lambda: here.works_on(*RESOURCES))
    assert here.working == there.working == []


async def test_no_resource_is_worked_on_twice(cluster: Cluster) -> None:
    """P7, by the workers themselves, through joins, leaves, crashes and expiry."""
    working: dict[str, str] = {}
    members = {name: await joined(cluster, name) for name in ("a", "b", "c")}

    def worker_of(name: str) -> Callable[[str], Awaitable[None]]:
        async def worker(resource: str) -> None:
            assert resource not in working, f"{name} begins what {working[resource]} works on"
            working[resource] = name
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                del working[resource]

        return worker

    async def run(name: str) -> None:
        await members[name].run("g", RESOURCES, worker_of(name), on_error="raise")

    async with running(run("a")), running(run("b")), running(run("c")) as c:
        await wait_until(lambda: len(working) == len(RESOURCES) and set(working.values()) == {"a", "b", "c"})
        await members["c"].leave_group("g")
        await wait_until(c.done)
        await wait_until(lambda: len(working) == len(RESOURCES))
        await cluster.cut_off(members["b"])
        await wait_until(lambda: set(working.values()) == {"a"} and len(working) == len(RESOURCES))
        await cluster.reconnect(members["b"])
        await wait_until(lambda: set(working.values()) == {"a", "b"} and len(working) == len(RESOURCES))


@pytest.mark.parametrize("group_id", [None, ""])
async def test_without_a_group_everything_is_worked_on(cluster: Cluster, group_id: str | None) -> None:
    """As in the other calls, and no group is joined."""
    member, floor = await cluster.started("m"), Floor()
    async with running(member.run(group_id, RESOURCES, floor.worker)):
        await wait_until(lambda: floor.works_on(*RESOURCES))
        assert member.groups == ()
    assert floor.working == []


async def test_with_partitioning_off_everything_is_worked_on() -> None:
    """Until stop(), or until cancelled."""
    floor = Floor()
    async with PartitionCoordinator() as member, running(member.run("g", RESOURCES, floor.worker)):
        await wait_until(lambda: floor.works_on(*RESOURCES))
    assert floor.working == []


@dataclass(eq=False)
class Device:
    name: str


async def test_keys_and_duplicates(cluster: Cluster) -> None:
    """Of several resources with one key the first counts; the worker gets the object itself."""
    member = await cluster.joined("m")
    devices = [Device("x"), Device("y"), Device("x")]
    seen: list[Device] = []

    async def worker(device: Device) -> None:
        seen.append(device)

    async with running(member.run("g", devices, worker, key=lambda device: device.name)):
        await wait_until(lambda: len(seen) == 2)
    assert seen == devices[:2]


# ---- many


async def test_ten_thousand_workers(cluster: Cluster) -> None:
    """They start and stop; how long the event loop was ever busy with it is printed."""
    member = await cluster.joined("m")
    resources = [f"host-{number}" for number in range(10_000)]
    working = 0
    longest, stalls = 0.0, asyncio.Event()

    async def worker(_: str) -> None:
        nonlocal working
        working += 1
        try:
            await asyncio.Event().wait()
        finally:
            working -= 1

    async def watch() -> None:
        nonlocal longest
        while not stalls.is_set():
            before = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - before)

    watching = asyncio.create_task(watch())
    began = time.perf_counter()
    async with running(member.run("g", resources, worker)):
        await wait_until(lambda: working == len(resources), timeout=40)
        started = time.perf_counter() - began
        began = time.perf_counter()
    assert working == 0
    stalls.set()
    await watching
    print(f"\n10,000 workers: started in {started:.2f} s, ended in {time.perf_counter() - began:.2f} s, "
          f"longest turn of the loop {longest * 1000:.0f} ms, with what Python's collector took of it")  # fmt: skip


async def test_two_runs_on_one_group(cluster: Cluster) -> None:
    """Each has its own workers; both let go before somebody else begins."""
    first, floors = await joined(cluster, "first"), (Floor(), Floor())
    await shared_out(first)
    async with (
        running(first.run("g", RESOURCES, floors[0].worker)),
        running(first.run("g", RESOURCES, floors[1].worker)),
    ):
        await wait_until(lambda: all(floor.works_on(*RESOURCES) for floor in floors))
        assert first.status("g").in_flight == 2 * len(RESOURCES)
        second = await joined(cluster, "second")
        await shared_out(first, second)
        mine = await first.extract_my_subset("g", RESOURCES)
        assert all(floor.works_on(*mine) for floor in floors)


async def test_within_a_hold(cluster: Cluster) -> None:
    """The hold's own time counts for it: when it is up, run() is cancelled, and its workers with it."""
    first, floor = await joined(cluster, "first"), Floor()
    await shared_out(first)

    async def held() -> None:
        async with first.hold("g", drain_timeout=0.05):
            await first.run("g", RESOURCES, floor.worker)

    task = asyncio.create_task(held())
    await wait_until(lambda: floor.works_on(*RESOURCES))
    second = await joined(cluster, "second")
    await asyncio.wait({task})
    assert type(task.exception()).__name__ == "OwnershipLostError"
    assert floor.working == []
    await shared_out(first, second)


async def test_in_a_storm(cluster: Cluster) -> None:
    """Members come and go as they like, workers take their time: in the end each resource has one worker."""
    chance = random.Random(5)
    members = [await cluster.started(f"m{number}") for number in range(3)]
    working: dict[str, str] = {}
    begun: set[asyncio.Task[None] | None] = set()

    async def supervise(member: PartitionCoordinator) -> None:
        async def worker(resource: str) -> None:
            assert resource not in working
            working[resource] = member.member_id
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(chance.random() / 100)
                del working[resource]

        await member.join_group("g", policy=POLICY, settle=0)
        begun.add(asyncio.current_task())
        await member.run("g", RESOURCES, worker, on_error="raise")

    tasks = [asyncio.create_task(supervise(member)) for member in members]
    for _ in range(6):
        chosen = chance.randrange(3)
        await wait_until(lambda: len(working) > 20)
        if chance.random() < 0.5:
            tasks[chosen].cancel()
        else:
            # One that was just started would join only then, and go on.
            await wait_until(lambda: tasks[chosen] in begun)  # noqa: B023
            await members[chosen].leave_group("g")
        await asyncio.wait({tasks[chosen]}, timeout=20)
        assert tasks[chosen].cancelled() or tasks[chosen].exception() is None
        assert members[chosen].member_id not in working.values()
        tasks[chosen] = asyncio.create_task(supervise(members[chosen]))
    await wait_until(lambda: len(working) == len(RESOURCES) and len(set(working.values())) == 3, timeout=20)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert working == {}
