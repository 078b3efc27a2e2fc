"""What it costs that exclusive groups go by a lease which only a quorum renews: writes, counted by transaction ids.

Each member asks a quorum six times in a session timeout, by a transaction that changes nothing. Members of groups that
are not exclusive write nothing while they are at rest. All members live in one process, each with a session of its own.
They share groups of ten, as what a member asks does not depend on the size of its group.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.report import Report, Table
from tests.support import ZooKeeperServer, wait_until

GROUP_SIZE = 10
SESSION_TIMEOUT = 10.0
AT_ONCE = 20
NOT_EXCLUSIVE = GroupPolicy(slots=16, vnodes=1)
EXCLUSIVE = GroupPolicy(slots=16, vnodes=1, exclusive=True)


async def measure(*, quick: bool) -> Report:
    sizes, seconds = ((2,), 0.1) if quick else ((10, 100, 1000), 10.0)
    table = Table(
        "writes",
        f"members at rest with a session timeout of {SESSION_TIMEOUT:g} s: transactions a second",
        ("members", "not exclusive|,.1f", "exclusive|,.1f", "a member|,.2f"),
        f"Over {seconds:g} s.",
    )
    async with ZooKeeperServer(tick_time=2000, heap_megabytes=256) as server:
        for size in sizes:
            plain = await _writes_per_second(server, f"/plain-{size}", member_ids(size), NOT_EXCLUSIVE, seconds)
            exclusive = await _writes_per_second(server, f"/exclusive-{size}", member_ids(size), EXCLUSIVE, seconds)
            table.add(size, plain, exclusive, exclusive / size)
    return Report([table])


async def _writes_per_second(
    server: ZooKeeperServer, namespace: str, members: Sequence[str], policy: GroupPolicy, seconds: float
) -> float:
    async with AsyncExitStack() as stack:
        fleet = {
            PartitionCoordinator(server.url(namespace), member_id=each): f"switches-{number // GROUP_SIZE}"
            for number, each in enumerate(members)
        }
        sizes = Counter(fleet.values())

        async def join(member: PartitionCoordinator, group_id: str) -> None:
            await stack.enter_async_context(member)
            await member.join_group(group_id, policy=policy)

        pairs = list(fleet.items())
        for first in range(0, len(pairs), AT_ONCE):
            await asyncio.gather(*(join(*pair) for pair in pairs[first : first + AT_ONCE]))
        await wait_until(lambda: all(_at_rest(*pair, sizes[pair[1]]) for pair in pairs), timeout=60.0, interval=0.5)
        await asyncio.sleep(seconds / 10)  # whoever said that a generation is active clears up after it
        before, began = await _last_transaction(server), time.monotonic()
        await asyncio.sleep(seconds)
        return (await _last_transaction(server) - before) / (time.monotonic() - began)


def _at_rest(member: PartitionCoordinator, group_id: str, size: int) -> bool:
    status = member.status(group_id)
    return status.state == "steady" and len(status.members) == size


async def _last_transaction(server: ZooKeeperServer) -> int:
    lines = (await server.four_letter_word("srvr")).splitlines()
    return next(int(line.removeprefix("Zxid: "), 16) for line in lines if line.startswith("Zxid: "))
