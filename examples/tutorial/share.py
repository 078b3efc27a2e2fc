"""Step 1 of the tutorial: members share a list of sensors.

Run it in several terminals, with a name for each: python examples/tutorial/share.py anna zookeeper://localhost/tutorial
"""

import asyncio
import sys

from aiopartition import PartitionCoordinator, stop_on_signal

SENSORS = [f"sensor-{number}" for number in range(1, 13)]


async def main(name: str, url: str) -> None:
    async with stop_on_signal(), PartitionCoordinator(url, member_id=name, session_timeout=4) as coordinator:
        before = None
        while True:
            mine = await coordinator.extract_my_subset("sensors", SENSORS)
            # A real service would read its sensors here. This one only says which they are.
            if mine != before:
                print(f"{name} has {len(mine)}:", *mine, flush=True)
            before = mine
            await asyncio.sleep(0.2)


asyncio.run(main(*sys.argv[1:]))
