"""Three members share a list. One of them stops, and the other two take over its items.

python examples/quickstart.py                                     all in this process
python examples/quickstart.py zookeeper://localhost/quickstart    with a ZooKeeper server
"""

import argparse
import asyncio

from aiopartition import PartitionCoordinator, stop_on_signal

HOSTS = [f"host-{number:02}" for number in range(1, 13)]


async def show(*coordinators: PartitionCoordinator) -> None:
    for coordinator in coordinators:
        # Members learn of joins and departures after a moment, from changes().
        async for change in coordinator.changes("hosts"):
            if change.view and len(change.view.members) == len(coordinators):
                break
        mine = await coordinator.extract_my_subset("hosts", HOSTS)
        print(f"{coordinator.member_id:5} has {len(mine)}: {' '.join(mine)}")


async def main(url: str) -> None:
    async with (
        stop_on_signal(),  # SIGTERM or Ctrl-C: all three leave the group before the process ends
        PartitionCoordinator(url, member_id="alice") as alice,
        PartitionCoordinator(url, member_id="bob") as bob,
        PartitionCoordinator(url, member_id="carol") as carol,
    ):
        for coordinator in (alice, bob, carol):
            await coordinator.join_group("hosts")
        await show(alice, bob, carol)
        await bob.stop()
        print("\nbob stops: what he had moves, and nothing else\n")
        await show(alice, carol)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        asyncio.run(main(parser.parse_args().url))
    except KeyboardInterrupt:
        print("interrupted")
