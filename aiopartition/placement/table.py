"""The slot table: which members own which slot, as a pure function of the members and the policy ("format 1").

A key lies in slot ``hash_key(key) >> (64 - log2(slots))``: each slot is one contiguous range of hashes. Slots go to
members by consistent hashing with bounded loads:

1. **Ring.** A member of weight ``w`` has ``vnodes * w`` points on the ring of 64-bit integers: the hash of the UTF-8
   text ``<member id>-<n>`` for each ``n`` from 0 on. This is ``uhashring.HashRing`` over ``{member id: weight}`` with
   ``hash_key`` for its hash function. Equal points are taken in the order of their member ids.
2. **Order of members.** By the code points of the ids.
3. **Ranks.** ``min(replicas, members)`` of them, filled one after the other; rank 0 holds the slots' first owners.
4. **Cap.** When rank ``r`` has been filled a member owns at most ``ceil(load_bound * (r + 1) * slots * weight /
   total_weight)`` slots, all ranks so far taken together; computed in IEEE doubles, from left to right.
5. **Order of slots.** In each rank slots are visited in the order that a counter gives whose ``log2(slots)`` bits are
   read in reverse: those at 0, 1/2, 1/4, 3/4, 1/8, 5/8, … of the way round.
6. **Walk.** From the start of the slot's range, ``slot << (64 - log2(slots))``, go clockwise to the first point at or
   after it, and on to the first whose member is below its cap and does not own the slot at an earlier rank. If there is
   no such member, go to the first that does not own the slot at an earlier rank.

Why so: the caps are on slots and not on keys, so ownership depends on nothing but the members. At rank 0 they add up to
``slots`` at least, so somebody always has room there; further on the members below their caps may all be owners of the
slot already. The order of slots leaves no part of the ring for last. Measured, a pseudo-random order is no better, the
plain order of numbers moves a little more, and any language has this one. Ranks share one cap and walk from the slot's
own point: with caps ignored beyond rank 0 the busiest of 100 members had 1.15 times the mean instead of 1.10, and with
a cap on each rank a join moved 1.12 times the ideal share instead of 1.07 (two replicas, ``load_bound`` 1.1). A rank
never influences an earlier one, so more replicas only add owners.

Sources: D. Karger et al., "Consistent Hashing and Random Trees", STOC 1997; V. Mirrokni, M. Thorup, M. Zadimoghaddam,
"Consistent Hashing with Bounded Loads", SODA 2018 (https://arxiv.org/abs/1608.01350).
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import compress, islice, repeat
from operator import contains, ne
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import uhashring  # type: ignore[import-untyped]

from aiopartition.placement.keys import Key, encode, hash_key, only_kind
from aiopartition.placement.policy import GroupPolicy

__all__ = ["Table", "build", "build_steps"]

T = TypeVar("T")

Mask: TypeAlias = tuple[bool, ...]
"""For each slot whether it is one member's. Of all sequences a tuple is the one that Python indexes fastest, and of all
objects ``True`` and ``False`` are the ones that it branches on fastest."""

HASH_BITS: Final = 64

CHUNK: Final = 2048
"""Resources filtered at a time: far below a millisecond, and far above the cost of starting anew."""

# Of the work between two yields of build_steps(), each meant to take a few tenths of a millisecond.
LOT: Final = 512  # points of one member made, or points of the ring sorted
STRIDE: Final = 8192  # points passed on walks; finding where a walk starts counts for WALK_COST of them
WALK_COST: Final = 8

POINTS_KEPT: Final = 4096
"""Lots of points, of 1.3 kB for a member of weight 1. One that joins a thousand others then costs one member's hashes,
and no history can enter: a lot is a function of the member's id and its number alone."""

