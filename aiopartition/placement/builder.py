"""Builds tables for all coordinators of an event loop without blocking the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from anyio.lowlevel import checkpoint

from aiopartition.placement.assign import build_steps
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import Table

__all__ = ["TableBuilder"]

_Key: TypeAlias = tuple[tuple[tuple[str, int], ...], GroupPolicy]


class TableBuilder:
    """Builds tables and shares each one between groups and coordinators with the same members and policy.

    The groups of a coordinator mostly have the same members, and so do the coordinators of a process. Sharing is safe
    because a table is immutable and depends on members and policy alone. A table is kept while a view refers to it.
    """

    _of_loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, TableBuilder]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._tables: WeakValueDictionary[_Key, Table] = WeakValueDictionary()
        self._under_way: dict[_Key, asyncio.Event] = {}

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
        members, policy = key
        done = self._under_way[key] = asyncio.Event()
        try:
            steps = build_steps(dict(members), policy)
            while wanted():
                try:
                    next(steps)
                except StopIteration as finished:
                    table: Table = finished.value
                    self._tables[key] = table
                    return table
                await checkpoint()
            return None
        finally:
            del self._under_way[key]
            done.set()
