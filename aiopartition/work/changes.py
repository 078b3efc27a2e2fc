"""``changes()``: iterates over the changes of a group, from one view to the next."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from aiopartition.group.registry import Registry
from aiopartition.placement.view import Change

__all__ = ["follow_changes"]


async def follow_changes(registry: Registry, group_id: str) -> AsyncGenerator[Change, None]:
    """Iterate over changes until the group is left. The first leads to the current view. A slow consumer may miss
    changes in between, but never the last one."""
    registry.require_started("changes")
    followed = await registry.follow(group_id)
    view = known = followed.view
    yield Change.between(None, view)
    while True:
        changed = followed.news.changed
        if followed.left:
            return
        if followed.error is not None:
            raise followed.error
        if followed.view is view:
            await changed.wait()
            continue
        view = followed.view
        yield Change.between(known, view)
        known = view or known
