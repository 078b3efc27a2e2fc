"""The slot table: finds the owners of keys and selects a member's resources from a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import compress, islice, repeat
from operator import contains, ne
from typing import Any, Final, TypeAlias, TypeVar

from aiopartition.placement.keys import Key, encode, hash_key, only_kind, slot_shift
from aiopartition.placement.partition import Partition, PartitionKey, require_in_range

__all__ = ["CHUNK", "Mask", "Table", "first_slot", "nothing"]

T = TypeVar("T")

Mask: TypeAlias = tuple[bool, ...]
"""For each slot, whether a given member owns it. Python indexes a tuple faster than any other sequence, and branches
fastest on ``True`` and ``False``."""

CHUNK: Final = 2048
"""Resources filtered at a time. It takes far less than a millisecond, yet far longer than starting a new chunk."""


@cache
def nothing(slots: int) -> Mask:
    """Return the mask of a member that owns nothing: one for all, as each takes 8 bytes a slot."""
    return (False,) * slots


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Table:
    """The owners of each slot. Immutable; made by :func:`~aiopartition.placement.assign.build`.

    :ivar members: the ids of all members, sorted.
    :ivar ranks: for each rank, the id of each slot's owner at that rank, by slot number.
    """

    members: tuple[str, ...]
    ranks: tuple[tuple[str, ...], ...]
    partitions: int = 0
    """The number of partitions, each a range of slots that have the same owners; 0 for none."""
    masks: dict[str, Mask] = field(default_factory=dict[str, "Mask"], repr=False, compare=False)
    """Those made so far. Kept, because all groups with the same members share one table."""
    shift: int = field(init=False, repr=False, compare=False)
    """The shift that turns a hash into its slot."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", slot_shift(self.slots))

    @property
    def slots(self) -> int:
        """The number of slots, a power of two."""
        return len(self.ranks[0])

    def slot(self, encoded: bytes) -> int:
        """Return the slot of the key ``encoded``, or one of the slots of the partition that it names.

        :raises TypeError: if it names a partition that there is not.
        """
        if type(encoded) is PartitionKey:
            require_in_range(encoded, self.partitions)
            return first_slot(encoded.number, self.slots, self.partitions)
        return hash_key(encoded) >> self.shift

    def partition(self, encoded: bytes) -> Partition:
        """Return the partition of the key ``encoded``.

        :raises TypeError: if there are no partitions, or it names one that there is not.
        """
        if not self.partitions:
            raise TypeError("the group has no partitions: they are those of policy=GroupPolicy(partitions=...)")
        return Partition(self.slot(encoded) * self.partitions // self.slots)

    def owners(self, encoded: bytes) -> tuple[str, ...]:
        """Return the ids of the distinct owners of the key ``encoded``, the first owner first."""
        slot = self.slot(encoded)
        return tuple([rank[slot] for rank in self.ranks])

    def mask(self, member_id: str) -> Mask:
        """Return, for each slot, whether ``member_id`` owns it. An id that is not a member's owns none."""
        mask = self.masks.get(member_id)
        if mask is None:
            if len(self.ranks) == 1:  # the common case, in less than half the time
                mask = tuple([owner == member_id for owner in self.ranks[0]])
            else:
                mask = tuple(map(contains, zip(*self.ranks, strict=True), repeat(member_id)))
            self.masks[member_id] = mask
        return mask

    def filter(self, mask: Mask, resources: Sequence[T], key: Callable[[T], Key] | None = None) -> list[T]:
        """Return the ``resources`` whose keys lie in the slots of ``mask``, in order.

        :param mask: a result of :meth:`mask`.
        :param resources: the resources to filter, in one pass without pausing.
        :param key: returns the key of a resource; by default, a resource is its own key.
        :raises TypeError: if a key is of a type that has no stable encoding.
        """
        h, shift = hash_key, self.shift
        keys: Sequence[Any] = resources if key is None else list(map(key, resources))
        # The hot loops. Local names, and special cases for the most common types, keep the total below twice the cost
        # of encoding and hashing alone.
        if keys and type(keys[0]) is str:
            text = str.encode  # called on the class: it checks the type too, and subclasses cannot override it
            with suppress(TypeError, UnicodeEncodeError):  # not all keys are text, or some have lone surrogates
                if key is None:
                    return [k for k in keys if mask[h(text(k)) >> shift]]
                return list(compress(resources, [mask[h(text(k)) >> shift] for k in keys]))
        kind = only_kind(keys)
        if key is None and kind is bytes:
            return [k for k in keys if mask[h(k) >> shift]]
        if kind is int:
            with suppress(ValueError):  # an int beyond Python's limit of digits
                if key is None:
                    return [k for k in keys if mask[h(b"%d" % k) >> shift]]
                return list(compress(resources, [mask[h(b"%d" % k) >> shift] for k in keys]))
        slot = self.slot  # called for partitions alone, as the call costs a tenth
        return list(
            compress(resources, [mask[h(k) >> shift if type(k) is bytes else slot(k)] for k in map(encode, keys)])
        )

    def filter_chunks(
        self, mask: Mask, resources: Iterable[T], key: Callable[[T], Key] | None = None
    ) -> Iterator[list[T]]:
        """Filter any iterable chunk by chunk, so that the caller can pause between chunks. See :meth:`filter`.

        :returns: an iterator over lists, in order, some of them empty.
        :raises TypeError: if a key is of a type that has no stable encoding.
        """
        if isinstance(resources, list):
            for start in range(0, len(resources), CHUNK):  # slices are faster than an iterator
                yield self.filter(mask, resources[start : start + CHUNK], key)
            return
        source = iter(resources)
        while chunk := list(islice(source, CHUNK)):
            yield self.filter(mask, chunk, key)

    def shares(self) -> dict[str, float]:
        """Return each member's share of the slots, or of the partitions if there are any, by member id.

        The shares add up to the number of ranks.
        """
        owned = Counter[str]()
        for rank in self.units:
            owned.update(rank)
        count = len(self.units[0])
        return {member_id: owned[member_id] / count for member_id in self.members}

    def moved(self, previous: Table) -> float:
        """Return the share of slots, or partitions, whose set of owners differs from that in ``previous``, 0.0 to 1.0.

        It is 1.0 if the tables differ in the number of these or of ranks, because then they cannot be compared.
        """
        units, before = self.units, previous.units
        count = len(units[0])
        if (count, self.partitions, len(units)) != (len(before[0]), previous.partitions, len(before)):
            return 1.0
        if len(units) == 1:
            changed: int = sum(map(ne, units[0], before[0]))
            return changed / count
        # Both sets have the same size, so they are equal if each owner was an owner before.
        previous_rows = list(zip(*before, strict=True))
        stayed = zip(*[map(contains, previous_rows, rank) for rank in units], strict=True)
        return 1.0 - sum(map(all, stayed)) / count

    @property
    def units(self) -> Sequence[tuple[str, ...]]:
        """The owners at each rank: of each partition if there are any, else of each slot. These are what moves."""
        if not self.partitions:
            return self.ranks
        firsts = [first_slot(number, self.slots, self.partitions) for number in range(self.partitions)]
        return [tuple(map(rank.__getitem__, firsts)) for rank in self.ranks]


def first_slot(number: int, slots: int, partitions: int) -> int:
    """Return the first slot of a partition, of which slot ``s`` belongs to number ``s * partitions // slots``."""
    return -(-number * slots // partitions)
