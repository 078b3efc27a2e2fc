"""finish_in_thread(): work in a thread is in flight until the thread is back, however often it is cancelled."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from aiopartition import OwnershipLostError, finish_in_thread
from tests.contract.cluster import Cluster
from tests.contract.exclusive import join, joined, shared_out, waits, will_own
from tests.contract.working import messages, running
from tests.support import wait_until

LONG = 10.0

InThread = Callable[..., Awaitable[None]]


class Gate:
    """A function that is stuck in threads until it is let go, and which tells on what it is at work."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.inside: list[str] = []
        self.calls: list[str] = []

    def pass_through(self, name: str = "") -> str:
        self.calls.append(name)
        self.inside.append(name)
        assert self.opened.wait(30)
        self.inside.remove(name)
        return f"{name} is through"


@pytest.fixture
def gate() -> Iterator[Gate]:
    """No thread stays behind."""
    gate = Gate()
    yield gate
    gate.opened.set()


async def ended(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task}, timeout=10)
    assert task.done()


# ---- in a group


@pytest.mark.parametrize("in_thread", [asyncio.to_thread, finish_in_thread], ids=["to_thread", "finish_in_thread"])
async def test_a_moved_key_and_its_thread(cluster: Cluster, gate: Gate, in_thread: InThread) -> None:
    """A thread of asyncio's outlives its worker, and works on a key that another member has. Not so here."""
    first, second = await joined(cluster, "first", session_timeout=LONG), await cluster.started("second")
    items = will_own("second", "first", "second")[:2]
    looked: list[str] = []
    overlaps: list[str] = []

    async def read(name: str) -> None:
        await in_thread(gate.pass_through, name)

    async def look(name: str) -> None:
        looked.append(name)
        overlaps.extend(each for each in gate.inside if each == name)

    async with running(first.run("g", items, read)):
        await wait_until(lambda: sorted(gate.inside) == sorted(items))
        await join(second)
        async with running(second.run("g", items, look)):
            if in_thread is finish_in_thread:
                await waits(second)
                await wait_until(lambda: second.status("g").waiting_for)
                assert await second.extract_my_subset("g", items) == looked == []
                assert first.status("g").in_flight == 2
                gate.opened.set()
            await wait_until(lambda: sorted(looked) == sorted(items))
    assert sorted(overlaps) == ([] if in_thread is finish_in_thread else sorted(items))


async def test_a_thread_that_outstays_its_time(cluster: Cluster, gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """As any worker: that is told as an error, it is cancelled again and again, and the others wait."""
    first, second = await joined(cluster, "first"), await cluster.started("second")
    [item, *_] = will_own("second", "first", "second")

    async def read(name: str) -> None:
        await finish_in_thread(gate.pass_through, name)

    async with running(first.run("g", [item], read, drain_timeout=0.05)):
        await wait_until(lambda: gate.inside)
        await join(second)
        await wait_until(lambda: messages(caplog, "others wait for it"))
        assert await second.extract_my_subset("g", [item]) == []
        gate.opened.set()
        await shared_out(first, second)


async def test_in_a_hold(cluster: Cluster, gate: Gate) -> None:
    """The body is cancelled, and its keys pass on when the thread is back."""
    first, second = await joined(cluster, "first"), await cluster.started("second")
    [item, *_] = will_own("second", "first", "second")
    caught: list[OwnershipLostError] = []
    await shared_out(first)

    async def batch() -> None:
        try:
            async with first.hold("g", drain_timeout=0.01):
                await finish_in_thread(gate.pass_through, item)
        except OwnershipLostError as error:
            caught.append(error)

    task = asyncio.create_task(batch())
    await wait_until(lambda: gate.inside)
    await join(second)
    await wait_until(lambda: task.cancelling())
    assert await second.extract_my_subset("g", [item]) == []
    gate.opened.set()
    await ended(task)
    assert caught
    await shared_out(first, second)


# ---- by itself


async def test_results_errors_and_context() -> None:
    """As asyncio.to_thread."""
    context = contextvars.ContextVar("context", default="none")
    context.set("ours")
    assert await finish_in_thread(context.get) == "ours"
    assert await finish_in_thread(told, 1, function=2) == (1, 2)
    assert await finish_in_thread(threading.get_ident) != threading.get_ident()
    for error in (OSError("away"), KeyError("x"), asyncio.CancelledError()):
        with pytest.raises(type(error)) as caught:
            await finish_in_thread(fail, error)
        assert caught.value is error
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        await finish_in_thread(next, iter(()))


def told(number: int, *, function: int) -> tuple[int, int]:
    return number, function


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("times", [1, 5])
async def test_a_cancellation_waits_for_the_thread(gate: Gate, times: int) -> None:
    """However often it is cancelled; then it is."""
    task = asyncio.create_task(finish_in_thread(gate.pass_through))
    await wait_until(lambda: gate.inside)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    gate.opened.set()
    await ended(task)
    assert task.cancelled()
    assert gate.inside == []


async def test_a_timeout_waits_for_the_thread(gate: Gate) -> None:
    """And is a timeout all the same."""
    asyncio.get_running_loop().call_later(0.05, gate.opened.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await finish_in_thread(gate.pass_through)
    assert gate.calls
    assert gate.inside == []


async def test_an_error_after_a_cancellation_is_logged(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody else would hear of it."""

    def fail_in_the_end() -> None:
        gate.pass_through()
        raise OSError("device lost")

    task = asyncio.create_task(finish_in_thread(fail_in_the_end))
    await wait_until(lambda: gate.inside)
    task.cancel()
    await asyncio.sleep(0)
    gate.opened.set()
    await ended(task)
    assert task.cancelled()
    [record] = messages(caplog, "a call in a thread has failed after it was cancelled")
    assert record.levelno == logging.ERROR
    assert "device lost" in caplog.text


async def test_cancelled_before_a_thread_is_free(gate: Gate) -> None:
    """The function is never called, and nobody waits for those that are."""
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor(1)
    usual, loop._default_executor = loop._default_executor, executor  # type: ignore[attr-defined]
    try:
        first = asyncio.create_task(finish_in_thread(gate.pass_through, "first"))
        await wait_until(lambda: gate.inside)
        second = asyncio.create_task(finish_in_thread(gate.pass_through, "second"))
        await asyncio.sleep(0)
        second.cancel()
        await ended(second)
        assert second.cancelled()
        gate.opened.set()
        assert await first == "first is through"
        assert await finish_in_thread(lambda: gate.calls) == ["first"]
        executor.shutdown()
        with pytest.raises(RuntimeError):
            await finish_in_thread(gate.pass_through, "third")
    finally:
        loop._default_executor = usual  # type: ignore[attr-defined]


async def test_an_anyio_scope_waits_without_turning(gate: Gate) -> None:
    """It cancels in each turn of the loop; the loop rests all the same."""
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1
        if not gate.opened.is_set():
            loop.call_later(0.01, count)

    loop = asyncio.get_running_loop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(finish_in_thread, gate.pass_through)
        await wait_until(lambda: gate.inside)
        tasks.cancel_scope.cancel()
        steps = 0
        original = loop.call_soon

        def call_soon(*arguments: Any, **keywords: Any) -> Any:
            nonlocal steps
            steps += 1
            return original(*arguments, **keywords)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_soon", call_soon)
            count()
            with anyio.CancelScope(shield=True):
                await wait_until(lambda: turns > 5)
            assert steps < 500
        gate.opened.set()
    assert gate.inside == []
