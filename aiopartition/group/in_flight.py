"""The work that is in flight in one group, and what waits for its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiopartition.group.handoff import Handoff
from aiopartition.group.work import Work

__all__ = ["InFlight"]

_logger: Final = logging.getLogger("aiopartition")


class InFlight:
    """Reports each piece of work to the handoff, when it begins and when it ends. In ordinary groups it does nothing.

    Nor does it before :meth:`adopt`, as nothing is ours until the group's policy is known.

    :param ended: called when work has ended that something may be waiting for.
    """

    def __init__(self, group_id: str, ended: Callable[[], None]) -> None:
        self._group_id = group_id
        self._handoff: Handoff | None = None
        self._ended = ended
        self._calm: asyncio.Event | None = None  # set when nothing is in flight any more
        self._predecessors: list[InFlight] = []  # those of earlier participations, until the policy is known
        self._successors: list[InFlight] = []  # those of later participations, which wait for our work to end
        self._adopted = False

    def adopt(self, handoff: Handoff | None) -> None:
        """The group's policy is known, and with it whether there is a handoff to report to."""
        self._handoff, self._adopted = handoff, True
        predecessors, self._predecessors = self._predecessors, []
        for predecessor in predecessors:
            self.succeed(predecessor)

    @property
    def works(self) -> list[Work]:
        """All work in flight."""
        return [] if self._handoff is None else list(self._handoff.works)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return self._handoff is None or self._handoff.idle

    @property
    def drain_timeout(self) -> float:
        """Seconds within which all work in flight can be expected to end."""
        return max((work.drain_timeout for work in self.works), default=0.0)

    def begin(self, work: Work) -> None:
        """Work begins on slots that are active in the membership's view. Nothing was awaited since that was read."""
        if self._handoff is not None:
            self._handoff.began(work)

    def end(self, work: Work) -> None:
        """Work has ended. Idempotent."""
        if self._handoff is None:
            return
        self._handoff.ended(work)
        self._ended()
        if self.idle and self._calm is not None:
            self._calm.set()
        for successor in self._successors:
            successor.end(work)

    def release(self, task: object) -> None:
        """End the work that ``task`` has in hand: the task is about to wait for us to let go."""
        for work in self.works:
            if work.task() is task:
                self.end(work)

    def revoke(self) -> None:
        """End all work at once: other members may own its slots already."""
        for work in self.works:
            try:
                work.revoke(True)
            except Exception:  # one failure must not stop the revocation of the others
                _logger.exception("group %r: %s could not be revoked", self._group_id, work.what)

    def revoke_lost(self) -> None:
        """End work on slots that are no longer active, within its drain timeout."""
        for work in [] if self._handoff is None else self._handoff.revocations():
            work.revoke(False)

    def succeed(self, predecessor: InFlight) -> None:
        """Take up nothing before the work of an earlier participation of this process has ended.

        Usually the earlier entry holds us back, as the handoff waits for it as for any other. But the session that both
        share may expire, and the entry with it, while that work goes on.
        """
        if not self._adopted:
            self._predecessors.append(predecessor)
        elif self._handoff is not None:
            self._handoff.inherited(predecessor.works)
            predecessor._successors.append(self)

    async def until_idle(self) -> None:
        """Wait until nothing is in flight."""
        while not self.idle:
            self._calm = self._calm or asyncio.Event()
            self._calm.clear()
            await self._calm.wait()
