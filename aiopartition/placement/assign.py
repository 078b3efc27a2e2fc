"""The assignment of format 1 (``docs/reference/format-1.md``): consistent hashing with bounded loads.

Sources: D. Karger et al., "Consistent Hashing and Random Trees", STOC 1997; V. Mirrokni, M. Thorup, M. Zadimoghaddam,
"Consistent Hashing with Bounded Loads", SODA 2018 (https://arxiv.org/abs/1608.01350).
``docs/explanation/decisions.md``, "Placement", has the alternatives that were measured.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from functools import cache
from itertools import chain, repeat
from operator import sub
from typing import Final, cast

from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.quotas import partition_steps
from aiopartition.placement.ring import Ring, ring_steps
from aiopartition.placement.table import Table, first_slot

__all__ = ["build", "build_steps", "caps_of", "relative_weights", "visiting_order"]

WALK_PER_STEP: Final = 8192
"""Ring points that walks may pass between two yields. Starting a walk counts as :data:`WALK_COST` points."""

WALK_COST: Final = 8


def build(members: Mapping[str, int], policy: GroupPolicy) -> Table:
    """Build the table of ``members`` without pausing. Parameters and errors are those of :func:`build_steps`."""
    steps = build_steps(members, policy)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return cast("Table", finished.value)


def build_steps(members: Mapping[str, int], policy: GroupPolicy) -> Generator[None, None, Table]:
    """Build the table of ``members``, yielding often enough to keep an event loop responsive.

    The work between two yields takes well under a millisecond, however many members there are and whatever their
    weights.

    :param members: the weight of each member by member id, in any order. A member of weight 0 owns nothing.
    :param policy: the group's policy.
    :returns: the table, as the generator's return value.
    :raises ValueError: if no member has a weight above 0, or a weight is negative.
    :raises GroupTooLargeError: if there are too many members for this policy.
    """
    weights = relative_weights(members)
    ids = sorted(weights)
    if policy.partitions:
        return (yield from _partitioned_steps(members, ids, weights, policy))
    ring = yield from ring_steps(ids, weights, policy)
    owned = [0] * len(ids)
    ranks: list[list[int]] = []
    for number in range(1, min(policy.replicas, len(ids)) + 1):
        caps = caps_of(weights, policy.load_bound, number * policy.slots)
        room = [caps[member_id] - count for member_id, count in zip(ids, owned, strict=True)]
        rank = yield from _rank_steps(ring, room, ranks) if ranks else _first_rank_steps(ring, room)
        ranks.append(rank)
        owned = [caps[member_id] - left for member_id, left in zip(ids, room, strict=True)]
    return Table(tuple(sorted(members)), tuple(tuple(map(ids.__getitem__, rank)) for rank in ranks))


def _partitioned_steps(
    members: Mapping[str, int], ids: Sequence[str], weights: Mapping[str, int], policy: GroupPolicy
) -> Generator[None, None, Table]:
    count, slots = policy.partitions, policy.slots
    owners = yield from partition_steps(ids, weights, count, min(policy.replicas, len(ids)))
    firsts = [first_slot(number, slots, count) for number in range(count + 1)]
    widths = list(map(sub, firsts[1:], firsts))
    ranks: list[tuple[str, ...]] = []
    for rank in owners:
        yield
        ranks.append(tuple(chain.from_iterable(map(repeat, map(ids.__getitem__, rank), widths))))
    return Table(tuple(sorted(members)), tuple(ranks), count)


def relative_weights(members: Mapping[str, int]) -> dict[str, int]:
    """Return the weights of the members that take part, divided by their greatest common divisor."""
    if min(members.values(), default=0) < 0:
        raise ValueError("the weight of a member is at least 0")
    divisor = math.gcd(*members.values())
    if divisor == 0:
        raise ValueError("a table needs at least one member with a weight above 0")
    return {member_id: weight // divisor for member_id, weight in members.items() if weight}


def caps_of(members: Mapping[str, int], load_bound: float, slots: int) -> dict[str, int]:
    total_weight = sum(members.values())
    return {member_id: math.ceil(load_bound * slots * weight / total_weight) for member_id, weight in members.items()}


@cache
def visiting_order(slots: int) -> tuple[int, ...]:
    """Return all slots in bit-reversed order (``docs/reference/format-1.md``, "The table", step 4)."""
    order = [0]
    while len(order) < slots:
        order = [2 * slot for slot in order] + [2 * slot + 1 for slot in order]
    return tuple(order)


def _first_rank_steps(ring: Ring, room: list[int]) -> Generator[None, None, list[int]]:
    """Assign each slot its first owner and decrease that member's ``room``.

    This is :func:`_rank_steps` for rank 0 in half the time: no slot has an owner yet, and some member always has room.
    """
    owners, starts = ring
    rank = [0] * len(starts)
    unpaused = 0
    for slot in visiting_order(len(starts)):
        position = starts[slot]
        owner = owners[position]
        while not room[owner]:
            position = position + 1 if position + 1 < len(owners) else 0
            owner = owners[position]
            unpaused += 1
        rank[slot] = owner
        room[owner] -= 1
        unpaused += WALK_COST
        if unpaused >= WALK_PER_STEP:
            unpaused = 0
            yield
    return rank


def _rank_steps(ring: Ring, room: list[int], ranks: Sequence[Sequence[int]]) -> Generator[None, None, list[int]]:
    """Assign each slot its owner at the rank that follows ``ranks`` and decrease that member's ``room``."""
    owners, starts = ring
    rank = [0] * len(starts)
    with_room = {owner for owner, free in enumerate(room) if free > 0}
    unpaused = 0
    for slot in visiting_order(len(starts)):
        taken = [earlier[slot] for earlier in ranks]
        # If every member with room owns the slot already, the caps do not apply to this slot.
        ignore_caps = len(with_room) <= len(taken) and with_room.issubset(taken)
        start = position = starts[slot]
        while (owner := owners[position]) in taken or not (ignore_caps or room[owner] > 0):
            position = position + 1 if position + 1 < len(owners) else 0
        rank[slot] = owner
        room[owner] -= 1
        if room[owner] == 0:
            with_room.discard(owner)
        unpaused += WALK_COST + len(taken) + (position - start) % len(owners)
        if unpaused >= WALK_PER_STEP:
            unpaused = 0
            yield
    return rank
