"""Checks that a coordinator is used only in the event loop in which it was started."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import Final

from aiopartition.errors import NotStartedError

__all__ = ["INHERITED", "Home"]

INHERITED: Final = "was started by the parent process, to which it belongs; a forked process needs one of its own"

_CLOSED: Final = "was started in an event loop that is closed by now; start another one in the loop that uses it"

_ELSEWHERE: Final = (
    "was started in another event loop; "
    "have that loop run a coroutine that makes this call, with asyncio.run_coroutine_threadsafe(coroutine, loop)"
)


class Home:
    """The event loop, thread and process to which a started coordinator belongs."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """``None`` before the start, and in a forked process."""
        self._origin: asyncio.AbstractEventLoop | None = None
        self._thread = 0  # no thread's number

    def settle(self) -> None:
        """The coordinator belongs here from now on."""
        self.loop = self._origin = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def forked(self) -> None:
        """This is a child process now: the coordinator does not belong here."""
        self.loop, self._thread = None, 0

    async def unless_forked(self, work: Awaitable[None]) -> None:
        """Await ``work``. In a child process, then wait until this task is cancelled.

        A child process runs the event loop of its parent for one more turn before it cancels all tasks. In that turn
        asyncio says that no loop is running, so a task that waits for anything fails, and so does one of anyio that
        ends.
        """
        try:
            await work
        except Exception:
            if self.loop is not None:
                raise
        if self.loop is None and self._origin is not None:
            await self._origin.create_future()

    def require(self, operation: str) -> None:
        """Check that this is the place where the coordinator belongs.

        :raises NotStartedError: if not; it names the remedy.
        """
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:  # a plain call between two runs of the loop
            here = threading.get_ident() == self._thread
        if not here:
            state = INHERITED if self.loop is None else _CLOSED if self.loop.is_closed() else _ELSEWHERE
            raise NotStartedError(operation, state)
