"""One group's task: it carries out what :mod:`aiopartition.group.state` decides, and announces the outcome."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from aiopartition.backends.base import Backend
from aiopartition.errors import BackendError, BackendUnavailableError, OwnershipUnknownError, PartitionError
from aiopartition.group.description import Descriptions, MemberInfo
from aiopartition.group.document import check_document, policy_of
from aiopartition.group.handoff import Handoff
from aiopartition.group.handoff_task import HandoffTask
from aiopartition.group.in_flight import InFlight
from aiopartition.group.news import News
from aiopartition.group.requests import Requests
from aiopartition.group.state import Group
from aiopartition.group.status import GroupState, GroupStatus, RebalanceWatch
from aiopartition.group.step import Step
from aiopartition.group.terms import JoinOptions
from aiopartition.placement.builder import TableBuilder
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import Member, View
from aiopartition.showing import printable

__all__ = ["Membership"]

_logger: Final = logging.getLogger("aiopartition")

_LONGEST_TEXT: Final = 500
"""Characters that are kept of an unexpected error's message."""


class Membership:
    """This member's part in one group, from joining until it has left.

    One task does all I/O for the group, in :meth:`tend`, so no two steps are ever under way at once. Events from the
    backend change the group's state at once, and wake that task.

    :param description: a document for operators, stored with our entry.
    :param in_use: tells whether an entry belongs to a participation of this session that has not ended.
    """

    def __init__(
        self,
        backend: Backend,
        tables: TableBuilder,
        group_id: str,
        member_id: str,
        options: JoinOptions,
        *,
        description: bytes,
        in_use: Callable[[str], bool],
    ) -> None:
        self.group_id = group_id
        self.options: JoinOptions = options
        """The options the group was joined with. They include its policy once that is known."""
        self.finished: bool = False
        """Whether the group was left, and nothing of ours remains in it."""
        self.announced_view: View | None = None
        """The view of the members as we know them. It holds only while the lease lasts."""
        self.news: News = News()
        """Reports every change of what the properties tell."""
        self.arrived: bool = False
        """Whether joining has had a first result; in an exclusive group, whether a first handoff has ended."""
        self._backend = backend
        member = Member(member_id, options.weight)
        policy = options.policy or GroupPolicy()  # the default is for a new group
        self.group: Group = Group(group_id, member, policy, options.min_members, secrets.token_hex(8))
        self._descriptions = Descriptions(backend, group_id)
        self._requests = Requests(backend, tables, self.group, description, in_use, self._agree)
        self.in_flight: InFlight = InFlight(group_id, self._work_ended)
        self.exclusive: bool | None = None
        """Whether no key may ever have two owners, so that all work in flight is recorded; ``None`` while unknown."""
        self.lease_left: Callable[[], float] = backend.lease_left
        """Seconds for which the session cannot have expired. Reads the clock."""
        self._handoff: Handoff | None = None
        self._handoff_task: HandoffTask | None = None
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._defect: PartitionError | None = None  # the last unexpected failure, until every step succeeds again
        self._retry = True  # whether the task may go on after such a failure
        self._inherited = False  # whether this is a copy in a forked process
        self._warned = False
        self._logged = ""  # the last error that was logged, until the error has gone
        self._rebalances = RebalanceWatch()
        if options.policy is not None:
            self._adopt(options.policy)
        if backend.connected:
            self.group.session_opened(fresh=True)

    # ---- the policy

    def join_again(self, options: JoinOptions) -> None:
        """The group is joined once more. Until its policy is known, the policy can still be given.

        :raises PartitionError: if these options differ from those the group was joined with; it names the difference.
        """
        replace(self.options, weight=self.group.member.weight).require_same(self.group_id, options)
        if self.options.policy is None and options.policy is not None:
            self._adopt(options.policy)
            self.announce()

    def _agree(self, document: bytes) -> None:
        if self.options.policy is None:
            self._adopt(policy_of(document, self.group_id))
        else:
            check_document(document, self.group_id, self.options.policy)

    def _adopt(self, policy: GroupPolicy) -> None:
        self.options = replace(self.options, policy=policy)
        self.group.adopt(policy)
        self._handoff = self.group.handoff
        self.exclusive = policy.exclusive
        self.in_flight.adopt(self._handoff)
        if self._handoff is not None:
            self.lease_left = partial(self._backend.lease_left, quorum=True)
            member_id, time = self.group.member.id, self._loop.time
            self._handoff_task = HandoffTask(self._backend, self.group_id, member_id, self._handoff, time)

    # ---- what holds now

    @property
    def view(self) -> View | None:
        """The view by which keys may be handed out at this moment, or ``None``. Reads the clock."""
        view = self.announced_view  # up to date: every event is announced at once
        return view if view is not None and self.lease_left() > 0 else None

    @property
    def error(self) -> PartitionError | None:
        """Why this member cannot take part, other than a missing connection."""
        return self._defect or self.group.error

    @property
    def settled(self) -> bool:
        """Whether joining has had a first result."""
        return self._defect is not None or self.group.settled

    @property
    def left(self) -> bool:
        """Whether the group is being left, or has been."""
        return self.group.leaving

    def unknown(self) -> OwnershipUnknownError:
        """Return the error that says why :attr:`view` is ``None``."""
        if not self._backend.connected:
            reason = f"no connection to the backend ({self._backend.last_error})"
        elif self.group.view is not None:
            silent = "no quorum of the backend has" if self._backend.lease_left() > 0 else "the backend has not"
            reason = f"{silent} answered for so long that the session may have expired"
        else:
            reason = self.group.unknown_reason
        return OwnershipUnknownError(self.group_id, reason)

    def warn_once(self) -> None:
        """Log one warning for each episode in which ownership is unknown."""
        if not self._warned:
            self._warned = True
            _logger.warning("%s; nothing is handed out", self.unknown())

    def status(self) -> GroupStatus:
        view, handoff = self.view, self._handoff
        state: GroupState = "steady"
        reason = ""
        if self.left:
            state = "left"
        elif self.error is not None:
            state, reason = "refused", str(self.error)
        elif view is None:
            state, reason = "unknown", printable(self.unknown().reason)
        elif handoff is not None and handoff.waiting:
            state, reason = "handing over", "" if self._handoff_task is None else self._handoff_task.last_error
        return GroupStatus(
            self.group_id,
            self.group.member.id,
            state,
            reason,
            None if view is None else view.generation,
            None if handoff is None else handoff.active_generation or 0,
            () if view is None else view.members,
            {} if view is None else view.shares(),
            () if self._handoff_task is None else self._handoff_task.awaited(),
            0.0 if self._handoff_task is None else self._handoff_task.waiting,
            0 if handoff is None else len(handoff.works),
            max(0.0, self.lease_left()),
            self._backend.server,
            self._rebalances.last(self._loop.time()),
            self.options.policy,
        )

    async def describe(self, member_id: str) -> MemberInfo:
        """Return what a member says about itself. See :meth:`Descriptions.of`."""
        return await self._descriptions.of(member_id, self.group.roster)

    async def until_retracted(self) -> None:
        """After :meth:`abandon`: wait until our acknowledgements are deleted, or cannot be."""
        while self._handoff is not None and self._handoff.obsolete is not None and not self.finished:
            await self.news.changed.wait()

    # ---- events

    def session_opened(self, *, fresh: bool) -> None:
        self.group.session_opened(fresh=fresh)
        self.wake()

    def session_suspended(self) -> None:
        self.group.session_suspended()
        self.wake()

    def session_expired(self) -> None:
        self.group.session_expired()
        self.in_flight.revoke()  # others may own what we had, whatever the lease said
        self.wake()

    def lease_renewed(self) -> None:
        self.group.lease_renewed()
        self.wake()

    def lease_ended(self) -> None:
        """Nothing is ours until the lease is renewed, and work in flight has to end before another member begins."""
        self.in_flight.revoke()
        self.announce()

    def group_changed(self) -> None:
        self.group.changed()
        self.wake()

    def group_activated(self) -> None:
        if self._handoff is not None:
            self._handoff.moved()
        self.wake()

    def leave(self) -> None:
        self.group.leave()
        self._retry = True
        self.wake()

    def abandon(self) -> None:
        """Leave without deleting our entry: the whole session is about to end."""
        self.group.abandon()
        self._retry = True
        self.wake()

    def fail(self, error: Exception) -> None:
        """Something unexpected went wrong, in an event or in the task. It affects this group alone.

        Nothing in the group is ours until every step has succeeded again, after the next heartbeat. Never raises.
        """
        told = printable(f"{type(error).__name__}: {error}", _LONGEST_TEXT)
        defect = PartitionError(f"group {self.group_id!r} has failed, and is tried again: {told}")
        defect.__cause__ = error
        if str(defect) != str(self._defect):  # logged once, not at each attempt
            _logger.error("%s", defect, exc_info=error)
        self._defect = defect
        self._retry = False
        self.group.upset(defect)
        self.in_flight.revoke()  # what failed may have been the news that others own what we had
        self._publish()

    def forked(self) -> None:
        """In a child process the group is left. No task is woken, as none can do anything useful there."""
        self._inherited = True
        self.group.abandon()
        self.announced_view = None

    async def heartbeat(self) -> None:
        """Ask for the generation, and try again what failed.

        :raises BackendError: if the backend does not answer, or refuses to.
        """
        try:
            generation = await self._backend.generation(self.group_id)
        except BackendUnavailableError:
            raise
        except BackendError as error:
            self._fail(error)  # we can no longer check what we believe
            self.wake()
            raise
        if self._defect is not None:
            self.group.session_opened(fresh=False)  # that event may have failed; a read will tell if it was fresh
        self.group.probed(generation)
        self.group.heartbeat()
        self._retry = True
        self.wake()
        await self._requests.inspection.go_on()

    def announce(self) -> None:
        """Revoke work that has to end. If anything has changed, wake those who wait for a change."""
        if self._handoff is not None:
            self.group.shift()
            self.in_flight.revoke_lost()
        self._publish()

    def _publish(self) -> None:
        self.announced_view = None if self._defect is not None else self.group.view
        view = self.view
        waits = self._handoff is not None and self._handoff.waiting
        if self.settled and (view is None or not waits):
            self.arrived = True
        state = (
            view, view and view.active, self.error, self.settled, self.arrived, self.left, self.finished,
            self._backend.connected, self.options.policy, self.group.weighed, self.group.candidacy.refusal, waits,
        )  # fmt: skip
        if not self.news.is_new(state):
            return
        if self.error is None:
            self._logged = ""
        if view is not None:
            self._warned = False
            self._rebalances.saw(view, self._loop.time())
        self.news.tell()

    # ---- the task

    async def tend(self) -> None:
        """Take part until the group is left; then return."""
        while not self.finished:
            try:
                await self._go_on()
            except Exception as error:
                if self._inherited:
                    raise  # a child process only ends what it inherited
                self.fail(error)
                while not self._retry:
                    self._woken.clear()
                    await self._woken.wait()

    async def _go_on(self) -> None:
        self._woken.clear()
        step = self.group.next_step()
        if step is Step.FINISH:
            self.finished = True
        elif step is Step.REST and self._defect is not None and not self.group.stuck:
            self._defect = None
            _logger.info("group %r has recovered", self.group_id)
        self.announce()
        if step is Step.REST:
            await self._rest()
        elif step is not Step.FINISH:
            leaving = self.left
            try:
                await self._take(step)
            except PartitionError as error:
                if leaving == self.left:  # otherwise the error is about a step that no longer matters
                    self._failed(step, error)

    async def _rest(self) -> None:
        next_look = None if self._handoff_task is None else self._handoff_task.next_look()
        try:
            async with asyncio.timeout(next_look):
                await self._woken.wait()
        except TimeoutError:
            assert self._handoff_task is not None
            self._handoff_task.overdue()

    async def _take(self, step: Step) -> None:
        if self._handoff_task is not None and step in self._handoff_task.STEPS:
            if not await self._handoff_task.take(step):
                self.group.changed()
        elif step is not Step.SETTLE or await self._settled():
            await self._requests.take(step)

    async def _settled(self) -> bool:
        """Wait for a burst of changes to end. Return whether nothing more urgent came up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.options.settle):
                while self.group.next_step() is Step.SETTLE:
                    self._woken.clear()
                    await self._woken.wait()
        return self.group.next_step() is Step.SETTLE

    def _failed(self, step: Step, error: PartitionError) -> None:
        if isinstance(error, BackendUnavailableError):
            self.group.interrupted()
        elif self._handoff_task is not None and step in self._handoff_task.STEPS:
            self._handoff_task.refused(step, error)
            self.group.handoff_refused()
        else:
            self._fail(error)

    def _fail(self, error: PartitionError) -> None:
        self.group.failed(error)
        # A call that joins raises the error. Later there may be no call, so it is logged: once, not at each attempt.
        if self.group.established and self._logged != str(error):
            self._logged = str(error)
            _logger.error("in the background of group %r: %s", self.group_id, error)

    def _work_ended(self) -> None:
        if self._handoff is not None and (self._handoff.waiting or self.left or self.error is not None):
            self._woken.set()

    def wake(self) -> None:
        self._woken.set()
        self.announce()
