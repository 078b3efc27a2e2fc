"""How run() ends, and what it waits for."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from aiopartition import MemberSupersededError, PartitionCoordinator
from aiopartition.work.run import Supervisor
from tests.contract.cluster import Cluster
from tests.contract.exclusive import POLICY, joined, shared_out
from tests.contract.working import RESOURCES, Floor
from tests.support import wait_until


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("call", ["stop", "leave_group"])
async def test_leaving_ends_it(cluster: Cluster, call: str, exclusive: bool) -> None:
    """The workers are cancelled and awaited, and run() returns; so it does if a worker is who leaves."""
    floor = Floor()
    for by_a_worker in (False, True):
        member = await cluster.started(f"m{by_a_worker}")
        await member.join_group("g", policy=POLICY if exclusive else None)

        async def leave(member: PartitionCoordinator = member) -> None:
            await (member.stop() if call == "stop" else member.leave_group("g"))

        async def worker(resource: str, leave: Callable[[], Awaitable[None]] = leave) -> None:
            if resource == "leaver":
                await leave()
            await floor.worker(resource)

        async with asyncio.timeout(10):
            task = asyncio.create_task(member.run("g", ["leaver"] if by_a_worker else ["a", "b"], worker))
            if not by_a_worker:
                await wait_until(lambda: floor.works_on("a", "b"))
                await leave()
            await task
        assert floor.working == []
        await member.stop()


async def test_it_raises_when_superseded(cluster: Cluster) -> None:
    """When its workers have ended."""
    older, floor = await joined(cluster, "m"), Floor()
    await shared_out(older)
    task = asyncio.create_task(older.run("g", RESOURCES, floor.worker))
    await wait_until(lambda: floor.works_on(*RESOURCES))
    newer = await joined(cluster, "m")
    with pytest.raises(MemberSupersededError):
        await task
    assert floor.working == []
    await shared_out(newer)


async def test_cancelled_by_asyncio_and_by_anyio(cluster: Cluster) -> None:
    """Either way the cleanup of the workers runs to its end before run() does, and the cancellation goes on."""
    member = await cluster.joined("m")
    ended: list[str] = []
    turns = 0

    async def worker(resource: str) -> None:
        nonlocal turns
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(50):
                await asyncio.sleep(0)
                turns += 1
            ended.append(resource)

    async def all_work() -> None:
        await wait_until(lambda: len(asyncio.all_tasks()) > len(RESOURCES))

    task = asyncio.create_task(member.run("g", RESOURCES, worker))
    await all_work()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # an impatient caller
    await asyncio.wait({task})
    assert task.cancelled()
    assert sorted(ended) == sorted(RESOURCES)

    ended.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(member.run, "g", RESOURCES, worker)
        await all_work()
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert sorted(ended) == sorted(RESOURCES)
    with anyio.move_on_after(0.1) as scope:
        await member.run("g", RESOURCES, worker)
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await member.run("g", RESOURCES, worker)


async def test_waiting_for_cleanup_is_no_busy_loop(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """anyio cancels in each turn of the loop until its scope is left; the waiting does not turn with it."""
    member = await cluster.joined("m")
    entered, waits_begun = asyncio.Event(), 0
    wait = Supervisor._wait

    async def counted(self: Supervisor[str]) -> None:
        nonlocal waits_begun
        waits_begun += 1
        await wait(self)

    async def worker(_: str) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _turn in range(200):
                await asyncio.sleep(0)

    monkeypatch.setattr(Supervisor, "_wait", counted)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(member.run, "g", ["a"], worker)
        await entered.wait()
        tasks.cancel_scope.cancel()
    assert waits_begun < 20
