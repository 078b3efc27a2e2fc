"""Notices the end of a lease. Calls read the clock for themselves; work in flight has to be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiopartition.backends.base import Backend

__all__ = ["LeaseWatch"]

_LONGEST_SLEEP: Final = 1.0
"""Seconds. The loop's clock stands still while the machine is suspended, but the lease's goes on."""


class LeaseWatch:
    """A watch on one of the backend's two leases.

    :param quorum: watch the lease that counts only answers for which the backend needed a quorum.
    :param ended: called when the lease has ended.
    """

    def __init__(self, backend: Backend, ended: Callable[[], None], *, quorum: bool) -> None:
        self._backend = backend
        self._quorum = quorum
        self._ended = ended
        self._moved = asyncio.Event()

    def moved(self) -> None:
        """The time at which the lease ends has changed."""
        self._moved.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._moved.clear()
            left = self._backend.lease_left(quorum=self._quorum)
            if left > 0:
                with suppress(TimeoutError):  # not anyio's scope, which fails in a forked child
                    async with asyncio.timeout(min(left + 0.001, _LONGEST_SLEEP)):
                        await self._moved.wait()
            else:
                self._ended()
                await self._moved.wait()