BUCKET_BITS: Final = 10
"""The ring is sorted in 1,024 parts: sorting the points of 1,000 members at once would stall the event loop."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Table:
    """The owners of each slot. Immutable; made by :func:`build`.

    :ivar members: the ids of all members, sorted.
    :ivar ranks: for each rank the id of the slots' owners of this rank, by slot number.
    """

    members: tuple[str, ...]
    ranks: tuple[tuple[str, ...], ...]
    shift: int = field(init=False, repr=False, compare=False)
    """How many low bits of a hash do not count for the slot."""
    _masks: dict[str, Mask] = field(default_factory=dict[str, "Mask"], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", _shift(self.slots))

    @property
    def slots(self) -> int:
        """How many slots there are, a power of two."""
        return len(self.ranks[0])

    def slot(self, encoded: bytes) -> int:
        """Return the slot in which the key ``encoded`` lies."""
        return hash_key(encoded) >> self.shift

    def owners(self, encoded: bytes) -> tuple[str, ...]:
        """Return the ids of the distinct owners of the key ``encoded``, the first owner first."""
        slot = self.slot(encoded)
        return tuple([rank[slot] for rank in self.ranks])

    def mask(self, member_id: str) -> Mask:
        """Return for each slot whether ``member_id`` owns it; it owns none if it is no member's id.

        It is kept, as one table serves all groups of a coordinator in which there are the same members.
        """
        mask = self._masks.get(member_id)
        if mask is None:
            if len(self.ranks) == 1:  # the common case, in less than half the time
                mask = tuple([owner == member_id for owner in self.ranks[0]])
            else:
                mask = tuple(map(contains, zip(*self.ranks, strict=True), repeat(member_id)))
            self._masks[member_id] = mask
        return mask

    def select(self, mask: Mask, resources: Sequence[T], key: Callable[[T], Key] | None = None) -> list[T]:
        """Return those of ``resources`` that lie in the slots of ``mask``, in order: one hash and one index for each.

        :param mask: as :meth:`mask` returns it.
        :param resources: what to filter, all of it at once.
        :param key: gives what identifies a resource; without it resources identify themselves.
        :raises TypeError: if a key is of a type that has no stable encoding.
        """
        h, shift = hash_key, self.shift
        keys: Sequence[Any] = resources if key is None else list(map(key, resources))
        # The hot loops. Local names, and for the commonest kinds nothing but what encoding and hashing need, keep
        # them below twice the bare cost of these two.
        if keys and type(keys[0]) is str:
            text = str.encode  # of the class: it is a look at the type as well, and no subclass has it do other things
            with suppress(TypeError, UnicodeEncodeError):  # not all are text, or some have lone surrogates
                if key is None:
                    return [k for k in keys if mask[h(text(k)) >> shift]]
                return list(compress(resources, [mask[h(text(k)) >> shift] for k in keys]))
        kind = only_kind(keys)
        if key is None and kind is bytes:
            return [k for k in keys if mask[h(k) >> shift]]
        if key is None and kind is int:
            return [k for k in keys if mask[h(b"%d" % k) >> shift]]
        if kind is int:
            return list(compress(resources, [mask[h(b"%d" % k) >> shift] for k in keys]))
        return list(compress(resources, [mask[h(k) >> shift] for k in map(encode, keys)]))

    def sift(self, mask: Mask, resources: Iterable[T], key: Callable[[T], Key] | None = None) -> Iterator[list[T]]:
        """Like :meth:`select`, for any iterable and a chunk at a time, so that the caller can pause in between.

        :returns: an iterator over lists, in order, some of them empty.
        :raises TypeError: if a key is of a type that has no stable encoding.
        """
        if isinstance(resources, list):
            for start in range(0, len(resources), CHUNK):  # slices are faster than an iterator
                yield self.select(mask, resources[start : start + CHUNK], key)
            return
        source = iter(resources)
        while chunk := list(islice(source, CHUNK)):
            yield self.select(mask, chunk, key)

    def shares(self) -> dict[str, float]:
        """Return each member's share of the slots, in the order of members; they add up to the number of ranks."""
        owned = Counter[str]()
        for rank in self.ranks:
            owned.update(rank)
        return {member_id: owned[member_id] / self.slots for member_id in self.members}

    def moved(self, previous: Table) -> float:
        """Return the share of slots whose set of owners differs from that in ``previous``.

        Between tables of different sizes or numbers of ranks it is 1.0: no slot has a counterpart with as many owners.
        """
        if self.slots != previous.slots or len(self.ranks) != len(previous.ranks):
            return 1.0
        if len(self.ranks) == 1:
            changed: int = sum(map(ne, self.ranks[0], previous.ranks[0]))
            return changed / self.slots
        # As many owners before as after: the sets are equal if each owner was one before.
        previous_rows = list(zip(*previous.ranks, strict=True))
        stayed = zip(*[map(contains, previous_rows, rank) for rank in self.ranks], strict=True)
        return 1.0 - sum(map(all, stayed)) / self.slots


def build(members: Mapping[str, int], policy: GroupPolicy) -> Table:
    """Compile the table of ``members`` in one go. See :func:`build_steps`."""
    steps = build_steps(members, policy)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return cast("Table", finished.value)


