"""One observed group's task: it carries out what :mod:`aiopartition.group.observed` decides, and announces the outcome.

An observer has no entry, and writes nothing. To those who follow a group it looks like a
:class:`~aiopartition.group.membership.Membership` that owns nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from anyio.lowlevel import checkpoint

from aiopartition.backends.base import Backend, Marks
from aiopartition.errors import BackendError, BackendUnavailableError, OwnershipUnknownError, PartitionError
from aiopartition.group.description import Descriptions, MemberInfo
from aiopartition.group.news import News
from aiopartition.group.observed import ObservedGroup
from aiopartition.group.status import Awaited, GroupState, GroupStatus, RebalanceWatch
from aiopartition.group.step import Step
from aiopartition.placement.builder import TableBuilder
from aiopartition.placement.view import View
from aiopartition.showing import printable

__all__ = ["Observation"]

_logger: Final = logging.getLogger("aiopartition")

_SETTLE: Final = 0.05
"""Seconds to wait after a change of the membership, as members do by default."""

_INTERVAL: Final = 1.0
"""Seconds between two looks at a handoff that is under way."""

_DESCRIBED: Final = 5
"""How many of the members that a handoff waits for are looked up."""

_LONGEST_TEXT: Final = 500
"""Characters of an error's text, parts of which may come from the tree."""


