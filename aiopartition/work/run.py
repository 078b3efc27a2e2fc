"""``run()``: one worker for each resource that is ours, started when it is gained, cancelled and awaited when lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from operator import gt
from typing import Final, Generic, Literal, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from aiopartition.events import Events
from aiopartition.group.membership import Membership
from aiopartition.placement.keys import Key
from aiopartition.placement.view import View
from aiopartition.showing import shown_key
from aiopartition.work.listing import Listing, Resources
from aiopartition.work.workers import OnError, Worker, Workers

__all__ = ["OnChange", "Supervisor"]

T = TypeVar("T")

OnChange: TypeAlias = Literal["keep", "restart"]

_logger: Final = logging.getLogger("aiopartition")

_CHUNK: Final = 64
"""Workers started or cancelled in one turn of the event loop: all of them run in the next turn."""


class Supervisor(Generic[T]):
    """Keeps the running workers equal to those that should run, which is a function of the view and the listing.

    Everything happens in the task that calls :meth:`run`, and in tasks that it awaits before it ends.
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
        on_change: OnChange,
        events: Events,
    ) -> None:
        self._membership = membership
        self._where = "" if membership is None else f"group {membership.group_id!r}: "
        self._restarts_changed = on_change == "restart"
        self._comparison_failed = False  # which is logged once
        self._woken = asyncio.Event()
        self._failures: list[tuple[str, BaseException]] = []
        self._listing = Listing(
            resources, key, refresh, where=self._where, strict=on_error == "raise", changed=self._woken.set,
            failed=partial(events.tell, "listing_failed", group="" if membership is None else membership.group_id),
        )  # fmt: skip
        self._workers = Workers(self._where, membership, worker, drain_timeout, on_error, self._worker_ended, events)
        # The view and the listing by which we last decided what should run.
        self._view: View | None = None
        self._listed: dict[bytes, T] = {}
        self._unchecked: dict[bytes, None] = {}
        """The keys that have not been compared since then, or whose worker has ended since then, in order."""

    async def run(self) -> None:
        """Supervise until cancelled, until a worker or the listing fails, or until the group is left.

        :raises BaseException: what a worker raised, with ``on_error="raise"``; a group if several did.
        """
        try:
            async with self._companions():
                await self._supervise()
        except BaseException:
            for what, failure in self._all_failures():  # they are not raised, as we raise another error
                _logger.error("%s failed as run() ended", what, exc_info=failure)
            raise
        failures = [failure for _, failure in self._all_failures()]
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise BaseExceptionGroup("workers failed", failures)

    # ---- the loop

    async def _supervise(self) -> None:
        membership = self._membership
        while not self._all_failures():
            self._woken.clear()
            if membership is not None:
                if membership.left:
                    return
                if membership.error is not None and not self._workers:
                    raise membership.error
            await self._reconcile()
            if not self._woken.is_set():
                await self._wait()

    async def _reconcile(self) -> None:
        """Compare what runs with what should run, key by key, and act on each difference.

        A key stays unchecked until it has been compared under the view and the listing that hold at that very moment.
        Whenever either is replaced, every key is unchecked again. So nothing is lost wherever this is interrupted.
        """
        self._look()
        # Losses first: other members wait for them.
        await self._cancel(key for key in self._unchecked if key in self._workers and not self._is_wanted(key))
        for count, key in enumerate(tuple(self._unchecked), start=1):
            if count % _CHUNK == 0:
                await checkpoint()
            if self._look():  # the end of the lease counts as a new view
                self._woken.set()
                return
            del self._unchecked[key]
            if self._is_wanted(key):
                self._begin_or_restart(key, self._listed[key])

    def _begin_or_restart(self, key: bytes, resource: T) -> None:
        workers = self._workers
        if key in workers:
            if self._has_changed(key, workers.resource(key), resource):
                workers.cancel(key)  # once it has ended, the key is compared again
        elif key not in workers.returned or self._has_changed(key, workers.returned[key], resource):
            workers.returned.pop(key, None)
            workers.start(key, resource, self._view)

    def _has_changed(self, key: bytes, known: T, listed: T) -> bool:
        """Whether to restart a worker with another object. If the objects cannot be compared, the worker goes on."""
        if not self._restarts_changed or known is listed:
            return False
        try:
            equal: object = known == listed
            if equal not in (True, False):
                raise TypeError(f"== gave a {type(equal).__name__}")
        except (Exception, asyncio.CancelledError):
            if not self._comparison_failed:
                self._comparison_failed = True
                _logger.exception(
                    "%sit cannot be told whether the resource of key %s has changed; its worker goes on, and those of "
                    "others that cannot be compared", self._where, shown_key(key),
                )  # fmt: skip
            return False
        return not equal

    def _look(self) -> bool:
        """Get the view and the listing that hold now. Return whether either was replaced since the last look."""
        view = None if self._membership is None else self._membership.view
        if view is self._view and self._listing.by_key is self._listed:
            return False
        if _has_gained(self._view, view):
            self._listing.ask_again()
        self._view, self._listed = view, self._listing.by_key
        self._unchecked = dict.fromkeys((*self._workers.running, *self._listed))
        # A worker that returned is done until its resource is gained anew.
        self._workers.returned = {key: each for key, each in self._workers.returned.items() if self._is_wanted(key)}
        return True

    def _is_wanted(self, key: bytes) -> bool:
        """Whether a worker should run on ``key``, according to the last look."""
        if key not in self._listed:
            return False
        if self._membership is None:
            return True
        return self._view is not None and self._view.mask[self._view.table.slot(key)]

    async def _wait(self) -> None:
        """Wait for news, or until some worker is to be cancelled again."""
        due = self._workers.cancel_overdue()
        try:
            async with asyncio.timeout_at(due):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _cancel(self, keys: Iterable[bytes]) -> None:
        for count, key in enumerate(tuple(keys), start=1):
            self._workers.cancel(key)
            if count % _CHUNK == 0:
                await checkpoint()

    async def _end_all(self) -> None:
        """Cancel all workers and wait for them, even if we are cancelled meanwhile: no other member may begin before
        they have ended."""
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):  # anyio cancels in each turn of the loop, so this loop would spin
            while self._workers:
                self._woken.clear()
                try:
                    await self._cancel(self._workers.running)
                    await self._wait()
                except asyncio.CancelledError as error:
                    cancelled = error
        if cancelled is not None:
            raise cancelled

    # ---- what wakes the loop

    def _worker_ended(self, key: bytes) -> None:
        self._unchecked[key] = None  # it may have been cancelled, and be wanted again by now
        self._woken.set()

    @asynccontextmanager
    async def _companions(self) -> AsyncGenerator[None]:
        """Subscribe to news of the membership, and follow the listing in a task of its own, as a slow listing must not
        delay a revocation. On the way out the workers end first, as other members may wait for them."""
        listing = asyncio.create_task(self._list(), name="aiopartition resources")
        listing.add_done_callback(self._listing_ended)
        if self._membership is not None:
            self._membership.news.subscribe(self._woken.set)
        try:
            yield
        finally:
            self._listing.close()
            listing.cancel()
            try:
                await self._end_all()
            finally:
                if self._membership is not None:
                    self._membership.news.unsubscribe(self._woken.set)
                await _ended(listing)

    async def _list(self) -> None:
        """Follow the listing once the group's policy is known, which decides which keys are valid. Until then nothing
        is ours."""
        membership, partitions = self._membership, None
        if membership is not None:
            while (policy := membership.options.policy) is None:
                await membership.news.changed.wait()
            partitions = policy.partitions
        await self._listing.follow(partitions)

    def _listing_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append((f"{self._where}the listing of run()", failure))
            self._woken.set()

    def _all_failures(self) -> list[tuple[str, BaseException]]:
        return [*self._failures, *self._workers.failures]


def _has_gained(before: View | None, now: View | None) -> bool:
    """Whether anything is ours now that was not before."""
    if now is None:
        return False
    return any(now.mask) if before is None else any(map(gt, now.mask, before.mask))


async def _ended(task: asyncio.Task[None]) -> None:
    """Wait for a task that is being cancelled, even if we are cancelled ourselves."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
