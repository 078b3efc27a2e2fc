"""Step 3 of the tutorial: no sensor ever has two workers.

Run it in several terminals, with a name for each:
python examples/tutorial/exclusive.py anna zookeeper://localhost/tutorial
"""

import asyncio
import sys
from datetime import datetime

from aiopartition import GroupPolicy, PartitionCoordinator, stop_on_signal

SENSORS = [f"sensor-{number}" for number in range(1, 13)]


def tell(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S.%f}"[:-3], text, flush=True)


async def attend(sensor: str) -> None:
    tell(f"{sensor}: connected")
    try:
        await asyncio.Event().wait()  # a real worker would read the sensor here, until it is cancelled
    finally:
        await asyncio.sleep(0.1)  # it is cancelled once, so it may await on its way out
        tell(f"{sensor}: disconnected")


async def main(name: str, url: str) -> None:
    async with stop_on_signal(), PartitionCoordinator(url, member_id=name, session_timeout=4) as coordinator:
        await coordinator.join_group("exclusive", policy=GroupPolicy(exclusive=True))
        await coordinator.run("exclusive", SENSORS, attend)


asyncio.run(main(*sys.argv[1:]))
