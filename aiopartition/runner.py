"""The tasks behind a coordinator: the session, one for each group, the heartbeat, the watches on the leases.

anyio's task groups and scopes must be left in the task that entered them, while any task may call ``start()`` and
``stop()``. So the runner is a task of its own that owns the task group; calls only signal to it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from aiopartition.backends.opening import open_backend
from aiopartition.errors import AuthenticationError, BackendError, NotStartedError
from aiopartition.forks import tell_child
from aiopartition.group.registry import Registry
from aiopartition.home import INHERITED, Home
from aiopartition.settings import Settings
from aiopartition.version import __version__

__all__ = ["Runner"]

_logger: Final = logging.getLogger("aiopartition")

_CLOSE_TIMEOUT: Final = 1.0
"""Seconds in which to close the session. If that fails, our entries vanish with the session's timeout."""

_TURNS_TO_STOP: Final = 3
"""Turns of the event loop in which an ``async with`` that asyncio.run() has cancelled as well can call stop()."""


class State(Enum):
    NEW = "was never started"
    STARTING = "is still starting"
    STARTED = "is started"
    STOPPED = "was stopped"
    CANCELLED = "was stopped when its tasks were cancelled, as asyncio.run() does at its end"
    FAILED = "has failed"
    INHERITED = INHERITED


