"""Facts about placement that the how-tos state."""

import asyncio
import unicodedata
from pathlib import Path

from aiopartition import PartitionCoordinator, View
from aiopartition.testing import PartitionCluster

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
MEMBERS = tuple(f"member-{number}" for number in range(1, 11))


async def views(namespace: str, *groups: str) -> list[View]:
    """The views of groups with the same ten members."""
    coordinators = [PartitionCoordinator(f"memory:/{namespace}", member_id=each) for each in MEMBERS]
    try:
        for coordinator in coordinators:
            await coordinator.start()
            await asyncio.gather(*map(coordinator.join_group, groups))
        seen: list[View] = []
        for group in groups:
            async for change in coordinators[0].changes(group):
                if change.view and len(change.view.members) == len(MEMBERS):
                    seen.append(change.view)
                    break
        return seen
    finally:
        for coordinator in coordinators:
            await coordinator.stop()


async def test_group_id_is_no_part_of_placement(namespace: str) -> None:
    """The page on leaders: one key in 60 groups has one owner, and the group in the key spreads them."""
    groups = [f"group-{number}" for number in range(60)]
    seen = await views(namespace, *groups)
    assert len({view.owner("leader") for view in seen}) == 1
    spread = {view.owner((group, "leader")) for group, view in zip(groups, seen, strict=True)}
    page = (HOW_TO / "leader-election.md").read_text()
    assert "one of ten members leads all 60 groups" in page
    assert len(spread) == len(MEMBERS)
    assert "each of the ten members leads some of them" in page


async def test_text_is_compared_as_bytes(namespace: str) -> None:
    """The page on keys: names that look the same are different keys in another normal form."""
    [view] = await views(namespace, "devices")
    names = [f"Gerät {number}" for number in range(100)]
    others = [unicodedata.normalize("NFD", name) for name in names]
    differ = sum(view.owner(name) != view.owner(other) for name, other in zip(names, others, strict=True))
    assert f"{differ} of 100 names" in (HOW_TO / "keys.md").read_text()


async def test_new_id_at_each_start_leaves_a_share_for_each_crash() -> None:
    """The page on member ids: with a stable id a crash loop leaves one share to nobody, else one for each crash."""
    async with PartitionCluster() as cluster:
        stays = await cluster.join("stays", "devices")
        for number in range(3):
            await cluster.join(f"new-{number}", "devices")
            await cluster.kill(f"new-{number}")
            await cluster.join("stable", "devices")
            await cluster.kill("stable")
        assert await stays.get_members("devices") == ("new-0", "new-1", "new-2", "stable", "stays")
