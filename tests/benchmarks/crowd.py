"""Many members for the price of one session."""

import asyncio
import itertools
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiopartition import GroupPolicy
from aiopartition.backends.base import Mark
from aiopartition.cli.access import connected
from aiopartition.group.document import document_of
from aiopartition.group.entry import Entry
from aiopartition.settings import Settings
from tests.support import wait_until

AT_ONCE = 20  # requests under way: in memory all of them in one turn of the event loop, whose stalls are measured


class Crowd:
    """Members that are nothing but their entries, all of one session.

    To whoever reads a group they are members like all others, so one coordinator can see a thousand of them without a
    thousand coordinators that compile their tables beside it.

    :param url: a server, or a cluster in memory.
    """

    def __init__(self, url: str) -> None:
        self._session = connected(Settings.resolve(url, session_timeout=300.0))
        self._nonces = itertools.count(1)
        self._entries: dict[tuple[str, str], str] = {}

    async def __aenter__(self) -> Self:
        self._backend = await self._session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.__aexit__(kind, error, traceback)

    async def join(self, group_id: str, member_ids: Sequence[str], policy: GroupPolicy | None = None) -> None:
        """They all join a group, which is made at need."""
        await self._backend.ensure_group(group_id, document_of(policy or GroupPolicy()))
        for first in range(0, len(member_ids), AT_ONCE):
            await asyncio.gather(*(self._enter(group_id, each) for each in member_ids[first : first + AT_ONCE]))

    async def hand_over(self, group_id: str, member_id: str) -> list[Mark]:
        """In an exclusive group they let go of everything, as soon as that member is there. Return their marks."""

        async def generation() -> int:
            found = await self._backend.read(group_id, watch=False)
            if found is None or not any(name.startswith(f"{member_id};") for name in found.names):
                return 0
            return found.generation

        number = await wait_until(generation)
        marks = [Mark(number, name) for (group, _), name in self._entries.items() if group == group_id]
        for mark in marks:
            await self._backend.mark(group_id, mark)
        return marks

    async def retract(self, group_id: str, marks: Sequence[Mark]) -> None:
        """The handoff is over."""
        for mark in marks:
            await self._backend.unmark(group_id, mark)

    async def leave(self, group_id: str, member_ids: Sequence[str]) -> None:
        """They leave it."""
        for first in range(0, len(member_ids), AT_ONCE):
            names = [self._entries.pop((group_id, each)) for each in member_ids[first : first + AT_ONCE]]
            await asyncio.gather(*(self._backend.withdraw(group_id, name) for name in names))

    async def _enter(self, group_id: str, member_id: str) -> None:
        name = Entry(member_id, 1, 1, f"{next(self._nonces):016x}").name
        self._entries[group_id, member_id] = name
        assert await self._backend.enter(group_id, name, b"")
