"""What a participation does: workers under ``run()``, batches in ``hold()``, items of ``my_subset()``."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

from aiopartition import (
    ConfigurationError,
    MemberSupersededError,
    NotStartedError,
    OwnershipLostError,
    OwnershipUnknownError,
    View,
)
from tests.exploration.crew import GROUP, Claim, Crew, Kind, Participation
from tests.exploration.internals import belongs_to, usable_view

DRAIN_TIMEOUT: Final = 0.4
REFRESH: Final = 0.7
PAUSE: Final = 0.2
LINGERS_FOR: Final = 0.3
BATCH: Final = 1.5
ITEM: Final = 0.6

KINDS: Final = ("stays", "lingers", "swallows", "fails", "returns")


def kind_of(key: str) -> str:
    """What the worker of a key does: it stays, takes its time to end, swallows a cancellation, fails, or returns."""
    return key.partition("-")[0]


@dataclass(frozen=True)
class Work:
    """What each participation does, all at the same time; ``run()`` always."""

    holds: bool = False
    iterates: bool = False
    settle: float = 0.05
    lists_once: bool = False
    """Whether the resources of ``run()`` are a plain tuple, which is never asked for again."""

    async def __call__(self, crew: Crew, participation: Participation) -> None:
        """Join the group and work until that is left, or this member is superseded."""
        service = _Service(crew, participation)
        coordinator = participation.process.coordinator

        async def join() -> None:
            await coordinator.join_group(GROUP, policy=crew.policy, settle=self.settle)

        await service.until_over(join)
        optional = ((self.holds, service.hold), (self.iterates, service.iterate))
        activities = [service.run, *(activity for wanted, activity in optional if wanted)]
        async with asyncio.TaskGroup() as tasks:
            for activity in activities:
                tasks.create_task(service.until_over(activity))


class _Service:
    def __init__(self, crew: Crew, participation: Participation) -> None:
        self._crew = crew
        self._participation = participation
        self._coordinator = participation.process.coordinator

    async def until_over(self, activity: Callable[[], Awaitable[None]]) -> None:
        """Repeat an activity that ownership was lost in, until the participation ends."""
        while self._participation.ending is None:
            try:
                await activity()
                return
            except (OwnershipLostError, OwnershipUnknownError):
                await asyncio.sleep(PAUSE)
            except MemberSupersededError:
                self._participation.ending = self._participation.ending or "superseded"
                self._crew.stop(self._participation.process)  # as a program ends whose run() has raised
            except (NotStartedError, ConfigurationError) as error:
                if self._participation.ending is None:
                    self._crew.break_promise(f"P9: {self._participation} is told: {error}", error.__cause__ or error)
                    return

    # ---- run()

    async def run(self) -> None:
        resources = self._crew.listing if self._crew.lists_once else self._resources
        await self._coordinator.run(GROUP, resources, self._worker, refresh=REFRESH, drain_timeout=DRAIN_TIMEOUT)
        self._participation.run_returned = True

    async def _resources(self) -> list[str]:
        await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        instead, self._crew.next_listing = self._crew.next_listing, None
        return list(self._crew.listing) if instead is None else instead()

    async def _worker(self, key: str) -> None:
        kind = kind_of(key)
        first = key not in self._crew.ever_at_work
        with self._claim(key, "worker") as claim:
            try:
                await asyncio.sleep(0.2 if kind in ("returns", "fails") else 1e6)
                if kind == "fails" and first:
                    raise OSError("a worker fails")
                if kind == "fails":
                    await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                self._tell(claim)
                if kind == "lingers" and not self._crew.closing:
                    await asyncio.sleep(LINGERS_FOR)
                if kind == "swallows" and not self._crew.closing:
                    await asyncio.sleep(1e6)
                raise

    def _tell(self, claim: Claim) -> None:
        """A worker is cancelled. P9: not while its key was its member's all along, and listed."""
        claim.told = True
        participation, crew = self._participation, self._crew
        owned = belongs_to(usable_view(self._coordinator, GROUP), claim.key)
        if (
            owned
            and not claim.excused
            and participation.ending is None
            and claim.key in crew.listing
            and not crew.closing
        ):
            crew.break_promise(f"P9: {claim} is cancelled without reason")

    # ---- hold()

    async def hold(self) -> None:
        for number in count():
            if self._participation.ending is not None:
                return
            hold = self._coordinator.hold(GROUP, drain_timeout=DRAIN_TIMEOUT)
            if number % 2 == 0:
                async with hold as view:
                    await self._batch(view, handed_over_at_once=True)
            else:
                # Before Python 3.12 this enters it in a task that ends then and there.
                view = await asyncio.wait_for(hold.__aenter__(), 1.0)
                async with AsyncExitStack() as stack:
                    stack.push_async_exit(hold)
                    await self._batch(view, handed_over_at_once=False)
            await asyncio.sleep(PAUSE)

    async def _batch(self, view: View, *, handed_over_at_once: bool) -> None:
        now = self._crew.loop.time()
        claims = [Claim(self._participation, key, "batch", now) for key in view.mine(self._crew.all_keys)]
        for claim in claims:
            if handed_over_at_once:
                self._crew.require_lease(claim)
            self._crew.begin(claim)
        try:
            await asyncio.sleep(BATCH if claims else 0)
        finally:
            for claim in claims:
                self._crew.end(claim)

    # ---- my_subset()

    async def iterate(self) -> None:
        while self._participation.ending is None:
            keys = self._crew.all_keys[:ITEMS]
            async with aclosing(self._coordinator.my_subset(GROUP, keys, key=self._key)) as items:
                async for key in items:
                    with self._claim(key, "item") as claim:
                        self._crew.require_lease(claim)
                        await asyncio.sleep(ITEM)
            await asyncio.sleep(PAUSE)

    def _key(self, key: str) -> str:
        blocked, self._crew.next_key_takes = self._crew.next_key_takes, 0.0
        if blocked:
            self._crew.jump(blocked)
        return key

    @contextmanager
    def _claim(self, key: str, kind: Kind) -> Iterator[Claim]:
        claim = Claim(self._participation, key, kind, self._crew.loop.time())
        self._crew.begin(claim)
        try:
            yield claim
        finally:
            self._crew.end(claim)


ITEMS: Final = 5
"""So many keys a turn, lest the iteration takes most of all turns."""