class Runner:
    """Runs a coordinator from ``start()`` to ``stop()``."""

    def __init__(self, settings: Settings) -> None:
        self.settings: Settings = settings
        self.registry: Registry = Registry(
            partial(open_backend, settings),
            self.require_started,
            settings.connect_timeout,
            raises_unknown=settings.on_unknown == "raise",
        )
        self._backend = self.registry.backend
        self.state: State = State.NEW
        self.home: Home = Home()
        self._pid = os.getpid()
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._told = False  # whether anybody was told that we were cancelled
        self._refusal: AuthenticationError | None = None
        self._ready = asyncio.Event()
        self._decided = asyncio.Event()  # connected, refused, or stopped before either
        self._stopping = asyncio.Event()

    @property
    def inherited(self) -> bool:
        """Whether this is a copy in a process that was forked from the one that started it."""
        return self.state is State.INHERITED

    def require_started(self, operation: str) -> None:
        """Check that the coordinator can be used here.

        :raises NotStartedError: before ``start()`` has returned, after the coordinator has stopped, and outside of the
            event loop to which it belongs.
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

    async def stop(self, *, hand_over: bool) -> None:
        """Stop. Idempotent. If this is cancelled, the runner goes on stopping, and another call may wait for it. In a
        forked process there is nothing to stop.

        :param hand_over: whether the session ends now, or with its timeout. The first call counts.
        :raises NotStartedError: outside of the coordinator's event loop, if there is something to stop.
        """
        if self.inherited or (self._task is not None and self._task.done()):
            return
        if self._task is None:
            self._signal_stop()
            return
        self.home.require("stop")
        if self.state is State.CANCELLED and not self._told:
            self._failure = None  # the caller was cancelled together with us, and stops us in good order
        if not self._stopping.is_set():
            self.registry.hand_over = hand_over
        self.registry.release(asyncio.current_task())
        self._signal_stop()
        # The task itself is not awaited, so that cancelling the caller does not cancel the runner.
        await asyncio.wait({self._task})

    def forked(self) -> None:
        """This is a child process now: nothing is ours, and no task is woken. Inherited tasks only wait to be ended."""
        if self._task is None or self._task.done():
            return
        self.state = State.INHERITED
        self.home.forked()
        self.registry.forked()

    # ---- the runner's task and its children

    async def _run(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                member_id = self.settings.member_id
                self.registry.open(member_id, _description(self.settings), partial(self._begin, tasks))
                self._begin(tasks, self._backend.run, "aiopartition session")
                self._begin(tasks, self._await_connection, "aiopartition first connection")
                try:
                    await self._watched(partial(self._until_stopped, tasks))
                finally:
                    if not self.inherited:
                        await self._watched(self._say_farewell)
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup:
            # Nobody awaits this task while the service runs. So each error was logged when it occurred, and the first
            # one is the cause of the error that each later call raises. KeyboardInterrupt and SystemExit have left the
            # event loop already.
            return

    def _begin(self, tasks: TaskGroup, work: Callable[[], Awaitable[None]], name: str) -> None:
        tasks.start_soon(self._watched, work, name=name)

    async def _watched(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a part of the runner's work. If it raises or is cancelled, the coordinator stops."""
        try:
            await self.home.unless_forked(work())
        except BaseException as error:
            self._failed(error)
            raise

    def _failed(self, error: BaseException) -> None:
        if self.inherited or isinstance(error, GeneratorExit):
            return  # these are not our tasks, or no loop is left to run them
        cancelled = isinstance(error, asyncio.CancelledError)
        if cancelled and self._stopping.is_set():
            return  # a normal stop ends our tasks in this way
        self._told = self.state is State.STARTING  # start() raises it
        if self._failure is None:
            self._failure = error
        self._close_down()
        if not cancelled:
            self.registry.events.say("coordinator_failed", error=error, reason=f"{type(error).__name__}: {error}")

    async def _until_stopped(self, tasks: TaskGroup) -> None:
        await self._open(tasks)
        await self._stopping.wait()

    async def _say_farewell(self) -> None:
        if self.state is State.CANCELLED:
            with anyio.CancelScope(shield=True):
                for _ in range(_TURNS_TO_STOP):
                    await asyncio.sleep(0)
        self._say_why()
        if await self.registry.drain(_CLOSE_TIMEOUT):
            with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await self.registry.until_retracted()
            with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True), suppress(BackendError):
                # Without handing over, the session timeout begins with our last request, so make one now.
                await (self._backend.close() if self.registry.hand_over else self._backend.ping())

    def _say_why(self) -> None:
        """Log why the coordinator stops. A failure was logged when it occurred."""
        say = self.registry.events.say
        if self.state is State.CANCELLED and not self._told:
            self._told = True
            say("coordinator_cancelled", reason=f"{self.state.value}; call stop() before that, or use 'async with'")
        elif self._refusal is not None:
            say("coordinator_refused", reason=self._refusal)
        elif self.state is not State.FAILED:
            say("coordinator_stopped", reason="stop() was called, or start() was cancelled")

    async def _open(self, tasks: TaskGroup) -> None:
        """Wait for the first connection, up to ``connect_timeout``; then allow calls."""
        with anyio.move_on_after(self.settings.connect_timeout):
            await self._decided.wait()
        if self._stopping.is_set():
            return
        if self._refusal is not None:
            self._close_down()
            return
        if not self._backend.connected:
            _logger.error(
                "no connection to %s within %g s (%s); continuing without one, and retrying in the background",
                self.settings.url, self.settings.connect_timeout, self._backend.last_error,
            )  # fmt: skip
        self._begin(tasks, self._beat, "aiopartition heartbeat")
        for watch in self.registry.lease_watches.values():
            self._begin(tasks, watch.run, "aiopartition lease")
        self.state = State.STARTED
        self._ready.set()

    def _close_down(self) -> None:
        """Own nothing from now on. This comes before other members can take over."""
        self.state = (
            State.STOPPED if self._failure is None
            else State.CANCELLED if isinstance(self._failure, asyncio.CancelledError)
            else State.FAILED
        )  # fmt: skip
        self._stopping.set()
        self._ready.set()
        self.registry.abandon()

    async def _await_connection(self) -> None:
        try:
            await self._backend.first_connection()
        except AuthenticationError as error:
            self._refusal = error
        self._decided.set()

    async def _beat(self) -> None:
        while not self.inherited:
            await anyio.sleep(self.settings.heartbeat)
            try:
                await self.registry.heartbeat(quiet_too=False)
            except BackendError as error:
                # The next heartbeat asks again. Calls that need to know what is ours report that it is unknown.
                _logger.debug("heartbeat: %s", error)

    # ---- inside

    def _standing(self) -> str:
        """Return why the coordinator is not started, in words that follow "this one"."""
        if self.state is State.FAILED:
            return f"has failed: {type(self._failure).__name__}: {self._failure}"
        return str(self.state.value)

    def _signal_stop(self) -> None:
        self._close_down()
        self._decided.set()


def _description(settings: Settings) -> bytes:
    """Return the document that this member's entries hold. It is for operators only."""
    facts = {
        "member_id": settings.member_id,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "metadata": dict(settings.metadata),
    }
    return json.dumps(facts).encode()
