"""What a member sees of its group: members, views of them, and the change from one view to the next."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TypeVar, cast

from aiopartition.placement.assign import build
from aiopartition.placement.keys import Key, encode
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import Mask, Table

__all__ = ["Change", "Member", "View", "require_iterable"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Member:
    """One coordinator's participation in a group.

    :ivar id: its member id.
    :ivar weight: how many shares of the work it takes, at least 1.
    """

    id: str
    weight: int = 1


@dataclass(frozen=True, repr=False)
class View:
    """The members of a group at one generation, and who owns what among them, as one of them sees it.

    A view is immutable, hashable and picklable, and answers without the coordinator: it goes on saying what was so at
    its generation. Two views of one group at one generation give the same owners to every resource.

    :ivar group_id: the group.
    :ivar generation: grows with each change of the membership; a fencing token in exclusive groups.
    :ivar members: all members, sorted by id.
    :ivar policy: the group's policy.
    :ivar member_id: whose view this is; :meth:`mine` answers for this member. It need not be among ``members``, and
        then nothing is its own.
    :ivar table: the compiled ownership, a function of ``members`` and ``policy``. For use inside the library only.
    """

    group_id: str
    generation: int
    members: tuple[Member, ...]
    policy: GroupPolicy
    member_id: str
    table: Table = field(compare=False)
    active: Mask | None = field(default=None, compare=False)
    """In an exclusive group the slots whose handoff is through. For use inside the library only."""

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
        """Return the view that ``member_id`` has of a group.

        :param weights: the weight of each member by its id, in any order.
        :param table: what ``assign.build(weights, policy)`` returns, where that was built already; it is built here
            without it, which takes some 10 ms, and 350 ms for 1,000 members.
        :raises ValueError: without members, or on a weight below 1.
        """
        members = tuple(Member(each, weights[each]) for each in sorted(weights))
        return cls(group_id, generation, members, policy, member_id, table or build(weights, policy))

    def owner(self, key: Key) -> str:
        """Return the id of the first owner of ``key``.

        :raises TypeError: if ``key`` is of a type that has no stable key.
        """
        return self.owners(key)[0]

    def owners(self, key: Key) -> tuple[str, ...]:
        """Return the ids of all owners of ``key``: ``min(replicas, members)`` distinct ones, the first one first.

        :raises TypeError: if ``key`` is of a type that has no stable key.
        """
        return self.table.owners(encode(key))

    def owns(self, member_id: str, key: Key) -> bool:
        """Return whether ``member_id`` is one of the owners of ``key``.

        :raises TypeError: if ``key`` is of a type that has no stable key.
        """
        return member_id in self.owners(key)

    def mine(self, iterable: Iterable[T], key: Callable[[T], Key] | None = None) -> list[T]:
        """Return those resources of ``iterable`` that this view's member owns, in order.

        In an exclusive group: those that it could work on when this view was handed out. What it gains at this
        generation comes with a later view, when the members before have let go of it.

        :param key: gives what identifies a resource; without it resources identify themselves.
        :raises TypeError: if a key is of a type that has no stable encoding, or if ``iterable`` is a single ``str`` or
            ``bytes`` or an async iterable.
        """
        return list(chain.from_iterable(self.table.filter_chunks(self.mask, require_iterable(iterable), key)))

    def shares(self) -> dict[str, float]:
        """Return each member's share of the slots by its id; with replicas they add up to the number of owners."""
        return self.table.shares()

    @cached_property
    def mask(self) -> Mask:
        """The slots that this view's member may work on. For use inside the library only."""
        return self.table.mask(self.member_id) if self.active is None else self.active

    def __repr__(self) -> str:
        # Without members and table: a view is in every log line about its group, and there may be 1,000 members.
        return (
            f"<View of {self.group_id!r} at generation {self.generation}, "
            f"{len(self.members)} members, seen by {self.member_id!r}>"
        )


@dataclass(frozen=True, slots=True)
class Change:
    """The step from one view of a group to the next, as :meth:`PartitionCoordinator.changes` hands it out.

    :ivar view: the view from now on; ``None`` while ownership is unknown, and then nothing is ours.
    :ivar previous: the view before; ``None`` if there was none.
    :ivar joined: the ids of members that are in ``view`` only, sorted.
    :ivar left: the ids of members that are in ``previous`` only, sorted.
    :ivar moved: the share of slots whose set of owners changed. A member's new weight moves slots too.
    """

    view: View | None
    previous: View | None
    joined: tuple[str, ...]
    left: tuple[str, ...]
    moved: float

    @classmethod
    def between(cls, previous: View | None, view: View | None) -> Change:
        """Return the change from ``previous`` to ``view``.

        Into the unknown (``view`` is ``None``) nobody is said to join or leave, and nothing to move. From nothing
        (``previous`` is ``None``) all members join and every slot moves.
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
    """Return ``iterable`` unless it is something whose parts can hardly be meant for resources.

    :raises TypeError: for a single text or buffer, for an async iterable, and for what cannot be iterated over at all.
    """
    given = cast("object", iterable)  # the annotation admits a str, which is an Iterable of itself, and callers err
    kind = type(given).__name__
    if isinstance(given, str | bytes | bytearray | memoryview):
        parts = "characters" if isinstance(given, str) else "bytes"
        raise TypeError(f"expected an iterable of resources, and a single {kind} would be split into {parts}")
    if not hasattr(given, "__iter__") and isinstance(given, AsyncIterable):
        raise TypeError(f"{kind} is an async iterable: my_subset() takes those")
    iter(iterable)  # which says so of what is no iterable at all
    return iterable
