"""Two members share an inventory that arrives page by page. In each cycle, exactly one of them polls each target.

python examples/polling.py                                  both in this process
python examples/polling.py zookeeper://localhost/polling    with a ZooKeeper server
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiopartition import PartitionCoordinator, stop_on_signal

GROUP = "targets"
CYCLES = 3


@dataclass(frozen=True)
class Target:
    host: str
    port: int


async def inventory() -> AsyncIterator[Target]:
    """Yield all targets, like a slow service that lists them. Both members ask for all of them."""
    for page in range(4):
        await asyncio.sleep(0.02)
        for number in range(6):
            yield Target(f"host-{page * 6 + number:02}", 161)


def identity(target: Target) -> tuple[str, int]:
    """Return the key of a target. An arbitrary object has no key that is the same in all processes."""
    return target.host, target.port


async def poll(coordinator: PartitionCoordinator, polled: Counter[tuple[int, Target]]) -> None:
    for cycle in range(1, CYCLES + 1):
        count = 0
        # my_subset() checks ownership as it yields each target, so a member that joins or dies during a cycle counts
        # from the next target on, not from the next cycle.
        async for target in coordinator.my_subset(GROUP, inventory(), key=identity):
            await asyncio.sleep(0.005)  # a real service would poll the target here
            polled[cycle, target] += 1
            count += 1
        print(f"cycle {cycle}: {coordinator.member_id} has polled {count} targets")


async def main(url: str) -> bool:
    """Return whether each target was polled exactly once in each cycle."""
    polled = Counter[tuple[int, Target]]()
    async with (
        stop_on_signal(),
        PartitionCoordinator(url, member_id="poller-1") as first,
        PartitionCoordinator(url, member_id="poller-2") as second,
    ):
        for coordinator in (first, second):
            # Wait for both members. Otherwise the first would start alone and poll everything.
            await coordinator.join_group(GROUP, min_members=2)
        for coordinator in (first, second):
            async for change in coordinator.changes(GROUP):
                if change.view:
                    break
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(poll(first, polled))
            tasks.create_task(poll(second, polled))

    targets = [target async for target in inventory()]
    once = [polled[cycle, target] == 1 for cycle in range(1, CYCLES + 1) for target in targets]
    print(f"{sum(once)} of {len(once)} polls were made exactly once ({len(targets)} targets, {CYCLES} cycles)")
    return all(once)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        raise SystemExit(not asyncio.run(main(parser.parse_args().url)))
    except KeyboardInterrupt:
        print("interrupted")
