"""Weights: relative, 0 for a standby, and a bound on what a table may cost."""

import logging

import pytest

from aiopartition import GroupPolicy, GroupTooLargeError, OwnershipUnknownError
from aiopartition.placement import ring
from tests.contract.cluster import Cluster
from tests.support import wait_until
from tests.support.split import RESOURCES, current_view, split_exactly

EXCLUSIVE = GroupPolicy(exclusive=True)


@pytest.mark.parametrize("policy", [GroupPolicy(), EXCLUSIVE], ids=["ordinary", "exclusive"])
async def test_a_standby_owns_nothing_until_it_is_alone(cluster: Cluster, policy: GroupPolicy) -> None:
    """It is a member that all see; with no other weight in the group nobody knows what is whose."""
    standby, worker = await cluster.started("standby"), await cluster.started("worker")
    await worker.join_group("g", policy=policy)
    await standby.join_group("g", weight=0, policy=policy)

    async def both() -> bool:
        views = [await current_view(each) for each in (worker, standby)]
        return all(view is not None and len(view.members) == 2 for view in views)

    await wait_until(both, what="both members are known")
    await wait_until(lambda: worker.status("g").state == "steady", what="the handoff, if there is one")
    view = await standby.view("g")
    assert {member.id: member.weight for member in view.members} == {"standby": 0, "worker": 1}
    assert view.shares() == {"standby": 0.0, "worker": 1.0}
    assert await standby.extract_my_subset("g", RESOURCES) == []
    assert await worker.extract_my_subset("g", RESOURCES) == RESOURCES

    await worker.stop()
    await wait_until(
        lambda: standby.status("g").reason == "no member has a weight above 0", what="the standby is the last member"
    )
    assert standby.status("g").state == "unknown"
    with pytest.raises(OwnershipUnknownError, match="no member has a weight above 0"):
        await standby.view("g")
    successor = await cluster.started("successor")
    await successor.join_group("g", policy=policy)

    async def taken_over() -> bool:
        return await successor.extract_my_subset("g", RESOURCES) == RESOURCES

    await wait_until(taken_over, what="somebody with a weight takes over")


async def test_weights_are_relative(cluster: Cluster) -> None:
    """Weights of 250 and 750 are 1 and 3."""
    light, heavy = await cluster.started("light"), await cluster.started("heavy")
    for group_id, unit in (("small", 1), ("large", 250)):
        await light.join_group(group_id, weight=unit)
        await heavy.join_group(group_id, weight=3 * unit)
        await split_exactly(light, heavy, group_id=group_id)
    assert await light.extract_my_subset("small", RESOURCES) == await light.extract_my_subset("large", RESOURCES)


async def test_too_many_members_are_refused_and_recover(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody owns anything meanwhile, one error says why, and the group recovers when members leave."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g")
    monkeypatch.setattr(ring, "MAX_POINTS", 160)
    with pytest.raises(GroupTooLargeError, match="2 members that take part, and its policy allows 1"):
        await second.join_group("g")
    await wait_until(lambda: first.status("g").state == "refused", what="the other member refuses the group too")
    assert "has 2 members" in first.status("g").reason
    for _ in range(3):
        await first.heartbeat()
    assert first.status("g").state == "refused"
    errors = [record for record in caplog.records if record.levelno == logging.ERROR and "2 members" in record.message]
    assert len(errors) == 2  # one at each member
    caplog.clear()
    await second.stop()

    async def recovered() -> bool:
        return first.status("g").state == "steady" and await first.extract_my_subset("g", RESOURCES) == RESOURCES

    await wait_until(recovered, what="the group is small enough again")
