"""A coordinator belongs to the event loop in which it was started, and its tasks to nobody else."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
import pytest

from aiopartition import GroupPolicy, NotStartedError, PartitionCoordinator
from tests.contract.cluster import Cluster
from tests.support import wait_until
from tests.support.logged import logged
from tests.support.split import RESOURCES, split_exactly

Call = Callable[[PartitionCoordinator], Any]


async def _work(_: object) -> None:
    await asyncio.Event().wait()


COROUTINES: dict[str, Call] = {
    "join_group": lambda member: member.join_group("other"),
    "leave_group": lambda member: member.leave_group("g"),
    "view": lambda member: member.view("g"),
    "get_members": lambda member: member.get_members("g"),
    "extract_my_subset": lambda member: member.extract_my_subset("g", RESOURCES),
    "heartbeat": lambda member: member.heartbeat(),
    "observe": lambda member: member.observe("other"),
    "describe_member": lambda member: member.describe_member("g", "m"),
    "run": lambda member: member.run("g", RESOURCES, _work),
    "stop": lambda member: member.stop(),
}
CALLS: dict[str, Call] = {
    "my_subset": lambda member: member.my_subset("g", RESOURCES),
    "changes": lambda member: member.changes("g"),
    "hold": lambda member: member.hold("g"),
    "status": lambda member: member.status("g"),
}
CAUSES = "was stopped when its tasks were cancelled"


async def outcome(call: Call, member: PartitionCoordinator) -> object:
    made = call(member)
    return await made if isinstance(made, Awaitable) else made


async def in_another_loop(call: Call, member: PartitionCoordinator) -> object:
    """Make a call in an event loop of another thread."""
    return await asyncio.to_thread(lambda: asyncio.run(outcome(call, member)))


def expect_remedy(refusal: NotStartedError, name: str) -> None:
    assert refusal.operation == name
    assert f"{name}()" in str(refusal)
    assert "another event loop" in str(refusal)
    assert "asyncio.run_coroutine_threadsafe" in str(refusal)


# ---- elsewhere


@pytest.mark.parametrize("joined", [False, True], ids=["group not joined", "group joined"])
@pytest.mark.parametrize("name", [*COROUTINES, *CALLS])
async def test_a_call_from_another_loop_is_refused_at_once(cluster: Cluster, name: str, joined: bool) -> None:
    """With the remedy, and it harms nothing."""
    member = await cluster.started("m")
    if joined:
        await member.join_group("g")
    with anyio.fail_after(5), pytest.raises(NotStartedError) as refused:
        await in_another_loop((COROUTINES | CALLS)[name], member)
    expect_remedy(refused.value, name)
    await split_exactly(member)


@pytest.mark.parametrize("name", CALLS)
async def test_a_plain_call_from_a_thread_is_refused(cluster: Cluster, name: str) -> None:
    """Also where no loop runs at all."""
    member = await cluster.joined("m")
    with pytest.raises(NotStartedError) as refused:
        await asyncio.to_thread(CALLS[name], member)
    expect_remedy(refused.value, name)


async def test_the_remedy_works(cluster: Cluster) -> None:
    """From another thread, and from another loop."""
    member = await cluster.started("m")
    loop = asyncio.get_running_loop()

    def elsewhere() -> object:
        return asyncio.run_coroutine_threadsafe(member.extract_my_subset("g", RESOURCES), loop).result(timeout=10)

    assert await asyncio.to_thread(elsewhere) == RESOURCES


async def test_facts_are_free(cluster: Cluster) -> None:
    """They may be looked at anywhere."""
    member = await cluster.joined("m")

    async def facts() -> tuple[object, ...]:
        return (
            *(member.member_id, member.connected, member.session_timeout, member.groups),
            *(member.is_active(), repr(member)),
        )

    assert await asyncio.to_thread(lambda: asyncio.run(facts())) == await facts()


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("begun", [False, True])
async def test_an_iterator_is_not_advanced_elsewhere(cluster: Cluster, exclusive: bool, begun: bool) -> None:
    """Nor closed. It goes on where it belongs, and what is in flight stays so."""
    member = await cluster.started("m")
    await member.join_group("g", policy=GroupPolicy(exclusive=exclusive))

    async def all_is_mine() -> bool:
        return await member.extract_my_subset("g", RESOURCES) == RESOURCES

    await wait_until(all_is_mine)
    mine, changes = member.my_subset("g", RESOURCES), member.changes("g")
    seen = [await anext(mine)] if begun else []
    if begun:
        await anext(changes)
    for name, iterator in (("my_subset", mine), ("changes", changes)):
        for step in (iterator.__anext__, iterator.aclose, lambda it=iterator: it.asend(None)):

            async def take(_: object, step: Callable[[], Any] = step) -> object:
                return await step()

            with pytest.raises(NotStartedError) as refused:
                await in_another_loop(take, member)
            expect_remedy(refused.value, name)
    assert member.status("g").in_flight == (1 if exclusive and begun else 0)
    assert seen + [item async for item in mine] == RESOURCES
    await changes.aclose()


async def test_a_hold_is_not_entered_elsewhere(cluster: Cluster) -> None:
    """Made here, it can still be entered here."""
    member = await cluster.started("m")
    await member.join_group("g", policy=GroupPolicy(exclusive=True))
    held = member.hold("g")

    async def enter(_: object) -> None:
        async with held:
            raise AssertionError("it was entered")

    with pytest.raises(NotStartedError, match="another event loop"):
        await in_another_loop(enter, member)
    async with member.hold("g") as view:
        assert view.generation


# ---- one loop after the other


@pytest.fixture
def loops() -> Iterator[list[asyncio.AbstractEventLoop]]:
    """Two, of which none runs."""
    made = [asyncio.new_event_loop(), asyncio.new_event_loop()]
    yield made
    for loop in made:
        loop.close()


def test_between_two_runs_of_its_loop(loops: list[asyncio.AbstractEventLoop]) -> None:
    """Plain calls work there; and a loop that runs meanwhile in the same thread is another loop."""
    first, second = loops
    member = PartitionCoordinator("memory://between")
    first.run_until_complete(member.start())
    first.run_until_complete(member.join_group("g"))
    assert member.status("g").group_id == "g"
    mine = member.my_subset("g", RESOURCES)
    for name in ("view", "heartbeat", "status", "stop"):
        with pytest.raises(NotStartedError) as refused:
            second.run_until_complete(outcome((COROUTINES | CALLS)[name], member))
        expect_remedy(refused.value, name)

    async def advance() -> object:
        return await anext(mine)

    with pytest.raises(NotStartedError, match="another event loop"):
        second.run_until_complete(advance())
    assert first.run_until_complete(advance()) == RESOURCES[0]
    first.run_until_complete(mine.aclose())
    first.run_until_complete(member.stop())


def test_a_second_asyncio_run(caplog: pytest.LogCaptureFixture) -> None:
    """Without stop() in the first: that is said once, when it ends, and to each call in the second."""
    member = PartitionCoordinator("memory://twice")
    kept: list[Any] = []

    async def first() -> None:
        await member.start()
        await member.join_group("g")
        kept.append(member.my_subset("g", RESOURCES))
        await anext(kept[0])

    async def second() -> None:
        for name, call in {**COROUTINES, **CALLS}.items():
            if name != "stop":
                with pytest.raises(NotStartedError, match=rf"{name}\(\).*{CAUSES}.*asyncio.run\(\)"):
                    await outcome(call, member)
        with pytest.raises(NotStartedError, match="closed"):
            await anext(kept[0])
        await member.stop()
        with pytest.raises(RuntimeError, match=CAUSES):
            await member.start()

    asyncio.run(first())
    [warning] = logged(caplog)
    assert CAUSES in warning
    asyncio.run(second())
    assert len(logged(caplog)) == 1


CLOSED_LOOP = """
import asyncio
from aiopartition import NotStartedError, PartitionCoordinator

