"""What a fleet of 100 asks of ZooKeeper: at rest, and while its members are restarted one after the other.

All figures are the server's own (``mntr``): requests received, pings among them; packets sent, watch events among
them; bytes of requests, and of answers to requests. The members of each fleet are in this process, with a session of
10 s each. Ours take part with the defaults (a heartbeat a second) but for a policy of 16 slots: what they compile is
of no interest to the server, and 100 members that compile on one processor would be slower than any fleet. tooz's
members have joined a partitioned group with their "heart" beating, and look for changes with ``run_watchers()`` each
second or not at all; without that they never learn of any. Of what their polling cycles ask on top nothing is
counted.

In the rolling restart each member leaves in good order and comes back under its own name, and the next follows once
it has come back, and 0.2 s after the one before at the earliest. For comparison: what a fleet would ask in that time
at rest is part of the figures.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.benchmarks.counters import Counters
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.memory import Groups
from tests.benchmarks.report import Report, Table
from tests.benchmarks.tooz_members import ToozMembers
from tests.support import ZooKeeperServer, wait_until

GROUP = "switches"
POLICY = GroupPolicy(slots=16, vnodes=1)
PACE = 0.2
WATCH_INTERVAL = 1.0

OURS, TOOZ, TOOZ_DEAF = "aiopartition", "tooz, run_watchers() each second", "tooz, which learns of nothing"


async def measure(*, quick: bool) -> Report:
    size, seconds, pause, pace = (2, 0.1, 0.0, 0.0) if quick else (100, 20.0, 2.0, PACE)
    rest = Table(
        "rest",
        f"{size} members at rest: what the server counts in a second",
        ("who", "requests|,.1f", "packets sent|,.1f", "bytes asked", "bytes answered", "requests a member|,.2f"),
        f"Over {seconds:g} s.",
    )
    restart = Table(
        "restart",
        f"a rolling restart of {size} members: what the server counts in all",
        (
            "who",
            "requests",
            "packets sent",
            "MB asked|,.2f",
            "MB answered|,.2f",
            "it took s|,.1f",
            "requests a restart|,.1f",
        ),
    )
    async with ZooKeeperServer(tick_time=2000, heap_megabytes=256) as server:

        async def counted(work: Callable[[], Awaitable[object]]) -> Counters:
            before = await Counters.of(server)
            await work()
            return (await Counters.of(server)).since(before)

        async def at_rest(who: str, members: int) -> None:
            await asyncio.sleep(pause)
            spent = await counted(lambda: asyncio.sleep(seconds))
            figures = (spent.requests, spent.answers, spent.asked, spent.answered, spent.requests / members)
            rest.add(who, *(figure / spent.at for figure in figures))

        async def both(who: str, restart_one: Callable[[int], Awaitable[None]]) -> None:
            async def restart_all() -> None:
                for place in range(size):
                    began = time.monotonic()
                    await restart_one(place)
                    await asyncio.sleep(max(0.0, pace - (time.monotonic() - began)))

            await at_rest(who, size)
            spent = await counted(restart_all)
            restart.add(
                *(who, spent.requests, spent.answers, spent.asked / 1e6, spent.answered / 1e6, spent.at),
                spent.requests / size,
            )

        async with _ours(server.url("/cost"), member_ids(size)) as restart_ours:
            await both(OURS, restart_ours)
        async with Groups(server.url("/groups"), size, same=True) as groups:
            await groups.join(at_once=True)
            await at_rest(f"aiopartition, one member of {size} groups", 1)
        with ToozMembers(server.address, member_ids(size), beating=True) as fleet:

            async def restart_tooz(place: int) -> None:
                await asyncio.to_thread(fleet.restart, place)

            async with _watching(fleet):
                await both(TOOZ, restart_tooz)
            await both(TOOZ_DEAF, restart_tooz)
    return Report([rest, restart])


@asynccontextmanager
async def _ours(url: str, members: Sequence[str]) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """A fleet; what restarts one of its members and waits until it has a view of all again."""
    fleet: dict[str, PartitionCoordinator] = {}

    async def start(member_id: str) -> None:
        coordinator = PartitionCoordinator(url, member_id=member_id)
        stack.push_async_callback(coordinator.stop)
        await coordinator.start()
        await coordinator.join_group(GROUP, policy=POLICY)
        fleet[member_id] = coordinator

    async def everybody(coordinator: PartitionCoordinator) -> bool:
        return len(await coordinator.get_members(GROUP)) == len(members)

    async def restart(place: int) -> None:
        await fleet[members[place]].stop()
        await start(members[place])
        await wait_until(lambda: everybody(fleet[members[place]]))

    async with AsyncExitStack() as stack:
        for member_id in members:
            await start(member_id)
        for coordinator in fleet.values():
            await wait_until(lambda: everybody(coordinator))  # noqa: B023
        yield restart


@asynccontextmanager
async def _watching(fleet: ToozMembers) -> AsyncIterator[None]:
    """All look for changes each second, one after the other in a thread."""

    async def watch() -> None:
        while True:
            for member in list(fleet.members):
                began = time.monotonic()
                with suppress(Exception):  # of a member that is being restarted just now
                    await asyncio.to_thread(member.run_watchers)
                await asyncio.sleep(max(0.0, WATCH_INTERVAL / len(fleet.members) - (time.monotonic() - began)))

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
