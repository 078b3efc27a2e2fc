"""A service with several worker processes: each is a member, with an id that a restart keeps.

python examples/prefork.py zookeeper://localhost/prefork --workers 3

The parent forks the workers before any event loop runs, and each worker has a coordinator of its own. The parent
starts a worker that has ended again, under the same id, so that it finds the keys that it had.
"""

import argparse
import asyncio
import multiprocessing
import signal
import socket
import threading
from contextlib import suppress

from aiopartition import PartitionCoordinator, stop_on_signal

TARGETS = [f"target-{number:02}" for number in range(24)]


async def work(url: str, member_id: str) -> None:
    async with stop_on_signal(), PartitionCoordinator(url, member_id=member_id, session_timeout=4) as coordinator:
        before = None
        while True:
            mine = await coordinator.extract_my_subset("targets", TARGETS)
            if mine != before:
                print(f"{member_id} has {len(mine)}\n", end="", flush=True)  # in one piece: several processes print
            before = mine
            await asyncio.sleep(0.2)


def worker(url: str, number: int) -> None:
    with suppress(KeyboardInterrupt):
        asyncio.run(work(url, f"{socket.gethostname()}-{number}"))


def main(url: str, workers: int) -> None:
    stopping = threading.Event()
    fork = multiprocessing.get_context("fork")
    running = {number: fork.Process(target=worker, args=(url, number)) for number in range(workers)}
    for process in running.values():
        process.start()
    for each in (signal.SIGTERM, signal.SIGINT):  # after the forks: the workers have handlers of their own
        signal.signal(each, lambda *_: stopping.set())
    while not stopping.wait(0.5):
        for number, process in running.items():
            if not process.is_alive():
                running[number] = fork.Process(target=worker, args=(url, number))
                running[number].start()
    for process in running.values():
        process.terminate()
    for process in running.values():
        process.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the backend, which is a ZooKeeper server: processes cannot share memory://")
    parser.add_argument("--workers", type=int, default=3, metavar="N", help="default: %(default)s")
    options = parser.parse_args()
    main(options.url, options.workers)
