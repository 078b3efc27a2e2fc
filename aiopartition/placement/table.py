"""The slot table: finds the owners of keys and selects a member's resources from a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import compress, islice, repeat
from operator import contains, ne
from typing import Any, Final, TypeAlias, TypeVar

from aiopartition.placement.keys import Key, encode, hash_key, only_kind, slot_shift

__all__ = ["CHUNK", "Mask", "Table"]

T = TypeVar("T")

Mask: TypeAlias = tuple[bool, ...]
"""For each slot, whether a given member owns it. Python indexes a tuple faster than any other sequence, and branches
fastest on ``True`` and ``False``."""

CHUNK: Final = 2048
"""Resources filtered at a time. It takes far less than a millisecond, yet far longer than starting a new chunk."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Table:
    """The owners of each slot. Immutable; made by :func:`~aiopartition.placement.assign.build`.

    :ivar members: the ids of all members, sorted.
    :ivar ranks: for each rank, the id of each slot's owner at that rank, by slot number.
    """

    members: tuple[str, ...]
    ranks: tuple[tuple[str, ...], ...]
    shift: int = field(init=False, repr=False, compare=False)
    """The shift that turns a hash into its slot."""
    _masks: dict[str, Mask] = field(default_factory=dict[str, "Mask"], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", slot_shift(self.slots))

    @property
    def slots(self) -> int:
        """The number of slots, a power of two."""
        return len(self.ranks[0])

    def slot(self, encoded: bytes) -> int:
        """Return the slot of the key ``encoded``."""
        return hash_key(encoded) >> self.shift

    def owners(self, encoded: bytes) -> tuple[str, ...]:
        """Return the ids of the distinct owners of the key ``encoded``, the first owner first."""
        slot = self.slot(encoded)
        return tuple([rank[slot] for rank in self.ranks])

    def mask(self, member_id: str) -> Mask:
        """Return, for each slot, whether ``member_id`` owns it. An id that is not a member's owns none.

        Masks are cached because all groups with the same members share one table.
        """
        mask = self._masks.get(member_id)
        if mask is None:
            if len(self.ranks) == 1:  # the common case, in less than half the time
                mask = tuple([owner == member_id for owner in self.ranks[0]])
            else:
                mask = tuple(map(contains, zip(*self.ranks, strict=True), repeat(member_id)))
            self._masks[member_id] = mask
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
        return list(compress(resources, [mask[h(k) >> shift] for k in map(encode, keys)]))

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
        """Return each member's share of the slots by member id. The shares add up to the number of ranks."""
        owned = Counter[str]()
        for rank in self.ranks:
            owned.update(rank)
        return {member_id: owned[member_id] / self.slots for member_id in self.members}

    def moved(self, previous: Table) -> float:
        """Return the share of slots whose set of owners differs from that in ``previous``, 0.0 to 1.0.

        It is 1.0 if the tables differ in the number of slots or ranks, because then their slots cannot be compared.
        """
        if self.slots != previous.slots or len(self.ranks) != len(previous.ranks):
            return 1.0
        if len(self.ranks) == 1:
            changed: int = sum(map(ne, self.ranks[0], previous.ranks[0]))
            return changed / self.slots
        # Both sets have the same size, so they are equal if each owner was an owner before.
        previous_rows = list(zip(*previous.ranks, strict=True))
        stayed = zip(*[map(contains, previous_rows, rank) for rank in self.ranks], strict=True)
        return 1.0 - sum(map(all, stayed)) / self.slots
