"""A service without asyncio: its threads ask a coordinator that runs in an event loop of its own thread.

python examples/blocking_service.py                                    alone in this process
python examples/blocking_service.py zookeeper://localhost/blocking     with a ZooKeeper server; start it twice

anyio's blocking portal is the bridge. It comes with aiopartition.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from anyio.from_thread import BlockingPortal, start_blocking_portal

from aiopartition import PartitionCoordinator

TARGETS = [f"target-{number:02}" for number in range(12)]


class BlockingCoordinator:
    """The calls of a coordinator that this service needs. Any thread may make them."""

    def __init__(self, portal: BlockingPortal, coordinator: PartitionCoordinator) -> None:
        self._portal = portal
        self._coordinator = coordinator

    def extract_my_subset(self, group_id: str, resources: list[str]) -> list[str]:
        return self._portal.call(self._coordinator.extract_my_subset, group_id, resources)

    def get_members(self, group_id: str) -> tuple[str, ...]:
        return self._portal.call(self._coordinator.get_members, group_id)


@contextmanager
def start(coordinator: PartitionCoordinator) -> Iterator[BlockingCoordinator]:
    """The event loop runs in a thread of its own, so work that blocks never delays a heartbeat."""
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(coordinator):
        yield BlockingCoordinator(portal, coordinator)


def main(url: str) -> None:
    stopping = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stopping.set())
    before = None
    with start(PartitionCoordinator(url)) as coordinator:
        while not stopping.wait(0.2):
            mine = coordinator.extract_my_subset("targets", TARGETS)
            # A real service would poll its targets here, with code that blocks.
            if mine != before:
                members = coordinator.get_members("targets")
                print(f"{len(mine)} of {len(TARGETS)} targets are mine, of {len(members)} members", flush=True)
            before = mine
    print("stopped")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["memory://"])
