"""One heartbeat: it finds out whether a notification was lost, in any group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiopartition.backends.base import Backend
from aiopartition.errors import BackendError
from aiopartition.group.membership import Membership
from aiopartition.group.observation import Observation

__all__ = ["beat"]

_AT_ONCE: Final = 16
"""Groups asked about at once: enough to keep the connection busy. A thousand at once would stall the event loop."""


async def beat(backend: Backend, followed: Sequence[Membership | Observation]) -> None:
    """Ask the backend for each group's generation. Without groups, ask only whether the backend answers.

    :raises BackendError: the first failure, after all groups have been asked about.
    """
    failures: list[BackendError] = []
    groups = iter(followed)

    async def ask() -> None:
        for group in groups:
            try:
                await group.heartbeat()
            except BackendError as error:
                failures.append(error)
            except Exception as error:
                group.fail(error)

    if not followed:
        await backend.ping()
        return
    async with asyncio.TaskGroup() as beats:  # not anyio's, which a forked child could not leave
        for _ in range(min(_AT_ONCE, len(followed))):
            beats.create_task(ask(), name="aiopartition beat")
    if failures:
        raise failures[0]
