"""Members keep devices connected. No device ever has two members, while members join and leave and devices move.

python examples/connections.py                                                     members are tasks of this process
python examples/connections.py zookeeper://localhost/connections                   with a ZooKeeper server
python examples/connections.py zookeeper://localhost/connections --processes       members are processes

The devices are small TCP servers in this example. Like many real devices, each talks to one client at a time, and
counts and rejects a second one. In an exclusive group this never happens: the member that loses a device disconnects
before the member that gains it may connect. Devices that stay with their member notice nothing.

A killed process cannot disconnect or leave. Its devices have no member until its session expires, after two seconds
here, because other members cannot know earlier that it is dead.

The exit code is 0 if two members never called a device at once.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from time import monotonic

from aiopartition import ConfigurationError, GroupPolicy, PartitionCoordinator, stop_on_signal

GROUP = "devices"
HOST = "127.0.0.1"
SESSION_TIMEOUT = 2.0
PATIENCE = 30.0  # seconds until every device must have a member again

# ---- a member: all the code that uses the library


@dataclass(frozen=True)
class Address:
    """The address of a device."""

    name: str
    port: int


async def agent(name: str, url: str, devices: Sequence[Address]) -> None:
    """Keep this member's devices connected until cancelled. Every member is given all devices."""
    async with PartitionCoordinator(url, member_id=name, session_timeout=SESSION_TIMEOUT) as coordinator:
        await coordinator.join_group(GROUP, policy=GroupPolicy(exclusive=True))
        await coordinator.run(GROUP, devices, partial(converse, name), key=attrgetter("name"))


async def converse(name: str, device: Address) -> None:
    """Hold one long-lived connection. If it breaks, this raises, and ``run()`` calls it again after a delay."""
    reader, writer = await asyncio.open_connection(HOST, device.port)
    try:
        writer.write(f"hello, {name} here\n".encode())
        while await reader.readline():  # a reading
            await asyncio.sleep(0.1)
            writer.write(b"next\n")
        raise ConnectionError(f"{device.name} has hung up")
    finally:
        # Another member may connect as soon as this function ends, so wait until the device has hung up. Awaiting is
        # possible here because run() cancels a worker once and then waits for it.
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()


# ---- a member in a process of its own


