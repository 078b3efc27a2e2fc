"""What a coordinator and a group take of memory, and how long it takes to join many groups, on a real server.

Memory is what Python has allocated (``tracemalloc``) after a collection, divided by how many there are. Not in it:
stacks of threads, of which tooz and kazoo have several for each coordinator and we none, and what OpenSSL or the
kernel keep. The groups have 10 members, one of them this coordinator; the others are entries without coordinators.
*The same members* is one fleet in all groups, as when each agent of a service joins them all; *others in each* is
another fleet in each group. A *further* group is one beside another. tooz's groups are ``join_partitioned_group()``,
with the same 10 entries written by hand.

Joining is timed without ``tracemalloc``: one ``join_group()`` after the other, and all at once.
"""

import asyncio
import gc
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

from kazoo.client import KazooClient
from tooz import utils

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.benchmarks.crowd import Crowd
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.report import Report, Table
from tests.benchmarks.tooz_members import ToozMember
from tests.support import ZooKeeperServer

MEMBERS = 10
EXCLUSIVE = GroupPolicy(exclusive=True)


async def measure(*, quick: bool) -> Report:
    coordinators, groups, sizes = (2, 3, (3,)) if quick else (20, 100, (10, 100, 1_000))
    memory = Table("memory", "kilobytes", ("what", "kB each|,.1f", "threads each|,.1f"))
    times = Table(
        "joining", f"seconds to join {groups} groups of {MEMBERS} members", ("how", "all|,.2f", "ms a group|,.1f")
    )
    async with ZooKeeperServer(tick_time=2000, heap_megabytes=256) as server:
        await _coordinators(server, memory, coordinators)
        for same in (True, False):
            name = "the same members" if same else "others in each"
            async with Groups(server.url(f"/groups-{same}"), groups, same=same) as fleet:
                await fleet.join(at_once=True)
                await fleet.forget(but_one=True)
                with allocated(groups - 1) as cost:
                    await fleet.join(at_once=True)
                memory.add(f"a further group of {MEMBERS}, {name}", cost.kilobytes, cost.threads)
                for at_once in (False, True):
                    await fleet.forget()
                    seconds = await fleet.join(at_once=at_once)
                    how = "all at once" if at_once else "one after the other"
                    times.add(f"aiopartition, {how}, {name}", seconds, seconds / groups * 1e3)
        async with Groups(server.url("/exclusive"), groups, same=True, policy=EXCLUSIVE) as fleet:
            await fleet.join(at_once=False)
            await fleet.forget(but_one=True)
            with allocated(groups - 1) as cost:
                await fleet.join(at_once=False)
            memory.add(f"a further exclusive group of {MEMBERS}, the same members", cost.kilobytes, cost.threads)
        for size in sizes:
            async with Groups(server.url(f"/size-{size}"), 1, same=True, size=size) as fleet:
                await fleet.join(at_once=True)
                await fleet.forget()
                with allocated(1) as cost:
                    await fleet.join(at_once=True)
                memory.add(f"one joined group of {size:,}", cost.kilobytes, cost.threads)
        _tooz(server, memory, times, groups)
    return Report([memory, times])


@dataclass
class Cost:
    kilobytes: float = 0.0
    threads: float = 0.0


@contextmanager
def allocated(count: int) -> Iterator[Cost]:
    """What one of ``count`` costs that are made inside."""
    cost = Cost()
    gc.collect()
    tracemalloc.start()
    threads = threading.active_count()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield cost
        gc.collect()
        cost.kilobytes = (tracemalloc.get_traced_memory()[0] - before) / count / 1e3
        cost.threads = (threading.active_count() - threads) / count
    finally:
        tracemalloc.stop()


async def _coordinators(server: ZooKeeperServer, table: Table, count: int) -> None:
    async with AsyncExitStack() as stack:

        async def start() -> None:
            coordinator = await stack.enter_async_context(PartitionCoordinator(server.url("/coordinators")))
            assert coordinator.connected

        await start()  # whatever comes with the first one only
        with allocated(count) as cost:
            for _ in range(count):
                await start()
        table.add("a started coordinator, no group", cost.kilobytes, cost.threads)

    members = [ToozMember(server.address, each) for each in member_ids(count + 1)]
    members[0].start()
    with allocated(count) as cost:
        for member in members[1:]:
            member.start()
    table.add("tooz: a started coordinator, no group", cost.kilobytes, cost.threads)
    for member in members:
        member.stop()


class Groups:
    """Many groups of equal size, in each of which one coordinator takes part, or may."""

    def __init__(
        self, url: str, count: int, *, same: bool, size: int = MEMBERS, policy: GroupPolicy | None = None
    ) -> None:
        self._url = url
        self._names = [f"group-{number:03}" for number in range(count)]
        self._same = same
        self._size = size
        self._policy = policy
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._crowd = await self._stack.enter_async_context(Crowd(self._url))
        for seed, name in enumerate(self._names):
            await self._crowd.join(name, member_ids(self._size - 1, seed=1 if self._same else seed), self._policy)
        self._coordinator = await self._stack.enter_async_context(PartitionCoordinator(self._url, member_id="me"))
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def join(self, *, at_once: bool) -> float:
        """How many seconds it takes."""
        began = time.monotonic()
        if at_once:
            await asyncio.gather(*(self._coordinator.join_group(each) for each in self._names))
        else:
            for name in self._names:
                await self._join(name)
        seconds = time.monotonic() - began
        assert {len(await self._coordinator.get_members(name)) for name in self._names} == {self._size}
        return seconds

    async def _join(self, name: str) -> None:
        joining = asyncio.create_task(self._coordinator.join_group(name, policy=self._policy))
        exclusive = self._policy is not None and self._policy.exclusive
        marks = await self._crowd.hand_over(name, "me") if exclusive else []
        await joining
        await self._crowd.retract(name, marks)

    async def forget(self, *, but_one: bool = False) -> None:
        """Leave them all, or all but the first."""
        await asyncio.gather(*map(self._coordinator.leave_group, self._names[but_one:]))


def _tooz(server: ZooKeeperServer, memory: Table, times: Table, groups: int) -> None:
    others = KazooClient(server.address)
    others.start()
    names: Sequence[str] = [f"group-{number:03}" for number in range(groups)]
    for name in names:
        for member_id in member_ids(MEMBERS - 1):
            others.create(f"/tooz/{name}/{member_id}", utils.dumps({"weight": 1}), ephemeral=True, makepath=True)
    member = ToozMember(server.address, "me")
    member.start()
    kept: list[object] = []

    def join() -> float:
        began = time.monotonic()
        for name in names:
            member.join_partitioned(name.encode())
            kept.append(member.partitioner)
        return time.monotonic() - began

    seconds = join()
    times.add("tooz, one after the other, the same members", seconds, seconds / groups * 1e3)
    kept.clear()
    member.stop()
    member = ToozMember(server.address, "me")
    member.start()
    with allocated(groups) as cost:
        join()
    memory.add(f"tooz: a joined group of {MEMBERS}", cost.kilobytes, cost.threads)
    member.stop()
    others.stop()
    others.close()
