"""Tests of a service, with other members that join and die, in virtual time: pytest examples/test_poller.py"""

import anyio
import pytest

from aiopartition import PartitionCoordinator
from aiopartition.testing import PartitionCluster, VirtualTimeLoop

DEVICES = [f"device-{number}" for number in range(100)]


class Poller:
    """The service that is to be tested."""

    def __init__(self, backend_url: str) -> None:
        self.coordinator = PartitionCoordinator(backend_url, member_id="poller")
        self.polled: list[str] = []

    async def run(self) -> None:
        async with self.coordinator:
            while True:
                self.polled = await self.coordinator.extract_my_subset("devices", DEVICES)
                await anyio.sleep(1)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}  # on which waiting takes no time


@pytest.mark.anyio
async def test_poller(partition_cluster: PartitionCluster) -> None:
    async with anyio.create_task_group() as tasks:
        poller = Poller(partition_cluster.url)
        tasks.start_soon(poller.run)

        await partition_cluster.join("other", "devices")
        await partition_cluster.step(2)  # seconds; the poller asks again every second
        assert 25 < len(poller.polled) < 75

        await partition_cluster.kill("other")
        await partition_cluster.settle("devices")  # when its session has timed out
        await partition_cluster.step(1)
        assert poller.polled == DEVICES

        partition_cluster.cut_off("poller")
        await partition_cluster.step(8)  # its lease is two thirds of the session timeout of 10 s
        assert poller.polled == []
        tasks.cancel_scope.cancel()
