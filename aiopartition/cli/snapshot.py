"""The state of a group in the tree at one moment, read without taking part in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from aiopartition.backends.base import Backend, Marks, Progress
from aiopartition.errors import AuthenticationError, OwnershipUnknownError, PartitionError
from aiopartition.group.document import policy_of
from aiopartition.group.entry import Entry
from aiopartition.group.roster import NO_MEMBERS, NO_WEIGHT, Roster
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import View
from aiopartition.showing import shown_name

__all__ = ["Handoff", "NoGroupError", "Snapshot", "each", "read_snapshot"]

T = TypeVar("T")
R = TypeVar("R")

NO_MARKS: Final = Marks()

_ATTEMPTS: Final = 5
"""How often a group is read that changes while it is read. Then it is shown as it was."""

_AT_ONCE: Final = 64
"""Requests under way at a time."""


class NoGroupError(PartitionError):
    """There is no group with that id."""

    def __init__(self, group_id: str) -> None:
        super().__init__(group_id)
        self.group_id = group_id

    def _text(self) -> str:
        return f"there is no group {shown_name(self.group_id)}"


@dataclass(frozen=True, slots=True)
class Handoff:
    """How far the handoff of an exclusive group has come.

    :ivar active: the newest generation whose handoff is complete; 0 if there has been none.
    :ivar released: the newest generation whose entries were all ready.
    :ivar marks: the marks of the present generation.
    :ivar problem: why the marks could not be read; otherwise empty.
    """

    active: int
    released: int
    marks: Marks = NO_MARKS
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A group at one generation.

    :ivar generation: the generation of the entries; 0 if nobody has ever joined.
    :ivar roster: the entries.
    :ivar members: the live entry of each member, by its id, sorted.
    :ivar view: the view that all members have; ``None`` if no member has a weight above 0.
    :ivar handoff: ``None`` in groups that are not exclusive.
    """

    group_id: str
    policy: GroupPolicy
    generation: int
    roster: Roster
    members: Mapping[str, Entry]
    view: View | None
    handoff: Handoff | None = None

    @classmethod
    def of(
        cls, group_id: str, policy: GroupPolicy, generation: int, names: frozenset[str], handoff: Handoff | None
    ) -> Snapshot:
        """``names``: of the entries."""
        roster = Roster().after(names)
        live = roster.live()
        members = {member_id: live[member_id] for member_id in sorted(live)}
        weights = {member_id: entry.weight for member_id, entry in members.items()}
        view = View.of(group_id, generation, weights, policy, "") if any(weights.values()) else None
        return cls(group_id, policy, generation, roster, members, view, handoff)

    @property
    def certain_view(self) -> View:
        """The view.

        :raises OwnershipUnknownError: if there is none.
        """
        if self.view is None:
            raise OwnershipUnknownError(self.group_id, self.unknown_reason)
        return self.view

    @property
    def unknown_reason(self) -> str:
        """Why there is no view, if there is none."""
        return NO_WEIGHT if self.members else NO_MEMBERS

    @property
    def handing_over(self) -> bool:
        """Whether a handoff is under way."""
        return self.handoff is not None and bool(self.members) and self.handoff.active != self.generation

    @property
    def waiting_for(self) -> tuple[Entry, ...]:
        """The entries that the handoff waits for, sorted."""
        if self.handoff is None or not self.handing_over or self.handoff.problem:
            return ()
        all_ready = self.handoff.released == self.generation
        missing = self.handoff.marks.missing(self.roster.members, all_ready=all_ready)
        return tuple(self.roster.entries[name] for name in sorted(missing))

    def handoff_state(self, entry: Entry) -> str:
        """Return what the handoff waits for at this entry, or what that has done; ``"steady"`` if there is none."""
        if self.handoff is None or not self.handing_over:
            return "steady"
        if self.handoff.problem:
            return "not readable"
        if entry in self.waiting_for:
            return "waited for"
        return "has let go" if entry.name in self.handoff.marks.acknowledged else "ready"


async def read_snapshot(backend: Backend, group_id: str) -> Snapshot:
    """Read a group. Nothing is written.

    :raises NoGroupError: if there is no such group.
    :raises PolicyMismatchError: if this version of the library does not know its policy.
    :raises GroupTooLargeError: if it has more members than its policy allows.
    :raises BackendError: if it cannot be read.
    """
    attempts = _ATTEMPTS
    while True:
        entries = await backend.read(group_id, watch=False, latest=True)
        document = await backend.document(group_id)
        if document is None:
            raise NoGroupError(group_id)
        policy = policy_of(document, group_id)
        generation = 0 if entries is None else entries.generation
        handoff = await _read_handoff(backend, group_id, generation) if policy.exclusive else None
        attempts -= 1
        if not attempts or (await backend.generation(group_id) or 0) == generation:
            return Snapshot.of(group_id, policy, generation, frozenset() if entries is None else entries.names, handoff)


async def _read_handoff(backend: Backend, group_id: str, generation: int) -> Handoff:
    progress = Progress()
    try:
        progress = await backend.progress(group_id, create=False)
        return Handoff(progress.active, progress.released, await backend.marks(group_id, generation))
    except AuthenticationError as error:  # the rest can be seen
        return Handoff(progress.active, progress.released, problem=str(error))


async def each(call: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """Return what ``call`` returns for each item, in order. Several calls are under way at a time.

    If one raises, the error is raised once the others of its portion have ended.
    """
    listed, results = list(items), list[R]()
    for start in range(0, len(listed), _AT_ONCE):
        portion = await asyncio.gather(*map(call, listed[start : start + _AT_ONCE]), return_exceptions=True)
        for result in portion:
            if isinstance(result, BaseException):
                raise result
            results.append(result)
    return results
