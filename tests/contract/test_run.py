"""run(): a worker for each resource that is mine, and none for any that is not."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from aiopartition import ConfigurationError, GroupPolicy, MemberSupersededError, NotStartedError, PartitionCoordinator
from aiopartition.work.run import Supervisor
from tests.contract.cluster import Cluster
from tests.contract.exclusive import POLICY, joined, shared_out, waits, will_own
from tests.contract.joining import enter
from tests.support import wait_until

RESOURCES = [f"host-{number}" for number in range(40)]


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Floor:
    """Where workers are at work, and what became of them."""

    def __init__(self) -> None:
        self.working: list[str] = []
        self.started: list[str] = []
        self.ended: list[str] = []

    async def worker(self, resource: str) -> None:
        self.started.append(resource)
        self.working.append(resource)
        try:
            await asyncio.Event().wait()
        finally:
            self.working.remove(resource)
            self.ended.append(resource)

    def works_on(self, *resources: str) -> bool:
        return sorted(self.working) == sorted(resources)


@asynccontextmanager
async def running(call: Coroutine[Any, Any, None]) -> AsyncGenerator[asyncio.Task[None]]:
    """Runs meanwhile, and is cancelled then, unless it has ended."""
    task = asyncio.create_task(call)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def solo(cluster: Cluster) -> PartitionCoordinator:
    """A member by itself in a group that is not exclusive."""
    member = await cluster.started("m")
    await member.join_group("g")
    return member


def messages(caplog: pytest.LogCaptureFixture, part: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if part in record.getMessage()]


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
    member = await solo(cluster)
    devices = [Device("x"), Device("y"), Device("x")]
    seen: list[Device] = []

    async def worker(device: Device) -> None:
        seen.append(device)

    async with running(member.run("g", devices, worker, key=lambda device: device.name)):
        await wait_until(lambda: len(seen) == 2)
    assert seen == devices[:2]


# ---- resources that are asked for


async def test_a_class_of_enumeration_members_is_a_list(cluster: Cluster) -> None:
    """It can be called too, but that is not how its members are got."""
    member, seen = await solo(cluster), set[Colour]()

    async def worker(colour: Colour) -> None:
        seen.add(colour)

    async with running(member.run("g", Colour, worker)):
        await wait_until(lambda: seen == set(Colour))


async def test_resources_are_asked_for_again(cluster: Cluster) -> None:
    """What is new is started, what is gone is cancelled, what stays stays."""
    member, floor = await solo(cluster), Floor()
    listed = ["a", "b"]
    asked = 0

    async def resources() -> list[str]:
        nonlocal asked
        asked += 1
        return list(listed)

    async with running(member.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a", "b"))
        listed[:] = ["b", "c"]
        await wait_until(lambda: floor.works_on("b", "c"))
        assert floor.started == ["a", "b", "c"]
        before = asked
        await wait_until(lambda: asked > before + 2)
    before = asked
    await asyncio.sleep(0)
    assert asked == before


async def test_resources_that_fail_leave_the_work_as_it_is(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """A database that is away ends no work; once it is back its answer counts."""
    member, floor = await solo(cluster), Floor()
    answers: list[Any] = [OSError("away"), ["a"], OSError("away"), OSError("away"), ["a", "b"]]

    async def resources() -> list[str]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    async with running(member.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a", "b"))
    assert floor.started == ["a", "b"]
    assert len(messages(caplog, "could not be listed")) == 3


async def test_resources_that_fail_end_a_run_that_is_to_raise(cluster: Cluster) -> None:
    """on_error="raise" goes for them too; the workers have ended by then."""
    member, floor = await solo(cluster), Floor()
    answers: list[list[str]] = [["a"]]

    async def resources() -> list[str]:
        if not answers:
            await wait_until(lambda: floor.working)
            raise OSError("away")
        return answers.pop()

    with pytest.raises(OSError, match="away"):
        await member.run("g", resources, floor.worker, refresh=0.01, on_error="raise")
    assert floor.ended == ["a"]


async def test_a_cancellation_out_of_resources_is_a_failure(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Not ours: something that they awaited was cancelled. They are asked again."""
    member, floor = await solo(cluster), Floor()
    asked = 0

    async def resources() -> list[str]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise asyncio.CancelledError
        return ["a"]

    async with running(member.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a"))
    assert messages(caplog, "could not be listed")


async def test_slow_resources_delay_no_revocation(cluster: Cluster) -> None:
    """While they are being listed, what is lost is cancelled all the same."""
    first, floor = await joined(cluster, "first"), Floor()
    await shared_out(first)
    answers = [RESOURCES]

    async def resources() -> list[str]:
        if not answers:
            await asyncio.Event().wait()
        return answers.pop()

    async with running(first.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on(*RESOURCES))
        second = await joined(cluster, "second")
        await shared_out(first, second)
        assert set(floor.ended) == set(RESOURCES) & set((await second.view("g")).mine(RESOURCES))


@pytest.mark.parametrize("answer", ["an error", "a list", "nothing for long"])
@pytest.mark.parametrize("end", ["cancel", "leave_group", "stop"])
async def test_resources_that_outlive_their_cancellation(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, answer: str, end: str
) -> None:
    """A driver that makes an error of its own of it, a listing that returns all the same, or one that cannot be
    interrupted: run() ends, and its workers end before the listing does."""
    first, floor = await joined(cluster, "first"), Floor()
    await shared_out(first)
    calls, go_on = 0, asyncio.Event()

    async def resources() -> list[str]:
        nonlocal calls
        calls += 1
        if calls > 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if answer == "an error":
                    raise ConnectionError("the query was interrupted") from None
                while answer == "nothing for long" and not go_on.is_set():
                    with suppress(asyncio.CancelledError):
                        await go_on.wait()
        return RESOURCES

    task = asyncio.create_task(first.run("g", resources, floor.worker, refresh=0.01))
    await wait_until(lambda: floor.works_on(*RESOURCES) and calls == 2)
    if end == "cancel":
        task.cancel()
    else:
        await (first.leave_group("g") if end == "leave_group" else first.stop())
    await wait_until(lambda: floor.working == [])
    assert task.done() or answer == "nothing for long"
    go_on.set()
    await asyncio.wait({task}, timeout=5)
    assert task.done()
    assert task.cancelled() == (end == "cancel")
    assert calls == 2
    assert bool(messages(caplog, "while it was being cancelled")) == (answer == "an error")


@pytest.mark.parametrize("wrong", ["text", b"bytes", 5, None, [1.5], [object()]])
async def test_what_cannot_be_resources_is_refused(cluster: Cluster, wrong: Any) -> None:
    """Given as they are they never change, and a listing that is to raise does; no work begins."""
    member, floor = await solo(cluster), Floor()

    async def listed() -> Any:
        return wrong

    async with asyncio.timeout(10):
        with pytest.raises(TypeError):
            await member.run("g", wrong, floor.worker)
        with pytest.raises(TypeError):
            await member.run("g", listed, floor.worker, on_error="raise")
    assert floor.started == []


def fails_midway() -> Any:
    yield "a"
    raise KeyError("items")


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr either")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (TypeError("'NoneType' object is not subscriptable"), "could not be listed"),
        (StopIteration(), "could not be listed"),
        (asyncio.CancelledError(), "could not be listed"),
        (None, "could not be listed"),
        ("a,b", "could not be listed"),
        (5, "could not be listed"),
        (fails_midway, "could not be listed"),
        (["a", None, "b"], "number 1, None: TypeError"),
        (["a", "b", 1.5, object, None, None], "number 2, 1.5: TypeError"),
        ([Unprintable(), "a", "b"], "number 0, a Unprintable whose repr() raises RuntimeError: TypeError"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_listing_that_goes_wrong_ends_no_work(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, answer: Any, complaint: str
) -> None:
    """Whatever resources() raises or returns: what is known goes on, and one error says what was wrong and where."""
    member, floor, asked = await solo(cluster), Floor(), 0

    async def resources() -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            return ["a", "b"]
        if isinstance(answer, BaseException) and asked < 5:
            raise type(answer)(*answer.args)
        if asked < 5:
            return answer() if callable(answer) else answer
        return ["a", "b", "c"]

    async with running(member.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a", "b", "c"))
    assert floor.started == ["a", "b", "c"]
    assert messages(caplog, complaint)
    if isinstance(answer, list):
        assert len(messages(caplog, "are left out")) == 1  # not one for each question


async def test_a_key_that_fails_leaves_out_its_resource_alone(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever key() raises, be it a cancellation of something that it looked at."""
    member, floor = await solo(cluster), Floor()
    errors: dict[str, BaseException] = {"x": KeyError("serial"), "y": RecursionError("deep"), "z": ValueError("bad")}

    def key(name: str) -> str:
        if name in errors:
            raise errors[name]
        return name

    async def resources() -> list[str]:
        return ["a", "x", "y", "b", "z"]

    async with running(member.run("g", resources, floor.worker, key=key, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a", "b"))
        errors["x"] = asyncio.CancelledError()
        await wait_until(lambda: messages(caplog, "could not be listed"))
        assert floor.works_on("a", "b")
        del errors["x"]
        await wait_until(lambda: floor.works_on("a", "b", "x"))
    [record, *_] = messages(caplog, "are left out")
    for part in ("number 1, 'x': KeyError", "number 2, 'y': RecursionError", "number 4, 'z': ValueError"):
        assert part in record.getMessage()


async def test_bad_arguments_are_refused(cluster: Cluster) -> None:
    """Before anything is started, naming the argument."""
    member = await cluster.coordinator("m")
    with pytest.raises(NotStartedError):
        await member.run("g", RESOURCES, Floor().worker)
    await member.start()
    for name, wrong in [
        ("refresh", 0), ("refresh", -1), ("refresh", float("nan")), ("refresh", "1"), ("drain_timeout", -1),
        ("drain_timeout", float("inf")), ("on_error", "ignore"), ("on_error", None),
    ]:  # fmt: skip
        arguments: dict[str, Any] = {name: wrong}
        with pytest.raises(ConfigurationError) as caught:
            await member.run("g", RESOURCES, Floor().worker, **arguments)
        assert caught.value.part == name
    assert member.groups == ()


# ---- workers that end


async def test_a_worker_that_returns_is_done_until_its_resource_is_gained_anew(cluster: Cluster) -> None:
    """Neither a refresh nor a change elsewhere starts it again; being listed anew does."""
    member = await solo(cluster)
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
    member, floor = await solo(cluster), Floor()
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
    member, floor = await solo(cluster), Floor()
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
    member, floor = await solo(cluster), Floor()
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
    member, floor = await solo(cluster), Floor()

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
    member = await solo(cluster)

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
    member = await solo(cluster)
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
    first = await joined(cluster, "first")
    await shared_out(first)
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
    member, floor = await solo(cluster), Floor()
    async with running(member.run("g", RESOURCES, floor.worker)):
        await wait_until(lambda: floor.works_on(*RESOURCES))
        await cluster.cut_off(member)
        await wait_until(floor.works_on)
        await cluster.reconnect(member)
        await wait_until(lambda: floor.works_on(*RESOURCES))


# ---- how it ends


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
    member = await solo(cluster)
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
    member = await solo(cluster)
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


# ---- many


async def test_ten_thousand_workers(cluster: Cluster) -> None:
    """They start and stop; how long the event loop was ever busy with it is printed."""
    member = await solo(cluster)
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
