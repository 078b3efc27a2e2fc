"""An event loop with virtual time, which makes tests of timeouts fast and deterministic."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["VirtualTimeLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock stands still until every task waits, then jumps to the next timer.

    ``asyncio.sleep()``, ``anyio.sleep()`` and all timeouts follow this clock. To run tests on it::

        @pytest.fixture
        def anyio_backend():
            return "asyncio", {"loop_factory": VirtualTimeLoop}

    Use it only for code that does no I/O other than ``memory://``: the next timer fires before a socket can respond.
    The clock stands still while :func:`asyncio.to_thread` runs, but does not wait for other threads, including those of
    ``anyio.to_thread``.
    """

    def __init__(self) -> None:
        self._moment = 0.0
        self._threads = 0
        super().__init__(_JumpingSelector(self._wait))

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was created."""
        return self._moment

    def jump(self, seconds: float) -> None:
        """Let time pass while no task runs, as when the event loop is blocked or the process stopped.

        Timers due in that time fire afterwards, in order, as soon as the caller waits.

        :param seconds: how far to move the clock.
        """
        self._moment += seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_is_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        self._threads += 1  # the shutdown waits for a thread; virtual time would expire its timeout at once
        try:
            await super().shutdown_default_executor()
        finally:
            self._threads -= 1

    def _thread_is_done(self, _: asyncio.Future[Any]) -> None:
        self._threads -= 1

    def _wait(self, seconds: float | None) -> float | None:
        """Advance the clock by ``seconds`` (``None`` if no timer is set); return how long to wait in real time."""
        if seconds is None or self._threads:
            return None
        self._moment += seconds
        return 0


class _JumpingSelector(selectors.DefaultSelector):
    """Polls for I/O without waiting, and lets ``wait`` decide how long to wait in real time."""

    def __init__(self, wait: Callable[[float | None], float | None]) -> None:
        super().__init__()
        self._wait_instead = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        return super().select(self._wait_instead(timeout))