member = PartitionCoordinator("memory://closed")
loop = asyncio.new_event_loop()
loop.run_until_complete(member.start())
loop.close()

async def use():
    for call in (lambda: member.view("g"), member.stop):
        try:
            await call()
        except NotStartedError as refusal:
            print(refusal)

asyncio.run(asyncio.wait_for(use(), 5))
"""


async def test_a_loop_that_was_closed_around_it(anyio_backend: str) -> None:
    """Nothing waits for a loop that will never run again."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLOSED_LOOP, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )  # in a process of its own: asyncio complains of tasks that never ended
    output, _ = await process.communicate()
    view, stop = output.decode().splitlines()
    assert view.startswith("view() ")
    assert stop.startswith("stop() ")
    for refusal in (view, stop):
        assert "event loop that is closed" in refusal


# ---- stopped by others than stop()


def tasks_of(member: PartitionCoordinator) -> list[asyncio.Task[Any]]:
    """The runner and what it runs."""
    begin = member._registry._begin
    assert member._runner._task is not None
    assert isinstance(begin, partial)
    return [member._runner._task, *begin.args[0]._tasks]


PARTS = {
    "the runner": "aiopartition m",
    "a membership": "aiopartition group g",
    "the heartbeat": "aiopartition heartbeat",
    "the session": "aiopartition session",
    "the watch on the lease": "aiopartition lease",
    "all": "",
}


