"""The groups that this member has joined or observes: calls find them here, and events are passed on to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeAlias, TypeVar

import anyio

from aiopartition.backends.base import Backend, Listener
from aiopartition.checks import require_id
from aiopartition.errors import ConfigurationError, MemberSupersededError
from aiopartition.events import Events
from aiopartition.group.deletions import Deletions
from aiopartition.group.heartbeats import Heartbeats
from aiopartition.group.history import History
from aiopartition.group.lease_watch import LeaseWatch
from aiopartition.group.membership import Membership
from aiopartition.group.observation import Observation
from aiopartition.group.terms import JoinOptions
from aiopartition.placement.builder import TableBuilder
from aiopartition.placement.view import View

__all__ = ["Followed", "Registry"]

T = TypeVar("T")

Begin: TypeAlias = Callable[[Callable[[], Awaitable[None]], str], None]
"""Runs a coroutine function in a task of that name. Whoever provides this owns the task."""

Followed: TypeAlias = Membership | Observation
"""A group that we have joined, or observe."""

_logger: Final = logging.getLogger("aiopartition")

_LEAVE_TIMEOUT: Final = 1.0
"""Seconds to wait until other members can know. After that, our entry is deleted once the backend answers again."""


class Registry:
    """All memberships and observations of one coordinator. Implements :class:`~aiopartition.backends.base.Listener`.

    An unexpected error in one group fails that group alone.

    :param open_backend: returns the backend that reports to the given listener.
    :param require_started: raises :class:`NotStartedError`, naming the method, unless the coordinator can be used here.
    :param connect_timeout: seconds for which a call waits for a group to be joined.
    :param raises_unknown: whether unknown ownership is an error rather than empty.
    """

    def __init__(
        self,
        open_backend: Callable[[Listener], Backend],
        require_started: Callable[[str], None],
        connect_timeout: float,
        *,
        raises_unknown: bool,
    ) -> None:
        self.require_started = require_started
        self.memberships: dict[str, Membership] = {}
        """The joined groups by their ids."""
        self.observations: dict[str, Observation] = {}
        """The observed groups by their ids."""
        self.member_id: str = ""
        """The id of this member, once it is started."""
        self.hand_over: bool = True
        """Whether to close the session when we stop, which deletes our entries; otherwise it ends with its timeout."""
        self.events: Events = Events()
        self.backend: Backend = open_backend(self)
        self._connect_timeout = connect_timeout
        self._raises_unknown = raises_unknown
        self._description = b""
        self._begin: Begin | None = None
        self._unfinished: set[Membership] = set()  # those of joined groups, and those that are still leaving
        self._deletions = Deletions(self.backend)
        self._heartbeats = Heartbeats(self.backend)
        self.histories: dict[str, History] = {}
        """The histories of the groups joined or observed last, by the groups' ids."""
        self.lease_watches: dict[bool, LeaseWatch] = {
            quorum: LeaseWatch(self.backend, partial(self._lease_ended, quorum), quorum=quorum)
            for quorum in (False, True)
        }
        """The caller runs each in a task of its own."""

    def open(self, member_id: str, description: bytes, begin: Begin) -> None:
        """Allow groups to be joined from now on.

        :param description: a document for operators, stored with each of our entries.
        """
        self.member_id, self._description, self._begin = member_id, description, begin
        self.events.member_id = member_id

    # ---- calls

    async def follow(self, group_id: str) -> Followed:
        """Return a group's observation if there is one; otherwise its membership, as :meth:`membership` does.

        :raises PartitionError: if the group cannot be seen, or this member cannot take part.
        """
        observation = self.observations.get(group_id)
        if observation is None:
            return await self.membership(group_id)
        if not observation.settled:
            await self._first_result(observation)
        if observation.error is not None:
            raise observation.error
        return observation

    async def observe(self, group_id: str) -> None:
        """Observe a group, unless we do already, and wait for a first result.

        :raises ConfigurationError: if the group is joined.
        """
        if group_id in self.memberships:
            raise ConfigurationError("group_id", f"{group_id!r} is joined; leave it first to observe it")
        if group_id not in self.observations:
            assert self._begin is not None
            observation = Observation(self.backend, TableBuilder.of_running_loop(), group_id, self.member_id)
            self._begin(partial(self._watch, observation), f"aiopartition observed group {group_id}")
            self.observations[group_id] = observation
            self.histories[group_id] = History(observation, self.member_id, self.events)
        await self._first_result(self.observations[group_id])

    def require_unobserved(self, group_id: str) -> None:
        """Raise :class:`ConfigurationError` if the group is observed."""
        if group_id in self.observations:
            raise ConfigurationError("group_id", f"{group_id!r} is observed; leave it first to take part in it")

    async def membership(self, group_id: str) -> Membership:
        """Return a group's membership. If there is none, join the group with the default options.

        :raises PartitionError: if this member cannot take part.
        """
        membership = self.memberships.get(group_id)
        if membership is not None and membership.settled and membership.error is None:
            return membership  # the common case, in which nothing is awaited
        return await self.join(require_id("group_id", group_id), None)

    async def join(self, group_id: str, options: JoinOptions | None) -> Membership:
        """Join a group, unless we have already, and wait until the outcome is known.

        :param options: ``None``: those that the group was joined with; if it was not joined, the default ones.
        :raises PartitionError: if this member cannot take part.
        """
        self.require_unobserved(group_id)
        membership = self.memberships.get(group_id)
        settled_is_enough = membership is not None and options is None  # otherwise wait for a first handoff too
        if membership is None:
            membership = self._add(group_id, options or JoinOptions())
        elif options is not None:
            membership.join_again(options)
        await self._first_result(membership, settled_is_enough=settled_is_enough)
        error = membership.error
        if error is not None:
            final = membership.group.established or isinstance(error, MemberSupersededError)
            if not final and self.memberships.get(group_id) is membership:
                self.leave(group_id)  # it never took part: the next call starts again
            raise error
        return membership

    def certain_view(self, followed: Followed) -> View:
        """Return the view that holds now.

        :raises OwnershipUnknownError: if there is none.
        """
        view = followed.view
        if view is None:
            raise followed.unknown()
        return view

    def known_view(self, membership: Membership) -> View | None:
        """Return the view that holds now. If there is none, return ``None`` or raise, as ``on_unknown`` says."""
        view = membership.view
        if view is not None:
            return view
        if membership.error is not None:
            raise membership.error
        return self.unknown(membership, None)

    def unknown(self, membership: Membership, nothing: T) -> T:
        """Ownership is unknown: return ``nothing``, with one warning an episode, or raise, as ``on_unknown`` says."""
        if self._raises_unknown:
            raise membership.unknown()
        if not membership.left:
            membership.warn_once()
        return nothing

    def leave(self, group_id: str) -> None:
        """Begin to leave a group, if it is joined or observed. The rest happens in the background."""
        observation = self.observations.pop(group_id, None)
        if observation is not None:
            observation.leave()
        membership = self.memberships.pop(group_id, None)
        if membership is not None:
            membership.leave()

    async def leave_and_wait(self, group_id: str) -> None:
        """Leave a group, and wait until other members can know.

        :raises PartitionError: if our entry could not be deleted. Others count us as a member until the session ends.
        """
        membership = self.memberships.get(group_id)
        if membership is None:
            self.leave(group_id)  # it may be observed
            return
        membership.in_flight.release(asyncio.current_task())  # before work is revoked: this task lets go by itself
        self.leave(group_id)
        with anyio.move_on_after(_LEAVE_TIMEOUT + membership.in_flight.drain_timeout):
            while self.backend.connected and not membership.finished and membership.error is None:
                await membership.news.changed.wait()
        if membership.error is not None and not membership.finished:
            raise membership.error

    def release(self, task: object) -> None:
        """End the work that ``task`` has in hand, in any group: it is about to wait for the coordinator."""
        for membership in list(self._unfinished):
            membership.in_flight.release(task)

    async def heartbeat(self, *, quiet_too: bool = True) -> None:
        """Ask as :meth:`Heartbeats.beat` does."""
        await self._heartbeats.beat(self._followed, quiet_too=quiet_too)

    # ---- the end

    def abandon(self) -> None:
        """Own nothing from now on, in any group. The session is about to end, and our entries with it."""
        followed = self._followed
        self.memberships.clear()
        self.observations.clear()
        self._tell(lambda group: group.abandon(), followed)

    async def drain(self, extra: float) -> bool:
        """Wait until no work of exclusive groups is in flight, because other members may begin when the session ends.

        :param extra: seconds to add to the longest ``drain_timeout``, as cancelled work takes a moment to end.
        :returns: whether all work has ended.
        """
        memberships = list(self._unfinished)
        timeout = max((membership.in_flight.drain_timeout for membership in memberships), default=0.0)
        with anyio.move_on_after(timeout + extra, shield=True):
            for membership in memberships:
                await membership.in_flight.until_idle()
        busy = [membership.group_id for membership in memberships if not membership.in_flight.idle]
        if busy:
            _logger.error(
                "stopping, but exclusive work is still in flight after %g s in %s; "
                "other members take it over when the session has timed out, %g s from now",
                timeout, ", ".join(map(repr, busy)), self.backend.session_timeout,
            )  # fmt: skip
        return not busy

    async def until_retracted(self) -> None:
        """Wait until our marks are deleted. If there were many, ending the session would be a transaction that is too
        long for the servers to read."""
        for membership in list(self._unfinished):
            await membership.until_retracted()

    def forked(self) -> None:
        """This is a child process now: no group is joined, and no task is woken."""
        self.events.forked()
        for group in self._followed:
            group.forked()
        self.memberships, self.observations, self._unfinished = {}, {}, set()

    # ---- events of the session

    def session_opened(self, *, fresh: bool) -> None:
        self.events.tell("session_opened", fresh=fresh)
        self._tell(lambda group: group.session_opened(fresh=fresh), self._followed)
        self.lease_shortened()
        if fresh:
            self._deletions.session_ended()
        elif self._deletions and self._begin is not None:
            self._begin(self._deletions.repeat, "aiopartition deletions")

    def session_suspended(self, reason: str) -> None:
        self.events.tell("session_suspended", reason=reason)
        self._tell(lambda group: group.session_suspended(), self._followed)

    def session_expired(self) -> None:
        self.events.tell("session_expired")
        self._tell(lambda group: group.session_expired(), self._followed)

    def lease_renewed(self, *, quorum: bool) -> None:
        self._tell(lambda group: group.lease_renewed(), self._going_by(quorum))
        self.lease_watches[quorum].moved()

    def lease_shortened(self) -> None:
        for watch in self.lease_watches.values():
            watch.moved()

    def needs_quorum(self) -> bool:
        return any(membership.exclusive for membership in self._unfinished)

    def may_end(self) -> bool:
        return self.hand_over and all(membership.in_flight.idle for membership in self._unfinished)

    def group_changed(self, group_id: str) -> None:
        if (history := self.histories.get(group_id)) is not None:
            history.noticed()
        self._tell(lambda group: group.group_changed(), self._known(group_id))

    def group_activated(self, group_id: str) -> None:
        self._tell(lambda group: group.group_activated(), self._known(group_id))

    # ---- inside

    def _add(self, group_id: str, options: JoinOptions) -> Membership:
        assert self._begin is not None
        membership = Membership(
            self.backend,
            TableBuilder.of_running_loop(),
            group_id,
            self.member_id,
            options,
            description=self._description,
            in_use=lambda name: any(name.endswith(each.group.nonce) for each in self._of_group(group_id)),
        )
        for predecessor in self._of_group(group_id):
            membership.in_flight.succeed(predecessor.in_flight)
        self._begin(partial(self._tend, membership), f"aiopartition group {group_id}")
        self.memberships[group_id] = membership
        self._unfinished.add(membership)
        self.histories[group_id] = History(membership, self.member_id, self.events)
        return membership

    async def _tend(self, membership: Membership) -> None:
        await membership.tend()
        # Not reached if the task is cancelled: its work in flight counts until the session has ended.
        self._unfinished.discard(membership)
        self._deletions.add(membership.group_id, membership.group.leftovers.deleted)
        self._forget(membership.group_id)

    async def _watch(self, observation: Observation) -> None:
        await observation.tend()
        self._forget(observation.group_id)

    def _forget(self, group_id: str) -> None:
        if not self._known(group_id):
            self.histories.pop(group_id, None)
            self.backend.forget(group_id)

    async def _first_result(self, group: Followed, *, settled_is_enough: bool = True) -> None:
        await self.until(group, lambda: (settled_is_enough and group.settled) or group.arrived)

    async def until(self, group: Followed, reached: Callable[[], bool]) -> None:
        """Wait until ``reached()``, at most for ``connect_timeout``, and not at all without a connection."""
        hopeful = self.backend.connected  # if it is lost while we wait, it may well come back in time
        with anyio.move_on_after(self._connect_timeout):
            while hopeful and not reached():
                await group.news.changed.wait()

    def _of_group(self, group_id: str) -> list[Membership]:
        return [membership for membership in self._unfinished if membership.group_id == group_id]

    def known(self, group_id: str) -> Followed:
        """Return what follows a group.

        :raises ConfigurationError: unless the group is joined or observed.
        """
        for followed in self._known(group_id):
            return followed
        raise ConfigurationError("group_id", f"{group_id!r} is neither joined nor observed")

    @property
    def groups(self) -> Mapping[str, Followed]:
        """The groups that are joined or observed now, by their ids."""
        return {**self.observations, **self.memberships}

    @property
    def _followed(self) -> list[Followed]:
        """All memberships, including those that are still leaving, and all observations."""
        return [*self._unfinished, *self.observations.values()]

    def _known(self, group_id: str) -> list[Followed]:
        """The membership or the observation of a group, in a list; an empty list if there is neither."""
        known = self.memberships.get(group_id) or self.observations.get(group_id)
        return [] if known is None else [known]

    def _going_by(self, quorum: bool) -> list[Followed]:
        members: list[Followed] = [each for each in self._unfinished if bool(each.exclusive) == quorum]
        return members if quorum else [*members, *self.observations.values()]

    def _lease_ended(self, quorum: bool) -> None:
        self._tell(lambda group: group.lease_ended(), self._going_by(quorum))

    def _tell(self, event: Callable[[Followed], None], groups: list[Followed]) -> None:
        """Tell each of these groups of an event. If that fails in one group, the others are told all the same."""
        for group in groups:
            try:
                event(group)
            except Exception as error:
                group.fail(error)
