"""Members, views of a group, and changes from one view to the next."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from inspect import isawaitable
from itertools import chain
from typing import Any, Final, TypeVar, cast, overload

from aiopartition.checks import require_key
from aiopartition.placement.assign import build
from aiopartition.placement.keys import Key, encode
from aiopartition.placement.partition import Partition
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import Mask, Table
from aiopartition.showing import shown

__all__ = ["Change", "Member", "View", "require_iterable"]

T = TypeVar("T")
K = TypeVar("K", bound=Key)
"""A resource that is its own key."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group.

    :ivar id: the member id.
    :ivar weight: the member's share of the work relative to that of other members; with 0 it owns nothing.
    """

    id: str
    weight: int = 1


_LONG: Final = 256
"""Characters of an id that is not kept. Whatever the ids are, what is kept stays small."""

_kept_member: Final = lru_cache(maxsize=4096, typed=True)(Member)
"""Groups and views mostly have the same members, so they share these objects."""


def _member(member_id: str, weight: int) -> Member:
    return _kept_member(member_id, weight) if len(member_id) < _LONG else Member(member_id, weight)


@dataclass(frozen=True, repr=False)
class View:
    """The members of a group and their keys at one generation, as seen by one member.

    A view is immutable, hashable and picklable. It needs no coordinator and keeps describing its own generation, even
    after the group has changed. All views of a group at one generation agree on the owners of every key.

    :ivar group_id: the group.
    :ivar generation: increases with each change of the membership; a fencing token in exclusive groups.
    :ivar members: all members, sorted by id.
    :ivar policy: the group's policy.
    :ivar member_id: the member for which :meth:`mine` answers. If it is not in ``members``, it owns nothing.
    :ivar table: the slot table, computed from ``members`` and ``policy``. For use inside the library only.
    """

    group_id: str
    generation: int
    members: tuple[Member, ...]
    policy: GroupPolicy
    member_id: str
    table: Table = field(compare=False)
    active: Mask | None = field(default=None, compare=False)
    """In an exclusive group, the slots that this member may work on now. For use inside the library only."""

    @classmethod
    def of(
        cls,
        group_id: str,
        generation: int,
        weights: Mapping[str, int],
        policy: GroupPolicy,
        member_id: str,
        table: Table | None = None,
    ) -> View:
        """Create the view of a group as seen by ``member_id``.

        :param weights: the weight of each member by member id, in any order.
        :param table: the result of ``assign.build(weights, policy)`` if available. Otherwise the table is built here,
            which blocks for about 10 ms, or 350 ms with 1,000 members.
        :raises ValueError: if no member has a weight above 0, or a weight is negative.
        :raises GroupTooLargeError: if there are too many members for this policy.
        """
        members = tuple([_member(each, weight) for each, weight in sorted(weights.items())])
        return cls(group_id, generation, members, policy, member_id, table or build(weights, policy))

    def owner(self, key: Key) -> str:
        """Return the id of the first owner of ``key``.

        :raises TypeError: if ``key`` is of a type that has no stable key.
        """
        return self.owners(key)[0]

    def owners(self, key: Key) -> tuple[str, ...]:
        """Return the distinct ids of all owners of ``key``, the first owner first: ``min(replicas, members)`` of them.

        :raises TypeError: if ``key`` is of a type that has no stable key.
        """
        return self.table.owners(encode(key))

    def partition_of(self, key: Key) -> Partition:
        """Return the partition onto which ``key`` is hashed; a partition is its own.

        :raises TypeError: if the group has no partitions, or ``key`` is of a type that has no stable key.
        """
        return self.table.partition(encode(key))

    def owns(self, member_id: str, key: Key) -> bool:
        """Return whether ``member_id`` is one of the owners of ``key``.

        :raises TypeError: if ``key`` is of a type that has no stable key.
        """
        return member_id in self.owners(key)

    @overload
    def mine(self, iterable: Iterable[K], key: None = None) -> list[K]: ...
    @overload
    def mine(self, iterable: Iterable[T], key: Callable[[T], Key]) -> list[T]: ...
    def mine(self, iterable: Iterable[Any], key: Callable[[Any], Key] | None = None) -> list[Any]:
        """Return the resources in ``iterable`` that this view's member owns, in order.

        In an exclusive group, these are the resources that the member could work on when this view was published.
        A later view adds those that it gains at this generation, once their previous owners have released them.

        :param key: returns the key of a resource; by default, a resource is its own key.
        :raises TypeError: if a key is of a type that has no stable encoding, if ``iterable`` is a single ``str`` or
            ``bytes`` or an async iterable, or if ``key`` is no callable.
        """
        require_key(key)
        return list(chain.from_iterable(self.table.filter_chunks(self.mask, require_iterable(iterable), key)))

    def shares(self) -> dict[str, float]:
        """Return each member's share of the slots, or of the partitions, by member id.

        The shares add up to the number of owners of a key.
        """
        return self.table.shares()

    @cached_property
    def mask(self) -> Mask:
        """The slots that this view's member may work on. For use inside the library only."""
        return self.table.mask(self.member_id) if self.active is None else self.active

    def __repr__(self) -> str:
        # Members and table are omitted: views appear in log messages, and a group may have 1,000 members.
        return (
            f"<View of {self.group_id!r} at generation {self.generation}, "
            f"{len(self.members)} members, seen by {self.member_id!r}>"
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A change from one view of a group to the next, as yielded by :meth:`PartitionCoordinator.changes`.

    :ivar view: the new view, or ``None`` while ownership is unknown; the member then owns nothing.
    :ivar previous: the view before it, or ``None`` if there was none.
    :ivar joined: the sorted ids of members that are only in ``view``.
    :ivar left: the sorted ids of members that are only in ``previous``.
    :ivar moved: the share of slots whose set of owners changed, 0.0 to 1.0. A change of a weight moves slots too.
    """

    view: View | None
    previous: View | None
    joined: tuple[str, ...]
    left: tuple[str, ...]
    moved: float

    @classmethod
    def between(cls, previous: View | None, view: View | None) -> Change:
        """Return the change from ``previous`` to ``view``.

        If ``view`` is ``None``, the change reports no joins, departures or moves. If ``previous`` is ``None``, all
        members join and every slot moves.
        """
        if view is None:
            return cls(None, previous, (), (), 0.0)
        after = {member.id for member in view.members}
        if previous is None:
            return cls(view, None, tuple(sorted(after)), (), 1.0)
        before = {member.id for member in previous.members}
        moved = view.table.moved(previous.table)
        return cls(view, previous, tuple(sorted(after - before)), tuple(sorted(before - after)), moved)


def require_iterable(iterable: Iterable[T]) -> Iterable[T]:
    """Return ``iterable`` if its items can be resources.

    :raises TypeError: if it is a ``str``, a buffer, an async iterable, or not iterable at all.
    """
    given = cast("object", iterable)  # the annotation allows a str, which is an Iterable of str
    kind = type(given).__name__
    if isinstance(given, str | bytes | bytearray | memoryview):
        parts = "characters" if isinstance(given, str) else "bytes"
        raise TypeError(f"expected an iterable of resources; a single {kind} would be split into {parts}")
    if not hasattr(given, "__iter__") and isinstance(given, AsyncIterable):
        raise TypeError(f"{kind} is an async iterable: use my_subset() instead")
    try:
        iter(iterable)
    except TypeError as error:
        remedy = "; it was not awaited" if isawaitable(given) else "; it was not called" if callable(given) else ""
        raise TypeError(f"expected an iterable of resources, not {shown(given)}{remedy}") from error
    return iterable
