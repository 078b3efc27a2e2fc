"""Jobs run once in each period, whichever members are there when they are due.

python examples/cron_job.py                                    three members in this process
python examples/cron_job.py zookeeper://localhost/cron-job     with a ZooKeeper server

A job has one worker in the whole group, which sleeps until the job is due, runs it, and writes down that it was run.
A member that gains the job reads from there what comes next. So no run is left out and none is made twice while members
come and go. If a process dies between a run and writing it down, that run is made again: let a job bear that.
"""

import argparse
import asyncio
from collections import Counter, defaultdict

from aiopartition import GroupPolicy, PartitionCoordinator, stop_on_signal

JOBS = ("backup", "billing", "cleanup", "digest", "export", "report")
PERIOD = 0.25  # seconds; a real job would be due once a day


class Ledger:
    """Which runs have been made. A real one is a table of a database."""

    def __init__(self) -> None:
        self.runs = Counter[tuple[str, int]]()
        self._next: dict[str, int] = defaultdict(int)

    def next_run(self, job: str) -> int:
        return self._next[job]

    def write_down(self, job: str, run: int) -> None:
        self.runs[job, run] += 1
        self._next[job] = run + 1


async def take_part(url: str, name: str, ledger: Ledger, began: float) -> None:
    async def attend(job: str) -> None:
        while True:
            run = ledger.next_run(job)
            await asyncio.sleep(began + run * PERIOD - asyncio.get_running_loop().time())
            # The job itself stands here. It is cancelled if it has to move, so shield what must be whole.
            await asyncio.shield(asyncio.sleep(0.01))
            ledger.write_down(job, run)

    async with PartitionCoordinator(url, member_id=name) as coordinator:
        await coordinator.join_group("cron", policy=GroupPolicy(exclusive=True))
        await coordinator.run("cron", JOBS, attend)


async def main(url: str) -> bool:
    """Return whether each run was made exactly once."""
    ledger = Ledger()
    began = asyncio.get_running_loop().time()
    async with stop_on_signal(), asyncio.TaskGroup() as tasks:
        members = [tasks.create_task(take_part(url, name, ledger, began)) for name in ("anna", "ben", "max")]
        await asyncio.sleep(1.5)
        members.pop().cancel()
        print("max stops", flush=True)
        await asyncio.sleep(1)
        for member in members:
            member.cancel()
    counts = [ledger.runs[job, run] for job in JOBS for run in range(ledger.next_run(job))]
    print(f"{counts.count(1)} of {len(counts)} runs were made exactly once")
    return len(counts) >= len(JOBS) and set(counts) == {1}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        raise SystemExit(not asyncio.run(main(parser.parse_args().url)))
    except KeyboardInterrupt:
        print("interrupted")
