"""What runs behind a coordinator: the session, one task for each group, the heartbeat, the watch on the lease.

anyio's task groups and scopes must be left in the task that entered them, while ``start()`` and ``stop()`` are calls
of whoever comes along. So one task of its own, the runner, owns the task group; calls only signal to it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from aiopartition.backends.base import Backend
from aiopartition.backends.opening import open_backend
from aiopartition.errors import AuthenticationError, BackendError, NotStartedError
from aiopartition.forks import tell_child
from aiopartition.group.membership import Membership
from aiopartition.group.terms import Terms
from aiopartition.home import INHERITED, Home
from aiopartition.placement.builder import TableBuilder
from aiopartition.settings import Settings
from aiopartition.version import __version__

__all__ = ["Runner"]

_logger: Final = logging.getLogger("aiopartition")

_CLOSE_TIMEOUT: Final = 1.0
"""Seconds for a farewell to the backend. Without it our entries go with the session's timeout."""

_HEARTBEATS_AT_ONCE: Final = 16
"""Enough to fill the way to the server; all of a thousand at once would stall the event loop."""

_TURNS_TO_STOP: Final = 3
"""Of the event loop, for an ``async with`` that asyncio.run() cancels at the same time to call stop()."""

_LONGEST_SLEEP: Final = 1.0
"""Seconds. The loop's clock stands still while the machine is suspended, and the lease's goes on."""

_GONE_KEPT: Final = 1000
"""Of entries of groups that were left. Each costs a question after each reconnecting."""


class State(Enum):
    NEW = "was never started"
    STARTING = "is still starting"
    STARTED = "is started"
    STOPPED = "was stopped"
    CANCELLED = "was stopped when its tasks were cancelled, as asyncio.run() does at its end"
    FAILED = "has failed"
    INHERITED = INHERITED


