"""Who has what, and whether that is a split."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from aiopartition import GroupPolicy, OwnershipUnknownError, PartitionCoordinator, View
from tests.support.waiting import wait_until

RESOURCES = [f"host-{number}.example.org" for number in range(500)]


def is_exact(keys: Sequence[str], shares: Iterable[Iterable[str]]) -> bool:
    """Whether each key is in exactly one of the shares, and none of these is empty."""
    parts = [list(share) for share in shares]
    return all(parts) and sorted(chain.from_iterable(parts)) == sorted(keys)


async def is_split_among(members: Iterable[PartitionCoordinator], group_id: str, keys: Sequence[str]) -> bool:
    """Whether these, at one generation, share the keys among them exactly, leaving nothing out."""
    shares: list[list[str]] = []
    generations: set[int] = set()
    for member in members:
        try:
            shares.append(await member.extract_my_subset(group_id, keys))
            generations.add((await member.view(group_id)).generation)
        except OwnershipUnknownError:
            return False
    return len(generations) == 1 and is_exact(keys, shares)


async def current_view(coordinator: PartitionCoordinator, group_id: str = "g") -> View | None:
    """The view, or ``None`` while it is unknown."""
    try:
        return await coordinator.view(group_id)
    except OwnershipUnknownError:
        return None


async def owners(
    coordinators: Sequence[PartitionCoordinator], group_id: str = "g", resources: Sequence[str] = RESOURCES
) -> list[list[str]]:
    """For each resource the ids of those who say that it is theirs."""
    subsets = {
        coordinator.member_id: set(await coordinator.extract_my_subset(group_id, resources))
        for coordinator in coordinators
    }
    return [[member_id for member_id, subset in subsets.items() if resource in subset] for resource in resources]


async def split_exactly(
    *coordinators: PartitionCoordinator, group_id: str = "g", replicas: int = 1, timeout: float = 10.0
) -> View:
    """Wait until these, and nobody else, are the members at one generation and each resource has its owners."""
    wanted = tuple(sorted({coordinator.member_id for coordinator in coordinators}))
    views: list[View | None] = []

    async def agreed() -> bool:
        views[:] = [await current_view(coordinator, group_id) for coordinator in coordinators]
        return (
            all(view is not None and tuple(member.id for member in view.members) == wanted for view in views)
            and len({view.generation for view in views if view is not None}) == 1
        )

    await wait_until(agreed, timeout=timeout, what=lambda: f"all of {wanted} at one generation: {views}")
    for each in await owners(coordinators, group_id):
        assert len(each) == min(replicas, len(wanted))
    assert views[0] is not None
    return views[0]


async def steady(group_id: str, *members: PartitionCoordinator, ids: Sequence[str] | None = None) -> None:
    """Wait until these, or those with these ids, are the members, and have all that is theirs."""
    wanted = sorted(member.member_id for member in members) if ids is None else ids

    def done() -> bool:
        statuses = [member.status(group_id) for member in members]
        return all(each.state == "steady" and [one.id for one in each.members] == wanted for each in statuses)

    await wait_until(done, timeout=15.0, what=lambda: [member.status(group_id) for member in members])


async def shared_out(
    policy: GroupPolicy,
    weights: Mapping[str, int],
    *members: PartitionCoordinator,
    resources: Sequence[Any] = RESOURCES,
) -> None:
    """Wait until these are steady members of group ``g`` with these weights, and each has all that is its own."""

    async def done() -> bool:
        for member in members:
            status = member.status("g")
            if status.state != "steady" or {each.id: each.weight for each in status.members} != weights:
                return False
            mine = View.of("g", 1, weights, policy, member.member_id).mine(resources)
            if await member.extract_my_subset("g", resources) != mine:
                return False
        return True

    await wait_until(done, timeout=15.0, what=lambda: f"{[member.status('g') for member in members]}")
