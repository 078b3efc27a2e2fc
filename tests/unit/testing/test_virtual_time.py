"""The event loop on which waiting takes no time."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import anyio
import pytest

from aiopartition.testing import VirtualTimeLoop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def current_loop() -> VirtualTimeLoop:
    return cast("VirtualTimeLoop", asyncio.get_running_loop())


def test_waiting_takes_no_time() -> None:
    """An hour of sleep and a timeout of a day are over at once, and the loop's clock has counted them."""

    async def main() -> float:
        await asyncio.sleep(3600)
        with anyio.move_on_after(86_400):
            await anyio.Event().wait()
        return current_loop().time()

    began = time.process_time()
    assert run(main()) == pytest.approx(3600 + 86_400)
    assert time.process_time() - began < 10


def test_timers_go_off_in_their_order() -> None:
    """However the tasks were started, and each at its very moment."""

    async def main() -> list[tuple[float, int]]:
        seen: list[tuple[float, int]] = []

        async def sleeper(seconds: int) -> None:
            await anyio.sleep(seconds)
            seen.append((round(current_loop().time(), 6), seconds))

        async with anyio.create_task_group() as tasks:
            for seconds in (3, 1, 2):
                tasks.start_soon(sleeper, seconds)
        return seen

    assert run(main()) == [(1.0, 1), (2.0, 2), (3.0, 3)]


def test_time_stands_still_while_anything_runs() -> None:
    """Calculating takes no virtual time, nor does giving others their turn."""

    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return current_loop().time()

    assert run(main()) == 0.0


def test_a_jump_happens_between_two_lines() -> None:
    """No other task gets its turn; what was due meanwhile comes after."""

    async def main() -> list[str]:
        seen: list[str] = []
        current_loop().call_later(1.0, seen.append, "timer")
        current_loop().jump(5.0)
        seen.append("jumped")
        await asyncio.sleep(0.001)
        assert current_loop().time() == pytest.approx(5.001)
        return seen

    assert run(main()) == ["jumped", "timer"]


def test_work_in_a_thread_takes_no_virtual_time() -> None:
    """A timeout of a millisecond is enough for it, however long it really takes."""
    begun, may_end = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert may_end.wait(10)
        return "done"

    def let_it_end_later() -> None:
        assert begun.wait(10)
        time.sleep(0.01)
        may_end.set()

    async def main() -> tuple[str, float]:
        threading.Thread(target=let_it_end_later).start()
        with anyio.fail_after(0.001):
            return await asyncio.to_thread(work), current_loop().time()

    assert run(main()) == ("done", 0.0)


def test_another_thread_may_wake_it() -> None:
    """With nothing scheduled it waits, for real."""

    async def main() -> None:
        woken = asyncio.Event()
        loop = current_loop()
        threading.Timer(0.01, lambda: loop.call_soon_threadsafe(woken.set)).start()
        await woken.wait()

    run(main())
