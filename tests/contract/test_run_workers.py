"""run() and its workers: they return, fail, are cancelled, and take their time."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.contract.cluster import Cluster
from tests.contract.exclusive import POLICY, alone, joined, shared_out, waits, will_own
from tests.contract.working import RESOURCES, Floor, messages, running
from tests.support import wait_until
from tests.support.joining import enter

# ---- workers that end


async def test_a_worker_that_returns_is_done_until_its_resource_is_gained_anew(cluster: Cluster) -> None:
    """Neither a refresh nor a change elsewhere starts it again; being listed anew does."""
    member = await cluster.joined("m")
    listed, calls, asked = ["a"], 0, 0

    async def resources() -> list[str]:
        nonlocal asked
        asked += 1
        return list(listed)

    async def worker(_: str) -> None:
        nonlocal calls
        calls += 1

    async with running(member.run("g", resources, worker, refresh=0.01)):
        await wait_until(lambda: calls == 1)
        before = asked
        await wait_until(lambda: asked > before + 3)
        assert calls == 1
        listed.clear()
        before = asked
        await wait_until(lambda: asked > before + 2)
        listed.append("a")
        await wait_until(lambda: calls == 2)


async def test_a_worker_that_raises_is_started_again(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while that doubles, with its error in the log; the others do not notice."""
    monkeypatch.setattr("aiopartition.work.workers._FIRST_BACKOFF", 0.01)
    member, floor = await cluster.joined("m"), Floor()
    times: list[float] = []

    async def worker(resource: str) -> None:
        if resource == "bad" and len(times) < 5:
            times.append(time.monotonic())
            raise ValueError("no such host")
        await floor.worker(resource)

    async with running(member.run("g", ["good", "bad"], worker)):
        await wait_until(lambda: floor.works_on("good", "bad"))
    assert floor.started == ["good", "bad"]
    (first, *_, last) = messages(caplog, "is started again in about")
    assert first.exc_info is not None
    assert "0.0 s" in first.getMessage()
    assert "0.2 s" in last.getMessage()


