"""What a change of the membership costs in an exclusive group, in requests to the server and in bytes."""

import asyncio
import statistics
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.benchmarks.counters import Counters
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.membership_cost import Spent, spending
from tests.benchmarks.report import Table
from tests.support import ZooKeeperServer, wait_until

GROUP = "switches"
TIMES = 3
REST = 0.25  # seconds in which members delete the marks of a handoff that is over


@dataclass(frozen=True)
class Cost:
    """Of all members together."""

    requests: float
    spent: Spent
    seconds: float
    """Until all agree, and the handoff is over."""


async def cost_table(server: ZooKeeperServer, sizes: Sequence[int]) -> Table:
    """What a join and a stop cost, in exclusive groups and in others, of so many members."""
    table = Table(
        "cost",
        "a change: requests that the server counts, and bytes at the members' sockets, both ways",
        (
            *("members", "change", "requests, not exclusive|,.1f", "exclusive|,.1f", "more, per member|,.1f"),
            *("bytes a member|,.0f", "exclusive|,.0f", "most of one member|,.0f", "s until it is over|,.2f"),
        ),
        "Members are there before a join and after a stop, and work on nothing. Means of three; the time is a median.",
    )
    for size in sizes:
        plain = await _costs(server, f"/plain-{size}", size, GroupPolicy())
        exclusive = await _costs(server, f"/exclusive-{size}", size, GroupPolicy(exclusive=True))
        for change, costs in exclusive.items():
            requests, more = [statistics.fmean(each.requests for each in group) for group in (plain[change], costs)]
            octets = [statistics.fmean(each.spent.bytes for each in group) / size for group in (plain[change], costs)]
            most = max(max(each.spent.by_connection.values()) for each in costs)
            seconds = statistics.median(each.seconds for each in costs)
            table.add(size, change, requests, more, (more - requests) / size, *octets, most, seconds)
    return table


async def _costs(server: ZooKeeperServer, namespace: str, size: int, policy: GroupPolicy) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {"join": [], "stop": []}
    names = iter(member_ids(size + TIMES))
    # No pings and no heartbeats within the time that this takes.
    url = server.url(f"{namespace}?session_timeout=40&heartbeat=60")
    async with AsyncExitStack() as stack:

        async def member() -> PartitionCoordinator:
            new = PartitionCoordinator(url, member_id=next(names), connect_timeout=120.0)
            return await stack.enter_async_context(new)

        async def change(kind: str, call: Coroutine[None, None, None], members: Sequence[PartitionCoordinator]) -> None:
            before, began = await Counters.of(server), time.monotonic()
            with spending() as spent:
                await call
                await _calm(members)
                seconds = time.monotonic() - began
                await asyncio.sleep(REST)
            costs[kind].append(Cost((await Counters.of(server)).since(before).requests, spent, seconds))

        members = [await member() for _ in range(size)]
        await asyncio.gather(*(each.join_group(GROUP, policy=policy) for each in members))
        await _calm(members)
        await asyncio.sleep(REST)
        for _ in range(TIMES):
            newcomer = await member()
            await change("join", newcomer.join_group(GROUP, policy=policy), [*members, newcomer])
            await change("stop", newcomer.stop(), members)
    return costs


async def _calm(members: Sequence[PartitionCoordinator]) -> None:
    """Wait until all see each other, and are through with what that means."""

    def all_agree() -> bool:
        states = (member.status(GROUP) for member in members)
        return all(each.state == "steady" and len(each.members) == len(members) for each in states)

    await wait_until(all_agree, timeout=120.0)
