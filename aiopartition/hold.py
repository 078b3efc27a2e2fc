"""``hold()``: a batch of work during which nothing that is mine passes to another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from aiopartition.errors import OwnershipLostError
from aiopartition.handoff import Work
from aiopartition.membership import Membership
from aiopartition.view import View

__all__ = ["Hold", "has_failed"]


def has_failed(task: asyncio.Task[object]) -> bool:
    """Whether a task that has ended did so by an error, or by being cancelled. An error may be kept for long, and keeps
    alive what the task had open, which then nobody closes."""
    # exception() would count as somebody having looked at the error, and it would be reported to nobody.
    return task.cancelled() or getattr(task, "_exception", None) is not None


class Hold:
    """An async context manager, for one use. Made by :meth:`PartitionCoordinator.hold`.

    :param enter: finds the membership, with a view that holds; raises if there is none.
    :param drain_timeout: seconds that the body has to end once somebody waits for it.
    """

    def __init__(self, enter: Callable[[], Awaitable[tuple[Membership, View]]], drain_timeout: float) -> None:
        self._enter = enter
        self._drain_timeout = drain_timeout
        # Not an anyio scope, which would cancel the body's own cleaning up as well, in each turn of the loop.
        self._timeout = asyncio.timeout(None)
        self._reason = ""
        self._entered = False
        self._membership: Membership | None = None
        self._work: Work | None = None
        self._holder: asyncio.Task[object] | None = None

    async def __aenter__(self) -> View:
        if self._entered:
            raise RuntimeError("a hold can be entered once; call hold() again")
        self._entered = True
        membership, view = await self._enter()  # with no suspension after the look at the view
        now = asyncio.get_running_loop().time()
        holder = asyncio.current_task()
        work = Work("a hold()", view.mask, now, holder, self._drain_timeout, self._revoke)
        membership.begin(work)
        self._membership, self._work, self._holder = membership, work, holder
        if holder is not None:
            holder.add_done_callback(self._holder_ended)
        await self._timeout.__aenter__()  # which does not suspend
        return view

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._membership is not None
        assert self._work is not None
        try:
            try:
                await self._timeout.__aexit__(kind, error, traceback)
            except TimeoutError as timeout:
                raise OwnershipLostError(self._membership.group_id, self._reason) from timeout
        finally:
            if self._holder is not None:
                self._holder.remove_done_callback(self._holder_ended)
            self._membership.end(self._work)

    def _holder_ended(self, holder: asyncio.Task[object]) -> None:
        if self._membership is not None and self._work is not None and has_failed(holder):
            self._membership.end(self._work)

    def _revoke(self, at_once: bool) -> None:
        if self._timeout.expired():
            return  # for the reason that was given then
        now = asyncio.get_running_loop().time()
        due = self._timeout.when()
        if at_once:
            self._reason = "the backend has not answered for so long that the session may have expired"
            self._timeout.reschedule(now)
        elif due is None:
            self._reason = f"it was to be handed over, and the body went on for {self._drain_timeout:g} s"
            self._timeout.reschedule(now + self._drain_timeout)
