"""Two schedulers share the jobs that the code lists: each runs exactly half of them.

python examples/scheduler.py                                     both in this process
python examples/scheduler.py zookeeper://localhost/scheduler     with a ZooKeeper server
"""

import argparse
import asyncio

from aiopartition import GroupPolicy, Partition, PartitionCoordinator, partitions, stop_on_signal

JOBS = ("backup", "billing", "cleanup", "digest", "export", "import", "index", "invoices", "metrics", "renewals",
        "reports", "thumbnails")  # fmt: skip
POLICY = GroupPolicy(partitions=len(JOBS), exclusive=True)


async def main(url: str) -> None:
    running: dict[str, str] = {}
    changed = asyncio.Event()

    async def schedule(scheduler: PartitionCoordinator) -> None:
        async def attend(partition: Partition) -> None:
            job = JOBS[partition]
            running[job] = scheduler.member_id
            changed.set()
            try:
                await asyncio.Event().wait()  # a real scheduler would run the job here, each time it is due
            finally:
                del running[job]

        await scheduler.join_group("jobs", policy=POLICY)
        await scheduler.run("jobs", partitions(len(JOBS)), attend)

    async def show(*members: str) -> None:
        while len(running) < len(JOBS) or set(running.values()) != set(members):
            changed.clear()
            await changed.wait()
        for member in members:
            mine = sorted(job for job, owner in running.items() if owner == member)
            print(f"{member} has {len(mine)}: {' '.join(mine)}")

    async with (
        stop_on_signal(),
        PartitionCoordinator(url, member_id="harry") as harry,
        asyncio.TaskGroup() as tasks,
    ):
        first = tasks.create_task(schedule(harry))
        async with PartitionCoordinator(url, member_id="lloyd") as lloyd:
            second = tasks.create_task(schedule(lloyd))
            await show("harry", "lloyd")
            second.cancel()
        print("\nlloyd stops\n")
        await show("harry")
        first.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        asyncio.run(main(parser.parse_args().url))
    except KeyboardInterrupt:
        print("interrupted")
