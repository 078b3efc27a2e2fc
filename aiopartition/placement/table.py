"""The slot table: which members own which slot, and what of a list is one member's by it."""

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
"""For each slot whether it is one member's. Of all sequences a tuple is the one that Python indexes fastest, and of all
objects ``True`` and ``False`` are the ones that it branches on fastest."""

CHUNK: Final = 2048
"""Resources filtered at a time: far below a millisecond, and far above the cost of starting anew."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Table:
    """The owners of each slot. Immutable; made by :func:`~aiopartition.placement.assign.build`.

    :ivar members: the ids of all members, sorted.
    :ivar ranks: for each rank the id of the slots' owners of this rank, by slot number.
    """

    members: tuple[str, ...]
    ranks: tuple[tuple[str, ...], ...]
    shift: int = field(init=False, repr=False, compare=False)
    """How many low bits of a hash do not count for the slot."""
    _masks: dict[str, Mask] = field(default_factory=dict[str, "Mask"], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", slot_shift(self.slots))

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

    def filter(self, mask: Mask, resources: Sequence[T], key: Callable[[T], Key] | None = None) -> list[T]:
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

    def filter_chunks(
        self, mask: Mask, resources: Iterable[T], key: Callable[[T], Key] | None = None
    ) -> Iterator[list[T]]:
        """Like :meth:`filter`, for any iterable and a chunk at a time, so that the caller can pause in between.

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