class Runner:
    """Runs a coordinator from ``start()`` to ``stop()``. Implements :class:`~aiopartition.backends.Listener`."""

    def __init__(self, settings: Settings) -> None:
        self.settings: Settings = settings
        self.backend: Backend = open_backend(settings, self)
        self.memberships: dict[str, Membership] = {}
        """The joined groups."""
        self.state: State = State.NEW
        self.home: Home = Home()
        self._description = b""
        self._pid = os.getpid()
        self._tended: set[Membership] = set()  # the joined ones, and those whose leaving is not through yet
        self._gone: deque[tuple[str, str]] = deque(maxlen=_GONE_KEPT)  # group, entry: deleted in this session
        self._tasks: TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._told = False  # that we were cancelled
        self._refusal: AuthenticationError | None = None
        self._ready = asyncio.Event()
        self._decided = asyncio.Event()  # connected, refused, or stopped before either
        self._stopping = asyncio.Event()
        self._lease_moved = {quorum: asyncio.Event() for quorum in (False, True)}  # of either lease of the backend

    @property
    def inherited(self) -> bool:
        """Whether this is a copy in a process that was forked from the one that started it."""
        return self.state is State.INHERITED

    def require_started(self, operation: str) -> None:
        """:raises NotStartedError: before ``start()`` has returned, after the coordinator has stopped, and anywhere but
        in the event loop to which it belongs.
        """
        if self.state is not State.STARTED:
            raise NotStartedError(operation, self._standing()) from self._failure
        self.home.require(operation)

    async def start(self) -> None:
        if self.state is not State.NEW:
            raise RuntimeError(f"start() was called on a coordinator that {self.state.value}; make a new one instead")
        self.state = State.STARTING
        if os.getpid() != self._pid:  # made before a fork, as by a server that loads the service once for all workers
            self.settings = self.settings.with_another_id()
        tell_child(self)
        self.home.settle()
        self._description = _description(self.settings)
        self._task = asyncio.create_task(self._run(), name=f"aiopartition {self.settings.member_id}")
        try:
            await self._ready.wait()
        except asyncio.CancelledError:
            if not self.inherited:
                self._signal_stop()
                with anyio.CancelScope(shield=True):  # bounded: the runner has nothing to wait for but the farewell
                    await asyncio.wait({self._task})
            raise
        if self._stopping.is_set():
            await asyncio.wait({self._task})
            if self._refusal is not None:
                raise self._refusal
            self.require_started("start")  # stopped meanwhile, or failed

    async def stop(self) -> None:
        """Idempotent. Cancelled, the stopping goes on in the runner, and may be waited for by another call. In a forked
        process there is nothing to stop.

        :raises NotStartedError: elsewhere than in the event loop that has something to stop.
        """
        if self.inherited or (self._task is not None and self._task.done()):
            return
        if self._task is None:
            self._signal_stop()
            return
        self.home.require("stop")
        if (
            self.state is State.CANCELLED and not self._told
        ):  # the caller was cancelled too: that is a stop in good order
            self._failure = None
        self.release(asyncio.current_task())
        self._signal_stop()
        # Not awaited itself: the cancellation of one who waits is none of the runner's business.
        await asyncio.wait({self._task})

    def forked(self) -> None:
        """In a child nothing is ours, and nobody is told: what the child inherited only waits for its end."""
        if self._task is None or self._task.done():
            return
        self.state = State.INHERITED
        self.home.forked()
        for membership in self._tended:
            membership.forked()
        self.memberships, self._tended = {}, set()

    def release(self, task: object) -> None:
        """``task`` is about to wait for us: what it has in flight, in whatever group, ends here."""
        self._tell(lambda membership: membership.release(task))

    def join(self, group_id: str, terms: Terms) -> Membership:
        """Begin to take part in a group; the rest happens in the background."""
        assert self._tasks is not None
        membership = Membership(
            self.backend,
            TableBuilder.of_running_loop(),
            group_id,
            self.settings.member_id,
            terms,
            description=self._description,
            in_use=lambda name: any(name.endswith(each.nonce) for each in self._tended if each.group_id == group_id),
        )
        for predecessor in self._tended:
            if predecessor.group_id == group_id:
                membership.succeed(predecessor)
        self._begin(self._tasks, partial(self._tend, membership), f"aiopartition group {group_id}")
        self.memberships[group_id] = membership
        self._tended.add(membership)
        return membership

    def leave(self, group_id: str) -> Membership | None:
        """Begin to leave a group; the rest happens in the background."""
        membership = self.memberships.pop(group_id, None)
        if membership is not None:
            membership.leave()
        return membership

    async def heartbeat(self) -> None:
        """Ask the backend for each group's generation; without groups, whether it is there.

        :raises BackendError: the first failure, after all have been asked.
        """
        failures: list[BackendError] = []
        memberships = iter(list(self._tended))

        async def beat() -> None:
            for membership in memberships:
                try:
                    await membership.heartbeat()
                except BackendError as error:
                    failures.append(error)
                except Exception as error:
                    membership.fail(error)

        if not self._tended:
            await self.backend.ping()
            return
        async with asyncio.TaskGroup() as beats:  # not anyio's, which a forked child could not leave
            for _ in range(min(_HEARTBEATS_AT_ONCE, len(self._tended))):
                beats.create_task(beat(), name="aiopartition beat")
        if failures:
            raise failures[0]

    # ---- Listener

    def session_opened(self, *, fresh: bool) -> None:
        self._tell(lambda membership: membership.session_opened(fresh=fresh))
        self._leases_moved()
        if fresh:
            self._gone.clear()
        elif self._gone and self._tasks is not None:
            self._begin(self._tasks, self._withdraw_again, "aiopartition farewells")

    def session_suspended(self, reason: str) -> None:
        self._tell(Membership.session_suspended)

    def session_expired(self) -> None:
        self._tell(Membership.session_expired)

    def lease_renewed(self, *, quorum: bool) -> None:
        self._tell_of_lease(quorum, Membership.lease_renewed)
        self._lease_moved[quorum].set()

    def lease_shortened(self) -> None:
        self._leases_moved()

    def needs_quorum(self) -> bool:
        return any(membership.exclusive for membership in self._tended)

    def group_changed(self, group_id: str) -> None:
        membership = self.memberships.get(group_id)
        if membership is not None:
            _tell(membership, lambda membership: membership.group_changed())

    def group_activated(self, group_id: str) -> None:
        membership = self.memberships.get(group_id)
        if membership is not None:
            _tell(membership, lambda membership: membership.group_activated())

    def may_end(self) -> bool:
        return all(membership.idle for membership in self._tended)

    # ---- the runner's task and its children

    async def _run(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self._begin(tasks, self.backend.run, "aiopartition session")
                self._begin(tasks, self._await_connection, "aiopartition first connection")
                try:
                    await self._watched(partial(self._until_stopped, tasks))
                finally:
                    if not self.inherited:
                        await self._watched(self._say_farewell)
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup:
            # Nobody awaits this task while the service runs, so each error was logged when it occurred, and the first
            # is the cause of the error of each call from now on. KeyboardInterrupt and SystemExit have left the event
            # loop already.
            return

    def _begin(self, tasks: TaskGroup, work: Callable[[], Awaitable[None]], name: str) -> None:
        tasks.start_soon(self._watched, work, name=name)

    async def _watched(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a part of the runner's work. If it ends in another way than by returning, the coordinator does."""
        try:
            await self.home.unless_forked(work())
        except BaseException as error:
            self._failed(error)
            raise

    def _failed(self, error: BaseException) -> None:
        if self.inherited or isinstance(error, GeneratorExit):
            return  # not our tasks, or nobody left to run them
        cancelled = isinstance(error, asyncio.CancelledError)
        if cancelled and self._stopping.is_set():
            return  # that is how we end
        self._told = self.state is State.STARTING  # by start()
        if self._failure is None:
            self._failure = error
        self._close_down()
        if not cancelled:
            _logger.error("the coordinator has failed, and owns nothing any more", exc_info=error)

    async def _until_stopped(self, tasks: TaskGroup) -> None:
        await self._open(tasks)
        await self._stopping.wait()

    async def _say_farewell(self) -> None:
        if self.state is State.CANCELLED:
            with anyio.CancelScope(shield=True):
                for _ in range(_TURNS_TO_STOP):
                    await asyncio.sleep(0)
        if self.state is State.CANCELLED and not self._told:
            self._told = True
            _logger.warning("the coordinator %s; call stop() before that, or use 'async with'", self.state.value)
        if await self._drained():
            await self._retracted()
            with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await self.backend.close()

    async def _open(self, tasks: TaskGroup) -> None:
        """Wait for the first connection, but not for ever; then let the calls in."""
        with anyio.move_on_after(self.settings.connect_timeout):
            await self._decided.wait()
        if self._stopping.is_set():
            return
        if self._refusal is not None:
            self._close_down()
            return
        if not self.backend.connected:
            _logger.error(
                "no connection to %s within %g s (%s); going on without, and trying in the background",
                self.settings.url, self.settings.connect_timeout, self.backend.trouble,
            )  # fmt: skip
        self._begin(tasks, self._beat, "aiopartition heartbeat")
        for quorum in self._lease_moved:
            self._begin(tasks, partial(self._watch_lease, quorum), "aiopartition lease")
        self.state = State.STARTED
        self._ready.set()

    def _close_down(self) -> None:
        """From now on nothing is ours. Said before anybody else can be told that it is theirs."""
        self.state = (
            State.STOPPED if self._failure is None
            else State.CANCELLED if isinstance(self._failure, asyncio.CancelledError)
            else State.FAILED
        )  # fmt: skip
        self._stopping.set()
        self._ready.set()
        self.memberships.clear()
        self._tell(Membership.abandon)

    async def _drained(self) -> bool:
        """Wait until no work of exclusive groups is in flight: nobody else may begin before. Not for ever."""
        memberships = list(self._tended)
        timeout = max((membership.drain_timeout for membership in memberships), default=0.0)
        with anyio.move_on_after(timeout + _CLOSE_TIMEOUT, shield=True):  # what is cancelled then takes a moment to end
            for membership in memberships:
                await membership.until_idle()
        busy = [membership.group_id for membership in memberships if not membership.idle]
        if busy:
            _logger.error(
                "stopping, but work that nobody else may do is still in flight after %g s in %s; "
                "others take it over when the session has timed out, %g s from now",
                timeout, ", ".join(map(repr, busy)), self.backend.session_timeout,
            )  # fmt: skip
        return not busy

    async def _retracted(self) -> None:
        """Wait until acknowledgements are deleted: with many, the end of the session would be a transaction that is too
        long for servers to read."""
        with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            for membership in list(self._tended):
                await membership.until_retracted()

    async def _await_connection(self) -> None:
        try:
            await self.backend.first_connection()
        except AuthenticationError as error:
            self._refusal = error
        self._decided.set()

    async def _tend(self, membership: Membership) -> None:
        await membership.tend()
        # Not if it is cancelled: what it has in flight is asked for until the session has ended.
        self._tended.discard(membership)
        self._gone.extend((membership.group_id, name) for name in membership.gone)
        if membership.group_id not in self.memberships:
            self.backend.forget(membership.group_id)

    async def _withdraw_again(self) -> None:
        """Servers that have come together again may have forgotten that an entry was deleted (ZOOKEEPER-4643).

        Others would take it for a member that owns keys. Who takes part in the group sees to that itself.
        """
        try:
            for group_id, name in list(self._gone):
                if await self.backend.is_ours(group_id, name):
                    await self.backend.withdraw(group_id, name)
        except BackendError as error:
            _logger.debug("looking for entries of groups that were left: %s", error)
        except Exception:
            _logger.exception("looking for entries of groups that were left")

    async def _beat(self) -> None:
        while not self.inherited:
            await anyio.sleep(self.settings.heartbeat)
            try:
                await self.heartbeat()
            except BackendError as error:
                # The next one asks again, and whoever wants to know what is theirs is told that it is unknown.
                _logger.debug("heartbeat: %s", error)

    async def _watch_lease(self, quorum: bool) -> None:
        """Tell those who go by one of the leases when it ends. Whoever asks reads the clock, and needs no telling."""
        moved = self._lease_moved[quorum]
        while True:
            moved.clear()
            left = self.backend.lease_left(quorum=quorum)
            if left > 0:
                with anyio.move_on_after(min(left + 0.001, _LONGEST_SLEEP)):
                    await moved.wait()
            else:
                self._tell_of_lease(quorum, Membership.lease_ended)
                await moved.wait()

    # ---- inside

    def _standing(self) -> str:
        """Why it is not started, in words that follow "this one"."""
        if self.state is State.FAILED:
            return f"has failed: {type(self._failure).__name__}: {self._failure}"
        return str(self.state.value)

    def _signal_stop(self) -> None:
        self._close_down()
        self._decided.set()

    def _leases_moved(self) -> None:
        for moved in self._lease_moved.values():
            moved.set()

    def _tell_of_lease(self, quorum: bool, event: Callable[[Membership], None]) -> None:
        for membership in list(self._tended):
            if membership.exclusive == quorum:
                event(membership)

    def _tell(self, event: Callable[[Membership], None]) -> None:
        for membership in list(self._tended):
            _tell(membership, event)


def _tell(membership: Membership, event: Callable[[Membership], None]) -> None:
    """What goes wrong with it in one group concerns neither the others nor whoever brings the news."""
    try:
        event(membership)
    except Exception as error:
        membership.fail(error)


def _description(settings: Settings) -> bytes:
    """What an operator finds in this member's entries. Nothing reads it but people."""
    facts = {
        "member_id": settings.member_id,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "metadata": dict(settings.metadata),
    }
    return json.dumps(facts).encode()
