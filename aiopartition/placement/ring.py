"""The ring of format 1 (``docs/format-1.md``): the points of all members in order, and where each slot's walk begins.

The only importer of uhashring.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, cast

import uhashring  # type: ignore[import-untyped]

from aiopartition.placement.keys import HASH_BITS, hash_key, slot_shift
from aiopartition.placement.policy import GroupPolicy

__all__ = ["POINTS_PER_STEP", "Ring", "ring_steps"]

POINTS_PER_STEP: Final = 512
"""Points of one member that are made, or points of the ring that are sorted, between two yields."""

POINTS_KEPT: Final = 4096
"""Lots of points, of 1.3 kB for a member of weight 1. One that joins a thousand others then costs one member's hashes,
and no history can enter: a lot is a function of the member's id and its number alone."""

BUCKET_BITS: Final = 10
"""The ring is sorted in 1,024 parts: sorting the points of 1,000 members at once would stall the event loop."""


class Ring(NamedTuple):
    """The ring, clockwise: members by their numbers. Neighbouring points of one member are one, as they lead to it."""

    owners: list[int]
    starts: list[int]
    """For each slot where in ``owners`` its walk begins."""


def ring_steps(ids: Sequence[str], members: Mapping[str, int], policy: GroupPolicy) -> Generator[None, None, Ring]:
    """Make the ring, with a yield after each portion of it.

    :param ids: the ids of ``members``, sorted; the ring names members by their numbers in it.
    :param members: the weight of each member by its id.
    """
    # Each entry is a point and its member in one integer, which sorts by point and then by member, and which, unlike
    # a pair, is nothing to the garbage collector.
    buckets: list[list[int]] = [[] for _ in range(1 << BUCKET_BITS)]
    for index, member_id in enumerate(ids):
        count = policy.vnodes * members[member_id]
        for first in range(0, count, POINTS_PER_STEP):
            for point in _points(member_id, first, min(POINTS_PER_STEP, count - first)):
                buckets[point >> HASH_BITS - BUCKET_BITS].append(point * len(ids) + index)
            yield
    shift = slot_shift(policy.slots)
    owners, starts = list[int](), list[int]()
    numbers = list(range(len(ids)))  # one object for each: to free one for each point, at the end, takes milliseconds
    unpaused = 0
    for bucket in buckets:
        bucket.sort()
        for entry in bucket:
            point, owner = divmod(entry, len(ids))
            if not owners or owners[-1] != owner:
                owners.append(numbers[owner])
            # Of the slots that begin at or before this point, those that have met no earlier one.
            starts += [len(owners) - 1] * ((point >> shift) + 1 - len(starts))
        unpaused += len(bucket)
        bucket.clear()  # to free all of them at once, at the end, takes milliseconds
        if unpaused >= POINTS_PER_STEP:
            unpaused = 0
            yield
    starts += [0] * (policy.slots - len(starts))  # past the last point it goes on with the first
    return Ring(owners, starts)


class _HashRing(Protocol):
    @property
    def ring(self) -> Mapping[int, str]: ...


# uhashring has no type information: this is all that is used of it, and the only place that takes it on trust.
_hash_ring = cast("Callable[..., _HashRing]", uhashring.HashRing)


@lru_cache(maxsize=POINTS_KEPT)
def _points(member_id: str, first: int, count: int) -> array[int]:
    """Return ``count`` of a member's points, from the one numbered ``first`` on, in any order.

    uhashring makes the points of a node all at once and numbers them from 0. A heavy member has too many for that, so
    they are made in lots, each as a node of its own, whose hash function puts back the numbers in the whole.
    """

    def hash_label(label: str) -> int:
        return hash_key(label.encode("utf-8", "surrogatepass"))

    def hash_renumbered(label: str) -> int:
        number = int(label.rpartition("-")[2])
        return hash_label(f"{member_id}-{first + number}")

    hash_fn = hash_renumbered if first else hash_label
    return array("Q", _hash_ring({member_id: 1}, vnodes=count, hash_fn=hash_fn).ring)
