"""hold(): while inside, nothing that is mine passes to another."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import anyio
import pytest

from aiopartition import (
    ConfigurationError,
    NotStartedError,
    OwnershipLostError,
    OwnershipUnknownError,
    PartitionCoordinator,
    View,
)
from tests.contract.cluster import Cluster
from tests.contract.exclusive import alone, join, joined, shared_out, sharing, waiting, will_own
from tests.support import wait_until
from tests.support.split import RESOURCES


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_handoff_waits_for_the_body(cluster: Cluster) -> None:
    """view.mine() is mine throughout, and nobody else's; afterwards it is handed over."""
    first = await alone(cluster, "first")
    async with first.hold("g") as view:
        assert view.mine(RESOURCES) == RESOURCES
        second = await waiting(cluster, "second")
        await wait_until(lambda: first.status("g").waiting_for)
        assert first.status("g").waiting_for[0].works[0].startswith("a hold()")
        assert view.mine(RESOURCES) == RESOURCES
        assert await second.extract_my_subset("g", RESOURCES) == []
    await shared_out(first, second)
    assert first.status("g").in_flight == 0


async def test_whoever_loses_nothing_holds_nobody_up(cluster: Cluster) -> None:
    """A change that takes nothing from the holder is through before the body is."""
    first, second = await sharing(cluster, "first", "second")
    async with first.hold("g") as view:
        await second.leave_group("g")
        await shared_out(first)
        assert view.mine(RESOURCES) == will_own("first", "first", "second")
    await shared_out(first)


async def test_a_body_that_takes_too_long_is_cancelled(cluster: Cluster) -> None:
    """After drain_timeout from when somebody waits for it, and not before; then the handoff goes on."""
    first = await alone(cluster, "first")
    cleaned = False
    with pytest.raises(OwnershipLostError, match="handed over") as caught:
        async with first.hold("g", drain_timeout=0.5):
            second = await joined(cluster, "second")
            try:
                await forever()
            finally:
                await second.heartbeat()  # nobody else has anything before the body is left
                assert await second.extract_my_subset("g", RESOURCES) == []
                cleaned = True
    assert cleaned
    assert caught.value.group_id == "g"
    await shared_out(first, second)


async def test_a_body_that_nobody_waits_for_takes_its_time(cluster: Cluster) -> None:
    """drain_timeout does not begin with the body."""
    first = await alone(cluster, "first")
    async with first.hold("g", drain_timeout=0):
        for _ in range(3):
            await first.heartbeat()
            await asyncio.sleep(0)


async def test_the_end_of_the_lease_cancels_at_once(cluster: Cluster) -> None:
    """Whatever drain_timeout says: others may have it in a moment."""
    first = await alone(cluster, "first")
    with pytest.raises(OwnershipLostError, match="session may have expired"):
        async with first.hold("g", drain_timeout=3000):
            await cluster.cut_off(first)
            await forever()
    assert first.status("g").lease_left == 0
    await cluster.reconnect(first)
    await shared_out(first)
    async with first.hold("g") as view:
        assert view.mine(RESOURCES) == RESOURCES


async def test_the_end_of_the_session_cancels_at_once(cluster: Cluster) -> None:
    """Even if the lease was not over by our own clock: somebody else may have it already."""
    first = await alone(cluster, "first")
    with pytest.raises(OwnershipLostError, match="session"):
        async with asyncio.timeout(20), first.hold("g", drain_timeout=3000):
            await cluster.expire(first)
            await forever()
    await shared_out(first)


async def test_the_bodys_own_exception_goes_through(cluster: Cluster) -> None:
    """In time, and likewise out of its cleanup when it was cancelled."""
    first = await alone(cluster, "first")
    with pytest.raises(ValueError, match="its own"):
        async with first.hold("g"):
            raise ValueError("its own")
    assert first.status("g").in_flight == 0
    joining: list[asyncio.Task[PartitionCoordinator]] = []
    with pytest.raises(ValueError, match="in cleanup"):
        async with first.hold("g", drain_timeout=0):
            joining.append(asyncio.create_task(joined(cluster, "second")))
            try:
                await forever()
            finally:
                raise ValueError("in cleanup")
    await shared_out(first, await joining[0])


async def test_a_body_that_ends_all_the_same(cluster: Cluster) -> None:
    """It was told to end, and did so without being interrupted: then it is done, and nothing was lost."""
    first = await alone(cluster, "first")
    async with first.hold("g", drain_timeout=0):
        joining = asyncio.create_task(joined(cluster, "second"))
        try:
            await forever()
        except asyncio.CancelledError:
            finished = True
    assert finished
    await shared_out(first, await joining)


async def test_cancellation_from_outside_goes_through(cluster: Cluster) -> None:
    """Of asyncio, of anyio, of a time limit: none is taken for a loss."""
    first = await alone(cluster, "first")
    inside = asyncio.Event()

    async def body() -> None:
        async with first.hold("g"):
            inside.set()
            await forever()

    task = asyncio.create_task(body())
    await inside.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    with anyio.move_on_after(0.01) as scope:
        await body()
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await body()
    assert first.status("g").in_flight == 0
    second = await joined(cluster, "second")
    await shared_out(first, second)


