"""Ten thousand tasks: those of ``run()``, and those that asyncio is asked for directly."""

import asyncio
from collections.abc import Sequence

from aiopartition import PartitionCoordinator

AT_ONCE = 256
"""Plain tasks that are started between two turns of the loop: as many as a careful service would."""


class Workers:
    """The workers of one ``run()``, which do nothing but be there."""

    def __init__(self, coordinator: PartitionCoordinator, group_id: str, resources: Sequence[str]) -> None:
        self._coordinator = coordinator
        self._group_id = group_id
        self._resources = resources
        self._working = 0
        self._all_working = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Until all of them work."""
        self._all_working.clear()
        self._run = asyncio.create_task(self._coordinator.run(self._group_id, self._resources, self._work))
        await self._all_working.wait()

    async def end(self) -> None:
        """Until all of them have ended."""
        assert self._run is not None
        self._run.cancel()
        await asyncio.wait([self._run])
        assert self._working == 0

    async def _work(self, _: str) -> None:
        self._working += 1
        if self._working == len(self._resources):
            self._all_working.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._working -= 1


class PlainTasks:
    """As many tasks of asyncio, which belong to nobody."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._working = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Until all of them work."""
        for number in range(self._count):
            self._tasks.append(asyncio.create_task(self._work()))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert self._working == self._count

    async def end(self) -> None:
        """Until all of them have ended."""
        for number, task in enumerate(self._tasks):
            task.cancel()
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        await asyncio.wait(self._tasks)
        self._tasks.clear()
        assert self._working == 0

    async def _work(self) -> None:
        self._working += 1
        try:
            await asyncio.Event().wait()
        finally:
            self._working -= 1
