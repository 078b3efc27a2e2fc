"""What a member hands out, looked at again and again."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from aiopartition import NotStartedError, OwnershipUnknownError, PartitionCoordinator, PartitionError


@dataclass(slots=True)
class Sighting:
    """A subset that a member handed out at each of several looks, one after the other.

    Times are the monotonic clock's, which all processes of a machine share.
    """

    mine: frozenset[str]
    generation: int | None
    """None: this member cannot say what it owns."""
    first: float
    """When the first look was over."""
    last: float
    """When the last look was begun. A lease is looked at after this moment."""


class Lookout:
    """Asks one coordinator for its subset every few milliseconds and keeps what changes.

    :param on_change: told of each sighting as it begins, with the one before, which is over then.
    :param on_error: told of each error, once.
    """

    def __init__(
        self,
        coordinator: PartitionCoordinator,
        group_id: str,
        keys: Sequence[str],
        *,
        interval: float = 0.002,
        on_change: Callable[[Sighting | None, Sighting], None] = lambda before, sighting: None,
        on_error: Callable[[PartitionError], None] = lambda error: None,
    ) -> None:
        self.coordinator = coordinator
        self.sightings: list[Sighting] = []
        self.errors: list[PartitionError] = []
        """Each error that a look has met, once."""
        self._group_id = group_id
        self._keys = keys
        self._interval = interval
        self._on_change = on_change
        self._on_error = on_error
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.look()
        self._task = asyncio.create_task(self._keep_looking(), name=f"lookout on {self.coordinator.member_id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        if self._task.done():
            self._task.result()
        self._task.cancel()
        await asyncio.wait({self._task})

    @property
    def mine(self) -> frozenset[str]:
        """What was handed out at the last look."""
        return self.sightings[-1].mine

    @property
    def generation(self) -> int | None:
        """By which view that was."""
        return self.sightings[-1].generation

    def since(self, moment: float) -> list[Sighting]:
        """What was seen at any look from a moment on."""
        return [sighting for sighting in self.sightings if sighting.last >= moment]

    async def look(self) -> None:
        """One look, besides the regular ones."""
        begun = time.monotonic()
        mine: frozenset[str] = frozenset()
        generation = None
        try:
            mine = frozenset(await self.coordinator.extract_my_subset(self._group_id, self._keys))
            with suppress(OwnershipUnknownError):
                generation = (await self.coordinator.view(self._group_id)).generation
        except NotStartedError:
            pass
        except PartitionError as error:
            if str(error) not in map(str, self.errors):
                self.errors.append(error)
                self._on_error(error)
        before = self.sightings[-1] if self.sightings else None
        if before is not None and (before.mine, before.generation) == (mine, generation):
            before.last = begun
            return
        self.sightings.append(Sighting(mine, generation, time.monotonic(), begun))
        self._on_change(before, self.sightings[-1])

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.look()


def overlap(one: Iterable[Sighting], other: Iterable[Sighting]) -> float:
    """For how long, at the longest, two members were both seen to hand out one key; negative if they never were."""
    others = list(other)
    return max(
        (
            min(mine.last, theirs.last) - max(mine.first, theirs.first)
            for mine in one
            for theirs in others
            if mine.mine & theirs.mine
        ),
        default=-float("inf"),
    )