async def test_one_hold_for_one_use(cluster: Cluster) -> None:
    """One after the other, one in the other, or two tasks at once."""
    first = await alone(cluster, "first")
    hold = first.hold("g")
    async with hold:
        with pytest.raises(RuntimeError, match="once"):
            async with hold:
                raise AssertionError
    with pytest.raises(RuntimeError, match="once"):
        async with hold:
            raise AssertionError
    assert first.status("g").in_flight == 0

    shared = first.hold("g")

    async def enter() -> None:
        async with shared:
            await asyncio.sleep(0)

    outcomes = await asyncio.gather(enter(), enter(), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "RuntimeError"]
    assert first.status("g").in_flight == 0


async def test_several_holds(cluster: Cluster) -> None:
    """In one another, and beside each other: the handoff waits for all."""
    first = await alone(cluster, "first")
    async with first.hold("g"):
        async with first.hold("g"):
            second = await waiting(cluster, "second")
            await wait_until(lambda: first.status("g").waiting_for)
            assert len(first.status("g").waiting_for[0].works) == 2
            async with first.hold("g") as narrower:
                assert narrower.mine(RESOURCES) == will_own("first", "first", "second")
        assert first.status("g").in_flight == 1
        assert await second.extract_my_subset("g", RESOURCES) == []
    await shared_out(first, second)


async def test_a_group_that_is_not_exclusive_is_refused(cluster: Cluster) -> None:
    """Nothing could be promised in it."""
    first = await cluster.started("first")
    with pytest.raises(ConfigurationError, match="not exclusive"):
        async with first.hold("g"):
            raise AssertionError
    assert first.groups == ()  # nor is it made one of that name, which would have the wrong policy for ever
    async with PartitionCoordinator() as off:
        with pytest.raises(ConfigurationError, match="not exclusive"):
            async with off.hold("g"):
                raise AssertionError


async def test_bad_arguments_are_refused(cluster: Cluster) -> None:
    """At the call."""
    first = await cluster.coordinator("first")
    with pytest.raises(NotStartedError):
        first.hold("g")
    await first.start()
    for group_id, drain_timeout in [("", 1), (None, 1), ("g", -1), ("g", "1"), ("g", float("nan"))]:
        arguments: Any = group_id, drain_timeout
        with pytest.raises(ConfigurationError):
            first.hold(arguments[0], drain_timeout=arguments[1])
    hold = first.hold("g")
    await first.stop()
    with pytest.raises(NotStartedError):
        async with hold:
            raise AssertionError


async def test_without_a_view_there_is_nothing_to_hold(cluster: Cluster) -> None:
    """Unknown is not empty, whatever on_unknown says."""
    first = await alone(cluster, "first")
    await cluster.cut_off(first)
    await wait_until(lambda: first.status("g").state == "unknown")
    with pytest.raises(OwnershipUnknownError):
        async with first.hold("g"):
            raise AssertionError


async def test_a_hold_before_the_first_handoff_is_of_nothing(cluster: Cluster) -> None:
    """A joiner that waits may hold what it has: nothing, and nobody waits for that."""
    first = await alone(cluster, "first")
    async with first.hold("g"):
        second = await waiting(cluster, "second")
        go_on = asyncio.Event()
        held: list[View] = []

        async def hold() -> None:
            async with second.hold("g") as view:
                held.append(view)
                await go_on.wait()

        task = asyncio.create_task(hold())
        await wait_until(lambda: held)
        assert held[0].mine(RESOURCES) == []
    await shared_out(first, second)
    go_on.set()
    await task
    assert second.status("g").in_flight == 0


@pytest.mark.parametrize("call", ["stop", "leave_group"])
async def test_leaving_within_the_body(cluster: Cluster, call: str) -> None:
    """Whoever leaves lets go: the others have it, and there is no deadlock."""
    first, second = await sharing(cluster, "first", "second")
    async with asyncio.timeout(10), first.hold("g", drain_timeout=0.05):
        await (first.stop() if call == "stop" else first.leave_group("g"))
        await shared_out(second)
        left = asyncio.get_running_loop().time()
        await wait_until(lambda: asyncio.get_running_loop().time() > left + 0.2)  # what is not held has no deadline
    await shared_out(second)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_a_body_whose_task_has_ended(cluster: Cluster, end: str) -> None:
    """It may be kept open by an error that is kept: nobody is at work in it, and nobody waits for it."""
    first = await alone(cluster, "first")
    kept: list[AsyncGenerator[View]] = []

    async def batches() -> AsyncGenerator[View]:
        async with first.hold("g") as view:
            yield view

    async def work() -> None:
        kept.append(batches())
        async for _ in kept[0]:
            if end == "failed":
                raise ValueError("the body's own")
            await forever()

    task = asyncio.create_task(work())
    if end == "cancelled":
        await wait_until(lambda: first.status("g").in_flight)
        task.cancel()
    await asyncio.wait({task})
    second = await joined(cluster, "second")
    await shared_out(first, second)
    await kept[0].aclose()
    assert task.cancelled() or isinstance(task.exception(), ValueError)


