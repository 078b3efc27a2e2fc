"""Iterating over what is mine: ownership and lease are looked at for each item when it is handed out.

In an exclusive group an item is in flight until the loop asks for the next one, or is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Final, TypeAlias, TypeVar

from anyio.lowlevel import checkpoint

from aiopartition.group.membership import Membership
from aiopartition.group.work import Work
from aiopartition.placement.keys import Key, encode, hash_key
from aiopartition.placement.table import Mask
from aiopartition.placement.view import View
from aiopartition.work.holder import Holder, Task

__all__ = ["Join", "KnownView", "all_async_items", "all_items", "my_async_items", "my_items"]

T = TypeVar("T")

Join: TypeAlias = Callable[[], Awaitable[Membership]]
"""The membership in the group, which is joined if need be."""

KnownView: TypeAlias = Callable[[Membership], View | None]
"""The view that holds now; if there is none, ``None`` or an error, as the coordinator was told."""

_NOT_MINE: Final = -1
_UNKNOWN: Final = -2  # nobody can say; the group may be about to be left

PAUSE: Final = 512
"""Items between two checkpoints. One costs some seven times of what it does in ``Table.filter()``, and others wait for
up to four such turns."""

_DRAIN_TIMEOUT: Final = 30.0
"""Seconds that a stop waits for the body of a loop to be through with its item."""


async def all_items(source: Iterable[T]) -> AsyncGenerator[T, None]:
    """Every one."""
    for item in source:
        yield item


async def all_async_items(source: AsyncIterable[T]) -> AsyncGenerator[T, None]:
    """Every one."""
    async for item in source:
        yield item


async def my_items(
    join: Join, source: Iterable[T], key: Callable[[T], Key] | None, known: KnownView, asked_by: Task | None
) -> AsyncGenerator[T, None]:
    """Those of a plain iterable. Ends when the group is left."""
    membership = await join()
    if membership.exclusive:
        async with aclosing(_held_items(membership, all_items(source), key, known, asked_by)) as items:
            async for item in items:
                yield item
        return
    slot_of_mine = _ownership(membership, key, known)
    for count, item in enumerate(source, start=1):
        if count % PAUSE == 0:
            await checkpoint()
        slot = slot_of_mine(item)
        if slot >= 0:
            yield item
        elif slot == _UNKNOWN and membership.left:
            return


async def my_async_items(
    join: Join, source: AsyncIterable[T], key: Callable[[T], Key] | None, known: KnownView, asked_by: Task | None
) -> AsyncGenerator[T, None]:
    """Those of an async iterable. Ends when the group is left."""
    membership = await join()
    if membership.exclusive:
        async with aclosing(_held_items(membership, source, key, known, asked_by)) as items:
            async for item in items:
                yield item
        return
    slot_of_mine = _ownership(membership, key, known)
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


async def _held_items(
    membership: Membership,
    source: AsyncIterable[T],
    key: Callable[[T], Key] | None,
    known: KnownView,
    asked_by: Task | None,
) -> AsyncGenerator[T, None]:
    slot_of_mine = _ownership(membership, key, known)
    loop = asyncio.get_running_loop()
    holder = Holder(asked_by)
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
            holder.take(
                membership, Work("an item of my_subset()", slot, loop.time(), holder.task, _DRAIN_TIMEOUT, _ignore)
            )
            try:
                yield item
            finally:
                holder.drop()
    finally:
        holder.close()


def _ignore(_at_once: bool) -> None:
    """The body of a loop cannot be told; it is waited for."""


def _ownership(membership: Membership, key: Callable[[T], Key] | None, known: KnownView) -> Callable[[T], int]:
    """An item's slot if it is mine at the moment of asking, else a negative number."""
    view: View | None = None
    mask: Mask = ()
    shift = 0
    lease_left = membership.lease_left

    def slot_of_mine(item: T) -> int:
        nonlocal view, mask, shift
        digest = hash_key(encode(item if key is None else key(item)))  # first, as the user's key() may take its time
        now = membership.announced_view
        if now is None or lease_left() <= 0:  # as membership.view, without a call that costs each item a tenth
            now = known(membership)
            if now is None:
                return _UNKNOWN
        if now is not view:
            view, mask, shift = now, now.mask, now.table.shift
        slot = digest >> shift
        return slot if mask[slot] else _NOT_MINE

    return slot_of_mine
