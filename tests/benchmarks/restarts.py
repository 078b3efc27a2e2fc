"""What it costs to restart a large fleet, member by member, in tens and in hundreds; and what fleets ask at rest.

All members are in this process, as in ``membership_cost``, with a session each on one real server. A restart is a
farewell and a start under the same id, of as many members as are restarted at once. It is over when the whole fleet has
the generation that the last of them came with. Requests are the server's count (``mntr``), pings and heartbeats among
them; bytes are counted at the members' sockets; CPU is this process's. All are for each member and restarted one.

*At rest* each of the members has joined all of the groups, and nothing has happened for half a minute. If all
heartbeats asked about all groups, it would be one request a second for each member and group, and the pings.
"""

import asyncio
from contextlib import AsyncExitStack

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.benchmarks.counters import Counters
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.membership_cost import GROUP, reached, spending
from tests.benchmarks.report import Report, Table
from tests.support import ZooKeeperServer

OPTIONS = "?session_timeout=40"
SMALL = GroupPolicy(slots=16, vnodes=1)
"""For groups whose tables are of no interest."""


async def measure(*, quick: bool) -> Report:
    sizes, lots, quiet = ((3,), {1: 1}, 0.0) if quick else ((100, 1_000), {1: 10, 10: 5, 100: 3}, 30.0)
    restarts = Table(
        "restarts",
        "restarts: for each member and restarted one",
        ("members", "at once", "requests|,.2f", "bytes", "ms of CPU|,.3f", "s until all agree|,.2f"),
        "Means over ten restarts of one, five of ten, three of a hundred.",
    )
    rest = Table("rest", "at rest: in a second", ("members", "groups", "requests", "requests a member|,.2f", "kB|,.1f"))
    async with ZooKeeperServer(tick_time=2000, heap_megabytes=512) as server:
        for size in sizes:
            await _restart(server, size, lots, restarts)
        for members, groups in ((1, 1),) if quick else ((100, 1), (1_000, 1), (100, 100)):
            await _rest(server, members, groups, quiet, rest)
    return Report([restarts, rest])


async def _restart(server: ZooKeeperServer, size: int, lots: dict[int, int], table: Table) -> None:
    url = server.url(f"/restarts-{size}{OPTIONS}")
    async with AsyncExitStack() as stack:

        async def start(ids: list[str]) -> None:
            fleet.update({each: PartitionCoordinator(url, member_id=each, connect_timeout=120.0) for each in ids})
            await asyncio.gather(*(stack.enter_async_context(fleet[each]) for each in ids))
            await asyncio.gather(*(fleet[each].join_group(GROUP) for each in ids))
            newest = max([(await fleet[each].view(GROUP)).generation for each in ids])
            await reached(list(fleet.values()), lambda view: view.generation >= newest)

        fleet: dict[str, PartitionCoordinator] = {}
        waiting = member_ids(size)
        await start(waiting)
        for at_once, times in lots.items():
            before = await Counters.of(server)
            with spending() as spent:
                for _ in range(times):
                    ids, waiting = waiting[:at_once], waiting[at_once:] + waiting[:at_once]
                    await asyncio.gather(*(fleet[each].stop() for each in ids))
                    await start(ids)
            requests = (await Counters.of(server)).since(before).requests
            restarted = at_once * times
            each = 1 / size / restarted
            table.add(size, at_once, requests * each, spent.bytes * each, spent.cpu * each * 1e3, spent.seconds / times)
        await asyncio.gather(*(member.stop() for member in fleet.values()))  # not one after the other


async def _rest(server: ZooKeeperServer, members: int, groups: int, quiet: float, table: Table) -> None:
    url = server.url(f"/rest-{members}-{groups}{OPTIONS}")
    async with AsyncExitStack() as stack:
        fleet = [PartitionCoordinator(url, member_id=each, connect_timeout=120.0) for each in member_ids(members)]
        await asyncio.gather(*map(stack.enter_async_context, fleet))
        for number in range(groups):
            group = f"{GROUP}-{number}"
            await asyncio.gather(*(member.join_group(group, policy=SMALL) for member in fleet))
        await asyncio.sleep(quiet)
        before = await Counters.of(server)
        with spending() as spent:
            await asyncio.sleep(quiet)
        requests = (await Counters.of(server)).since(before).requests / spent.seconds
        await asyncio.gather(*(member.stop() for member in fleet))
        table.add(members, groups, requests, requests / members, spent.bytes / spent.seconds / 1e3)
