"""The hash ring of format 1 (``docs/reference/format-1.md``, "The table"). Only this module imports uhashring."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, cast

import uhashring  # type: ignore[import-untyped]

from aiopartition.errors import GroupTooLargeError
from aiopartition.placement.keys import HASH_BITS, hash_key, slot_shift
from aiopartition.placement.policy import GroupPolicy

__all__ = ["MAX_POINTS", "POINTS_PER_STEP", "Ring", "points_of", "ring_steps"]

MAX_POINTS: Final = 2_000_000
"""The points of the largest ring that is built: 12,500 members with the default of 160 points for each."""

POINTS_PER_STEP: Final = 512
"""Points that are hashed, or sorted, between two yields."""

POINTS_KEPT: Final = 4096
"""Batches of points in the cache, 1.3 kB each for a member of weight 1. When a member joins a thousand others, only its
own points have to be hashed. Placement stays free of history: a batch depends only on the member's id and the range."""

BUCKET_BITS: Final = 10
"""The ring is sorted in 1,024 parts: sorting the points of 1,000 members at once would block the event loop."""


class Ring(NamedTuple):
    """The owners of the points, clockwise, as indices of members. Adjacent points of one member are merged."""

    owners: list[int]
    starts: list[int]
    """For each slot, the index in ``owners`` at which its walk starts."""


def ring_steps(ids: Sequence[str], members: Mapping[str, int], policy: GroupPolicy) -> Generator[None, None, Ring]:
    """Build the ring, yielding after each portion of work.

    :param ids: the sorted ids of ``members``; the ring refers to members by their index in it.
    :param members: the weight of each member, at least 1, by member id.
    :raises GroupTooLargeError: if the ring would have more than :data:`MAX_POINTS` points.
    """
    counts = points_of(members, policy.vnodes)
    # Each entry packs a point and its member into one integer. Integers sort by point, then member, and the garbage
    # collector does not track them, as it would track pairs.
    buckets: list[list[int]] = [[] for _ in range(1 << BUCKET_BITS)]
    for index, member_id in enumerate(ids):
        count = counts[member_id]
        for first in range(0, count, POINTS_PER_STEP):
            for point in _points(member_id, first, min(POINTS_PER_STEP, count - first)):
                buckets[point >> HASH_BITS - BUCKET_BITS].append(point * len(ids) + index)
            yield
    shift = slot_shift(policy.slots)
    owners, starts = list[int](), list[int]()
    numbers = list(range(len(ids)))  # one shared object per member: freeing one per point takes milliseconds
    unpaused = 0
    for bucket in buckets:
        bucket.sort()
        for entry in bucket:
            point, owner = divmod(entry, len(ids))
            if not owners or owners[-1] != owner:
                owners.append(numbers[owner])
            # Slots that start at or before this point and after the previous one start their walk here.
            starts += [len(owners) - 1] * ((point >> shift) + 1 - len(starts))
        unpaused += len(bucket)
        bucket.clear()  # freeing all of them at once, at the end, takes milliseconds
        if unpaused >= POINTS_PER_STEP:
            unpaused = 0
            yield
    starts += [0] * (policy.slots - len(starts))  # after the last point, walks continue at the first
    return Ring(owners, starts)


def points_of(members: Mapping[str, int], vnodes: int) -> dict[str, int]:
    """Return how many points each member has: ``vnodes`` on average, in proportion to the weights, at least 1.

    So weights are relative, and a table costs the same whatever they are. A member's points are numbered from 0, so a
    change of its count adds or removes some, and leaves the others where they were.

    :raises GroupTooLargeError: if the ring would have more than :data:`MAX_POINTS` points.
    """
    if len(members) * vnodes > MAX_POINTS:
        raise GroupTooLargeError(len(members), MAX_POINTS // vnodes)
    total = sum(members.values())
    doubled = 2 * vnodes * len(members)  # to round to the nearest: else a hair of difference takes a point
    return {member_id: max(1, (doubled * weight + total) // (2 * total)) for member_id, weight in members.items()}


def numbered_points(member_id: str, first: int, last: int) -> Iterator[int]:
    """Return a member's points ``first`` to ``last - 1``, in any order."""
    for start in range(first, last, POINTS_PER_STEP):
        yield from _points(member_id, start, min(POINTS_PER_STEP, last - start))


class _HashRing(Protocol):
    @property
    def ring(self) -> Mapping[int, str]: ...


# uhashring has no type information. _HashRing declares the one attribute that is used, unchecked.
_hash_ring = cast("Callable[..., _HashRing]", uhashring.HashRing)


@lru_cache(maxsize=POINTS_KEPT)
def _points(member_id: str, first: int, count: int) -> array[int]:
    """Return a member's points ``first`` to ``first + count - 1``, in any order.

    uhashring creates all points of a node at once and numbers them from 0. For a heavy member that would block the
    event loop, so each batch is a separate node, whose hash function adds ``first`` to the numbers.
    """

    def hash_label(label: str) -> int:
        return hash_key(label.encode("utf-8", "surrogatepass"))

    def hash_renumbered(label: str) -> int:
        number = int(label.rpartition("-")[2])
        return hash_label(f"{member_id}-{first + number}")

    hash_fn = hash_renumbered if first else hash_label
    return array("Q", _hash_ring({member_id: 1}, vnodes=count, hash_fn=hash_fn).ring)
