"""An event loop on which waiting takes no time, so that tests of timeouts are quick, and always go the same way."""

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
    """An asyncio event loop whose clock moves only when every task waits: then at once to the next timer.

    ``asyncio.sleep()``, anyio's, and all timeouts follow it. Give it to whatever runs the tests::

        @pytest.fixture
        def anyio_backend():
            return "asyncio", {"loop_factory": VirtualTimeLoop}

    It is meant for code whose only company is ``memory://``: a socket has no time to answer before the next timer
    goes off. Work that is given to threads with :func:`asyncio.to_thread` takes no time at all; for other threads,
    those of ``anyio.to_thread`` among them, no timer waits.
    """

    def __init__(self) -> None:
        self._moment = 0.0
        self._threads = 0
        super().__init__(_JumpingSelector(self._wait))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._moment

    def jump(self, seconds: float) -> None:
        """Let time pass while no task runs, as when the event loop is blocked or the process stopped.

        What was due meanwhile happens afterwards, in its order, as soon as the caller waits for anything.
        """
        self._moment += seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_is_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        self._threads += 1  # it waits for one, with a timeout of which virtual time would make nothing
        try:
            await super().shutdown_default_executor()
        finally:
            self._threads -= 1

    def _thread_is_done(self, _: asyncio.Future[Any]) -> None:
        self._threads -= 1

    def _wait(self, seconds: float | None) -> float | None:
        """Nothing can happen for that many seconds (``None``: for ever); how many of them must really be waited."""
        if seconds is None or self._threads:
            return None
        self._moment += seconds
        return 0


class _JumpingSelector(selectors.DefaultSelector):
    """Looks whether anything has happened outside of the loop, and leaves the waiting to ``wait``."""

    def __init__(self, wait: Callable[[float | None], float | None]) -> None:
        super().__init__()
        self._wait_instead = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        return super().select(self._wait_instead(timeout))
