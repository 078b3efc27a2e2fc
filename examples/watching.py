"""A cache server loads the shards that it gains and clears those that it loses, as other members join and leave.

python examples/watching.py                                   all in this process
python examples/watching.py zookeeper://localhost/watching    with a ZooKeeper server

It does not serve alone (``min_members=2``), so at the start and at the end its ownership is unknown.
"""

import argparse
import asyncio

from aiopartition import PartitionCoordinator, stop_on_signal

GROUP = "shards"
SHARDS = [f"shard-{number:02}" for number in range(24)]


async def warm_up(shard: str) -> None:
    await asyncio.sleep(0.01)  # a real server would load the shard here


async def watch(coordinator: PartitionCoordinator) -> None:
    """Keep exactly the shards loaded that this member owns."""
    loaded = set[str]()
    async for change in coordinator.changes(GROUP):
        if change.view is None:
            # Another member may own the shards now, so this one must not serve them.
            print(f"it is unknown what is ours: {len(loaded)} shards cleared")
            loaded.clear()
            continue

        for member_id in change.joined:
            print(f"{member_id} has joined")
        for member_id in change.left:
            print(f"{member_id} has left")
        # Changes during this loop body are not queued: the next iteration has the newest view. So compare the view
        # with the loaded shards, not with the previous view.
        mine = set(change.view.mine(SHARDS))
        gained, lost = mine - loaded, loaded - mine
        loaded -= lost
        await asyncio.gather(*map(warm_up, gained))
        loaded |= gained
        print(f"    {change.moved:.0%} of all has moved: +{len(gained)} -{len(lost)}, {len(loaded)} shards are loaded")


async def main(url: str, pause: float) -> None:
    async with (
        stop_on_signal(),
        PartitionCoordinator(url, member_id="cache-1") as coordinator,
        asyncio.TaskGroup() as tasks,
    ):
        await coordinator.join_group(GROUP, min_members=2)
        watching = tasks.create_task(watch(coordinator))
        await asyncio.sleep(pause)
        # The code below plays the other members.
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