class Observation:
    """An observer's view of one group. One task does all I/O, in :meth:`tend`, except for heartbeats."""

    def __init__(self, backend: Backend, tables: TableBuilder, group_id: str, member_id: str) -> None:
        self.group_id = group_id
        self._backend = backend
        self._tables = tables
        self._group = ObservedGroup(group_id, member_id)
        self._descriptions = Descriptions(backend, group_id)
        self._awaited: dict[str, Awaited] = {}  # by the name of the entry
        self._waiting_since: float | None = None  # since when the handoff under way has been waiting
        self._looked_at = 0.0
        self._trouble = ""  # what keeps us from looking at the handoff
        self._rebalances = RebalanceWatch()
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self.news: News = News()
        """Reports every change of what the properties tell."""
        self._told = ""  # the last error that was logged, until there is a view again
        self._inherited = False  # whether this is a copy in a forked process
        if backend.connected:
            self._group.session_opened(fresh=True)

    # ---- what holds now

    @property
    def view(self) -> View | None:
        """The view that holds at this moment, or ``None``. Reads the clock."""
        view = self._group.view
        return view if view is not None and self._backend.lease_left() > 0 else None

    @property
    def error(self) -> PartitionError | None:
        """Why the group cannot be seen, other than a missing connection."""
        return self._group.error

    @property
    def settled(self) -> bool:
        """Whether looking has had a first result."""
        return self._group.settled

    @property
    def arrived(self) -> bool:
        """The same as :attr:`settled`: an observer has no handoff to wait for."""
        return self.settled

    @property
    def left(self) -> bool:
        """Whether the observation has ended."""
        return self._group.left

    @property
    def waiting(self) -> float:
        """Seconds for which the handoff under way has been seen to wait."""
        return 0.0 if self._waiting_since is None else self._loop.time() - self._waiting_since

    def unknown(self) -> OwnershipUnknownError:
        """Return the error that says why :attr:`view` is ``None``."""
        if not self._backend.connected:
            reason = f"no connection to the backend ({self._backend.last_error})"
        elif self._group.view is not None:
            reason = "the backend has not answered for so long that what was read may be out of date"
        else:
            reason = self._group.unknown_reason
        return OwnershipUnknownError(self.group_id, reason)

    async def describe(self, member_id: str) -> MemberInfo:
        """Return what a member says about itself. See :meth:`Descriptions.of`."""
        return await self._descriptions.of(member_id, self._group.roster)

    def status(self) -> GroupStatus:
        group, view = self._group, self.view
        state: GroupState = "observing"
        reason = self._trouble
        if self.error is not None:
            state, reason = "refused", str(self.error)
        elif view is None:
            state, reason = "unknown", self.unknown().reason
        exclusive = view is not None and view.policy.exclusive
        return GroupStatus(
            self.group_id,
            group.member_id,
            state,
            reason,
            None if view is None else view.generation,
            group.active_generation if exclusive else None,
            () if view is None else view.members,
            {} if view is None else view.shares(),
            tuple(self._awaited.get(name) or Awaited.of_entry(name) for name in sorted(group.missing))
            if exclusive
            else (),
            self.waiting if exclusive else 0.0,
            0,
            max(0.0, self._backend.lease_left()),
            self._backend.server,
            self._rebalances.last(self._loop.time()),
            group.policy,
        )

    def _awaited_now(self) -> tuple[Awaited, ...]:
        return tuple(self._awaited.get(name) or Awaited.of_entry(name) for name in sorted(self._group.missing))

    # ---- events

    def session_opened(self, *, fresh: bool) -> None:
        self._group.session_opened(fresh=fresh)
        self._wake()

    def session_suspended(self) -> None:
        self._group.session_suspended()
        self._wake()

    def session_expired(self) -> None:
        self._group.session_expired()
        self._wake()

    def lease_renewed(self) -> None:
        self._group.doubt()
        self._wake()

    def lease_ended(self) -> None:
        self._announce()

    def group_changed(self) -> None:
        self._group.changed()
        self._wake()

    def group_activated(self) -> None:
        self._group.moved()
        self._wake()

    def leave(self) -> None:
        self._group.leave()
        self._wake()

    def abandon(self) -> None:
        """The whole session is about to end."""
        self.leave()

    def fail(self, error: Exception) -> None:
        """Something unexpected went wrong. It affects this group alone, and is tried again at the next heartbeat."""
        text = f"group {self.group_id!r} cannot be observed, and is tried again: {type(error).__name__}: {error}"
        defect = PartitionError(printable(text, _LONGEST_TEXT))
        defect.__cause__ = error
        self._refused(defect, error)

    def forked(self) -> None:
        """In a child process nothing is observed. No task is woken, as none can do anything useful there."""
        self._inherited = True
        self._group.leave()

    async def heartbeat(self) -> None:
        """Ask for the generation and the document, and try again what failed.

        :raises BackendError: if the backend does not answer, or refuses to.
        """
        try:
            generation = await self._backend.generation(self.group_id)
            document = await self._backend.document(self.group_id)
        except BackendUnavailableError:
            raise
        except BackendError as error:
            self._refused(error)  # we can no longer check what we believe
            self._wake()
            raise
        self._group.probed(generation, document)
        self._wake()

    # ---- the task

    async def tend(self) -> None:
        """Look until the observation ends; then return."""
        while not self.left:
            try:
                self._woken.clear()
                await self._take(self._group.next_step())
            except BackendUnavailableError:
                self._group.interrupted()
            except PartitionError as error:
                self._refused(error)
            except Exception as error:
                if self._inherited:
                    raise  # a child process only ends what it inherited
                self.fail(error)
            self._time_handoff()
            self._announce()

    async def _take(self, step: Step) -> None:
        group, backend = self._group, self._backend
        match step:
            case Step.READ:
                entries = await backend.read(group.group_id, watch=True, latest=group.reading())
                for _ in group.sift(entries):
                    await checkpoint()
                group.read(entries, await backend.document(group.group_id))
            case Step.SETTLE:
                await self._settle()
            case Step.BUILD:
                await self._build()
            case Step.READ_ACTIVE:
                await self._look()
            case _:
                await self._rest()

    async def _settle(self) -> None:
        """Let a burst of changes pass by; then read, unless something more urgent came up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE):
                while self._group.next_step() is Step.SETTLE:
                    self._woken.clear()
                    await self._woken.wait()
        if self._group.next_step() is Step.SETTLE:
            await self._take(Step.READ)

    async def _build(self) -> None:
        group, model = self._group, self._group.model
        assert model is not None
        policy, weights = model
        table = await self._tables.table_of(weights, policy, lambda: group.model is model and not group.left)
        if table is not None:
            group.built(model, table)

    async def _look(self) -> None:
        """Find out how far the handoff has come. If it takes long, look up the members that it waits for."""
        group, backend, generation = self._group, self._backend, self._group.generation
        assert generation is not None  # or there would be no step to take
        self._looked_at = self._loop.time()
        group.looking()
        try:
            group.read_progress(generation, await backend.progress(group.group_id, create=False))
            if group.handing_over:
                group.read_marks(generation, await self._marks(generation))
                await self._describe()
            self._trouble = ""
        except BackendUnavailableError:
            raise
        except BackendError as error:
            self._trouble = str(error)  # we still see who the members are

    async def _marks(self, generation: int) -> Marks:
        try:
            return await self._backend.marks(self.group_id, generation)
        except BackendUnavailableError:
            raise
        except BackendError:
            self._group.missing = frozenset()  # from now on we cannot know
            raise

    async def _describe(self) -> None:
        if self.waiting < _INTERVAL:
            return
        awaited = sorted(self._group.missing)[:_DESCRIBED]
        self._awaited = {name: self._awaited[name] for name in awaited if name in self._awaited}
        for name in awaited:
            if name not in self._awaited:
                document = await self._backend.describe(self.group_id, name)
                self._awaited[name] = Awaited.described(Awaited.of_entry(name).member_id, document)

    async def _rest(self) -> None:
        if not self._group.handing_over:
            await self._woken.wait()
            return
        try:
            async with asyncio.timeout_at(self._looked_at + _INTERVAL):
                await self._woken.wait()
        except TimeoutError:
            self._group.moved()

    # ---- inside

    def _time_handoff(self) -> None:
        if not self._group.handing_over:
            self._waiting_since, self._trouble = None, ""
        elif self._waiting_since is None:
            self._waiting_since = self._loop.time()

    def _refused(self, error: PartitionError, cause: Exception | None = None) -> None:
        self._group.failed(error)
        if str(error) != self._told:  # logged once, not at each attempt
            self._told = str(error)
            _logger.error("observing group %r: %s", self.group_id, error, exc_info=cause)
        self._announce()

    def _wake(self) -> None:
        self._woken.set()
        self._announce()

    def _announce(self) -> None:
        """If anything has changed, wake those who wait for a change."""
        view = self.view
        state = (view, self.error, self.settled, self.left, self._backend.connected)
        if not self.news.is_new(state):
            return
        if view is not None:
            self._told = ""
            self._rebalances.saw(view, self._loop.time())
        self.news.tell()
