"""``hold()``: a batch of work during which nothing that is ours passes to another member."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Final

from aiopartition.errors import ConfigurationError, OwnershipLostError
from aiopartition.group.membership import Membership
from aiopartition.group.registry import Registry
from aiopartition.group.work import Work
from aiopartition.placement.view import View
from aiopartition.work.holder import Holder, Task, running_task

__all__ = ["Hold"]

_logger: Final = logging.getLogger("aiopartition")


class Hold:
    """An async context manager that can be entered once. Made by :meth:`PartitionCoordinator.hold`.

    The body is cancelled once, not in each turn of the loop as an anyio scope would do, which would cancel its
    clean-up too. Our cancellation is told apart from others by counting, as :class:`asyncio.Timeout` does it.

    :param drain_timeout: seconds that the body may take to end once another member waits for it.
    """

    def __init__(self, registry: Registry, group_id: str, drain_timeout: float) -> None:
        self._registry = registry
        self._group_id = group_id
        self._drain_timeout = drain_timeout
        self._asked_by = running_task()
        self._holder = Holder(self._asked_by, self._orphaned)
        self._cancelling: dict[Task, int] = {}  # how many cancellations of each task were under way on entry
        self._entered = False
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""
        self._cancelled: Task | None = None
        self._lost = False  # whether ownership ended, and the body went on because nothing could cancel it

    async def __aenter__(self) -> View:
        if self._entered:
            raise RuntimeError("a hold can be entered once; call hold() again")
        self._entered = True
        self._registry.require_started("hold")
        self._registry.require_unobserved(self._group_id)
        self._require_exclusive(self._registry.memberships.get(self._group_id))
        membership = await self._registry.membership(self._group_id)
        self._require_exclusive(membership)  # its policy may not have been known before
        view = self._registry.certain_view(membership)  # nothing is awaited from here on
        now = asyncio.get_running_loop().time()
        self._cancelling = {task: task.cancelling() for task in (self._asked_by, running_task()) if task is not None}
        work = Work("a hold()", view.mask, now, self._holder.task, self._drain_timeout, self._revoke)
        self._holder.take(membership, work)
        return view

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._holder.close()
        task = self._cancelled
        by_us_alone = task is not None and task.uncancel() <= self._cancelling[task]
        if self._lost or (by_us_alone and isinstance(error, asyncio.CancelledError)):
            raise OwnershipLostError(self._group_id, self._reason) from error

    # ---- inside

    def _require_exclusive(self, membership: Membership | None) -> None:
        # Joining the group just for this would be of no use: if it is new, it is not exclusive.
        if membership is None or membership.exclusive is False:
            raise ConfigurationError(
                "hold", f"group {self._group_id!r} is not exclusive: join it with that policy first"
            )

    def _revoke(self, at_once: bool) -> None:
        if self._cancelled is not None or self._lost:
            return  # the first reason stands
        delay = 0.0 if at_once else self._drain_timeout
        if at_once:
            self._reason = "the backend has not answered for so long that the session may have expired"
        elif self._timer is None:
            self._reason = f"it was to be handed over, and the body went on for {delay:g} s"
        else:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, self._cancel)

    def _cancel(self) -> None:
        self._cancelled = self._holder.task()
        if self._cancelled is not None:
            self._cancelled.cancel()
            return
        self._lost = True
        _logger.error(
            "group %r: the body of a hold() cannot be cancelled, as the task that entered it has ended; %s",
            self._group_id, self._reason,
        )  # fmt: skip

    def _orphaned(self) -> None:
        _logger.error(
            "group %r: the task that entered a hold() has ended within it, so nothing can cancel its body when its "
            "ownership ends; call hold() and enter it in the task that runs the body",
            self._group_id,
        )
