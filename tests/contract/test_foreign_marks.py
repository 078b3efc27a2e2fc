"""P7 and P9: an acknowledgement counts only if the member made it whose entry it names."""

import logging

import pytest

from aiopartition import PartitionCoordinator
from aiopartition.backends.base import Mark
from tests.contract.cluster import Cluster
from tests.contract.exclusive import alone, shared_out, waiting
from tests.support import wait_until
from tests.support.split import RESOURCES


def entry_of(member: PartitionCoordinator) -> str:
    return member._registry.memberships["g"].group._entry.name  # type: ignore[union-attr]


async def generation_of(member: PartitionCoordinator) -> int:
    return (await member.view("g")).generation


async def test_a_foreign_acknowledgement_of_another_completes_nothing(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that it names is still at work. It is removed, with a warning."""
    first = await alone(cluster, "first")
    async with first.hold("g") as view:
        second = await waiting(cluster, "second")
        await wait_until(lambda: first.status("g").waiting_for)
        with caplog.at_level(logging.WARNING, "aiopartition"):
            await cluster.put_mark("g", Mark(await generation_of(second), entry_of(first)))
            await wait_until(lambda: "removed an acknowledgement" in caplog.text)
        assert await second.extract_my_subset("g", RESOURCES) == []
        assert view.mine(RESOURCES) == RESOURCES
        assert not any("removed" in mark for mark in await cluster.acknowledgements("g"))
    await shared_out(first, second)


async def test_a_foreign_mark_in_our_name_is_replaced(cluster: Cluster) -> None:
    """Of a member that is about to make it: ours counts."""
    first = await alone(cluster, "first")
    async with first.hold("g"):
        second = await waiting(cluster, "second")
        for ready in (False, True):
            await cluster.put_mark("g", Mark(await generation_of(first), entry_of(first), ready=ready))
    await shared_out(first, second)


async def test_foreign_marks_of_nobody_change_nothing(cluster: Cluster) -> None:
    """However many there are."""
    first = await alone(cluster, "first")
    async with first.hold("g"):
        second = await waiting(cluster, "second")
        for name in ("nobody;1;1;0123456789abcdef", "rubbish", entry_of(second)):
            await cluster.put_mark("g", Mark(await generation_of(second), name))
        assert await second.extract_my_subset("g", RESOURCES) == []
    await shared_out(first, second)
