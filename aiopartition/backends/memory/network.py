"""What lies between one client and its memory cluster, and what can go wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio

from aiopartition.errors import BackendUnavailableError

__all__ = ["MemoryNetwork"]


class MemoryNetwork:
    """The way from one client to its cluster and back. Healthy, nothing on it takes any time."""

    def __init__(self) -> None:
        self.delay: Callable[[], float] | None = None
        """Asked for each request and each answer: how many seconds it is on its way."""
        self.news_delay: float = 0.0
        """Seconds that it takes until the client is told of a change in a group."""
        self.is_cut: bool = False
        """Nothing gets through, and the client knows."""
        self.is_silent: bool = False
        """Nothing gets through, and the client cannot know: it waits for answers."""
        self._connection = 0  # grows with each that breaks, and takes along what is under way
        self._healed = asyncio.Event()
        self._held: list[tuple[int, Callable[[], None]]] = []

    @property
    def open(self) -> bool:
        return not self.is_cut and not self.is_silent

    def cut(self) -> None:
        self._connection += 1
        self.is_cut = True
        self._held.clear()
        self._healed.set()  # whoever waits for the end of a silence learns that there is no connection any more

    def silence(self) -> None:
        if not self.is_silent:
            self.is_silent = True
            self._healed = asyncio.Event()

    def heal(self) -> None:
        """Undo :meth:`cut` and :meth:`silence`. What was held back by a silence arrives now."""
        self.is_cut = self.is_silent = False
        self._healed.set()
        held, self._held = self._held, []
        for connection, news in held:
            self._arrive(connection, news)

    async def cross(self) -> None:
        """Let a request or an answer through; cancelled, it is lost.

        :raises BackendUnavailableError: if the connection breaks meanwhile.
        """
        connection = self._connection
        if self.delay is not None:
            await anyio.sleep(self.delay())
        while self.is_silent and connection == self._connection:
            await self._healed.wait()
        if connection != self._connection:
            raise BackendUnavailableError("the connection to the memory cluster broke")

    def deliver(self, news: Callable[[], None]) -> None:
        """Have ``news`` called when they arrive: over a connection that breaks before, never."""
        if self.news_delay > 0:
            asyncio.get_running_loop().call_later(self.news_delay, self._arrive, self._connection, news)
        else:
            self._arrive(self._connection, news)

    def _arrive(self, connection: int, news: Callable[[], None]) -> None:
        if connection != self._connection or self.is_cut:
            return
        if self.is_silent:
            self._held.append((connection, news))
        else:
            news()
