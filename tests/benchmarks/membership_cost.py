"""What a change of the membership costs each member, and how long it takes until all agree again.

All members are in this process, with a session each on one real server, and share its event loop, its processor and
its tables: a table is made once for all, and its cost is in ``table_build``. Bytes are counted at the members'
sockets, in both directions; heartbeats and pings are too rare to be among them. CPU is this process's, for parsing,
placement and all; the server's is not in it. Both are divided by the members and by the changes: one leaves and comes
back, several times, each time when all agree. ``storm`` is all members that start and join at once.
"""

import asyncio
import gc
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from unittest.mock import patch

from aiopartition import OwnershipUnknownError, PartitionCoordinator, View
from aiopartition.backends.zookeeper.connection import Connection
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.report import Report, Table, Target
from tests.support import ZooKeeperServer, wait_until

GROUP = "switches"
GOALS = {400: (400.0, 1.5, 1.0), 1_000: (400.0, 2.0, 2.0)}
"""For each size: bytes and milliseconds of CPU for a member and change, and seconds until all agree."""
STORM = 1_000, 20.0


@dataclass
class Spent:
    """Bytes over the sockets of this process, in both directions; ``cpu`` and ``seconds`` in seconds."""

    by_connection: Counter[Connection] = field(default_factory=Counter[Connection])
    cpu: float = 0.0
    seconds: float = 0.0

    @property
    def bytes(self) -> int:
        return self.by_connection.total()


async def measure(*, quick: bool) -> Report:
    sizes = (3,) if quick else (3, 10, 100, 400, 1_000)
    changes = Table(
        "changes",
        "one member leaves or joins: for each member",
        ("members", "bytes", "ms of CPU|,.3f", "ms until all agree|,.0f", "longest|,.0f"),
        "Means over the changes; the time is a median. It includes 50 ms of settling.",
    )
    storms = Table(
        "storm",
        "all members start and join at once",
        ("members", "seconds|,.2f", "MB in all|,.2f", "s of CPU|,.2f", "kB of memory each|,.0f"),
    )
    targets: list[Target] = []
    async with ZooKeeperServer(tick_time=2000, heap_megabytes=512) as server:
        for size in sizes:
            storm, spent = await _fleet(server.url(f"/size-{size}?session_timeout=40&heartbeat=60"), size, storms)
            each = 1 / size / len(spent)
            octets, cpu = sum(one.bytes for one in spent) * each, sum(one.cpu for one in spent) * each * 1e3
            seconds = statistics.median(one.seconds for one in spent)
            changes.add(size, octets, cpu, seconds * 1e3, max(one.seconds for one in spent) * 1e3)
            if size in GOALS:
                limits = zip(GOALS[size], ("bytes", "ms of CPU", "s"), (octets, cpu, seconds), strict=True)
                targets += [Target(f"{size:,} members, a change", got, limit, unit) for limit, unit, got in limits]
            if size == STORM[0]:
                targets.append(Target(f"{size:,} joins", storm.seconds, STORM[1], "s"))
    return Report([changes, storms], targets)


async def _fleet(url: str, size: int, storms: Table) -> tuple[Spent, list[Spent]]:
    """Return what joining cost, and what each of the changes did."""
    async with AsyncExitStack() as stack:
        fleet = [PartitionCoordinator(url, member_id=each, connect_timeout=120.0) for each in member_ids(size)]
        gc.collect()
        memory = _resident()
        with spending() as storm:
            await asyncio.gather(*map(stack.enter_async_context, fleet))
            await asyncio.gather(*(member.join_group(GROUP) for member in fleet))
            await _agreed(fleet, size)
        gc.collect()
        storms.add(size, storm.seconds, storm.bytes / 1e6, storm.cpu, (_resident() - memory) / size / 1e3)
        spent: list[Spent] = []
        for member in fleet[:: max(1, size // 5)][:5]:
            others = [each for each in fleet if each is not member]
            with spending() as one:
                await member.leave_group(GROUP)
                await _agreed(others, size - 1)
            spent.append(one)
            with spending() as one:
                await member.join_group(GROUP)
                await _agreed(fleet, size)
            spent.append(one)
        await asyncio.gather(*(member.stop() for member in fleet))  # not one after the other
        return storm, spent


async def reached(fleet: list[PartitionCoordinator], wanted: Callable[[View], bool]) -> None:
    """Wait until all members have had a view that is as wanted."""
    remaining = list(fleet)

    async def all_have() -> bool:
        with suppress(OwnershipUnknownError):  # as it is for a moment in a member that has been too busy
            while remaining and wanted(await remaining[-1].view(GROUP)):
                remaining.pop()
        return not remaining

    await wait_until(all_have, timeout=240.0, interval=0.01)


async def _agreed(fleet: list[PartitionCoordinator], size: int) -> None:
    await reached(fleet, lambda view: len(view.members) == size)


@contextmanager
def spending() -> Iterator[Spent]:
    """Count what is spent inside."""
    spent = Spent()
    receive, write = Connection.data_received, Connection._write

    def receiving(self: Connection, data: bytes) -> None:
        spent.by_connection[self] += len(data)
        receive(self, data)

    def writing(self: Connection, data: bytes) -> float:
        spent.by_connection[self] += len(data)
        return write(self, data)

    began, cpu = time.monotonic(), time.process_time()
    with patch.object(Connection, "data_received", receiving), patch.object(Connection, "_write", writing):
        yield spent
    spent.seconds, spent.cpu = time.monotonic() - began, time.process_time() - cpu


def _resident() -> int:
    """Bytes of memory that this process has now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096
