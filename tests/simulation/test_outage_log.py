"""A fleet whose service is away writes a bounded number of lines."""

import asyncio
import logging
from collections import Counter

import pytest

from aiopartition.testing import PartitionCluster, VirtualTimeLoop

MEMBERS = [f"m{number}" for number in range(5)]
GROUPS = ["g1", "g2"]


def test_an_hour_without_the_service(caplog: pytest.LogCaptureFixture) -> None:
    """Each member says once for each group that it has lost ownership, and later that it has regained it."""
    caplog.set_level(logging.INFO, "aiopartition")
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(an_hour(caplog))


async def an_hour(caplog: pytest.LogCaptureFixture) -> None:
    async with PartitionCluster() as cluster:
        for group in GROUPS:
            for member in MEMBERS:
                await cluster.join(member, group)
            await cluster.settle(group)
        for member in MEMBERS:
            cluster.cut_off(member)
        caplog.clear()
        await cluster.step(60)
        first_minute = len(caplog.records)
        await cluster.step(3540)
        assert len(caplog.records) == first_minute
        events = Counter(getattr(record, "aiopartition_event", record.getMessage()) for record in caplog.records)
        assert events == {"ownership_lost": len(MEMBERS) * len(GROUPS)}

        caplog.clear()
        for member in MEMBERS:
            cluster.reconnect(member)
        for group in GROUPS:
            await cluster.settle(group)
        regained = [r for r in caplog.records if getattr(r, "aiopartition_event", "") == "ownership_regained"]
        assert len(regained) == len(MEMBERS) * len(GROUPS)
