"""The workers of one ``run()``: one task for each resource that is being worked on."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from aiopartition.events import Events
from aiopartition.group.membership import Membership
from aiopartition.group.work import Work
from aiopartition.placement.view import View
from aiopartition.showing import shown, shown_key

__all__ = ["OnError", "Worker", "Workers", "call_user"]

T = TypeVar("T")

OnError: TypeAlias = Literal["restart", "raise"]
Worker: TypeAlias = Callable[[T], Awaitable[object]]

_logger: Final = logging.getLogger("aiopartition")

_FIRST_BACKOFF: Final = 0.1  # seconds until a worker that failed is started again, doubled with each failure
_LONGEST_BACKOFF: Final = 30.0
_STABLE_AFTER: Final = 60.0  # seconds after which a worker's earlier failures are forgotten
_CANCEL_AGAIN_AFTER: Final = 1.0  # seconds between cancellations of a worker that exceeds its drain_timeout


class NoAwaitableError(TypeError):
    """The user's worker is not an async function, so calling it again would be of no use."""


@dataclass(eq=False, slots=True)
class _Job(Generic[T]):
    """The task that works on one resource."""

    resource: T
    work: Work | None
    task: asyncio.Task[None] | None = None
    cancelled_at: float | None = None
    patience: float = 0.0
    """Seconds from the first cancellation until it is cancelled again."""


