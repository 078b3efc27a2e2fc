"""A coordinator and a client of kazoo's, with one face: what happened to each, and when.

``python -m tests.benchmarks.fault_clients HOSTS NAMESPACE TIMEOUT`` has one of each in a process that can be stopped,
and writes a line of JSON for whatever happens to them.
"""

import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from kazoo.client import KazooClient

from aiopartition import BackendError, PartitionCoordinator
from tests.support.admin import session_of

Event = Literal["gone", "lost", "back"]
"""``gone``: the connection. ``lost``: the right to work; for kazoo its state LOST. ``back``: all is well again."""

GROUP = "g"
LOOK = 0.001


@dataclass(frozen=True)
class Scale:
    """How long a second of the table takes, and how often each fault is made, with so many clients of each kind."""

    second: float = 1.0
    times_long: int = 2
    times_alone: int = 4
    times_ensemble: int = 3
    pairs: int = 2

    @property
    def timeout(self) -> float:
        """Seconds asked for a session."""
        return 4.0 * self.second

    @property
    def tick(self) -> int:
        """Milliseconds."""
        return round(500 * self.second)

    @property
    def patience(self) -> float:
        """Seconds after which something counts as never happening."""
        return 20.0 * self.second


class Client(ABC):
    """:param tell: called at each event, in any thread."""

    name: str

    def __init__(self, hosts: str, namespace: str, timeout: float) -> None:
        self.hosts = hosts
        self.namespace = namespace
        self.timeout = timeout
        self.events: list[tuple[float, Event]] = []
        self.tell: Callable[[float, Event], None] | None = None

    def note(self, event: Event) -> None:
        now = time.monotonic()
        self.events.append((now, event))
        if self.tell is not None:
            self.tell(now, event)

    def first(self, since: float, *kinds: Event) -> float | None:
        """Seconds from ``since`` to the first event of these kinds."""
        return next((moment - since for moment, event in list(self.events) if moment >= since and event in kinds), None)

    @property
    def last(self) -> Event:
        """What happened last."""
        return self.events[-1][1]

    @abstractmethod
    async def start(self, *, wait: bool = True) -> None:
        """Connect; unless ``wait`` is false, return when connected."""

    @abstractmethod
    async def ask(self) -> bool:
        """One question to the server; whether it was answered."""

    @abstractmethod
    async def stop(self) -> None: ...

    @property
    @abstractmethod
    def session(self) -> tuple[int, bytes]:
        """Id and password."""

    @property
    @abstractmethod
    def port(self) -> int:
        """Of the server that it is connected to; 0 while it is not."""


class Ours(Client):
    """Lost: it hands out nothing. Back: it is connected and hands out its keys."""

    name = "aiopartition"

    async def start(self, *, wait: bool = True) -> None:
        url = f"zookeeper://{self.hosts}{self.namespace}"
        self._coordinator = PartitionCoordinator(
            url, session_timeout=self.timeout, connect_timeout=30.0 if wait else 0.01
        )
        await self._coordinator.start()
        await self._coordinator.join_group(GROUP)
        self._owns = False
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._look())]

    async def ask(self) -> bool:
        try:
            await self._coordinator.heartbeat()
        except BackendError:
            return False
        return True

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._coordinator.stop()

    @property
    def session(self) -> tuple[int, bytes]:
        session = session_of(self._coordinator)
        return session.session_id, session._password.reveal()

    @property
    def port(self) -> int:
        peer = session_of(self._coordinator).peer
        return peer.port if peer is not None else 0

    async def _listen(self) -> None:
        async for change in self._coordinator.changes(GROUP):
            if self._owns and change.view is None:
                self.note("lost")
            self._owns = change.view is not None

    async def _look(self) -> None:
        connected = well = False
        while True:
            before, connected = connected, self._coordinator.connected
            if before and not connected:
                self.note("gone")
            if not well and connected and self._owns:
                self.note("back")
            well = connected and self._owns
            await asyncio.sleep(LOOK)


class Kazoo(Client):
    """Its listener's states: SUSPENDED, LOST, CONNECTED."""

    name = "kazoo"
    _EVENTS: dict[str, Event] = {"SUSPENDED": "gone", "LOST": "lost", "CONNECTED": "back"}  # noqa: RUF012

    async def start(self, *, wait: bool = True) -> None:
        self._client: Any = KazooClient(self.hosts, timeout=self.timeout)
        self._client.add_listener(lambda state: self.note(self._EVENTS[state]))
        if wait:
            await asyncio.to_thread(self._client.start, 30.0)
        else:
            self._client.start_async()

    async def ask(self) -> bool:
        try:
            await asyncio.to_thread(self._client.exists, "/")
        except Exception:  # of many kinds, for one fact
            return False
        return True

    async def stop(self) -> None:
        await asyncio.to_thread(self._client.stop)
        await asyncio.to_thread(self._client.close)

    @property
    def session(self) -> tuple[int, bytes]:
        number, password = self._client.client_id
        return int(number), bytes(password)

    @property
    def port(self) -> int:
        connected = self._client._connection._socket
        with suppress(OSError, AttributeError):
            return int(connected.getpeername()[1])
        return 0


KINDS: tuple[type[Client], ...] = (Ours, Kazoo)


async def main() -> None:
    """Take part until killed."""
    hosts, namespace, timeout = sys.argv[1:]
    for kind in KINDS:
        client = kind(hosts, namespace, float(timeout))
        client.tell = lambda moment, event, name=kind.name: print(json.dumps([name, moment, event]), flush=True)
        await client.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
