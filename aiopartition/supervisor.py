"""``run()``: one task for each resource that is mine, started when gained, cancelled and awaited when lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Literal, TypeAlias, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint

from aiopartition.handoff import Work
from aiopartition.keys import Key, encode
from aiopartition.membership import Membership
from aiopartition.view import View, require_iterable

__all__ = ["OnError", "Resources", "Supervisor", "Worker"]

T = TypeVar("T")

OnError: TypeAlias = Literal["restart", "raise"]
Resources: TypeAlias = Iterable[T] | Callable[[], Awaitable[Iterable[T]]]
Worker: TypeAlias = Callable[[T], Awaitable[object]]

_logger: Final = logging.getLogger("aiopartition")

_CHUNK: Final = 64
"""Workers started, or resources looked at, between two turns of the event loop."""

_FIRST_BACKOFF: Final = 0.1  # seconds before a worker that failed is started again, doubled with each failure
_LONGEST_BACKOFF: Final = 30.0
_STABLE_AFTER: Final = 60.0  # seconds after which a worker's earlier failures are forgotten
_CANCEL_AGAIN_AFTER: Final = 1.0  # seconds between cancellations of a worker that outstays its drain_timeout


@dataclass(eq=False, slots=True)
class _Job:
    """The task that works on one resource."""

    work: Work | None
    task: asyncio.Task[None] | None = None
    cancelled_at: float | None = None
    patience: float = 0.0
    """Seconds from the last cancellation to the next."""


class Supervisor(Generic[T]):
    """Runs the workers of one ``run()``. All of it happens in the task that calls :meth:`run`, and in tasks that it
    awaits before it ends.

    A worker is cancelled once, as :meth:`asyncio.Task.cancel` does it, so that it can take leave of what it talks to
    in a ``finally``; only one that has not ended after ``drain_timeout`` is cancelled again, each second.
    """

    def __init__(
        self,
        membership: Membership | None,
        resources: Resources[T],
        worker: Worker[T],
        *,
        key: Callable[[T], Key] | None,
        refresh: float,
        drain_timeout: float,
        on_error: OnError,
    ) -> None:
        self._membership = membership
        self._resources = resources
        self._worker = worker
        self._key = key
        self._refresh = refresh
        self._drain_timeout = drain_timeout
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._listing: dict[bytes, T] = {}
        self._jobs: dict[bytes, _Job] = {}
        self._ending: dict[bytes, _Job] = {}  # those of them that were cancelled
        self._ended: list[bytes] = []  # whose workers have ended since we last looked
        self._settled: tuple[View | None, dict[bytes, T]] = (None, {})  # the view and the listing that all jobs are by
        self._done: set[bytes] = set()  # whose workers returned, until the resource is gained anew
        self._failures: list[BaseException] = []
        self._woken = asyncio.Event()
        self._closing = False

    async def run(self) -> None:
        """Supervise until cancelled, until a worker or the listing fails, or until the group is left.

        :raises BaseException: what a worker raised, with ``on_error="raise"``; of several, a group.
        """
        try:
            async with self._companions():
                await self._supervise()
        except BaseException:
            for failure in self._failures:  # somebody else's error is raised, or our cancellation
                _logger.error("a worker of run() failed as run() ended", exc_info=failure)
            raise
        if len(self._failures) == 1:
            raise self._failures[0]
        if self._failures:
            raise BaseExceptionGroup("workers failed", self._failures)

    # ---- the loop

    async def _supervise(self) -> None:
        membership = self._membership
        while not self._failures:
            self._woken.clear()
            if membership is not None:
                if membership.left:
                    return
                if membership.error is not None and not self._jobs:
                    raise membership.error
            view, listing = None if membership is None else membership.view, self._listing
            ended, self._ended = self._ended, []
            if self._settled[0] is view and self._settled[1] is listing:
                if not await self._start_all(ended, view, listing):  # nothing else can have changed
                    self._settled = (None, {})  # the same view may come back, and those that ended are still due
            else:
                await self._reconcile(view, listing)
            if not self._woken.is_set():
                await self._wait()

    async def _wait(self) -> None:
        """For news, or for the next worker whose patience ends."""
        due = self._cancel_overdue()
        try:
            async with asyncio.timeout_at(due):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _reconcile(self, view: View | None, listing: dict[bytes, T]) -> None:
        """Cancel the workers of what is not mine any more; then start those of what is mine now."""
        # Revocations first: others wait for them.
        lost = [encoded for encoded in self._jobs if encoded not in listing or not self._is_mine(encoded, view)]
        await self._cancel_all(lost)
        self._done = {encoded for encoded in self._done if encoded in listing and self._is_mine(encoded, view)}
        if await self._start_all(list(listing), view, listing):
            self._settled = (view, listing)

    async def _start_all(self, keys: Iterable[bytes], view: View | None, listing: dict[bytes, T]) -> bool:
        """Start the workers of those of ``keys`` that are mine. ``False`` if the view changed meanwhile."""
        for count, encoded in enumerate(keys, start=1):
            if count % _CHUNK == 0:
                await checkpoint()
            if self._membership is not None and self._membership.view is not view:  # or the lease is over
                self._woken.set()
                return False
            if encoded not in listing or encoded in self._jobs or encoded in self._done:
                continue
            if self._is_mine(encoded, view):
                self._start(encoded, listing[encoded], view)
        return True

    def _is_mine(self, encoded: bytes, view: View | None) -> bool:
        if self._membership is None:
            return True
        return view is not None and view.mask[view.table.slot(encoded)]

    # ---- workers

    def _start(self, encoded: bytes, resource: T, view: View | None) -> None:
        work = None
        if self._membership is not None and view is not None and self._membership.exclusive:
            what = f"a worker of run() on key {_shown(encoded)}"
            slot = view.table.slot(encoded)
            # Not told by a call: a new view, or the end of the lease, comes first.
            work = Work(what, slot, self._loop.time(), None, self._drain_timeout, _nobody_told)
            self._membership.begin(work)
        job = self._jobs[encoded] = _Job(work)
        job.task = asyncio.create_task(self._work(job, resource), name=f"aiopartition worker {_shown(encoded)}")
        job.task.add_done_callback(partial(self._end, encoded, job))

    async def _work(self, job: _Job, resource: T) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            started = self._loop.time()
            try:
                await _unless_cancelled_within(self._worker(resource))
                return
            except Exception:
                if self._on_error == "raise":
                    raise
                if job.cancelled_at is not None:
                    _logger.exception("a worker of run() failed while it was being cancelled")
                    return
                if self._loop.time() - started >= _STABLE_AFTER:
                    backoff = _FIRST_BACKOFF
                _logger.exception("a worker of run() failed; it is started again in about %.1f s", backoff)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            backoff = min(2 * backoff, _LONGEST_BACKOFF)

    def _end(self, encoded: bytes, job: _Job, task: asyncio.Task[None]) -> None:
        """A worker's task is done: only now may anybody else begin."""
        del self._jobs[encoded]
        self._ending.pop(encoded, None)
        if job.work is not None and self._membership is not None:
            self._membership.end(job.work)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)
        elif job.cancelled_at is None:
            self._done.add(encoded)
        self._ended.append(encoded)
        self._woken.set()

    async def _cancel_all(self, keys: Iterable[bytes]) -> None:
        for count, encoded in enumerate(keys, start=1):
            job = self._jobs.get(encoded)
            if job is not None and job.task is not None and job.cancelled_at is None:
                job.cancelled_at, job.patience = self._loop.time(), self._drain_timeout
                self._ending[encoded] = job
                job.task.cancel()
            if count % _CHUNK == 0:
                await checkpoint()  # they all run at the next turn of the loop: not too many at once

    def _cancel_overdue(self) -> float | None:
        """Cancel those again that have outstayed their time, and say so. When the next one is due."""
        now = self._loop.time()
        due: float | None = None
        for encoded, job in self._ending.items():
            if job.cancelled_at is None or job.task is None:
                continue
            if now >= job.cancelled_at + job.patience:
                if job.patience == self._drain_timeout:
                    _logger.error(
                        "the worker on key %s has not ended %.1f s after it was cancelled%s",
                        _shown(encoded), now - job.cancelled_at, "" if job.work is None else "; others wait for it",
                    )  # fmt: skip
                job.task.cancel()
                job.patience = now - job.cancelled_at + _CANCEL_AGAIN_AFTER
            ends = job.cancelled_at + job.patience
            due = ends if due is None else min(due, ends)
        return due

    async def _end_all(self) -> None:
        """Cancel all workers and wait for them, whoever cancels us meanwhile: nobody else may begin before."""
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):  # anyio cancels in each turn of the loop: this would turn with it
            while self._jobs:
                self._woken.clear()
                try:
                    await self._cancel_all(list(self._jobs))
                    await self._wait()
                except asyncio.CancelledError as error:
                    cancelled = error
        if cancelled is not None:
            raise cancelled

    # ---- what wakes the loop

    @asynccontextmanager
    async def _companions(self) -> AsyncGenerator[None]:
        """The listing of resources and the watch on the membership, in tasks of their own: a slow listing must not
        delay a revocation. When they are to end, the workers end first: others may wait for them, and the lease may
        end meanwhile."""
        tasks = [asyncio.create_task(self._list_resources(), name="aiopartition resources")]
        if self._membership is not None:
            tasks.append(asyncio.create_task(self._watch(self._membership), name="aiopartition changes"))
        for task in tasks:
            task.add_done_callback(self._companion_ended)
        try:
            yield
        finally:
            self._closing = True
            for task in tasks:
                task.cancel()
            try:
                await self._end_all()
            finally:
                await _all_ended(tasks)

    def _companion_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)
            self._woken.set()

    async def _watch(self, membership: Membership) -> None:
        while True:
            changed = membership.changed
            self._woken.set()
            await changed.wait()

    async def _list_resources(self) -> None:
        resources = self._resources
        if isinstance(resources, Iterable):  # it may be callable too, as a class of enum members is
            self._listing = await self._by_key(cast("Iterable[T]", cast("object", resources)))
            self._woken.set()
            return
        while True:
            try:
                self._listing = await self._by_key(await _unless_cancelled_within(resources()))
            except Exception as error:
                if self._closing:
                    _logger.exception("resources() failed while it was being cancelled")
                    return
                if self._on_error == "raise" or isinstance(error, TypeError):  # which no waiting heals
                    raise
                # What was listed before is worked on; a database that is away for a minute must not end the work.
                _logger.exception("the resources could not be listed; they are asked for again in %g s", self._refresh)
            if self._closing:  # resources() has kept its cancellation to itself
                return
            self._woken.set()
            await asyncio.sleep(self._refresh)

    async def _by_key(self, resources: Iterable[T]) -> dict[bytes, T]:
        listing: dict[bytes, T] = {}
        for count, resource in enumerate(require_iterable(resources), start=1):
            listing.setdefault(encode(resource if self._key is None else self._key(resource)), resource)
            if count % _CHUNK == 0:
                await checkpoint()
        return listing


async def _all_ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait for tasks that are being cancelled, even when cancelled ourselves."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while pending := [task for task in tasks if not task.done()]:
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled


async def _unless_cancelled_within(call: Awaitable[T]) -> T:
    """Await what the user has made. That something it waits for was cancelled is an error like any other; else a
    resource would be taken for done."""
    try:
        return await call
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("something was cancelled, but not the task that awaited it") from error


def _nobody_told(_at_once: bool) -> None:
    """There is nothing to tell."""


def _shown(encoded: bytes) -> str:
    text = repr(encoded[:60])[1:]
    return text if len(encoded) <= 60 else f"{text}…"
