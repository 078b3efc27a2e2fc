"""A cache server warms up the shards that it gains, and clears those that it loses, as others come and go.

python examples/watching.py                                   all in this process
python examples/watching.py zookeeper://localhost/watching    with a ZooKeeper server

It refuses to serve alone (``min_members=2``), so at the beginning and at the end it owns nothing, and knows it.
"""

import argparse
import asyncio

from aiopartition import PartitionCoordinator

GROUP = "shards"
SHARDS = [f"shard-{number:02}" for number in range(24)]


async def warm_up(shard: str) -> None:
    await asyncio.sleep(0.01)  # here the shard would be loaded


async def watch(coordinator: PartitionCoordinator) -> None:
    """Keep what is loaded in step with what is ours."""
    loaded = set[str]()
    async for change in coordinator.changes(GROUP):
        if change.view is None:
            # Nobody says that the shards are another's; but they may be, so they must not be served.
            print(f"it is unknown what is ours: {len(loaded)} shards cleared")
            loaded.clear()
            continue

        for member_id in change.joined:
            print(f"{member_id} has joined")
        for member_id in change.left:
            print(f"{member_id} has left")
        # Changes that come while we are busy here are not queued: the next turn has the newest view. Hence compare
        # with what is loaded, and not one view with the next.
        mine = set(change.view.mine(SHARDS))
        gained, lost = mine - loaded, loaded - mine
        loaded -= lost
        await asyncio.gather(*map(warm_up, gained))
        loaded |= gained
        print(f"    {change.moved:.0%} of all has moved: +{len(gained)} -{len(lost)}, {len(loaded)} shards are loaded")


async def main(url: str, pause: float) -> None:
    async with (
        PartitionCoordinator(url, member_id="cache-1") as coordinator,
        asyncio.TaskGroup() as tasks,
    ):
        await coordinator.join_group(GROUP, min_members=2)
        watching = tasks.create_task(watch(coordinator))
        await asyncio.sleep(pause)
        # From here on, what happens elsewhere.
        async with PartitionCoordinator(url, member_id="cache-2") as second:
            await second.join_group(GROUP, min_members=2)
            await asyncio.sleep(pause)
            async with PartitionCoordinator(url, member_id="cache-3") as third:
                await third.join_group(GROUP, min_members=2)
                await asyncio.sleep(pause)
            await asyncio.sleep(pause)
        await asyncio.sleep(pause)
        watching.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between events (default: %(default)g)")
    options = parser.parse_args()
    try:
        asyncio.run(main(options.url, options.pause))
    except KeyboardInterrupt:
        print("interrupted")
