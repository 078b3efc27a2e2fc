"""The public object: one process's part in any number of groups."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from aiopartition.checks import (
    require_id,
    require_min_members,
    require_run_arguments,
    require_seconds,
    require_settle,
    require_weight,
)
from aiopartition.errors import ConfigurationError
from aiopartition.group.membership import Membership
from aiopartition.group.status import GroupStatus
from aiopartition.group.terms import JoinOptions
from aiopartition.placement.keys import Key
from aiopartition.placement.policy import GroupPolicy, require_policy
from aiopartition.placement.view import Change, View, require_iterable
from aiopartition.runner import Runner
from aiopartition.settings import OnUnknown, Settings, arguments_from_environment
from aiopartition.work.hold import Hold
from aiopartition.work.holder import running_task
from aiopartition.work.iteration import Iteration
from aiopartition.work.listing import Resources
from aiopartition.work.run import Supervisor
from aiopartition.work.subset import all_async_items, all_items, my_async_items, my_items
from aiopartition.work.workers import OnError, Worker

__all__ = ["PartitionCoordinator"]

T = TypeVar("T")

_LEAVE_TIMEOUT: Final = 1.0
"""Seconds that leave_group() waits; beyond that the entry is deleted as soon as the backend answers again."""


class PartitionCoordinator:
    """Shares work among all coordinators that join the same group: each gets a disjoint subset.

    >>> async with PartitionCoordinator("zookeeper://zk1,zk2,zk3/pollers") as coordinator:
    ...     mine = await coordinator.extract_my_subset("switches", switches)

    It holds one session with the backend, for any number of groups. The membership is kept current in the background;
    asking what is mine is a local calculation.

    All methods belong to the event loop in which it was started; elsewhere they raise :class:`NotStartedError` at once.
    From another thread or event loop use :func:`asyncio.run_coroutine_threadsafe`. What only states a fact
    (:attr:`member_id`, :attr:`connected`, :attr:`session_timeout`, :attr:`groups`, :meth:`is_active`) may be asked
    anywhere. In a process that is forked from this one nothing of the coordinator acts; it needs one of its own.

    :param backend_url: ``zookeeper://[user:password@]host[:port][,host[:port]…][/namespace][?option=seconds&…]``, with
        the options ``session_timeout``, ``connect_timeout`` and ``heartbeat``; ``memory://[name]`` for coordinators in
        this process; ``None``: partitioning is off, everything is mine.
    :param member_id: who this is, at most 1,024 bytes; a stable one lets a restart keep its keys. Default: a new UUID.
    :param heartbeat: seconds between looks for news that got lost (default 1).
    :param session_timeout: seconds after which the backend gives up a silent member. A server may grant another.
        Default 10.
    :param connect_timeout: seconds that :meth:`start` waits for a first connection (default 10).
    :param on_unknown: while this member cannot prove what it owns, subsets are empty, with one warning an episode
        (``"empty"``), or raise :class:`OwnershipUnknownError` (``"raise"``).
    :param ssl: for TLS to every server.
    :param auth: user and password (ZooKeeper's digest scheme). With it, nodes that are created admit only this user.
    :param metadata: free text that operators find with this member's entry; never used for placement.
    :raises ConfigurationError: for anything above that cannot mean something. No I/O is done here.
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
        settings = Settings.resolve(
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
        self._runner = Runner(settings)
        self._registry = self._runner.registry

    @classmethod
    def from_env(cls, prefix: str = "AIOPARTITION_", **overrides: Any) -> Self:
        """A coordinator configured by environment variables: ``<prefix>BACKEND_URL``, ``<prefix>MEMBER_ID``,
        ``<prefix>HEARTBEAT``, ``<prefix>SESSION_TIMEOUT``, ``<prefix>CONNECT_TIMEOUT``, ``<prefix>ON_UNKNOWN`` and
        ``<prefix>AUTH`` (``user:password``).

        Unset and empty variables stand for the defaults; ``overrides``, arguments of the class, beat variables.

        :raises ConfigurationError: naming the variable or argument.
        """
        return cls(**{**arguments_from_environment(prefix, os.environ), **overrides})

    # ---- from start to stop

    async def start(self) -> None:
        """Connect, and run what has to run in the background.

        Returns when connected. If nothing answers within ``connect_timeout``, logs one error and returns all the
        same: a service need not care whether the backend is up, as everything goes on by itself once it is.

        Cancelled, it stops the coordinator cleanly, in about a second at most.

        :raises AuthenticationError: if every server that can be reached refuses this client.
        :raises NotStartedError: if :meth:`stop` is called meanwhile.
        :raises RuntimeError: if called twice, or after :meth:`stop`.
        """
        await self._runner.start()

    async def stop(self) -> None:
        """Leave every group, end the session, and end every task. From the call on, nothing is ours any more.

        The others are told at once; in exclusive groups, when what is in flight there has ended: workers of
        :meth:`run` are cancelled, items of :meth:`my_subset` and bodies of :meth:`hold` are waited for, up to 30 s or
        their ``drain_timeout``. The rest takes about a second at most, even if the backend is dead; then the session
        ends with its timeout. May be called at any time, any number of times; a coordinator that was stopped stays
        stopped. Cancelled, it only stops waiting. In a forked process it does nothing.

        :raises NotStartedError: in another event loop than that in which the coordinator runs.
        """
        await self._runner.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    # ---- facts

    def is_active(self) -> bool:
        """Whether a backend is configured; if not, everything is mine."""
        return self._runner.settings.url is not None

    @property
    def connected(self) -> bool:
        """Whether the session is connected at this moment."""
        return self._registry.backend.connected

    @property
    def member_id(self) -> str:
        """Who this coordinator is in all its groups."""
        return self._runner.settings.member_id

    @property
    def session_timeout(self) -> float:
        """Seconds after which the backend gives this member up, as negotiated with the server."""
        return self._registry.backend.session_timeout

    @property
    def groups(self) -> tuple[str, ...]:
        """The ids of the joined groups, sorted."""
        return tuple(sorted(self._registry.memberships))

    def __repr__(self) -> str:
        backend = "no backend" if self._runner.settings.url is None else str(self._runner.settings.url)
        return f"<PartitionCoordinator {self.member_id!r} at {backend}, {self._runner.state.value}>"

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
        """Take part in a group, creating it at need. Returns with the first view loaded.

        Joining a joined group with the same arguments does nothing. Without a connection, or if none comes back within
        ``connect_timeout``, it returns like :meth:`start` does: joining goes on by itself, and until it is through,
        ownership is unknown. So does an expired session: the group is joined again. Cancelled, it only stops waiting;
        :meth:`leave_group` takes the joining back.

        :param weight: how many shares of the work this member takes, 1 to 1,000.
        :param policy: how keys are placed; all members must agree.
        :param min_members: while fewer are present, at the start or later, ownership is unknown to this member.
        :param settle: seconds to wait after a change of the membership before acting on it, so that a fleet that starts
            or stops together moves its keys once.
        :raises PolicyMismatchError: if the group exists with another policy.
        :raises AuthenticationError: naming the node and the right that is missing.
        :raises MemberSupersededError: if this member was superseded here. It stays so until it leaves the group.
        :raises ConfigurationError: for a bad argument, or one that differs from those the group was joined with.
        """
        self._runner.require_started("join_group")
        require_id("group_id", group_id)
        options = JoinOptions(
            require_weight(weight),
            require_policy(policy),
            # Partitioning being off, nobody else will ever come.
            require_min_members(min_members) if self.is_active() else 1,
            require_settle(settle),
        )
        await self._registry.join(group_id, options)

    async def leave_group(self, group_id: str) -> None:
        """Leave a group at once: from the call on, nothing in it is ours. Leaving a group never joined does nothing.

        Waits up to a second until the others can know; in an exclusive group also for what is in flight there, as long
        as it may take to end. If the backend does not answer, it is told as soon as it does. Cancelled, it only stops
        waiting.

        :raises AuthenticationError: if this client may not delete its own entry; :meth:`stop` does so all the same.
        """
        self._runner.require_started("leave_group")
        membership = self._registry.memberships.get(group_id)
        if membership is None:
            return
        membership.release(asyncio.current_task())  # before it is revoked: we are the ones that let go
        self._registry.leave(group_id)
        with anyio.move_on_after(_LEAVE_TIMEOUT + membership.drain_timeout):
            while self.connected and not membership.finished.is_set() and membership.error is None:
                await membership.changed.wait()
        if membership.error is not None and not membership.finished.is_set():
            raise membership.error  # our entry stays: the others count on us until the session ends

    async def heartbeat(self) -> None:
        """One look whether any news got lost, now. The background takes one every ``heartbeat`` seconds by itself.

        :raises BackendUnavailableError: if the backend does not answer.
        """
        self._runner.require_started("heartbeat")
        await self._registry.heartbeat()

    async def view(self, group_id: str) -> View:
        """The current view of a group, which is joined if need be.

        :raises OwnershipUnknownError: if there is none now that can be trusted, whatever ``on_unknown`` says.
        """
        self._runner.require_started("view")
        return self._registry.certain_view(await self._registry.membership(group_id))

    async def get_members(self, group_id: str) -> tuple[str, ...]:
        """The sorted ids of the members in the current view; otherwise as :meth:`view`."""
        self._runner.require_started("get_members")
        return tuple(member.id for member in (await self.view(group_id)).members)

    def status(self, group_id: str) -> GroupStatus:
        """A snapshot of a joined group for operators: what holds, who is waited for, what the last change moved.

        A look at what is known here, without any network.

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
        """The resources of ``iterable`` that are mine, in order, by one view of the group, which is joined at need.

        Once the group is joined this is a local calculation: no network, and no suspension either unless the input is
        long; then other tasks get their turn every 2,048 resources, and ``iterable`` must not be changed meanwhile.
        May be cancelled at any time.

        In an exclusive group these are the resources whose handoff to this member is through. Nothing holds them here
        once the list is returned: :meth:`hold`, :meth:`run` and :meth:`my_subset` do.

        :param group_id: with ``None`` or ``""`` all resources are mine.
        :param key: gives what identifies a resource: a ``str``, ``bytes``, ``int``, ``UUID``, ``Enum`` member, path,
            or a tuple of these. Without it the resources themselves must be of these types.
        :raises OwnershipUnknownError: with ``on_unknown="raise"``, when ownership is unknown. Else the list is empty.
        :raises TypeError: for a resource or key without a stable encoding.
        :raises PartitionError: when this member cannot take part, as :meth:`join_group` does, always.
        """
        self._runner.require_started("extract_my_subset")
        require_iterable(iterable)
        if not group_id or not self.is_active():
            return list(iterable)
        membership = await self._registry.membership(group_id)
        view = self._registry.known_view(membership)
        if view is None:
            return []
        lapses = membership.lapses
        chunks = view.table.filter_chunks(view.mask, iterable, key)
        mine: list[T] = []
        mine += next(chunks, mine)
        for chunk in chunks:
            await checkpoint()
            mine += chunk
        # It may have taken a while, and what it is returned to must not act on a lease that has ended meanwhile.
        if self._registry.known_view(membership) is None:
            return []
        if membership.lapses != lapses:
            return self._registry.unknown(membership, [])
        return mine

    def my_subset(
        self,
        group_id: str | None,
        source: Iterable[T] | AsyncIterable[T],
        *,
        key: Callable[[T], Key] | None = None,
    ) -> AsyncGenerator[T, None]:
        """Iterate over those items of ``source`` that are mine.

        For each item ownership and lease are looked at when it is handed out, so a long or endless iteration follows
        the group: an item that is another's by now is passed over. While ownership is unknown, items are passed over
        (or :class:`OwnershipUnknownError` is raised, by ``on_unknown``). Ends with the source,
        or when the group is left.

        In an exclusive group an item is in flight until the loop asks for the next one, or is closed; so long nobody
        else gets its key.

        Parameters and errors as in :meth:`extract_my_subset`. May be cancelled at any time.
        """
        self._runner.require_started("my_subset")
        shared = bool(group_id) and self.is_active()
        known = self._registry.known_view

        async def join() -> Membership:
            self._runner.require_started("my_subset")
            return await self._registry.membership(group_id or "")

        steps: AsyncGenerator[T, None]
        if isinstance(source, AsyncIterable):
            steps = my_async_items(join, source, key, known, running_task()) if shared else all_async_items(source)
        else:
            require_iterable(source)
            steps = my_items(join, source, key, known, running_task()) if shared else all_items(source)
        return Iteration(self._runner.home, "my_subset", steps)

    # ---- work that nobody else does meanwhile

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

        A worker is started when its resource is gained, and cancelled and awaited when it is lost, or when the lease
        is over. It is cancelled once, as by :meth:`asyncio.Task.cancel`, so it may take its leave in a ``finally``. If
        it has not ended after ``drain_timeout`` seconds, that is logged as an error, it is cancelled again each
        second, and in an exclusive group the others go on waiting for it.

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
        membership = await self._registry.membership(group_id) if group_id and self.is_active() else None
        supervisor = Supervisor(
            membership, resources, worker, key=key, refresh=refresh, drain_timeout=drain_timeout, on_error=on_error
        )
        try:
            await supervisor.run()
        except Exception:
            if not self._runner.inherited:  # there asyncio can wait for nothing in the loop that ran at the fork
                raise

    def hold(self, group_id: str, *, drain_timeout: float = 30.0) -> AbstractAsyncContextManager[View]:
        """``async with coordinator.hold(group_id) as view``: while inside, nothing that is mine passes to another.

        For batches in exclusive groups: ``view.mine(iterable)`` is what is mine throughout. A handoff waits for the
        body; after ``drain_timeout`` seconds the body is cancelled, as it is at once when the lease ends, and
        :class:`OwnershipLostError` is raised in its place. It is cancelled once, so it may clean up in a ``finally``.
        Call this method and enter its result in the task that runs the body: that task is the one that is cancelled.

        :raises ConfigurationError: when the group is not exclusive, in which nothing could be promised.
        :raises OwnershipUnknownError: on entering, if there is no view that can be trusted, whatever ``on_unknown``
            says.
        :raises OwnershipLostError: when the body was cancelled.
        """
        self._runner.require_started("hold")
        require_id("group_id", group_id)
        require_seconds("drain_timeout", drain_timeout)

        async def enter() -> tuple[Membership, View]:
            self._runner.require_started("hold")
            joined = self._registry.memberships.get(group_id)
            if joined is None or not joined.exclusive:  # to join one by the default policy would be of no use
                raise ConfigurationError("hold", f"group {group_id!r} is not exclusive: join it with that policy first")
            membership = await self._registry.membership(group_id)
            return membership, self._registry.certain_view(membership)

        return Hold(enter, drain_timeout)

    def changes(self, group_id: str) -> AsyncGenerator[Change, None]:
        """Iterate over the changes of a group, which is joined if need be. The current view comes first.

        While ownership is unknown the change's ``view`` is ``None``. A slow consumer gets the newest state, with what
        happened since its last one, never a backlog. Ends when the group is left or the coordinator stopped.

        :raises MemberSupersededError: when this member is superseded; likewise the other errors of :meth:`join_group`.
        """
        self._runner.require_started("changes")
        return Iteration(self._runner.home, "changes", self._changes(require_id("group_id", group_id)))

    # ---- inside

    async def _changes(self, group_id: str) -> AsyncGenerator[Change, None]:
        self._runner.require_started("changes")
        membership = await self._registry.membership(group_id)
        view = known = membership.view
        yield Change.between(None, view)
        while True:
            changed = membership.changed
            if membership.left:
                return
            if membership.error is not None:
                raise membership.error
            if membership.view is view:
                await changed.wait()
                continue
            view = membership.view
            yield Change.between(known, view)
            known = view or known
