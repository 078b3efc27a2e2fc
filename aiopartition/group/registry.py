"""The groups in which this member takes part: calls find their membership here, and the session's events reach it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import fields
from functools import partial
from typing import Final, TypeAlias, TypeVar

import anyio

from aiopartition.backends.base import Backend, Listener, Owner
from aiopartition.checks import require_id
from aiopartition.errors import BackendError, ConfigurationError, MemberSupersededError, PolicyMismatchError
from aiopartition.group.membership import Membership
from aiopartition.group.terms import JoinOptions
from aiopartition.placement.builder import TableBuilder
from aiopartition.placement.view import View

__all__ = ["Registry"]

T = TypeVar("T")

Begin: TypeAlias = Callable[[Callable[[], Awaitable[None]], str], None]
"""Runs a coroutine function in a task of that name, which the caller owns."""

_logger: Final = logging.getLogger("aiopartition")

_LEAVE_TIMEOUT: Final = 1.0
"""Seconds to wait until others can know; beyond that the entry is deleted as soon as the backend answers again."""

_HEARTBEATS_AT_ONCE: Final = 16
"""Enough to keep the connection busy; all of a thousand at once would stall the event loop."""

_LONGEST_SLEEP: Final = 1.0
"""Seconds. The loop's clock stands still while the machine is suspended, but the lease's goes on."""

_DELETED_KEPT: Final = 1000
"""Entries of groups that were left. Each costs a question after each reconnection."""


class Registry:
    """All memberships of one coordinator. Implements :class:`~aiopartition.backends.base.Listener`.

    An error that nobody expected in one group fails that group alone.

    :param open_backend: makes the backend that reports to the given listener.
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
        self.member_id: str = ""
        """The id of this member, once it is started."""
        self.backend: Backend = open_backend(self)
        self._connect_timeout = connect_timeout
        self._raises_unknown = raises_unknown
        self._description = b""
        self._begin: Begin | None = None
        self._unfinished: set[Membership] = set()  # the joined ones, and those that are still leaving
        self._deleted: deque[tuple[str, str]] = deque(maxlen=_DELETED_KEPT)  # group and entry, in this session
        self._lease_moved = {quorum: asyncio.Event() for quorum in (False, True)}  # of either lease of the backend

    def open(self, member_id: str, description: bytes, begin: Begin) -> None:
        """From now on groups can be joined.

        :param description: a document for operators, stored with each of our entries.
        """
        self.member_id, self._description, self._begin = member_id, description, begin

    # ---- calls

    async def membership(self, group_id: str) -> Membership:
        """Find a group's membership, and join the group with the default options if necessary.

        :raises PartitionError: when this member cannot take part.
        """
        membership = self.memberships.get(group_id)
        if membership is not None and membership.settled and membership.error is None:
            return membership  # the common case, without a suspension
        require_id("group_id", group_id)
        return await self.join(group_id, None)

    async def join(self, group_id: str, options: JoinOptions | None) -> Membership:
        """Join a group, if that has not happened yet, and wait until the outcome is known.

        :param options: ``None`` for those that the group was joined with, or else the default ones.
        :raises PartitionError: when this member cannot take part.
        """
        membership = self.memberships.get(group_id)
        settled_is_enough = membership is not None and options is None  # else it is asked what is ours from the start
        if membership is None:
            membership = self._add(group_id, options or JoinOptions())
        elif options is not None:
            _require_same(group_id, membership.options, options)
        hopeful = self.backend.connected  # then a connection that is lost meanwhile may well come back in time
        with anyio.move_on_after(self._connect_timeout):
            while hopeful:
                changed = membership.changed
                if membership.arrived or (settled_is_enough and membership.settled):
                    break
                await changed.wait()
        error = membership.error
        if error is not None:
            final = membership.established or isinstance(error, MemberSupersededError)
            if not final and self.memberships.get(group_id) is membership:
                self.leave(group_id)  # it never took part: the next call starts again
            raise error
        return membership

    def certain_view(self, membership: Membership) -> View:
        """Return the view that holds now.

        :raises OwnershipUnknownError: if there is none.
        """
        view = membership.view
        if view is None:
            raise membership.unknown()
        return view

    def known_view(self, membership: Membership) -> View | None:
        """Return the view that holds now; without one, ``None`` or an error, as ``on_unknown`` says."""
        view = membership.view
        if view is not None:
            return view
        if membership.error is not None:
            raise membership.error
        return self.unknown(membership, None)

    def unknown(self, membership: Membership, nothing: T) -> T:
        """Return ``nothing``, with one warning an episode; or raise, as ``on_unknown`` says."""
        if self._raises_unknown:
            raise membership.unknown()
        if not membership.left:
            membership.warn_once()
        return nothing

    def leave(self, group_id: str) -> None:
        """Begin to leave a group, if it is joined; the rest happens in the background."""
        membership = self.memberships.pop(group_id, None)
        if membership is not None:
            membership.leave()

    async def leave_and_wait(self, group_id: str) -> None:
        """Leave a group, and wait until other members can know.

        :raises PartitionError: why our entry could not be deleted. Others count on us until the session ends.
        """
        membership = self.memberships.get(group_id)
        if membership is None:
            return
        membership.in_flight.release(asyncio.current_task())  # before its work is revoked: it is the one that lets go
        self.leave(group_id)
        with anyio.move_on_after(_LEAVE_TIMEOUT + membership.in_flight.drain_timeout):
            while self.backend.connected and not membership.finished.is_set() and membership.error is None:
                await membership.changed.wait()
        if membership.error is not None and not membership.finished.is_set():
            raise membership.error

    def release(self, task: object) -> None:
        """End the work that ``task`` has in hand, in any group: it is about to wait for the coordinator."""
        self._tell(lambda membership: membership.in_flight.release(task))

    async def heartbeat(self) -> None:
        """Ask the backend for each group's generation; without groups, whether it is there.

        :raises BackendError: the first failure, after all have been asked.
        """
        failures: list[BackendError] = []
        memberships = iter(list(self._unfinished))

        async def beat() -> None:
            for membership in memberships:
                try:
                    await membership.heartbeat()
                except BackendError as error:
                    failures.append(error)
                except Exception as error:
                    membership.fail(error)

        if not self._unfinished:
            await self.backend.ping()
            return
        async with asyncio.TaskGroup() as beats:  # not anyio's, which a forked child could not leave
            for _ in range(min(_HEARTBEATS_AT_ONCE, len(self._unfinished))):
                beats.create_task(beat(), name="aiopartition beat")
        if failures:
            raise failures[0]

    # ---- the end

    def abandon(self) -> None:
        """Own nothing from now on, in any group. The entries go with the session, which is about to end."""
        self.memberships.clear()
        self._tell(Membership.abandon)

    async def drain(self, extra: float) -> bool:
        """Wait until no work of exclusive groups is in flight, as other members may begin when the session ends.

        :param extra: seconds beyond the longest ``drain_timeout``, as work that is cancelled takes a moment to end.
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
        """Wait until acknowledgements are deleted: with many of them, the end of the session would be a transaction
        that is too long for servers to read."""
        for membership in list(self._unfinished):
            await membership.until_retracted()

    def forked(self) -> None:
        """In a child process no group is joined, and no task is woken."""
        for membership in self._unfinished:
            membership.forked()
        self.memberships, self._unfinished = {}, set()

    # ---- events of the session

    def session_opened(self, *, fresh: bool) -> None:
        self._tell(lambda membership: membership.session_opened(fresh=fresh))
        self.lease_shortened()
        if fresh:
            self._deleted.clear()
        elif self._deleted and self._begin is not None:
            self._begin(self._delete_again, "aiopartition deletions")

    def session_suspended(self, reason: str) -> None:
        self._tell(Membership.session_suspended)

    def session_expired(self) -> None:
        self._tell(Membership.session_expired)

    def lease_renewed(self, *, quorum: bool) -> None:
        self._tell(Membership.lease_renewed, self._going_by(quorum))
        self._lease_moved[quorum].set()

    def lease_shortened(self) -> None:
        for moved in self._lease_moved.values():
            moved.set()

    def needs_quorum(self) -> bool:
        return any(membership.exclusive for membership in self._unfinished)

    def may_end(self) -> bool:
        return all(membership.in_flight.idle for membership in self._unfinished)

    def group_changed(self, group_id: str) -> None:
        if group_id in self.memberships:
            self._tell(Membership.group_changed, [self.memberships[group_id]])

    def group_activated(self, group_id: str) -> None:
        if group_id in self.memberships:
            self._tell(Membership.group_activated, [self.memberships[group_id]])

    async def watch_lease(self, quorum: bool) -> None:
        """Tell those who go by one of the leases when it ends. Calls read the clock, and need no telling."""
        moved = self._lease_moved[quorum]
        while True:
            moved.clear()
            left = self.backend.lease_left(quorum=quorum)
            if left > 0:
                with suppress(TimeoutError):  # not anyio's scope, which fails in a forked child
                    async with asyncio.timeout(min(left + 0.001, _LONGEST_SLEEP)):
                        await moved.wait()
            else:
                self._tell(Membership.lease_ended, self._going_by(quorum))
                await moved.wait()

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
            in_use=lambda name: any(name.endswith(each.nonce) for each in self._of_group(group_id)),
        )
        for predecessor in self._of_group(group_id):
            membership.in_flight.succeed(predecessor.in_flight)
        self._begin(partial(self._tend, membership), f"aiopartition group {group_id}")
        self.memberships[group_id] = membership
        self._unfinished.add(membership)
        return membership

    async def _tend(self, membership: Membership) -> None:
        await membership.tend()
        # Not if it is cancelled: its work in flight counts until the session has ended.
        self._unfinished.discard(membership)
        self._deleted.extend((membership.group_id, name) for name in membership.deleted)
        if membership.group_id not in self.memberships:
            self.backend.forget(membership.group_id)

    async def _delete_again(self) -> None:
        """Delete entries once more whose deletion the ensemble may have forgotten (ZOOKEEPER-4643).

        Other members would take such an entry for a member that owns keys. A joined group sees to its own.
        """
        try:
            for group_id, name in list(self._deleted):
                if await self.backend.owner(group_id, name) is Owner.US:
                    await self.backend.withdraw(group_id, name)
        except BackendError as error:
            _logger.debug("looking for entries of groups that were left: %s", error)
        except Exception:
            _logger.exception("looking for entries of groups that were left")

    def _of_group(self, group_id: str) -> list[Membership]:
        return [membership for membership in self._unfinished if membership.group_id == group_id]

    def _going_by(self, quorum: bool) -> list[Membership]:
        return [membership for membership in self._unfinished if membership.exclusive == quorum]

    def _tell(self, event: Callable[[Membership], None], memberships: list[Membership] | None = None) -> None:
        """Tell these memberships, or all. What goes wrong with it in one group concerns no other."""
        for membership in list(self._unfinished) if memberships is None else memberships:
            try:
                event(membership)
            except Exception as error:
                membership.fail(error)


def _require_same(group_id: str, joined: JoinOptions, asked: JoinOptions) -> None:
    """:raises ConfigurationError: naming what differs from the options with which the group was joined."""
    if joined.policy != asked.policy:
        raise PolicyMismatchError(group_id, joined.policy.differences(asked.policy))
    for field in fields(JoinOptions):
        there, here = getattr(joined, field.name), getattr(asked, field.name)
        if there != here:
            raise ConfigurationError(
                field.name, f"group {group_id!r} was joined with {there!r}, not {here!r}; leave it first to change that"
            )