class Workers(Generic[T]):
    """Starts workers and cancels them. A worker counts as running until its task is done, even once it is cancelled.

    A worker is cancelled once, as :meth:`asyncio.Task.cancel` does it, so that it can clean up in a ``finally``. Only
    a worker that has not ended after ``drain_timeout`` seconds is cancelled again, every second.

    :param where: begins each message in the log.
    :param membership: told when each worker starts and ends; ``None`` if there is no group.
    :param ended: called with the key of each worker that has ended.
    :param events: told of starts, ends and failures, never of keys.
    """

    def __init__(
        self,
        where: str,
        membership: Membership | None,
        worker: Worker[T],
        drain_timeout: float,
        on_error: OnError,
        ended: Callable[[bytes], None],
        events: Events,
    ) -> None:
        self._where = where
        self._membership = membership
        self._worker = worker
        self._drain_timeout = drain_timeout
        self._on_error = on_error
        self._ended = ended
        self._events = events
        self._group_id = "" if membership is None else membership.group_id
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[bytes, _Job[T]] = {}
        self._ending: dict[bytes, _Job[T]] = {}  # the jobs that were cancelled
        self._unfit = False  # whether the worker is not an async function, and so is not called again
        self.returned: dict[bytes, T] = {}
        """The keys whose workers returned by themselves, with the resources that they worked on."""
        self.failures: list[tuple[str, BaseException]] = []
        """Errors of workers that are not retried, each with words that say which worker it was."""

    @property
    def running(self) -> tuple[bytes, ...]:
        """The keys that are being worked on."""
        return tuple(self._jobs)

    def __contains__(self, key: bytes) -> bool:
        return key in self._jobs

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def resource(self, key: bytes) -> T:
        """Return the resource that the running worker on ``key`` was started with."""
        return self._jobs[key].resource

    def start(self, key: bytes, resource: T, view: View | None) -> None:
        """Start the worker of a resource that is ours according to ``view``, which holds at this moment."""
        work = None
        if self._membership is not None and view is not None and self._membership.exclusive:
            what = f"a worker of run() on key {shown_key(key)}"
            # It needs no call to revoke it: the loop of run() sees the new view, or the end of the lease.
            work = Work(what, view.table.slot(key), self._loop.time(), _no_task, self._drain_timeout)
            self._membership.in_flight.begin(work)
        job = self._jobs[key] = _Job(resource, work)
        try:
            # An eager task runs its first step here, which may raise KeyboardInterrupt or SystemExit.
            job.task = asyncio.create_task(self._work(job, key), name=f"aiopartition worker {shown_key(key)}")
        except BaseException:
            self._forget(key, job)
            raise
        job.task.add_done_callback(partial(self._done, key, job))
        self._tell("worker_started")

    def cancel(self, key: bytes) -> None:
        """Cancel the worker on ``key``, if there is one that has not been cancelled yet."""
        job = self._jobs.get(key)
        if job is not None and job.task is not None and job.cancelled_at is None:
            job.cancelled_at, job.patience = self._loop.time(), self._drain_timeout
            self._ending[key] = job
            job.task.cancel()

    def cancel_overdue(self) -> float | None:
        """Cancel again, and report, the workers that exceed their time. Return when the next one will be due."""
        now = self._loop.time()
        due: float | None = None
        for key, job in self._ending.items():
            if job.cancelled_at is None or job.task is None:
                continue
            if now >= job.cancelled_at + job.patience:
                if job.patience == self._drain_timeout:
                    _logger.error(
                        "%s has not ended %.1f s after it was cancelled%s",
                        self._named(key), now - job.cancelled_at, "" if job.work is None else "; others wait for it",
                    )  # fmt: skip
                job.task.cancel()
                job.patience = now - job.cancelled_at + _CANCEL_AGAIN_AFTER
            ends = job.cancelled_at + job.patience
            due = ends if due is None else min(due, ends)
        return due

    # ---- inside

    async def _work(self, job: _Job[T], key: bytes) -> None:
        backoff = _FIRST_BACKOFF
        while not self._unfit:
            started = self._loop.time()
            try:
                await call_user(self._worker, job.resource)
                return
            except NoAwaitableError:
                self._unfit = True  # so that workers started in the same turn do not call it as well
                raise
            except Exception:
                self._tell("worker_failed")
                if self._on_error == "raise":
                    raise
                if job.cancelled_at is not None:
                    _logger.exception("%s failed while it was being cancelled", self._named(key))
                    return
                if self._loop.time() - started >= _STABLE_AFTER:
                    backoff = _FIRST_BACKOFF
                _logger.exception("%s failed; it is started again in about %.1f s", self._named(key), backoff)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            backoff = min(2 * backoff, _LONGEST_BACKOFF)
            self._tell("worker_restarted")

    def _tell(self, name: str, **facts: float) -> None:
        if self._events.told:
            self._events.tell(name, group=self._group_id, **facts)

    def _named(self, key: bytes) -> str:
        return f"{self._where}the worker of run() on key {shown_key(key)}"

    def _done(self, key: bytes, job: _Job[T], task: asyncio.Task[None]) -> None:
        """A worker's task is done. Only now may another member begin."""
        self._forget(key, job)
        self._tell("worker_ended")
        if job.cancelled_at is not None:
            self._tell("worker_revoked", seconds=self._loop.time() - job.cancelled_at)
        if not task.cancelled():
            failure = task.exception()
            if failure is not None:
                self.failures.append((self._named(key), failure))
            elif job.cancelled_at is None:
                self.returned[key] = job.resource
        self._ended(key)

    def _forget(self, key: bytes, job: _Job[T]) -> None:
        del self._jobs[key]
        self._ending.pop(key, None)
        if job.work is not None and self._membership is not None:
            self._membership.in_flight.end(job.work)


async def call_user(function: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """Call the user's function, and await what it returns. If something inside was cancelled, but not the task that
    runs it, that is an error like any other; otherwise the resource would count as done.

    :raises NoAwaitableError: if the function does not return an awaitable.
    """
    try:
        awaitable = function(*arguments)
        if not isawaitable(awaitable):
            raise NoAwaitableError(f"a worker must be an async function: it returned {shown(awaitable)} to be awaited")
        return await awaitable
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("something was cancelled, but not the task that awaited it") from error


def _no_task() -> None:
    """No task ends this work early: a worker that waits for its own work to end is cancelled anyway."""
