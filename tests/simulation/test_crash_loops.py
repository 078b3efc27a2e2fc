"""P9: a member that joins and dies, again and again, takes from the others no more than it would if it lived."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator
from aiopartition.testing import PartitionCluster, VirtualTimeLoop

KEYS = [f"host-{number}" for number in range(1000)]
POLICY = GroupPolicy(exclusive=True, slots=1024, vnodes=64)
SESSION = 5.0
LONGEST_ALONE = 1.0
"""Seconds in which a handoff may be under way and nobody is known to be waited for: the first look at it is then."""


class CrashLoop:
    """Healthy members with workers, and those that die."""

    def __init__(self, cluster: PartitionCluster) -> None:
        self.cluster = cluster
        self.at_work: dict[str, str] = {}
        self.healthy: list[PartitionCoordinator] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, member_id: str) -> PartitionCoordinator:
        coordinator = await self.cluster.join(member_id, "g", policy=POLICY)

        async def work(key: str) -> None:
            assert key not in self.at_work, f"{key} is at work at {self.at_work[key]} and at {member_id}"
            self.at_work[key] = member_id
            try:
                await asyncio.Event().wait()
            finally:
                del self.at_work[key]

        self._tasks[member_id] = asyncio.create_task(coordinator.run("g", KEYS, work))
        return coordinator

    async def kill(self, member_id: str) -> None:
        await self.cluster.kill(member_id)
        await self._tasks.pop(member_id)

    async def lives_for(self, member_id: str, seconds: float) -> None:
        await self.start(member_id)
        await self.cluster.step(seconds)
        await self.kill(member_id)


@asynccontextmanager
async def watched(fleet: CrashLoop, lows: list[int]) -> AsyncIterator[None]:
    """Note the fewest keys at work meanwhile, and that whoever hands over knows for whom it waits."""

    async def watch() -> None:
        lows.append(len(KEYS))
        alone = dict.fromkeys(fleet.healthy, 0.0)
        while True:
            lows[0] = min(lows[0], len(fleet.at_work))
            for each in fleet.healthy:
                status = each.status("g")
                waits_for_nobody = status.state == "handing over" and not status.waiting_for
                alone[each] = alone[each] + 0.01 if waits_for_nobody else 0.0
                assert alone[each] <= LONGEST_ALONE + 0.5, f"{each.member_id} hands over to nobody"
            await asyncio.sleep(0.01)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


@pytest.mark.parametrize(
    ("lifetime", "pause", "stable"),
    [
        (0.3, 1.7, False),
        (0.3, 1.7, True),
        (0.06, 0.2, False),
        (0.1, 4.9, False),
        (1.0, 5.5, False),
        (3.0, 0.1, False),
        (3.0, 3.0, True),
    ],
)
def test_a_crash_loop_takes_no_more_than_one_share(lifetime: float, pause: float, stable: bool) -> None:
    """Three members keep at least 700 of 1,000 keys at work, and all are at work soon after the last crash."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        low = runner.run(fewest_at_work(lifetime, pause, stable))
    print(f"\n    at least {low} of {len(KEYS)} keys at work")
    assert low >= 700


async def fewest_at_work(lifetime: float, pause: float, stable: bool) -> int:
    """The fewest keys at work while a member joins and dies again and again."""
    async with PartitionCluster(session_timeout=SESSION) as cluster:
        fleet = CrashLoop(cluster)
        fleet.healthy = [await fleet.start(f"member-{number}") for number in range(3)]
        await cluster.settle("g")
        await cluster.step(1.0)
        assert len(fleet.at_work) == len(KEYS)
        lows: list[int] = []
        async with watched(fleet, lows):
            for number in range(15):
                await fleet.lives_for("loops" if stable else f"loops-{number}", lifetime)
                await cluster.step(pause)
        await cluster.step(max(0.0, SESSION + 2.0 - pause))
        assert len(fleet.at_work) == len(KEYS)
        for each in fleet.healthy:
            await fleet.kill(each.member_id)
    return lows[0]
