"""Filtering: the items of a list, or of a stream, that are this member's.

In a stream, ownership and lease are checked for each item when it is handed out. In an exclusive group an item is in
flight until the loop asks for the next one, or is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final, TypeAlias, TypeVar

from anyio.lowlevel import checkpoint

from aiopartition.group.membership import Membership
from aiopartition.group.registry import Registry
from aiopartition.group.work import Work
from aiopartition.placement.keys import Key, encode, hash_key
from aiopartition.placement.table import Mask
from aiopartition.placement.view import View, require_iterable
from aiopartition.work.holder import Holder, running_task

__all__ = ["filter_list", "filter_stream"]

T = TypeVar("T")

KeyOf: TypeAlias = Callable[[T], Key] | None

_NOT_MINE: Final = -1
_UNKNOWN: Final = -2  # ownership is unknown; the group may have been left

PAUSE: Final = 512
"""Items between two checkpoints. An item costs about seven times as much as in ``Table.filter()``, and other tasks wait
for up to four such turns."""

_DRAIN_TIMEOUT: Final = 30.0
"""Seconds that a stop waits for the body of a loop to finish with its item."""


async def filter_list(registry: Registry, group_id: str, resources: Iterable[T], key: KeyOf[T]) -> list[T]:
    """Return the resources that are ours, according to one view of the group."""
    if group_id in registry.observations:
        return []
    membership = await registry.membership(group_id)
    view = registry.known_view(membership)
    if view is None:
        return []
    lapses = membership.group.lapses
    chunks = view.table.filter_chunks(view.mask, resources, key)
    mine: list[T] = []
    mine += next(chunks, mine)
    for chunk in chunks:
        await checkpoint()
        mine += chunk
    # Filtering may have taken a while, and the caller must not act if the lease has ended meanwhile.
    if registry.known_view(membership) is None:
        return []
    return mine if membership.group.lapses == lapses else registry.unknown(membership, [])


def filter_stream(
    registry: Registry, group_id: str | None, source: Iterable[T] | AsyncIterable[T], key: KeyOf[T]
) -> AsyncGenerator[T, None]:
    """Iterate over the items that are ours, until the group is left. Without a group all of them are."""
    if isinstance(source, AsyncIterable):
        return _all_async(source) if group_id is None else _Stream(registry, group_id, key).of_async(source)
    require_iterable(source)
    return _all(source) if group_id is None else _Stream(registry, group_id, key).of(source)


async def _all(source: Iterable[T]) -> AsyncGenerator[T, None]:
    for item in source:
        yield item


async def _all_async(source: AsyncIterable[T]) -> AsyncGenerator[T, None]:
    async for item in source:
        yield item


class _Stream:
    """One iteration of ``my_subset()``."""

    def __init__(self, registry: Registry, group_id: str, key: Callable[[Any], Key] | None) -> None:
        self._registry = registry
        self._group_id = group_id
        self._key = key
        self._holder = Holder(running_task())

    async def _join(self) -> Membership | None:
        """Return the membership, or ``None`` for a group that is only observed."""
        self._registry.require_started("my_subset")  # the iterator may outlive the coordinator
        if self._group_id in self._registry.observations:
            return None
        return await self._registry.membership(self._group_id)

    # Two similar loops, because an async wrapper around a plain iterable would make each item more expensive.

    async def of(self, source: Iterable[T]) -> AsyncGenerator[T, None]:
        membership = await self._join()
        if membership is None:
            return
        if membership.exclusive is not False:  # or may turn out to be
            async with aclosing(self._held(membership, _all(source))) as items:
                async for item in items:
                    yield item
            return
        slot_of_mine = _ownership(self._registry, membership, self._key)
        for count, item in enumerate(source, start=1):
            if count % PAUSE == 0:
                await checkpoint()
            slot = slot_of_mine(item)
            if slot >= 0:
                yield item
            elif slot == _UNKNOWN and membership.left:
                return

    async def of_async(self, source: AsyncIterable[T]) -> AsyncGenerator[T, None]:
        membership = await self._join()
        if membership is None:
            return
        if membership.exclusive is not False:  # or may turn out to be
            async with aclosing(self._held(membership, source)) as items:
                async for item in items:
                    yield item
            return
        slot_of_mine = _ownership(self._registry, membership, self._key)
        count = 0
        async for item in source:
            count += 1
            if count % PAUSE == 0:  # a source that always has an item at hand never suspends
                await checkpoint()
            slot = slot_of_mine(item)
            if slot >= 0:
                yield item
            elif slot == _UNKNOWN and membership.left:
                return

    async def _held(self, membership: Membership, source: AsyncIterable[T]) -> AsyncGenerator[T, None]:
        slot_of_mine = _ownership(self._registry, membership, self._key)
        loop, holder = asyncio.get_running_loop(), self._holder
        count = 0
        try:
            async for item in source:
                count += 1
                if count % PAUSE == 0:
                    await checkpoint()
                slot = slot_of_mine(item)
                if slot < 0:
                    if slot == _UNKNOWN and membership.left:
                        return
                    continue
                # The body of a loop cannot be told to end, so it is waited for.
                work = Work("an item of my_subset()", slot, loop.time(), holder.task, _DRAIN_TIMEOUT)
                holder.take(membership, work)
                try:
                    yield item
                finally:
                    holder.drop()
        finally:
            holder.close()


def _ownership(registry: Registry, membership: Membership, key: KeyOf[T]) -> Callable[[T], int]:
    """Return a function that tells an item's slot if the item is ours at that moment, otherwise a negative number."""
    view: View | None = None
    mask: Mask = ()
    shift = 0
    lease_left = membership.lease_left

    def slot_of_mine(item: T) -> int:
        nonlocal view, mask, shift, lease_left
        encoded = encode(item if key is None else key(item))  # first, as the user's key() may take a while
        now = membership.announced_view
        # The same as membership.view, but a call would cost each item a tenth. A view tells which lease counts.
        if now is None or now is not view or lease_left() <= 0:
            now = registry.known_view(membership)
            if now is None:
                return _UNKNOWN
        if now is not view:
            view, mask, shift, lease_left = now, now.mask, now.table.shift, membership.lease_left
        # The same as table.slot(), but a call would cost each item a tenth.
        slot = hash_key(encoded) >> shift if type(encoded) is bytes else now.table.slot(encoded)
        return slot if mask[slot] else _NOT_MINE

    return slot_of_mine