@pytest.mark.parametrize("part", PARTS)
async def test_a_cancelled_task_ends_it_and_says_so(
    cluster: Cluster, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever it is, the whole coordinator stops: one warning, and the cause with each later call."""
    other = await cluster.started("other")
    member = await cluster.started("m")
    await split_exactly(member, other)
    chosen = [task for task in tasks_of(member) if not PARTS[part] or task.get_name() == PARTS[part]]
    assert chosen
    for task in chosen:
        task.cancel()
    await wait_until(lambda: logged(caplog))
    [warning] = logged(caplog)
    assert CAUSES in warning
    for name, call in COROUTINES.items():
        if name != "stop":
            with pytest.raises(NotStartedError, match=rf"{name}\(\).*{CAUSES}") as refused:
                await outcome(call, member)
            assert isinstance(refused.value.__cause__, asyncio.CancelledError)
    await split_exactly(other)
    await member.stop()
    assert len(logged(caplog)) == 1


class BrokenError(Exception):
    """Of ours."""


@pytest.mark.parametrize("error", [BrokenError("broken"), RuntimeError("also broken")])
async def test_a_defect_ends_it_and_says_so(
    cluster: Cluster, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One error with the traceback; the error itself is the cause of those of later calls."""
    member = await cluster.joined("m")

    async def fail(*, quiet_too: bool = True) -> None:
        raise error

    monkeypatch.setattr(member._registry, "heartbeat", fail)
    await wait_until(lambda: "has failed" in repr(member))
    with pytest.raises(NotStartedError, match=rf"view\(\).*has failed: {type(error).__name__}: {error}") as refused:
        await member.view("g")
    assert refused.value.__cause__ is error
    await member.stop()
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.exc_info
    assert record.exc_info[1] is error


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_out_of_a_task(kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """It ends the loop as ever, and the coordinator says what ended it."""
    member = PartitionCoordinator("memory://interrupted", heartbeat=0.05)
    interrupt = kind()

    async def fail(*, quiet_too: bool = True) -> None:
        raise interrupt

    async def main() -> None:
        await member.start()
        member._registry.heartbeat = fail  # type: ignore[method-assign]
        await asyncio.Event().wait()

    with pytest.raises(kind):
        asyncio.run(main())

    async def use() -> None:
        with pytest.raises(NotStartedError, match=kind.__name__) as refused:
            await member.view("g")
        assert refused.value.__cause__ is interrupt

    asyncio.run(use())
    [message] = logged(caplog)
    assert "has failed" in message


async def test_a_normal_end_is_silent(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """stop(), 'async with', a start() that is cancelled or stopped."""
    async with await cluster.coordinator("a") as member:
        await member.join_group("g")
    with pytest.raises(NotStartedError) as refused:
        await member.view("g")
    assert refused.value.__cause__ is None
    for end in ("cancel", "stop"):
        starting = await cluster.coordinator(end)
        task = asyncio.create_task(starting.start())
        await asyncio.sleep(0)
        if end == "cancel":
            task.cancel()
        else:
            await starting.stop()
        await asyncio.wait({task})
        assert task.cancelled() or isinstance(task.exception(), NotStartedError)
    assert logged(caplog) == []


def test_a_run_that_ends_while_it_starts_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio.run() then cancels start() as well, which is how it is told."""
    member = PartitionCoordinator("zookeeper://127.0.0.1:1", connect_timeout=60)

    async def main() -> None:
        starting = asyncio.create_task(member.start())
        await asyncio.sleep(0.05)
        assert not starting.done()

    asyncio.run(main())
    assert [each for each in logged(caplog) if "no server can be reached" not in each] == []


def test_a_run_that_cancels_its_user_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Cancelled together with the coordinator, whoever has it in an 'async with' stops it in good order."""
    kept: list[asyncio.Task[None]] = []

    async def use(member: PartitionCoordinator, used: asyncio.Event) -> None:
        async with member:
            await member.join_group("g")
            used.set()
            await asyncio.Event().wait()

    async def main(member: PartitionCoordinator) -> None:
        used = asyncio.Event()
        kept.append(asyncio.create_task(use(member, used)))
        await used.wait()

    for _ in range(5):  # in which order they are cancelled is anybody's guess
        member = PartitionCoordinator("memory://cancelled-user")
        asyncio.run(main(member))
        assert repr(member).endswith("was stopped>")
    assert logged(caplog) == []


async def test_many_threads_do_no_harm(cluster: Cluster) -> None:
    """Each call is refused, and the member goes on."""
    member = await cluster.started("m")
    await split_exactly(member)
    loop = asyncio.get_running_loop()
    calls = [*COROUTINES.values(), *CALLS.values()] * 4
    with ThreadPoolExecutor(8) as pool:
        made = [loop.run_in_executor(pool, lambda call: asyncio.run(outcome(call, member)), call) for call in calls]
        refused = await asyncio.gather(*made, return_exceptions=True)
    assert {type(each) for each in refused} == {NotStartedError}
    await split_exactly(member)