async def agent_process(name: str, url: str, devices: Sequence[Address]) -> None:
    """Run a member until its input ends, which also happens when the parent dies."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with closing(transport):
        async with stop_on_signal(), asyncio.TaskGroup() as tasks:
            life = tasks.create_task(agent(name, url, devices))
            await reader.read()
            life.cancel()


# ---- the devices


class Device:
    """A server that talks to one client at a time and counts rejected clients."""

    def __init__(self, name: str, changed: asyncio.Event) -> None:
        self.name = name
        self.agent: str | None = None
        """The connected member."""
        self.connections = 0
        self.turned_away = 0
        self.pause = 0.0
        """Seconds between the end of the previous connection and the start of the current one."""
        self._left_at = 0.0
        self._changed = changed

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):  # a killed member may send half a line
            hello = await reader.readline()
            if not hello:
                return
            if self.agent is not None:
                self.turned_away += 1
                return
            self.agent = hello.decode().split()[1]
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
                self.agent = None
                self._left_at = monotonic()
                self._changed.set()


# ---- what happens


class Fleet:
    """Runs the members and reports what the devices see of them."""

    def __init__(self, url: str, *, processes: bool, tasks: asyncio.TaskGroup) -> None:
        self.devices: list[Device] = []
        self._url = url
        self._processes = processes
        self._tasks = tasks
        self._addresses: list[Address] = []
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._changed = asyncio.Event()
        self._began = monotonic()

    async def serve(self, count: int, servers: AsyncExitStack) -> None:
        """Start ``count`` devices."""
        for number in range(1, count + 1):
            device = Device(f"device-{number:02}", self._changed)
            server = await servers.enter_async_context(await asyncio.start_server(device.serve, HOST, 0))
            self.devices.append(device)
            self._addresses.append(Address(device.name, server.sockets[0].getsockname()[1]))

    def start(self, name: str) -> None:
        attend = self._attend if self._processes else self._live
        self._lives[name] = self._tasks.create_task(attend(name))

    def stop(self, name: str) -> None:
        """Stop a member cleanly: it disconnects from its devices and leaves the group."""
        self._lives.pop(name).cancel()

    def kill(self, name: str) -> None:
        self._lives.pop(name)
        self._children[name].kill()

    async def change(self, what: str, change: Callable[[], None]) -> None:
        """Make a change, wait until every device has a member again, and report the result."""
        before = {device.name: device.connections for device in self.devices}
        self._say(what)
        change()
        async with asyncio.timeout(PATIENCE):
            while {device.agent for device in self.devices} != set(self._lives):
                self._changed.clear()
                await self._changed.wait()
        shares = Counter(device.agent for device in self.devices)
        moved = [device for device in self.devices if device.connections != before[device.name]]
        text = ", ".join(f"{name} has {count}" for name, count in sorted(shares.items(), key=str))
        if any(before.values()):
            longest = max((device.pause for device in moved), default=0.0)
            text += f"; {len(moved)} moved, alone for {longest:.3f} s at most; {len(self.devices) - len(moved)} kept"
        self._say(f"    {text}")

    # ---- inside

    def _say(self, text: str) -> None:
        print(f"{monotonic() - self._began:6.2f} s  {text}", flush=True)

    async def _live(self, name: str) -> None:
        await agent(name, self._url, self._addresses)

    async def _attend(self, name: str) -> None:
        """Run a member in a process of its own."""
        addresses = json.dumps({address.name: address.port for address in self._addresses})
        child = self._children[name] = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, self._url, "--agent", name, "--addresses", addresses),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,  # only the parent receives Ctrl-C, and it ends the members
        )
        assert child.stdin is not None
        try:
            await child.wait()
        finally:
            child.stdin.close()
            await child.wait()
        if name in self._lives:
            raise RuntimeError(f"{name} has ended by itself")


async def show(url: str, count: int, *, processes: bool, pause: float) -> bool:
    """Return whether two members never called a device at once."""
    async with stop_on_signal(), AsyncExitStack() as servers, asyncio.TaskGroup() as tasks:
        fleet = Fleet(url, processes=processes, tasks=tasks)
        await fleet.serve(count, servers)
        for name in ("agent-1", "agent-2", "agent-3"):
            await fleet.change(f"{name} starts", partial(fleet.start, name))
            await asyncio.sleep(pause)
        await fleet.change("agent-2 stops", partial(fleet.stop, "agent-2"))
        await asyncio.sleep(pause)
        if processes:
            await fleet.change("agent-3 is killed", partial(fleet.kill, "agent-3"))
            await asyncio.sleep(pause)
        await fleet.change("agent-4 starts", partial(fleet.start, "agent-4"))
        await asyncio.sleep(pause)
        for name in ("agent-1", "agent-3", "agent-4"):
            if not (processes and name == "agent-3"):
                fleet.stop(name)
    connections = sum(device.connections for device in fleet.devices)
    turned_away = sum(device.turned_away for device in fleet.devices)
    print(f"{count} devices, {connections} connections, {turned_away} while there was another")
    return turned_away == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    parser.add_argument("--processes", action="store_true", help="each agent in a process of its own; one is killed")
    parser.add_argument("--devices", type=int, default=24, metavar="N", help="at least 12 (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between events (default: %(default)g)")
    parser.add_argument("--agent", help=argparse.SUPPRESS)  # run a single member of this name
    parser.add_argument("--addresses", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        PartitionCoordinator(options.url)
    except ConfigurationError as error:
        parser.error(str(error))
    if options.processes and options.url.startswith("memory:"):
        parser.error("processes cannot share memory://: give the URL of a ZooKeeper server")
    if options.devices < 12:
        parser.error("at least 12 devices are needed, so that each agent gets some")
    try:
        if options.agent:
            addresses = [Address(name, port) for name, port in options.addresses.items()]
            asyncio.run(agent_process(options.agent, options.url, addresses))
            return 0
        went_well = asyncio.run(show(options.url, options.devices, processes=options.processes, pause=options.pause))
        return 0 if went_well else 1
    except KeyboardInterrupt:
        print("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
