"""A simulated network between a client and its memory cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio

from aiopartition.errors import BackendUnavailableError

__all__ = ["MemoryNetwork"]


class MemoryNetwork:
    """The network between one client and its cluster. By default it adds no delay."""

    def __init__(self) -> None:
        self.delay: Callable[[], float] | None = None
        """Called for each request and each response. Returns its delay in seconds."""
        self.news_delay: float = 0.0
        """The delay of notifications of changes, in seconds."""
        self.is_cut: bool = False
        """The connection is broken, and the client knows it."""
        self.is_silent: bool = False
        """Nothing gets through, but the connection appears to stay open, so the client waits for responses."""
        self.connection: int = 0
        """Increases when the connection breaks, which invalidates messages in transit."""
        self._healed = asyncio.Event()
        self._held: list[tuple[int, Callable[[], None]]] = []

    @property
    def open(self) -> bool:
        return not self.is_cut and not self.is_silent

    def cut(self) -> None:
        self.connection += 1
        self.is_cut = True
        self._held.clear()
        self._healed.set()  # wakes requests that wait for the end of a silence, so that they fail

    def silence(self) -> None:
        if not self.is_silent:
            self.is_silent = True
            self._healed = asyncio.Event()

    def heal(self) -> None:
        """Undo :meth:`cut` and :meth:`silence`. Notifications that a silence held back arrive now."""
        self.is_cut = self.is_silent = False
        self._healed.set()
        held, self._held = self._held, []
        for connection, news in held:
            self._arrive(connection, news)

    async def cross(self) -> None:
        """Carry one request or response across the network. If cancelled, the message is lost.

        :raises BackendUnavailableError: if the connection breaks before the message arrives.
        """
        connection = self.connection
        if self.delay is not None:
            await anyio.sleep(self.delay())
        while self.is_silent and connection == self.connection:
            await self._healed.wait()
        if connection != self.connection:
            raise BackendUnavailableError("the connection to the memory cluster broke")

    def deliver(self, news: Callable[[], None]) -> None:
        """Call ``news`` when the notification arrives. It never arrives if the connection breaks first."""
        if self.news_delay > 0:
            asyncio.get_running_loop().call_later(self.news_delay, self._arrive, self.connection, news)
        else:
            self._arrive(self.connection, news)

    def _arrive(self, connection: int, news: Callable[[], None]) -> None:
        if connection != self.connection or self.is_cut:
            return
        if self.is_silent:
            self._held.append((connection, news))
        else:
            news()
