"""What a member really works on, from the first step of a worker to the last one of its cleanup."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, Self

from aiopartition import OwnershipLostError, OwnershipUnknownError, PartitionCoordinator
from tests.support.waiting import wait_until


class Work:
    """One member's workers and its batches, as ``run()`` and ``hold()`` let them begin and make them end.

    There is always a batch, but for the time in which the member does not know what it owns. A batch ends by itself
    only when the member has gained keys that are not part of it.
    """

    def __init__(self, coordinator: PartitionCoordinator, group_id: str, keys: Sequence[str]) -> None:
        self.coordinator = coordinator
        self.spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
        """For each key when somebody began and ended to work on it, by the monotonic clock."""
        self._group_id = group_id
        self._keys = keys
        self._begun: dict[tuple[str, object], float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        run = self.coordinator.run(self._group_id, self._keys, self._work_on)
        self._tasks = [asyncio.create_task(run), asyncio.create_task(self._hold())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError):
                raise AssertionError(f"the work of {self.coordinator!r} has ended by itself") from outcome

    def under_way(self, way: str) -> frozenset[str]:
        """The keys that are worked on now, by ``run`` or by ``hold``."""
        return frozenset(key for key, by in self._begun if by == way)

    def all_spans(self, key: str) -> list[tuple[float, float]]:
        """When the key was worked on; what goes on still has lasted until now."""
        now = time.monotonic()
        return self.spans[key] + [(begun, now) for (each, _), begun in self._begun.items() if each == key]

    async def _work_on(self, key: str) -> None:
        self._begin(key, "run")
        try:
            await _for_ever()
        finally:
            self._end(key, "run")

    async def _hold(self) -> None:
        while True:
            with suppress(OwnershipLostError, OwnershipUnknownError):
                # A handoff need not wait for a batch.
                async with self.coordinator.hold(self._group_id, drain_timeout=0.0) as view:
                    mine = view.mine(self._keys)
                    for key in mine:
                        self._begin(key, "hold")
                    try:
                        await wait_until(lambda: not self.under_way("run") <= set(mine), timeout=float("inf"))  # noqa: B023
                    finally:
                        for key in mine:
                            self._end(key, "hold")
            await asyncio.sleep(0.005)

    def _begin(self, key: str, way: str) -> None:
        self._begun[key, way] = time.monotonic()

    def _end(self, key: str, way: str) -> None:
        self.spans[key].append((self._begun.pop((key, way)), time.monotonic()))


def longest_overlap(one: Work, other: Work, keys: Sequence[str]) -> float:
    """For how long, at the longest, two members both worked on one key; negative if they never did: then for how long,
    at the least, nobody worked on it between them."""
    return max(
        (
            min(until, others_until) - max(since, others_since)
            for key in keys
            for since, until in one.all_spans(key)
            for others_since, others_until in other.all_spans(key)
        ),
        default=float("-inf"),
    )


async def _for_ever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends this future")