def build_steps(members: Mapping[str, int], policy: GroupPolicy) -> Generator[None, None, Table]:
    """Compile the table of ``members``, as the top of this module describes it, with a yield every now and then.

    Between two yields lies well under a millisecond of work, however many and heavy the members are: whoever drives
    this from an event loop gives way at each of them.

    :param members: the weight of each member, at least 1, by its id; the order does not matter.
    :param policy: the group's policy.
    :returns: the table, as the generator's return value.
    :raises ValueError: without members, or on a weight below 1.
    """
    if not members:
        raise ValueError("a table needs at least one member")
    if min(members.values()) < 1:
        raise ValueError("the weight of a member is at least 1")
    ids = sorted(members)
    ring = yield from _ring_steps(ids, members, policy)
    owned = [0] * len(ids)
    ranks: list[list[int]] = []
    for number in range(1, min(policy.replicas, len(ids)) + 1):
        caps = _caps(members, policy.load_bound, number * policy.slots)
        room = [caps[member_id] - count for member_id, count in zip(ids, owned, strict=True)]
        rank = yield from _rank_steps(ring, room, ranks) if ranks else _first_rank_steps(ring, room)
        ranks.append(rank)
        owned = [caps[member_id] - left for member_id, left in zip(ids, room, strict=True)]
    return Table(tuple(ids), tuple(tuple(map(ids.__getitem__, rank)) for rank in ranks))


def _caps(members: Mapping[str, int], load_bound: float, slots: int) -> dict[str, int]:
    total_weight = sum(members.values())
    return {member_id: math.ceil(load_bound * slots * weight / total_weight) for member_id, weight in members.items()}


def _shift(slots: int) -> int:
    return HASH_BITS + 1 - slots.bit_length()


@cache
def _visiting_order(slots: int) -> tuple[int, ...]:
    """All slots, in the order of a counter whose bits are reversed."""
    order = [0]
    while len(order) < slots:
        order = [2 * slot for slot in order] + [2 * slot + 1 for slot in order]
    return tuple(order)


class _Ring(NamedTuple):
    """The ring, clockwise: members by their numbers. Neighbouring points of one member are one, as they lead to it."""

    owners: list[int]
    starts: list[int]
    """For each slot where in ``owners`` its walk begins."""


def _ring_steps(ids: Sequence[str], members: Mapping[str, int], policy: GroupPolicy) -> Generator[None, None, _Ring]:
    # Each entry is a point and its member in one integer, which sorts by point and then by member, and which, unlike
    # a pair, is nothing to the garbage collector.
    buckets: list[list[int]] = [[] for _ in range(1 << BUCKET_BITS)]
    for index, member_id in enumerate(ids):
        count = policy.vnodes * members[member_id]
        for first in range(0, count, LOT):
            for point in _points(member_id, first, min(LOT, count - first)):
                buckets[point >> HASH_BITS - BUCKET_BITS].append(point * len(ids) + index)
            yield
    shift = _shift(policy.slots)
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
        if unpaused >= LOT:
            unpaused = 0
            yield
    starts += [0] * (policy.slots - len(starts))  # past the last point it goes on with the first
    return _Ring(owners, starts)


def _first_rank_steps(ring: _Ring, room: list[int]) -> Generator[None, None, list[int]]:
    """Give each slot its first owner, and take that from ``room``. What :func:`_rank_steps` does, in half the time:
    nobody owns a slot yet, and there is always somebody with room."""
    owners, starts = ring
    rank = [0] * len(starts)
    unpaused = 0
    for slot in _visiting_order(len(starts)):
        position = starts[slot]
        owner = owners[position]
        while not room[owner]:
            position = position + 1 if position + 1 < len(owners) else 0
            owner = owners[position]
            unpaused += 1
        rank[slot] = owner
        room[owner] -= 1
        unpaused += WALK_COST
        if unpaused >= STRIDE:
            unpaused = 0
            yield
    return rank


def _rank_steps(ring: _Ring, room: list[int], ranks: Sequence[Sequence[int]]) -> Generator[None, None, list[int]]:
    """Give each slot its owner of the next rank after ``ranks``, and take that from ``room``."""
    owners, starts = ring
    rank = [0] * len(starts)
    with_room = {owner for owner, free in enumerate(room) if free > 0}
    unpaused = 0
    for slot in _visiting_order(len(starts)):
        taken = [earlier[slot] for earlier in ranks]
        everybody = len(with_room) <= len(taken) and with_room.issubset(taken)  # for whom there is room owns it already
        start = position = starts[slot]
        while (owner := owners[position]) in taken or not (everybody or room[owner] > 0):
            position = position + 1 if position + 1 < len(owners) else 0
        rank[slot] = owner
        room[owner] -= 1
        if room[owner] == 0:
            with_room.discard(owner)
        unpaused += WALK_COST + len(taken) + (position - start) % len(owners)
        if unpaused >= STRIDE:
            unpaused = 0
            yield
    return rank


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
