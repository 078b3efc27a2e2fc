"""Members keep devices connected. No device ever has two members, while members join and leave and devices move.

python examples/connections.py                                                     members are tasks of this process
python examples/connections.py zookeeper://localhost/connections                   with a ZooKeeper server
python examples/connections.py zookeeper://localhost/connections --processes       members are processes

The devices are small TCP servers in this example. Like many real devices, each talks to one client at a time, and
counts and rejects a second one. In an exclusive group this never happens: the member that loses a device disconnects
before the member that gains it may connect. Devices that stay with their member notice nothing.

A killed process cannot leave the group, so its devices have no member until its session expires, after two seconds.
The exit code is 0 if two members never called a device at once.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial

from aiopartition import GroupPolicy, PartitionCoordinator, stop_on_signal
from shared.devices import Devices
from shared.members import Members, Report, run

# ---- a member: all the code that uses the library


async def take_part(url: str, ports: Mapping[str, int], name: str, _: Callable[[Report], None]) -> None:
    """Keep this member's devices connected until cancelled. Every member is given all devices."""

    async def converse(device: str) -> None:
        """Hold one long-lived connection. If it breaks, this raises, and ``run()`` calls it again after a delay."""
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[device])
        try:
            writer.write(f"hello, {name} here\n".encode())
            while await reader.readline():  # a reading
                await asyncio.sleep(0.1)
                writer.write(b"next\n")
            raise ConnectionError(f"{device} has hung up")
        finally:
            # Another member may connect as soon as this function ends, so wait until the device has hung up. Awaiting
            # is possible here because run() cancels a worker once and then waits for it.
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()

    async with PartitionCoordinator(url, member_id=name, session_timeout=2) as coordinator:
        await coordinator.join_group("devices", policy=GroupPolicy(exclusive=True))
        await coordinator.run("devices", list(ports), converse)


# ---- what happens


async def show(url: str, count: int, pause: float, *, processes: bool) -> bool:
    """Return whether two members never called a device at once."""
    async with stop_on_signal(), Devices(count) as devices:
        async with asyncio.TaskGroup() as tasks:
            live = partial(take_part, url, devices.ports)
            arguments = ("--ports", json.dumps(devices.ports))
            members = Members(tasks, live, print, processes=processes, arguments=arguments)

            async def change(what: str, act: Callable[[str], None], name: str) -> None:
                await devices.after(f"{name} {what}", partial(act, name), lambda: members.names)
                await asyncio.sleep(pause)

            for name in ("member-1", "member-2", "member-3"):
                await change("starts", members.start, name)
            await change("stops", members.stop, "member-2")
            if processes:
                await change("is killed", members.kill, "member-3")
            await change("starts", members.start, "member-4")
            for name in members.names:
                members.stop(name)
        went_well, text = devices.result()
    print(text)
    return went_well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    parser.add_argument("--processes", action="store_true", help="each member in a process of its own; one is killed")
    parser.add_argument("--devices", type=int, default=24, metavar="N", help="at least 12 (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between events (default: %(default)g)")
    parser.add_argument("--member", help=argparse.SUPPRESS)  # be the member of this name
    parser.add_argument("--ports", type=json.loads, default={}, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.processes and options.url.startswith("memory:"):
        parser.error("processes cannot share memory://: give the URL of a ZooKeeper server")
    if options.devices < 12:
        parser.error("at least 12 devices are needed, so that each member gets some")
    live = partial(take_part, options.url, options.ports)
    processes = options.processes
    return run(parser, options, live, partial(show, options.url, options.devices, options.pause, processes=processes))


if __name__ == "__main__":
    sys.exit(main())
