"""Joining a group whose other members may take their time."""

import asyncio
from contextlib import suppress
from typing import Any

from aiopartition import PartitionCoordinator
from tests.support import wait_until


async def enter(member: PartitionCoordinator, group_id: str = "g", **arguments: Any) -> PartitionCoordinator:
    """Join without waiting for the first handoff, for which others may have to let go of something first."""
    joining = asyncio.create_task(member.join_group(group_id, **arguments))

    def entered() -> bool:
        takes_part = group_id in member.groups and member.status(group_id).state == "handing over"
        return joining.done() or takes_part

    try:
        await wait_until(entered)
    finally:
        if not joining.done():
            joining.cancel()
        with suppress(asyncio.CancelledError):
            await joining
    return member
