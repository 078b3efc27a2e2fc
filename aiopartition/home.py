"""Where a coordinator may be used: in the event loop in which it was started, and nowhere else."""

from __future__ import annotations

import asyncio
import threading
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
        self._thread = 0  # no thread's number

    def settle(self) -> None:
        """It is here."""
        self.loop, self._thread = asyncio.get_running_loop(), threading.get_ident()

    def forked(self) -> None:
        """In a child it is nowhere."""
        self.loop, self._thread = None, 0

    def require(self, operation: str) -> None:
        """:raises NotStartedError: anywhere else, with the remedy."""
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:  # a plain call between two runs of the loop
            here = threading.get_ident() == self._thread
        if not here:
            state = INHERITED if self.loop is None else _CLOSED if self.loop.is_closed() else _ELSEWHERE
            raise NotStartedError(operation, state)
