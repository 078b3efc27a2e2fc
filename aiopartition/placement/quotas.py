"""The assignment of numbered partitions (``docs/reference/format-1.md``): each member has its exact quota.

Partitions and members rank each other by the same scores, as in rendezvous hashing (D. Thaler, C. Ravishankar, "Using
Name-Based Mappings to Increase Hit Rates", 1998). Taking the best pair of all first, while neither has enough, gives
the one stable matching of both. It is computed by deferred acceptance (D. Gale, L. Shapley, "College Admissions and
the Stability of Marriage", 1962), which looks at few of the pairs. ``docs/explanation/decisions.md``, "Placement", has
the alternatives that were measured.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from heapq import heappush, heapreplace
from typing import Final

from xxhash import xxh3_64_intdigest

from aiopartition.errors import GroupTooLargeError
from aiopartition.placement.keys import hash_key

__all__ = ["MAX_PAIRS", "partition_steps", "quotas"]

MAX_PAIRS: Final = 5_000_000
"""The greatest number of partitions times members: 1,220 members with 4,096 partitions."""

PAIRS_PER_STEP: Final = 1024
"""Scores that are calculated between two yields."""

OFFERS_PER_STEP: Final = 512

Owners = list[list[int]]
"""The members of each partition, as indices."""


def partition_steps(
    ids: Sequence[str], weights: Mapping[str, int], count: int, replicas: int
) -> Generator[None, None, list[list[int]]]:
    """Give each partition its owners, yielding after each portion of work.

    :param ids: the sorted ids of the members.
    :param weights: the weight of each, at least 1; without a common divisor.
    :param count: the number of partitions.
    :param replicas: the number of owners of each partition, at most the number of members.
    :returns: for each rank the owner of each partition, as an index of ``ids``.
    :raises GroupTooLargeError: if there are more than :data:`MAX_PAIRS` pairs of a partition and a member.
    """
    if count * len(ids) > MAX_PAIRS:
        raise GroupTooLargeError(len(ids), MAX_PAIRS // count)
    seeds = [hash_key(member_id.encode("utf-8", "surrogatepass")) for member_id in ids]
    shares = [weights[member_id] for member_id in ids]

    def score(partition: int, member: int) -> int:
        return xxh3_64_intdigest(b"%d" % partition, seeds[member]) // shares[member]

    preferences: list[Sequence[int]] = []
    for partition in range(count):
        label = b"%d" % partition
        scores = [xxh3_64_intdigest(label, seed) // share for seed, share in zip(seeds, shares, strict=True)]
        preferences.append(array("I", sorted(range(len(ids)), key=scores.__getitem__)))
        if (partition + 1) * len(ids) // PAIRS_PER_STEP > partition * len(ids) // PAIRS_PER_STEP:
            yield
    room = quotas(seeds, shares, count, replicas)
    owners = yield from _matching_steps(preferences, room, [replicas] * count, score)
    if replicas == 1:
        return [[owner for (owner,) in owners]]
    # The first owners are a matching of their own, so that they are spread evenly too.
    ranked = [sorted(chosen, key=places.index) for chosen, places in zip(owners, preferences, strict=True)]
    firsts = yield from _matching_steps(ranked, quotas(seeds, shares, count, 1), [1] * count, score)
    for row, first in zip(ranked, firsts, strict=True):
        row.sort(key=lambda owner: owner not in first)
    return [list(rank) for rank in zip(*ranked, strict=True)]


def quotas(seeds: Sequence[int], shares: Sequence[int], count: int, replicas: int) -> list[int]:
    """Return how many partitions each member has.

    It is ``count * replicas * weight / total weight``, rounded down or up by the largest remainder, ties by the
    member's hash. No member can have more than all ``count``; the others share any excess in the same way.
    """
    total, total_weight = count * replicas, sum(shares)
    having_all: set[int] = set()
    for member in sorted(range(len(shares)), key=shares.__getitem__, reverse=True):
        if total * shares[member] < count * total_weight:
            break
        having_all.add(member)
        total, total_weight = total - count, total_weight - shares[member]
    result = [count] * len(shares)
    others = [member for member in range(len(shares)) if member not in having_all]
    for member in others:
        result[member] = total * shares[member] // total_weight
    others.sort(key=lambda member: (-(total * shares[member] % total_weight), seeds[member], member))
    for member in others[: total - sum(result[member] for member in others)]:
        result[member] += 1
    return result


def _matching_steps(
    preferences: Sequence[Sequence[int]],
    room: Sequence[int],
    wanted: Sequence[int],
    score: Callable[[int, int], int],
) -> Generator[None, None, Owners]:
    """Match partitions with members, the best pairs first. No partition is left short if that is possible.

    :param preferences: for each partition the members that it may have, the one with the lowest score first.
    :param room: how many partitions each member may have.
    :param wanted: how many members each partition is to have.
    """
    held: list[list[tuple[int, int]]] = [[] for _ in room]  # heaps of what each member has, the worst first
    asked = [0] * len(preferences)  # how many members the partition has asked
    short = [partition for partition, number in enumerate(wanted) for _ in range(number)]
    offers = 0
    while short:
        partition = short.pop()
        for member in preferences[partition][asked[partition] :]:
            asked[partition] += 1
            offer = -score(partition, member), -partition
            if len(held[member]) < room[member]:
                heappush(held[member], offer)
                break
            if held[member] and offer > held[member][0]:
                _, refused = heapreplace(held[member], offer)
                short.append(-refused)
                break
        offers += 1
        if offers % OFFERS_PER_STEP == 0:
            yield
    owners: Owners = [[] for _ in preferences]
    for member, heap in enumerate(held):
        for _, partition in heap:
            owners[-partition].append(member)
    # With several owners each, the members with room left may already own every partition that is short.
    free = [limit - len(heap) for limit, heap in zip(room, held, strict=True)]
    for partition, number in enumerate(wanted):
        while len(owners[partition]) < number:
            if not _exchange(partition, preferences, owners, free):
                return owners
            yield
    return owners


def _exchange(start: int, preferences: Sequence[Sequence[int]], owners: Owners, free: list[int]) -> bool:
    """Give one more owner to ``start`` by the shortest chain of exchanges. Return whether there is one.

    In a chain a partition takes a member from another one, which takes one from another, until one takes a member that
    has room left.
    """
    having: list[list[int]] = [[] for _ in free]
    for partition, chosen in enumerate(owners):
        for member in chosen:
            having[member].append(partition)
    taken_by: dict[int, int] = {}  # which partition would take the member
    loses: dict[int, int] = {}  # which member the partition would lose
    queue = deque([start])
    while queue:
        partition = queue.popleft()
        for member in preferences[partition]:
            if member in taken_by or member in owners[partition]:
                continue
            taken_by[member] = partition
            if free[member]:
                free[member] -= 1
                while True:
                    partition = taken_by[member]
                    owners[partition].append(member)
                    if partition == start:
                        return True
                    member = loses[partition]
                    owners[partition].remove(member)
            for other in having[member]:
                if other not in loses and other != start:
                    loses[other] = member
                    queue.append(other)
    return False
