"""What users test their own services with."""

from __future__ import annotations

import pytest

from aiopartition import OwnershipUnknownError, PartitionCoordinator
from aiopartition.testing import cut_off, expire, reconnect
from tests.bench import wait_until
from tests.contract.split import RESOURCES, split_exactly


async def test_a_service_that_is_cut_off(namespace: str) -> None:
    """It owns nothing before others take over, and has its share again when it is reconnected."""
    url = f"memory://{namespace.strip('/')}"
    async with (
        PartitionCoordinator(url, member_id="a", session_timeout=0.5, on_unknown="raise") as service,
        PartitionCoordinator(url, member_id="b", session_timeout=0.5) as other,
    ):
        await split_exactly(service, other)
        cut_off(service)

        async def owns_nothing() -> bool:
            try:
                await service.extract_my_subset("g", RESOURCES)
            except OwnershipUnknownError:
                return True
            return False

        await wait_until(owns_nothing)
        await split_exactly(other)
        reconnect(service)
        await split_exactly(service, other)


async def test_a_service_whose_session_expires(namespace: str) -> None:
    """It comes back by itself, at a later generation."""
    async with PartitionCoordinator(f"memory://{namespace.strip('/')}") as service:
        before = await split_exactly(service)
        expire(service)

        async def back() -> bool:
            try:
                return (await service.view("g")).generation > before.generation
            except OwnershipUnknownError:
                return False

        await wait_until(back)


async def test_real_servers_are_broken_by_real_means() -> None:
    """On another backend the functions say that they do not apply."""
    service = PartitionCoordinator("zookeeper://127.0.0.1:1")
    for fault in (cut_off, reconnect, expire):
        with pytest.raises(TypeError, match="not on memory://"):
            fault(service)
