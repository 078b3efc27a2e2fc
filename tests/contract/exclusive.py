"""Members of an exclusive group, and how to wait for its handoffs."""

from typing import Any

from aiopartition import GroupPolicy, PartitionCoordinator, View
from tests.contract.cluster import Cluster
from tests.contract.joining import enter
from tests.support import wait_until
from tests.support.split import RESOURCES

POLICY = GroupPolicy(exclusive=True, slots=64, vnodes=16)


async def join(member: PartitionCoordinator, **arguments: Any) -> PartitionCoordinator:
    await enter(member, policy=POLICY, settle=0, **arguments)
    return member


async def joined(cluster: Cluster, member_id: str, **arguments: Any) -> PartitionCoordinator:
    return await join(await cluster.started(member_id, **arguments))


def will_own(member_id: str, *members: str) -> list[str]:
    """What is a member's once the handoff between these is through."""
    return View.of("g", 1, dict.fromkeys(members, 1), POLICY, member_id).mine(RESOURCES)


async def shared_out(*members: PartitionCoordinator, timeout: float = 15.0) -> None:
    """Wait until each of these, and nobody else, has all that is its own."""
    wanted = sorted({member.member_id for member in members})

    async def done() -> bool:
        statuses = [member.status("g") for member in members]
        if any(each.state != "steady" or [one.id for one in each.members] != wanted for each in statuses):
            return False
        subsets = [await member.extract_my_subset("g", RESOURCES) for member in members]
        return subsets == [will_own(member.member_id, *wanted) for member in members]

    await wait_until(done, timeout=timeout, what=lambda: f"{[member.status('g') for member in members]}")


async def waits(member: PartitionCoordinator) -> None:
    """Until it is a member, and waits for a handoff."""
    await wait_until(lambda: member.status("g").state == "handing over", what=lambda: member.status("g"))
