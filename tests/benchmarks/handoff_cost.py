"""What a change of the membership costs in an exclusive group, in requests to the server."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.benchmarks.counters import Counters
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.report import Table
from tests.support import ZooKeeperServer, wait_until

GROUP = "switches"


async def cost_table(server: ZooKeeperServer, sizes: Sequence[int]) -> Table:
    """Requests for a join and a stop, in exclusive groups and in others, of so many members."""
    table = Table(
        "cost",
        "requests that the server counts for a change, of all members together",
        ("members", "change", "not exclusive|,.1f", "exclusive|,.1f", "more, per member|,.1f"),
        "Members are there before a join and after a stop, and work on nothing. A mean of three.",
    )
    for size in sizes:
        plain = await _requests(server, f"/plain-{size}", size, GroupPolicy())
        exclusive = await _requests(server, f"/exclusive-{size}", size, GroupPolicy(exclusive=True))
        for change, count in plain.items():
            table.add(size, change, count, exclusive[change], (exclusive[change] - count) / size)
    return table


async def _requests(server: ZooKeeperServer, namespace: str, size: int, policy: GroupPolicy) -> dict[str, float]:
    counts: dict[str, list[float]] = {"join": [], "stop": []}
    names = iter(member_ids(size + 3))
    # No pings and no heartbeats within the time that this takes.
    url = server.url(f"{namespace}?session_timeout=60&heartbeat=60")
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(PartitionCoordinator(url, member_id=next(names))) for _ in range(size)
        ]
        for member in members:
            await member.join_group(GROUP, policy=policy)
        await _calm(members)
        for _ in range(3):
            newcomer = await stack.enter_async_context(PartitionCoordinator(url, member_id=next(names)))
            before = await Counters.of(server)
            await newcomer.join_group(GROUP, policy=policy)
            await _calm([*members, newcomer])
            between = await Counters.of(server)
            await newcomer.stop()
            await _calm(members)
            after = await Counters.of(server)
            counts["join"].append(between.since(before).requests)
            counts["stop"].append(after.since(between).requests)
    return {change: sum(each) / len(each) for change, each in counts.items()}


async def _calm(members: Sequence[PartitionCoordinator]) -> None:
    """Wait until all see each other, and are through with what that means."""

    def all_agree() -> bool:
        states = [member.status(GROUP) for member in members]
        return all(each.state == "steady" and len(each.members) == len(members) for each in states)

    await wait_until(all_agree, timeout=30.0)
    await asyncio.sleep(0.25)  # whoever said that a generation is active clears up after it