@pytest.mark.parametrize("call", ["stop", "leave_group"])
async def test_leaving_in_another_task_waits_for_the_body(
    cluster: Cluster, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For drain_timeout; nobody else begins before the body is left."""
    first, second = await sharing(cluster, "first", "second")
    kept = will_own("second", "first", "second")
    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(OwnershipLostError):
        async with first.hold("g", drain_timeout=0.1):
            tasks.append(asyncio.create_task(first.stop() if call == "stop" else first.leave_group("g")))
            try:
                await forever()
            finally:
                assert not tasks[0].done()
                assert await second.extract_my_subset("g", RESOURCES) == kept
    await tasks[0]
    await shared_out(second)
    assert "still in flight" not in caplog.text  # it was cancelled in time, and that was awaited


async def test_stopping_in_the_body_while_another_task_leaves(cluster: Cluster) -> None:
    """stop() waits for the leaving, which waits for the body, which waits for stop(): no deadlock."""
    first, second = await sharing(cluster, "first", "second")
    async with asyncio.timeout(10), first.hold("g"):
        leaving = asyncio.create_task(first.leave_group("g"))
        await wait_until(lambda: "g" not in first.groups)
        await first.stop()
    await leaving
    await shared_out(second)


async def test_a_child_of_the_body_leaves(cluster: Cluster) -> None:
    """Not the task that entered: it is waited for like any other, until drain_timeout is up."""
    first, second = await sharing(cluster, "first", "second")
    with pytest.raises(OwnershipLostError):
        async with asyncio.timeout(10), first.hold("g", drain_timeout=0.05), anyio.create_task_group() as tasks:
            tasks.start_soon(first.leave_group, "g")
    await shared_out(second)
    await join(first)
    await shared_out(first, second)


# ---- entered by a helper's task, as by asyncio.wait_for() of Python 3.11


async def enter(hold: AbstractAsyncContextManager[View], how: str, stack: AsyncExitStack) -> None:
    if how == "wait_for":
        await asyncio.wait_for(stack.enter_async_context(hold), 10)
    elif how == "a task":
        await asyncio.create_task(stack.enter_async_context(hold))
    else:
        await asyncio.gather(stack.enter_async_context(hold), asyncio.sleep(0))


by_a_helper = pytest.mark.parametrize("how", ["wait_for", "a task", "gather"])


@by_a_helper
@pytest.mark.parametrize("end", ["handoff", "lease", "session"])
async def test_a_body_that_a_helper_has_entered_is_cancelled(cluster: Cluster, how: str, end: str) -> None:
    """It is the task that runs the body that is cancelled, not the one that entered it and has ended."""
    first = await alone(cluster, "first")
    with pytest.raises(OwnershipLostError):
        async with asyncio.timeout(20), AsyncExitStack() as stack:
            await enter(first.hold("g", drain_timeout=0.1 if end == "handoff" else 3000), how, stack)
            if end == "handoff":
                await joined(cluster, "second")
            elif end == "lease":
                await cluster.cut_off(first)
            else:
                await cluster.expire(first)
            await forever()
    assert first.status("g").in_flight == 0


@by_a_helper
@pytest.mark.parametrize("call", ["stop", "leave_group"])
async def test_leaving_within_a_body_that_a_helper_has_entered(cluster: Cluster, how: str, call: str) -> None:
    """There is no deadlock: it is the body's own task that waits."""
    first, second = await sharing(cluster, "first", "second")
    async with asyncio.timeout(10), AsyncExitStack() as stack:
        await enter(first.hold("g"), how, stack)
        await (first.stop() if call == "stop" else first.leave_group("g"))
        await shared_out(second)


@by_a_helper
async def test_cancellation_from_outside_of_a_body_that_a_helper_has_entered(cluster: Cluster, how: str) -> None:
    """It is not taken for a loss."""
    first = await alone(cluster, "first")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), AsyncExitStack() as stack:
            await enter(first.hold("g"), how, stack)
            await forever()
    assert first.status("g").in_flight == 0


async def test_a_body_that_nothing_can_cancel(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """A helper that also calls hold() leaves nothing to tell the body's task by. That is logged at once; others wait
    for the body; and its end says that ownership was lost meanwhile."""
    first = await alone(cluster, "first")

    async def helper() -> AbstractAsyncContextManager[View]:
        hold = first.hold("g", drain_timeout=0.05)
        await hold.__aenter__()
        return hold

    hold = await asyncio.create_task(helper())
    await asyncio.sleep(0)
    assert "call hold() and enter it in the task that runs the body" in caplog.text
    second = await waiting(cluster, "second")
    await wait_until(lambda: "cannot be cancelled" in caplog.text)
    assert await second.extract_my_subset("g", RESOURCES) == []
    with pytest.raises(OwnershipLostError, match="handed over"):
        await hold.__aexit__(None, None, None)
    await shared_out(first, second)
