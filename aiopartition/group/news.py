"""Wakes the callers that wait for a change in one group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["News"]


class News:
    """Reports changes of a state, in the same turn of the event loop."""

    def __init__(self) -> None:
        self.changed: asyncio.Event = asyncio.Event()
        """Set at the next change, and replaced by a new one. To miss no change, get it before you look at the state."""
        self.told: int = 0
        """The number of changes so far."""
        self._state: tuple[object, ...] = ()
        self._subscribers: list[Callable[[], None]] = []

    def is_new(self, state: tuple[object, ...]) -> bool:
        """Return whether ``state`` differs from that of the previous call."""
        known, self._state = self._state, state
        return state != known

    def tell(self) -> None:
        """There is a change."""
        self.told += 1
        self.changed.set()
        self.changed = asyncio.Event()
        for tell in tuple(self._subscribers):
            tell()

    def subscribe(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called at each change."""
        self._subscribers.append(tell)

    def unsubscribe(self, tell: Callable[[], None]) -> None:
        """No longer have ``tell`` called."""
        self._subscribers.remove(tell)
