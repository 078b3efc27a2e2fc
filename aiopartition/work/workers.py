"""The workers of one ``run()``: a task for each resource that is worked on, from its start until it has ended."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from aiopartition.group.membership import Membership
from aiopartition.group.work import Work
from aiopartition.placement.view import View
from aiopartition.showing import shown_key

__all__ = ["OnError", "Worker", "Workers", "call_user"]

T = TypeVar("T")

OnError: TypeAlias = Literal["restart", "raise"]
Worker: TypeAlias = Callable[[T], Awaitable[object]]

_logger: Final = logging.getLogger("aiopartition")

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
    """Seconds from the first cancellation to the next."""


class Workers(Generic[T]):
    """Starts workers and cancels them. A worker counts as running until its task is done, however it was told to end.

    A worker is cancelled once, as :meth:`asyncio.Task.cancel` does it, so that it can clean up in a ``finally``. Only
    one that has not ended after ``drain_timeout`` seconds is cancelled again, each second.

    :param membership: is told of each worker from its start to its end; ``None``: no group is concerned.
    :param ended: called with the key of each worker that has ended.
    """

    def __init__(
        self,
        membership: Membership | None,
        worker: Worker[T],
        drain_timeout: float,
        on_error: OnError,
        ended: Callable[[bytes], None],
    ) -> None:
        self._membership = membership
        self._worker = worker
        self._drain_timeout = drain_timeout
        self._on_error = on_error
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[bytes, _Job] = {}
        self._ending: dict[bytes, _Job] = {}  # those of them that were cancelled
        self.returned: set[bytes] = set()
        """Keys whose workers returned by themselves."""
        self.failures: list[BaseException] = []
        """What workers raised that is not to be retried."""

    @property
    def running(self) -> tuple[bytes, ...]:
        """The keys that are worked on."""
        return tuple(self._jobs)

    def __contains__(self, key: bytes) -> bool:
        return key in self._jobs

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def start(self, key: bytes, resource: T, view: View | None) -> None:
        """Start the worker of a resource that is ours by ``view``, which holds at this moment."""
        work = None
        if self._membership is not None and view is not None and self._membership.exclusive:
            what = f"a worker of run() on key {shown_key(key)}"
            # Not told by a call: a new view, or the end of the lease, comes first.
            work = Work(what, view.table.slot(key), self._loop.time(), _no_task, self._drain_timeout, _ignore)
            self._membership.in_flight.begin(work)
        job = self._jobs[key] = _Job(work)
        try:
            # An eager task runs its first step here, and out of that come KeyboardInterrupt and SystemExit.
            job.task = asyncio.create_task(self._work(job, key, resource), name=f"aiopartition worker {shown_key(key)}")
        except BaseException:
            self._forget(key, job)
            raise
        job.task.add_done_callback(partial(self._done, key, job))

    def cancel(self, key: bytes) -> None:
        """Tell the worker on ``key`` to end, if there is one that was not told yet."""
        job = self._jobs.get(key)
        if job is not None and job.task is not None and job.cancelled_at is None:
            job.cancelled_at, job.patience = self._loop.time(), self._drain_timeout
            self._ending[key] = job
            job.task.cancel()

    def cancel_overdue(self) -> float | None:
        """Cancel those again that have outstayed their time, and report it. When the next one is due."""
        now = self._loop.time()
        due: float | None = None
        for key, job in self._ending.items():
            if job.cancelled_at is None or job.task is None:
                continue
            if now >= job.cancelled_at + job.patience:
                if job.patience == self._drain_timeout:
                    _logger.error(
                        "the worker on key %s has not ended %.1f s after it was cancelled%s",
                        shown_key(key), now - job.cancelled_at, "" if job.work is None else "; others wait for it",
                    )  # fmt: skip
                job.task.cancel()
                job.patience = now - job.cancelled_at + _CANCEL_AGAIN_AFTER
            ends = job.cancelled_at + job.patience
            due = ends if due is None else min(due, ends)
        return due

    # ---- inside

    async def _work(self, job: _Job, key: bytes, resource: T) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            started = self._loop.time()
            try:
                await call_user(self._worker, resource)
                return
            except Exception:
                if self._on_error == "raise":
                    raise
                if job.cancelled_at is not None:
                    _logger.exception(
                        "the worker of run() on key %s failed while it was being cancelled", shown_key(key)
                    )
                    return
                if self._loop.time() - started >= _STABLE_AFTER:
                    backoff = _FIRST_BACKOFF
                _logger.exception(
                    "the worker of run() on key %s failed; it is started again in about %.1f s", shown_key(key), backoff
                )
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            backoff = min(2 * backoff, _LONGEST_BACKOFF)

    def _done(self, key: bytes, job: _Job, task: asyncio.Task[None]) -> None:
        """A worker's task is done: only now may another member begin."""
        self._forget(key, job)
        if not task.cancelled():
            failure = task.exception()
            if failure is not None:
                self.failures.append(failure)
            elif job.cancelled_at is None:
                self.returned.add(key)
        self._ended(key)

    def _forget(self, key: bytes, job: _Job) -> None:
        del self._jobs[key]
        self._ending.pop(key, None)
        if job.work is not None and self._membership is not None:
            self._membership.in_flight.end(job.work)


async def call_user(function: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """Call what the user gave, and await what it returns. That something inside was cancelled, but not the task that
    runs it, is an error like any other; else a resource would be taken for done."""
    try:
        return await function(*arguments)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("something was cancelled, but not the task that awaited it") from error


def _no_task() -> None:
    """A worker that waits for its own work is cancelled first."""


def _ignore(_at_once: bool) -> None:
    """There is nobody to tell."""
