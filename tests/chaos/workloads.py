"""What members do with what is theirs, and write down of it.

A workload is chosen by name, for all members of a run. The faults know nothing of it. Another kind of work takes a
class here, and a check of what it writes in :mod:`tests.chaos.judge`.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Protocol

from aiopartition import (
    GroupPolicy,
    MemberSupersededError,
    NotStartedError,
    OwnershipUnknownError,
    PartitionCoordinator,
    PartitionError,
    View,
)
from aiopartition.clock import now
from aiopartition.placement.table import Table
from tests.chaos.sightings import STILL, Track
from tests.support.journal import Journal

NAMESPACE = "/chaos"
CHILDREN = f"{NAMESPACE}-of-children"
"""The namespace of the groups in which forked children take part, one for each child."""
GROUP = "work"
KEYS = [f"key-{number}" for number in range(240)]

INTERVAL = 0.005
"""Seconds from one look to the next."""
LONGEST_CLEANUP = 0.2
"""Seconds that a worker may take to end."""
BURST = 16
"""Items of the stream that come at once."""
REFRESH = 0.1
"""Seconds from one listing to the next."""


class Workload(Protocol):
    """A member's work, from joining the group until its coordinator is stopped."""

    policy: GroupPolicy
    tasks_at_rest: int
    """Of the program, the workload, and the library: runner, session, heartbeat, two leases, one group."""
    watches: int
    """That a member has at the servers."""
    ends_first: bool
    """Whether half of the processes end their work before they stop their coordinator; either way has to do."""
    nodes: str
    """Those of the group that stay, but for the members' entries; a regular expression."""

    def __init__(self, coordinator: PartitionCoordinator, journal: Journal) -> None: ...

    async def run(self) -> None: ...

    def list_by(self, way: str) -> None:
        """Have the listing go wrong in one of :data:`TROUBLES`, or go ``well`` again."""


class Looking:
    """Asks for the view, and writes down what goes wrong."""

    def __init__(self, coordinator: PartitionCoordinator, journal: Journal) -> None:
        self._coordinator = coordinator
        self._journal = journal
        self._errors: set[str] = set()
        self._listing = "well"
        self._well = asyncio.Event()

    def list_by(self, way: str) -> None:
        self._listing = way
        if way == "well":
            self._well.set()
        else:
            self._well.clear()

    async def _view(self) -> View | None:
        try:
            view = await self._coordinator.view(GROUP)
            self._errors.clear()  # whatever it was, it is over, and is news if it comes again
            return view
        except OwnershipUnknownError:
            return None
        except PartitionError as error:
            self._note(error)
            return None

    def _note(self, error: PartitionError) -> None:
        if isinstance(error, OwnershipUnknownError | NotStartedError) or repr(error) in self._errors:
            return
        self._errors.add(repr(error))
        self._journal.write("error", name=type(error).__name__, text=str(error))


