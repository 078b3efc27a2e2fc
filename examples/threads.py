"""Blocking work in threads: who begins while the thread of the last owner is still at work?

python examples/threads.py                                  both members in this process
python examples/threads.py zookeeper://localhost/threads    with a ZooKeeper server

Nobody can stop a thread. If a worker awaits `asyncio.to_thread`, its cancellation ends only the waiting, and the next
owner begins while the thread goes on, also in an exclusive group. With `finish_in_thread` the worker ends when its
thread has, and the next owner begins after that.
"""

import argparse
import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from aiopartition import GroupPolicy, PartitionCoordinator, finish_in_thread, stop_on_signal

FILES = [f"file-{number:02}" for number in range(24)]
InThread = Callable[..., Awaitable[object]]


class Archive:
    """Counts the files that a thread begins with while another thread is still at work on them."""

    def __init__(self) -> None:
        self.at_work = Counter[str]()
        self.too_early = set[str]()
        self._lock = threading.Lock()

    def pack(self, file: str) -> None:
        with self._lock:
            self.at_work[file] += 1
            if self.at_work[file] > 1:
                self.too_early.add(file)
        time.sleep(0.3)  # packing, which blocks
        with self._lock:
            self.at_work[file] -= 1


async def show(url: str, group: str, in_thread: InThread) -> None:
    archive = Archive()

    async def attend(file: str) -> None:
        while True:
            await in_thread(archive.pack, file)

    async with (
        PartitionCoordinator(url, member_id="anna") as anna,
        PartitionCoordinator(url, member_id="ben") as ben,
        asyncio.TaskGroup() as tasks,
    ):
        await anna.join_group(group, policy=GroupPolicy(exclusive=True))
        await ben.join_group(group, weight=0)
        running = [tasks.create_task(coordinator.run(group, FILES, attend)) for coordinator in (anna, ben)]
        while len(+archive.at_work) < len(FILES):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await ben.set_weight(group, 1)
        await anna.set_weight(group, 0)  # all that anna has moves to ben
        await asyncio.sleep(0.5)
        for task in running:
            task.cancel()
    print(f"{group}: {len(archive.too_early)} of {len(FILES)} files were begun while a thread was at work on them")


async def main(url: str) -> None:
    # Enough threads that each worker has one at once.
    with ThreadPoolExecutor(4 * len(FILES)) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        async with stop_on_signal():
            await show(url, "to_thread", asyncio.to_thread)
            await show(url, "finish_in_thread", finish_in_thread)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        asyncio.run(main(parser.parse_args().url))
    except KeyboardInterrupt:
        print("interrupted")
