"""The public object: one process's part in any number of groups."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from ssl import SSLContext
from typing import Any, Self, TypeVar

from aiopartition.checks import (
    require_id,
    require_min_members,
    require_run_arguments,
    require_seconds,
    require_settle,
    require_weight,
)
from aiopartition.errors import ConfigurationError
from aiopartition.group.status import GroupStatus
from aiopartition.group.terms import JoinOptions
from aiopartition.lifecycle import Lifecycle
from aiopartition.placement.keys import Key
from aiopartition.placement.policy import GroupPolicy, require_policy
from aiopartition.placement.view import Change, View, require_iterable
from aiopartition.settings import OnUnknown, Settings, arguments_from_environment
from aiopartition.work.changes import follow_changes
from aiopartition.work.hold import Hold
from aiopartition.work.iteration import Iteration
from aiopartition.work.listing import Resources
from aiopartition.work.run import Supervisor
from aiopartition.work.subset import filter_list, filter_stream
from aiopartition.work.workers import OnError, Worker

__all__ = ["PartitionCoordinator"]

T = TypeVar("T")


class PartitionCoordinator(Lifecycle):
    """Shares work among all coordinators that join the same group: each gets a disjoint subset.

    >>> async with PartitionCoordinator("zookeeper://zk1,zk2,zk3/pollers") as coordinator:
    ...     mine = await coordinator.extract_my_subset("switches", switches)

    It holds one session with the backend, for any number of groups. It keeps the memberships current in the background,
    so asking what is mine is a local calculation.

    All methods belong to the event loop in which it was started; elsewhere they raise :class:`NotStartedError` at once.
    From another thread or event loop use :func:`asyncio.run_coroutine_threadsafe`. Only facts can be asked anywhere:
    :attr:`member_id`, :attr:`connected`, :attr:`session_timeout`, :attr:`groups`, :meth:`is_active`. In a process that
    is forked from this one nothing of the coordinator acts; the child needs a coordinator of its own.

    :param backend_url: ``zookeeper://[user:password@]host[:port][,host[:port]…][/namespace][?option=seconds&…]``, with
        the options ``session_timeout``, ``connect_timeout`` and ``heartbeat``; ``memory://[name]`` for coordinators in
        this process; ``None``: partitioning is off, everything is mine.
    :param member_id: at most 1,024 bytes; with a stable id a restart keeps its keys. Default: a new UUID.
    :param heartbeat: seconds between checks for lost notifications (default 1).
    :param session_timeout: seconds after which the backend gives up a silent member. A server may grant another.
        Default 10.
    :param connect_timeout: seconds that :meth:`start` waits for a first connection (default 10).
    :param on_unknown: while this member cannot prove what it owns, subsets are empty, with one warning an episode
        (``"empty"``), or calls raise :class:`OwnershipUnknownError` (``"raise"``).
    :param ssl: for TLS to every server.
    :param auth: user and password (ZooKeeper's digest scheme). New nodes then admit only this user.
    :param metadata: free text for operators, stored with this member's entry; never used for placement.
    :raises ConfigurationError: for an invalid argument. No I/O is done here.
    """

    def __init__(
        self,
        backend_url: str | None = None,
        *,
        member_id: str | None = None,
        heartbeat: float | None = None,
        session_timeout: float | None = None,
        connect_timeout: float | None = None,
        on_unknown: OnUnknown = "empty",
        ssl: SSLContext | None = None,
        auth: tuple[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            Settings.resolve(
                backend_url,
                member_id=member_id,
                heartbeat=heartbeat,
                session_timeout=session_timeout,
                connect_timeout=connect_timeout,
                on_unknown=on_unknown,
                ssl=ssl,
                auth=auth,
                metadata=metadata,
            )
        )

    @classmethod
    def from_env(cls, prefix: str = "AIOPARTITION_", **overrides: Any) -> Self:
        """Return a coordinator that environment variables configure: ``<prefix>BACKEND_URL``, ``<prefix>MEMBER_ID``,
        ``<prefix>HEARTBEAT``, ``<prefix>SESSION_TIMEOUT``, ``<prefix>CONNECT_TIMEOUT``, ``<prefix>ON_UNKNOWN`` and
        ``<prefix>AUTH`` (``user:password``).

        A variable that is unset or empty means the default. ``overrides`` are arguments of the class and take
        precedence.

        :raises ConfigurationError: naming the variable or argument.
        """
        return cls(**{**arguments_from_environment(prefix, os.environ), **overrides})

    # ---- groups

    async def join_group(
        self,
        group_id: str,
        *,
        weight: int = 1,
        policy: GroupPolicy | None = None,
        min_members: int = 1,
        settle: float = 0.05,
    ) -> None:
        """Join a group, which is created if necessary. Returns when the first view is there; in an exclusive group when
        the first handoff is complete, or after ``connect_timeout`` seconds.

        Joining again with the same arguments does nothing. Without a connection, or if a lost one does not come back
        within ``connect_timeout`` seconds, it returns as :meth:`start` does: joining goes on in the background, and
        ownership is unknown until it has succeeded. After an expired session the group is joined again in the same
        way. Cancelled, it only stops waiting; :meth:`leave_group` undoes the joining.

        :param weight: how many shares of the work this member takes, 1 to 1,000.
        :param policy: how keys are placed; all members must agree.
        :param min_members: while fewer members are present, at the start or later, ownership is unknown to this one.
        :param settle: seconds to wait after a change of the membership before acting on it, so that a fleet that starts
            or stops together moves its keys once.
        :raises PolicyMismatchError: if the group exists with another policy.
        :raises AuthenticationError: naming the node and the right that is missing.
        :raises MemberSupersededError: if this member was superseded. It remains so until the other one's entry has
            gone, or it leaves the group.
        :raises ConfigurationError: for an invalid argument, or one that differs from those of the first call.
        """
        self._runner.require_started("join_group")
        require_id("group_id", group_id)
        options = JoinOptions(
            require_weight(weight),
            require_policy(policy),
            # While partitioning is off, no other member will ever come.
            require_min_members(min_members) if self.is_active() else 1,
            require_settle(settle),
        )
        await self._registry.join(group_id, options)

    async def leave_group(self, group_id: str) -> None:
        """Leave a group. From the call on this member owns nothing in it. Without effect in a group not joined.

        Waits up to a second until other members can know; in an exclusive group also until the work in flight has
        ended, as long as its ``drain_timeout`` allows. A backend that does not answer is told as soon as it does.
        Cancelled, it only stops waiting.

        :raises AuthenticationError: if this client may not delete its own entry; :meth:`stop` does so all the same.
        """
        self._runner.require_started("leave_group")
        await self._registry.leave_and_wait(group_id)

    async def heartbeat(self) -> None:
        """Check now whether a notification was lost. A background task does so every ``heartbeat`` seconds.

        Safe to cancel.

        :raises BackendUnavailableError: if the backend does not answer.
        """
        self._runner.require_started("heartbeat")
        await self._registry.heartbeat()

    async def view(self, group_id: str) -> View:
        """Return the current view of a group, which is joined if necessary. Safe to cancel.

        :raises OwnershipUnknownError: if there is none now that can be trusted, whatever ``on_unknown`` says.
        """
        self._runner.require_started("view")
        return self._registry.certain_view(await self._registry.membership(group_id))

    async def get_members(self, group_id: str) -> tuple[str, ...]:
        """Return the sorted ids of the members in the current view; otherwise as :meth:`view`."""
        self._runner.require_started("get_members")
        return tuple(member.id for member in (await self.view(group_id)).members)

    def status(self, group_id: str) -> GroupStatus:
        """Return a snapshot of a joined group for operators. It needs no network.

        :raises ConfigurationError: if the group is not joined.
        """
        self._runner.require_started("status")
        membership = self._registry.memberships.get(group_id)
        if membership is None:
            raise ConfigurationError("group_id", f"{group_id!r} is not joined")
        return membership.status()

    # ---- what is mine

    async def extract_my_subset(
        self, group_id: str | None, iterable: Iterable[T], *, key: Callable[[T], Key] | None = None
    ) -> list[T]:
        """Return the resources of ``iterable`` that are mine, in order, by one view of the group.

        The group is joined if necessary. From then on this is a local calculation: no network, and no suspension
        unless the input is long. Then other tasks get their turn every 2,048 resources, and ``iterable`` must not be
        changed meanwhile. Safe to cancel.

        In an exclusive group these are the resources whose handoff to this member is complete. Nothing keeps them here
        once the list is returned; :meth:`hold`, :meth:`run` and :meth:`my_subset` do.

        :param group_id: with ``None`` or ``""`` all resources are mine.
        :param key: gives what identifies a resource: a ``str``, ``bytes``, ``int``, ``UUID``, ``Enum`` member, path,
            or a tuple of these. Without it the resources themselves must be of these types.
        :raises OwnershipUnknownError: with ``on_unknown="raise"``, when ownership is unknown. Else the list is empty.
        :raises TypeError: for a resource or key without a stable encoding.
        :raises PartitionError: when this member cannot take part, as :meth:`join_group` does, always.
        """
        self._runner.require_started("extract_my_subset")
        require_iterable(iterable)
        if (group_id := self._shared(group_id)) is None:
            return list(iterable)
        return await filter_list(self._registry, group_id, iterable, key)

    def my_subset(
        self,
        group_id: str | None,
        source: Iterable[T] | AsyncIterable[T],
        *,
        key: Callable[[T], Key] | None = None,
    ) -> AsyncGenerator[T, None]:
        """Iterate over those items of ``source`` that are mine.

        Ownership and lease are looked at for each item when it is handed out, so a long or endless iteration follows
        the group and skips what has become another member's. While ownership is unknown, it skips every item, or
        raises :class:`OwnershipUnknownError`, by ``on_unknown``. It ends with the source, or when the group is left.

        In an exclusive group an item is in flight until the loop asks for the next one, or is closed; until then no
        other member gets its key.

        Parameters and errors as in :meth:`extract_my_subset`. Safe to cancel.
        """
        self._runner.require_started("my_subset")
        steps = filter_stream(self._registry, self._shared(group_id), source, key)
        return Iteration(self._runner.home, "my_subset", steps)

    # ---- work that no other member does meanwhile

    async def run(
        self,
        group_id: str | None,
        resources: Resources[T],
        worker: Worker[T],
        *,
        key: Callable[[T], Key] | None = None,
        refresh: float = 30.0,
        drain_timeout: float = 30.0,
        on_error: OnError = "restart",
    ) -> None:
        """Supervise one task ``worker(resource)`` for each resource that is mine, until cancelled.

        A worker is started when its resource is gained. It is cancelled and awaited when the resource is lost, or when
        the lease ends; once, as by :meth:`asyncio.Task.cancel`, so it can clean up in a ``finally``. If it has not
        ended after ``drain_timeout`` seconds, that is logged as an error, it is cancelled again each second, and in an
        exclusive group the other members go on waiting for it.

        A worker that returns is done until its resource is gained anew. Of several resources with one key the first
        counts; a worker keeps the object that it was started with. A listing that goes wrong ends no work: that is
        logged as an error, and the last complete answer counts; a resource whose key cannot be told is left out.

        Returns when the group is left or the coordinator stopped. Cancelled, it first waits for its workers to end. The
        event loop stays free with thousands of them.

        :param group_id: as in :meth:`extract_my_subset`; joined if need be.
        :param resources: an iterable, or an async callable without arguments that is asked again every ``refresh``
            seconds; while it fails, what it returned last counts.
        :param worker: called with a resource; what it returns does not matter.
        :param refresh: seconds, more than 0.
        :param drain_timeout: seconds that a worker may take to end once it is cancelled.
        :param on_error: a worker that raises is started again, after 0.1 to 30 s (``"restart"``), or ends all the
            others and this call (``"raise"``).
        :raises Exception: with ``on_error="raise"`` what a worker or ``resources`` raised; an
            :class:`ExceptionGroup` if several did.
        :raises TypeError: for a resource or key without a stable encoding, if ``resources`` is no callable or
            ``on_error`` is ``"raise"``.
        :raises PartitionError: when this member cannot take part, as :meth:`join_group` does; so if it is superseded.
        """
        self._runner.require_started("run")
        require_run_arguments(refresh, drain_timeout, on_error)
        group_id = self._shared(group_id)
        membership = None if group_id is None else await self._registry.membership(group_id)
        supervisor = Supervisor(
            membership, resources, worker, key=key, refresh=refresh, drain_timeout=drain_timeout, on_error=on_error
        )
        try:
            await supervisor.run()
        except Exception:
            if not self._runner.inherited:  # there asyncio can wait for nothing in the loop that ran at the fork
                raise

    def hold(self, group_id: str, *, drain_timeout: float = 30.0) -> AbstractAsyncContextManager[View]:
        """``async with coordinator.hold(group_id) as view``: inside it, nothing that is mine passes to another member.

        For batches in exclusive groups: ``view.mine(iterable)`` stays mine throughout. A handoff waits for the body.
        After ``drain_timeout`` seconds, or at once when the lease ends, the body is cancelled, and
        :class:`OwnershipLostError` is raised in its place. It is cancelled once, so it can clean up in a ``finally``.
        Call this method and enter its result in the task that runs the body: that task is the one that is cancelled.

        :raises ConfigurationError: when the group is not exclusive, in which nothing could be promised.
        :raises OwnershipUnknownError: on entering, if there is no view that can be trusted, whatever ``on_unknown``
            says.
        :raises OwnershipLostError: when the body was cancelled.
        """
        self._runner.require_started("hold")
        require_id("group_id", group_id)
        require_seconds("drain_timeout", drain_timeout)
        return Hold(self._registry, group_id, drain_timeout)

    def changes(self, group_id: str) -> AsyncGenerator[Change, None]:
        """Iterate over the changes of a group, which is joined if need be. The current view comes first.

        While ownership is unknown the change's ``view`` is ``None``. A slow consumer gets the newest state, with what
        happened since its last one, never a backlog. Ends when the group is left or the coordinator stopped.

        :raises MemberSupersededError: when this member is superseded; likewise the other errors of :meth:`join_group`.
        """
        self._runner.require_started("changes")
        return Iteration(self._runner.home, "changes", follow_changes(self._registry, require_id("group_id", group_id)))

    # ---- inside

    def _shared(self, group_id: str | None) -> str | None:
        """The group whose members share the work; ``None`` if everything is mine."""
        return group_id if group_id and self.is_active() else None
