"""Members of an exclusive group, and how to wait for its handoffs."""

from typing import Any

from aiopartition import GroupPolicy, PartitionCoordinator, View
from tests.contract.cluster import Cluster
from tests.support import split, wait_until
from tests.support.joining import enter
from tests.support.split import RESOURCES

POLICY = GroupPolicy(exclusive=True, slots=64, vnodes=16)


async def join(member: PartitionCoordinator, **arguments: Any) -> PartitionCoordinator:
    await enter(member, policy=POLICY, settle=0, **arguments)
    return member


async def joined(cluster: Cluster, member_id: str, **arguments: Any) -> PartitionCoordinator:
    return await join(await cluster.started(member_id, **arguments))


async def alone(cluster: Cluster, member_id: str, **arguments: Any) -> PartitionCoordinator:
    """The only member, which has everything."""
    member = await joined(cluster, member_id, **arguments)
    await shared_out(member)
    return member


async def sharing(cluster: Cluster, *member_ids: str) -> list[PartitionCoordinator]:
    """Members that share everything among them."""
    members = [await joined(cluster, member_id) for member_id in member_ids]
    await shared_out(*members)
    return members


async def waiting(cluster: Cluster, member_id: str, **arguments: Any) -> PartitionCoordinator:
    """One more member, which waits for its handoff."""
    member = await joined(cluster, member_id, **arguments)
    await waits(member)
    return member


def will_own(member_id: str, *members: str) -> list[str]:
    """What is a member's once the handoff between these is through."""
    return View.of("g", 1, dict.fromkeys(members, 1), POLICY, member_id).mine(RESOURCES)


async def shared_out(*members: PartitionCoordinator) -> None:
    """Wait until each of these, and nobody else, has all that is its own."""
    await split.shared_out(POLICY, {member.member_id: 1 for member in members}, *members)


async def waits(member: PartitionCoordinator) -> None:
    """Until it is a member, and waits for a handoff."""
    await wait_until(lambda: member.status("g").state == "handing over", what=lambda: member.status("g"))
