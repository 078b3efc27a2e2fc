"""Wakes the callers that wait for a change in one group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["News"]


class News:
    """Reports changes of a state, in the same turn of the event loop."""

    def __init__(self) -> None:
        self.told: int = 0
        """The number of changes so far."""
        self._changed: asyncio.Event | None = None  # made when somebody asks for it
        self._state: tuple[object, ...] = ()
        self._subscribers: list[Callable[[], None]] = []

    @property
    def changed(self) -> asyncio.Event:
        """The event that is set at the next change. To miss none, await it in the turn of the look at the state."""
        if self._changed is None:
            self._changed = asyncio.Event()
        return self._changed

    def is_new(self, state: tuple[object, ...]) -> bool:
        """Return whether ``state`` differs from that of the previous call."""
        known, self._state = self._state, state
        return state != known

    def tell(self) -> None:
        """There is a change."""
        self.told += 1
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        for tell in tuple(self._subscribers):
            tell()

    def subscribe(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called at each change."""
        self._subscribers.append(tell)

    def unsubscribe(self, tell: Callable[[], None]) -> None:
        """No longer have ``tell`` called."""
        self._subscribers.remove(tell)