async def test_a_cancellation_out_of_a_worker_is_a_failure(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something that it awaited was cancelled, not the worker: its resource must not be forgotten."""
    monkeypatch.setattr("aiopartition.work.workers._FIRST_BACKOFF", 0.01)
    member, floor = await cluster.joined("m"), Floor()
    calls = 0

    async def worker(resource: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            other = asyncio.ensure_future(asyncio.Event().wait())
            other.cancel()
            await other
        await floor.worker(resource)

    async with running(member.run("g", ["a"], worker)):
        await wait_until(lambda: floor.works_on("a"))
    assert messages(caplog, "is started again in about")


@pytest.mark.parametrize("cancelled", ["the worker", "before it returned an awaitable", "its task"])
async def test_a_worker_that_others_cancel_is_not_done(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, cancelled: str
) -> None:
    """Only run() ends a worker for good, and only its return makes it done: its resource is still ours."""
    monkeypatch.setattr("aiopartition.work.workers._FIRST_BACKOFF", 0.01)
    member, floor = await cluster.joined("m"), Floor()
    calls = 0

    def worker(resource: str) -> Awaitable[None]:
        nonlocal calls
        calls += 1
        if calls == 1 and cancelled == "before it returned an awaitable":
            raise asyncio.CancelledError
        return floor.worker(resource)

    def task_of_worker() -> asyncio.Task[Any]:
        [task] = [each for each in asyncio.all_tasks() if each.get_name() == "aiopartition worker 'a'"]
        return task

    async with running(member.run("g", ["a"], worker)):
        await wait_until(lambda: floor.works_on("a"))
        if cancelled != "before it returned an awaitable":
            task_of_worker().cancel()
            await wait_until(lambda: floor.ended == ["a"])
        await wait_until(lambda: floor.works_on("a"))
    assert calls == 2


def first_step_at_once(loop: asyncio.AbstractEventLoop, coroutine: Any, **arguments: Any) -> asyncio.Task[Any]:
    """What an eager task does with a worker that leaves its first step by an exception, on any Python."""
    if arguments.get("name", "").startswith("aiopartition worker"):
        coroutine.send(None)
    return asyncio.Task(coroutine, loop=loop, **arguments)


@pytest.mark.parametrize("factory", [first_step_at_once, getattr(asyncio, "eager_task_factory", None)])
@pytest.mark.parametrize("exit_by", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("exclusive", [False, True])
def test_a_worker_that_exits_in_its_first_step(factory: Any, exit_by: type[BaseException], exclusive: bool) -> None:
    """It leaves no job behind that has no task, for which run() and its group would wait in vain."""
    if factory is None:
        pytest.skip("eager tasks came with Python 3.12")

    async def worker(_: str) -> None:
        raise exit_by

    async def main() -> None:
        async with PartitionCoordinator("memory://first-step") as member:
            await member.join_group("g", policy=POLICY if exclusive else None)
            await wait_until(lambda: member.status("g").state == "steady")
            asyncio.get_running_loop().set_task_factory(factory)
            try:
                async with asyncio.timeout(10):
                    await member.run("g", ["a", "b"], worker)
            finally:
                assert member.status("g").in_flight == 0

    with pytest.raises(exit_by):
        asyncio.run(main())


async def test_a_worker_that_raises_ends_a_run_that_is_to_raise(cluster: Cluster) -> None:
    """With its own error, when all the others have ended."""
    member, floor = await cluster.joined("m"), Floor()

    async def worker(resource: str) -> None:
        if resource == "bad":
            await wait_until(lambda: floor.working)
            raise ValueError("no such host")
        await floor.worker(resource)

    with pytest.raises(ValueError, match="no such host"):
        await member.run("g", ["good", "bad"], worker, on_error="raise")
    assert floor.ended == ["good"]


async def test_several_that_raise(cluster: Cluster) -> None:
    """A group of their errors; what the others raise while they are cancelled belongs to it."""
    member = await cluster.joined("m")

    async def worker(resource: str) -> None:
        try:
            await asyncio.sleep(0 if resource == "first" else 60)
        finally:
            raise ValueError(resource)

    with pytest.raises(ExceptionGroup) as caught:
        await member.run("g", ["first", "second", "third"], worker, on_error="raise")
    assert sorted(str(error) for error in caught.value.exceptions) == ["first", "second", "third"]


async def test_errors_of_cancelled_workers_are_not_lost(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever cancels run() gets its cancellation; what the workers raised meanwhile is in the log."""
    member = await cluster.joined("m")
    entered = asyncio.Event()

    async def worker(_: str) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in cleanup")

    for on_error in ("restart", "raise"):
        caplog.clear()
        entered.clear()
        task = asyncio.create_task(member.run("g", ["a"], worker, on_error=on_error))
        await entered.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert [record for record in caplog.records if record.exc_info and "in cleanup" in str(record.exc_info[1])]


# ---- workers that take their time


async def test_cleanup_is_waited_for(cluster: Cluster) -> None:
    """Awaits in a finally run to their end: one cancellation, no more; and nobody else begins before."""
    first = await alone(cluster, "first")
    cleaning, clean = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def worker(resource: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await clean.wait()
            ended.append(resource)

    async with running(first.run("g", RESOURCES, worker)):
        await wait_until(lambda: first.status("g").in_flight == len(RESOURCES))
        second = await joined(cluster, "second")
        await cleaning.wait()
        await waits(second)
        assert await second.extract_my_subset("g", RESOURCES) == []
        assert ended == []
        assert "a worker of run() on key" in first.status("g").waiting_for[0].works[0]
        clean.set()
        await wait_until(lambda: second.status("g").state == "steady")
        assert sorted(ended) == sorted(await second.extract_my_subset("g", RESOURCES))
        clean.set()


@pytest.mark.parametrize("exclusive", [False, True])
async def test_a_worker_that_outstays_its_time(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, exclusive: bool
) -> None:
    """It is cancelled again, that is told as an error, and in an exclusive group nobody else begins."""
    policy = POLICY if exclusive else GroupPolicy(slots=64, vnodes=16)
    first = await cluster.started("first")
    await first.join_group("g", policy=policy, settle=0)
    stubborn, cancellations = will_own("second", "first", "second")[0], 0

    async def worker(_: str) -> None:
        nonlocal cancellations
        while cancellations < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancellations += 1

    async with running(first.run("g", [stubborn], worker, drain_timeout=0.05)):
        await wait_until(lambda: not exclusive or first.status("g").in_flight == 1)
        second = await enter(await cluster.started("second"), policy=policy, settle=0)
        await wait_until(lambda: messages(caplog, "has not ended"))
        assert ("others wait for it" in messages(caplog, "has not ended")[0].getMessage()) == exclusive
        if exclusive:
            assert cancellations >= 1
            assert await second.extract_my_subset("g", [stubborn]) == []
        await wait_until(lambda: cancellations == 3)

        async def taken_over() -> bool:
            return await second.extract_my_subset("g", [stubborn]) == [stubborn]

        await wait_until(taken_over)
    assert len(messages(caplog, "has not ended")) == 1


async def test_a_worker_that_swallows_its_cancellation_is_replaced_when_regained(cluster: Cluster) -> None:
    """It returned, but was not done: it had been told to stop."""
    first, second = await joined(cluster, "first"), await cluster.started("second")
    item, calls = will_own("second", "first", "second")[0], 0

    async def worker(_: str) -> None:
        nonlocal calls
        calls += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async with running(first.run("g", [item], worker)):
        await wait_until(lambda: calls == 1)
        await second.join_group("g", policy=POLICY, settle=0)
        await shared_out(first, second)
        await second.leave_group("g")
        await wait_until(lambda: calls == 2)


async def test_the_lease_is_over(cluster: Cluster) -> None:
    """All are cancelled, whoever else may be there; and started again when it is back."""
    member, floor = await cluster.joined("m"), Floor()
    async with running(member.run("g", RESOURCES, floor.worker)):
        await wait_until(lambda: floor.works_on(*RESOURCES))
        await cluster.cut_off(member)
        await wait_until(floor.works_on)
        await cluster.reconnect(member)
        await wait_until(lambda: floor.works_on(*RESOURCES))
