"""uvloop, on which many services run: an event loop with transports of its own."""

import asyncio
import json
import subprocess
import sys

import uvloop

from aiopartition import PartitionCoordinator
from tests.support import wait_until

RESOURCES = [f"host-{number}" for number in range(200)]


async def share(url: str) -> dict[str, list[str]]:
    """Two members share the resources, until one of them stops."""
    async with PartitionCoordinator(url, member_id="first", session_timeout=2) as first:
        second = PartitionCoordinator(url, member_id="second", session_timeout=2)
        await second.start()
        for member in (first, second):
            await member.join_group("g")

        async def agreed(*members: PartitionCoordinator) -> bool:
            views = [await member.view("g") for member in members]
            return all(len(view.members) == len(members) for view in views)

        await wait_until(lambda: agreed(first, second))
        subsets = {member.member_id: await member.extract_my_subset("g", RESOURCES) for member in (first, second)}
        await second.stop()
        await wait_until(lambda: agreed(first))
        subsets["alone"] = await first.extract_my_subset("g", RESOURCES)
        return subsets


def test_a_group_on_uvloop(url: str) -> None:
    """Joining, rebalancing and leaving work there as they do on asyncio's own loop, without a warning."""
    # In a process of its own: the loop of the test run is another.
    command = [sys.executable, "-W", "error", "-m", "tests.faults.test_uvloop", url]
    process = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    subsets = json.loads(process.stdout)
    assert sorted(subsets["first"] + subsets["second"]) == sorted(RESOURCES) == sorted(subsets["alone"])
    assert subsets["first"]
    assert subsets["second"]


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(share(sys.argv[1]))))
