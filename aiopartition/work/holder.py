"""Finds the task that has a piece of work in hand. The work ends with that task, and is interrupted through it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from aiopartition.group.membership import Membership
from aiopartition.group.work import Work

__all__ = ["Holder", "running_task"]

Task: TypeAlias = asyncio.Task[Any]


class Holder:
    """Ties one piece of work at a time to a task.

    That is the task in which the work was taken. If that task fails, the work ends with it. If it succeeds and still
    has the work in hand, it took it on behalf of another task: in Python 3.11 :func:`asyncio.wait_for` runs what it
    waits for in a task of its own. From then on, the work belongs to the task that asked for it.

    :param asked_by: the task in which the user called ``hold()`` or ``my_subset()``, if any.
    :param orphaned: called when the task that took the work has succeeded, and no other task has the work.
    """

    def __init__(self, asked_by: Task | None, orphaned: Callable[[], None] | None = None) -> None:
        self._asked_by = asked_by
        self._orphaned = orphaned
        self._membership: Membership | None = None
        self._work: Work | None = None
        self._taken_by: Task | None = None

    def task(self) -> Task | None:
        """Return the task that has the work in hand; ``None`` if there is no such task any longer."""
        for task in (self._taken_by, self._asked_by):
            if task is not None and not task.done():
                return task
        return None

    def take(self, membership: Membership, work: Work) -> None:
        """Work begins in the running task. Nothing was awaited since ownership was checked."""
        taken_by = running_task()
        if taken_by is not self._taken_by:
            self._watch(taken_by)
        self._membership, self._work = membership, work
        membership.in_flight.begin(work)

    def drop(self) -> None:
        """The work has ended. Idempotent."""
        membership, work, self._work = self._membership, self._work, None
        if membership is not None and work is not None:
            membership.in_flight.end(work)

    def close(self) -> None:
        """Drop the work, and expect no more."""
        self.drop()
        self._watch(None)

    # ---- inside

    def _watch(self, task: Task | None) -> None:
        if self._taken_by is not None:
            self._taken_by.remove_done_callback(self._ended)
        if task is not None:
            task.add_done_callback(self._ended)
        self._taken_by = task

    def _ended(self, task: Task) -> None:
        self._taken_by = None
        if _has_failed(task):
            self.drop()
        elif self._work is not None and self._orphaned is not None and self.task() is None:
            self._orphaned()


def running_task() -> Task | None:
    """Return the task that is running now; ``None`` outside of tasks, and where no event loop runs."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _has_failed(task: Task) -> bool:
    """Whether a task ended with an error or was cancelled. Whoever keeps the error keeps the task's frames alive, and
    with them an iterator or a hold that nobody will close."""
    # exception() would mark the error as retrieved, and asyncio would no longer report it.
    return task.cancelled() or getattr(task, "_exception", None) is not None