class Shared(Looking):
    """Work that may overlap for the milliseconds in which two members are at different generations.

    The whole list is asked for again and again, and beside it an endless stream is walked through.
    """

    policy = GroupPolicy(slots=4096)
    tasks_at_rest = 10
    watches = 1
    ends_first = False
    nodes = ""

    def __init__(self, coordinator: PartitionCoordinator, journal: Journal) -> None:
        super().__init__(coordinator, journal)
        self._lists = Track(journal, "list", whole=True)
        self._stream = Track(journal, "stream", whole=False)
        self._told: View | None = None
        self._asked = 0.0

    async def run(self) -> None:
        """Until the coordinator is stopped. The stream ends with it too, or it hands out too much."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self._ask_for_list))
            tasks.create_task(self._repeat(self._walk_stream))

    async def _repeat(self, step: Callable[[], AsyncGenerator[None]]) -> None:
        while True:
            try:
                async with aclosing(step()) as steps:
                    async for _ in steps:
                        pass
            except NotStartedError:
                return
            except (OwnershipUnknownError, MemberSupersededError, PartitionError) as error:
                self._note(error)
            await asyncio.sleep(INTERVAL)

    async def _ask_for_list(self) -> AsyncGenerator[None]:
        """One look. Between view and list nothing is waited for, so both are of one moment, but for the lease."""
        asked = now()
        view = await self._view()
        mine: list[int] = []
        if view is not None:
            mine = await self._coordinator.extract_my_subset(GROUP, range(len(KEYS)), key=KEYS.__getitem__)
            if not mine and await self._view() is None:
                view = None  # the lease has ended in between
        generation = None if view is None else view.generation
        if view is not None and view is not self._told:
            self._told = view
            self._journal.write("view", generation=generation, digest=digest_of(view.table))
        self._lists.saw(generation, sum(1 << index for index in mine), asked)
        yield

    async def _walk_stream(self) -> AsyncGenerator[None]:
        async with aclosing(self._coordinator.my_subset(GROUP, self._items(), key=KEYS.__getitem__)) as items:
            async for index in items:
                view = await self._view()
                self._stream.saw(None if view is None else view.generation, 1 << index, self._asked)
                yield

    async def _items(self) -> AsyncGenerator[int]:
        while True:
            for index in range(len(KEYS)):
                if index % BURST == 0:
                    await asyncio.sleep(INTERVAL)
                self._asked = now()
                yield index


class Supervised(Looking):
    """A worker for each key, which takes a moment to end. The keys are listed again and again."""

    cleanup = (0.0, LONGEST_CLEANUP)
    """Seconds that a worker takes to end, at the least and at the most."""
    still = STILL
    policy = GroupPolicy(slots=4096)
    tasks_at_rest = 11
    watches = 1
    ends_first = True
    nodes = ""

    def __init__(self, coordinator: PartitionCoordinator, journal: Journal) -> None:
        super().__init__(coordinator, journal)
        self._under_way = 0
        self._track = Track(journal, "work", whole=True, still=self.still)

    async def run(self) -> None:
        looking = asyncio.create_task(self._look())
        try:
            while True:
                try:
                    await self._coordinator.run(
                        GROUP, self._resources, self._work, key=KEYS.__getitem__, refresh=REFRESH
                    )
                    return
                except NotStartedError:
                    return
                except PartitionError as error:
                    self._note(error)
                await asyncio.sleep(INTERVAL)
        finally:
            looking.cancel()
            await asyncio.wait({looking})

    async def _resources(self) -> Iterable[int]:
        if self._listing == "hang":
            await self._well.wait()
        listed: Iterable[int] = TROUBLES[self._listing]()
        return listed

    async def _work(self, index: int) -> None:
        self._journal.write("began", key=index)
        self._under_way |= 1 << index
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await asyncio.sleep(random.uniform(*self.cleanup))
            finally:
                self._under_way &= ~(1 << index)
                self._journal.write("ended", key=index)

    async def _look(self) -> None:
        while True:
            asked = now()
            view = await self._view()
            self._track.saw(None if view is None else view.generation, self._under_way, asked)
            await asyncio.sleep(INTERVAL)


class Exclusive(Supervised):
    """Work that must never be done twice at a time."""

    policy = GroupPolicy(slots=4096, exclusive=True)
    watches = 2
    nodes = r"/active|/handoff(/\d+(-ready)?)?"


class Timed(Exclusive):
    """The same, and a worker has a connection to close, say. What the journal says of the time is not excused."""

    policy = GroupPolicy(slots=1024, vnodes=40, exclusive=True)  # quickly built: others take over as soon as they can
    cleanup = (0.5, 0.5)
    still = 0.02


WORKLOADS: dict[str, type[Workload]] = {
    "shared": Shared,
    "supervised": Supervised,
    "exclusive": Exclusive,
    "timed": Timed,
}


# ---- what listings do when they go wrong


def _raise(error: BaseException) -> Any:
    raise error


def _break_off() -> Iterator[int]:
    yield from range(20)
    raise KeyError("broken off")


TROUBLES: dict[str, Callable[[], Any]] = {
    "well": lambda: range(len(KEYS)),
    "hang": lambda: range(len(KEYS)),  # when it is over
    "type error": lambda: _raise(TypeError("'NoneType' object is not subscriptable")),
    "key error": lambda: _raise(KeyError("items")),
    "cancelled": lambda: _raise(asyncio.CancelledError()),
    "group": lambda: _raise(ExceptionGroup("several", [ValueError("one"), OSError("two")])),
    "none": lambda: None,
    "number": lambda: 240,
    "breaks off": _break_off,
    "rubbish": lambda: [None, *range(len(KEYS)), "key-1", 10**9, object(), b"\xff", float("nan"), []],
}


def digest_of(table: Table) -> str:
    """The owners of every slot in a few letters."""
    return hashlib.blake2b(repr(table.ranks).encode(), digest_size=8).hexdigest()
