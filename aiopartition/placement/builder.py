"""Builds tables for all coordinators of an event loop without blocking the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from typing import ClassVar, Final, TypeAlias, cast
from weakref import WeakKeyDictionary, WeakValueDictionary, finalize

from anyio.lowlevel import checkpoint

from aiopartition.placement.assign import build_steps
from aiopartition.placement.following import Following
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import Table

__all__ = ["TableBuilder"]

FOLLOWED_FROM: Final = 64
"""The least number of members. With fewer, a fresh build takes only a few milliseconds."""

FOLLOWED: Final = 4
"""How many tables are followed at a time. Each takes about 10 MB with 1,000 members."""

FEW: Final = 1 / 8
"""If more than this part of the members have changed, a fresh build is quicker."""

_Key: TypeAlias = tuple[tuple[tuple[str, int], ...], GroupPolicy]


class TableBuilder:
    """Builds tables and shares each one between groups and coordinators with the same members and policy.

    The groups of a coordinator mostly have the same members, and so do the coordinators of a process. Sharing is safe
    because a table is immutable and depends on members and policy alone. A table is kept while a view refers to it. If
    it has many members, the state that it takes to follow a change is kept with it.
    """

    _of_loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, TableBuilder]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._tables: WeakValueDictionary[_Key, Table] = WeakValueDictionary()
        self._under_way: dict[_Key, asyncio.Event] = {}
        self._followings: dict[_Key, Following] = {}  # in the order of their last use

    @classmethod
    def of_running_loop(cls) -> TableBuilder:
        """Return the builder that all coordinators of the running event loop share."""
        return cls._of_loops.setdefault(asyncio.get_running_loop(), cls())

    async def table_of(
        self, members: Mapping[str, int], policy: GroupPolicy, wanted: Callable[[], bool]
    ) -> Table | None:
        """Return the table of ``members``, or ``None`` as soon as ``wanted()`` returns false.

        Safe to cancel: another caller that waits for the same table then builds it.
        """
        key = (tuple(sorted(members.items())), policy)
        while wanted():
            table = self._tables.get(key)
            if table is not None:
                return table
            under_way = self._under_way.get(key)
            if under_way is None:
                return await self._build(key, wanted)
            await under_way.wait()  # then look again: the caller that was building it may have given up
        return None

    async def _build(self, key: _Key, wanted: Callable[[], bool]) -> Table | None:
        done = self._under_way[key] = asyncio.Event()
        try:
            table = await (self._follow(key, wanted) if _can_be_followed(key) else _build_anew(key, wanted))
            if table is not None:
                self._tables[key] = table
            return table
        finally:
            del self._under_way[key]
            done.set()

    async def _follow(self, key: _Key, wanted: Callable[[], bool]) -> Table | None:
        """Update the table that is nearest to this one, or build one that can be updated the next time."""
        members, policy = dict(key[0]), key[1]
        following = self._take_nearest(members, policy) or Following(policy)
        table = await _take(following.steps(members), wanted)
        if table is not None and not following.exact:
            return await _build_anew(key, wanted)
        if table is not None:
            self._followings[key] = following
            finalize(table, self._followings.pop, key, None).atexit = False  # it is dropped with its table
            while len(self._followings) > FOLLOWED:
                del self._followings[next(iter(self._followings))]
        return table

    def _take_nearest(self, members: Mapping[str, int], policy: GroupPolicy) -> Following | None:
        """Remove and return the one whose members differ least from these, if they differ little enough."""
        changes = {
            key: len(following.members.items() ^ members.items())
            for key, following in self._followings.items()
            if key[1] == policy
        }
        nearest = min(changes, key=changes.__getitem__, default=None)
        if nearest is None or changes[nearest] > len(members) * FEW:
            return None
        return self._followings.pop(nearest)


def _can_be_followed(key: _Key) -> bool:
    """Whether it pays to keep more of a table than its owners, so that the next table is cheap."""
    members, policy = key
    return len(members) >= FOLLOWED_FROM and policy.replicas == 1 and not policy.partitions


async def _build_anew(key: _Key, wanted: Callable[[], bool]) -> Table | None:
    members, policy = key
    return await _take(build_steps(dict(members), policy), wanted)


async def _take(steps: Generator[None, None, Table], wanted: Callable[[], bool]) -> Table | None:
    while wanted():
        try:
            next(steps)
        except StopIteration as finished:
            return cast("Table", finished.value)
        await checkpoint()
    return None
