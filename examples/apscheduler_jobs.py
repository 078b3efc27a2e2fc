"""APScheduler in several processes: all of them have all jobs, and each job runs in one of them.

python examples/apscheduler_jobs.py                                  alone in this process
python examples/apscheduler_jobs.py zookeeper://localhost/jobs       with a ZooKeeper server
python examples/apscheduler_jobs.py zookeeper://localhost/jobs west  with an id of its own: start another as east

Each process asks at the moment when a job is due. In an exclusive group no job runs in two processes at once: a job
that is still running in one keeps the others waiting.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from aiopartition import GroupPolicy, PartitionCoordinator, stop_on_signal


async def send_report(name: str) -> None:
    print(f"{name} runs", flush=True)


async def at_owner(coordinator: PartitionCoordinator, name: str, job: Callable[[str], Awaitable[None]]) -> None:
    """Run a job if it belongs to this member. It counts as in flight until it has ended."""
    async for mine in coordinator.my_subset("jobs", [name]):
        await job(mine)


async def main(url: str, member_id: str | None = None) -> None:
    async with stop_on_signal(), PartitionCoordinator(url, member_id=member_id) as coordinator:
        await coordinator.join_group("jobs", policy=GroupPolicy(exclusive=True))
        scheduler = AsyncIOScheduler()
        for name in ("backup", "billing", "cleanup", "digest", "export", "report"):
            scheduler.add_job(at_owner, "interval", seconds=1, args=[coordinator, name, send_report])
        scheduler.start()
        try:
            await asyncio.Event().wait()
        finally:
            scheduler.shutdown()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["memory://"]))
