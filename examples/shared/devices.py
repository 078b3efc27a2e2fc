"""Devices for the examples: small TCP servers, each of which talks to one client at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack, closing, suppress
from time import monotonic
from typing import Self

__all__ = ["Device", "Devices"]

PATIENCE = 30.0  # seconds until every device must have a member again


class Device:
    """A server that talks to one client at a time, and counts those that it turns away."""

    def __init__(self, name: str, changed: asyncio.Event) -> None:
        self.name = name
        self.member: str | None = None
        """The member that is connected."""
        self.connections = 0
        self.turned_away = 0
        self.pause = 0.0
        """Seconds between the end of the last connection and the beginning of this one."""
        self._left_at = 0.0
        self._changed = changed

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):  # a killed member may send half a line
            hello = await reader.readline()
            if not hello:
                return
            if self.member is not None:
                self.turned_away += 1
                return
            self.member = hello.decode().split()[1]
            self.pause = monotonic() - self._left_at
            self.connections += 1
            self._changed.set()
            try:
                reading = 0
                writer.write(b"0\n")
                while await reader.readline():
                    reading += 1
                    writer.write(f"{reading}\n".encode())
            finally:
                self.member = None
                self._left_at = monotonic()
                self._changed.set()


class Devices:
    """A number of devices on free ports. An async context manager."""

    def __init__(self, count: int) -> None:
        self.ports: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._devices = [Device(f"device-{number:02}", self._changed) for number in range(1, count + 1)]
        self._servers = AsyncExitStack()
        self._began = monotonic()

    async def __aenter__(self) -> Self:
        for device in self._devices:
            server = await self._servers.enter_async_context(await asyncio.start_server(device.serve, "127.0.0.1", 0))
            self.ports[device.name] = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._servers.aclose()

    async def after(self, what: str, change: Callable[[], None], members: Callable[[], Collection[str]]) -> None:
        """Make a change, wait until every device has one of the members, and print what has moved."""
        before = {device.name: device.connections for device in self._devices}
        self._say(what)
        change()
        async with asyncio.timeout(PATIENCE):
            while {device.member for device in self._devices} != set(members()):
                self._changed.clear()
                await self._changed.wait()
        shares = Counter(device.member for device in self._devices)
        moved = [device for device in self._devices if device.connections != before[device.name]]
        text = ", ".join(f"{name} has {count}" for name, count in sorted(shares.items(), key=str))
        if any(before.values()):
            longest = max((device.pause for device in moved), default=0.0)
            kept = len(self._devices) - len(moved)
            text += f"; {len(moved)} moved, alone for {longest:.3f} s at most; {kept} kept"
        self._say(f"    {text}")

    def result(self) -> tuple[bool, str]:
        """Return whether two members never called a device at once, and the numbers."""
        connections = sum(device.connections for device in self._devices)
        turned_away = sum(device.turned_away for device in self._devices)
        text = f"{len(self._devices)} devices, {connections} connections, {turned_away} while there was another"
        return turned_away == 0, text

    def _say(self, text: str) -> None:
        print(f"{monotonic() - self._began:6.2f} s  {text}", flush=True)
