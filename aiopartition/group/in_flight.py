"""The work that is in flight in one group, and those who wait for its end."""

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
    """Tells the handoff of each piece of work from its beginning to its end. In ordinary groups it has nothing to tell.

    Nor has it before :meth:`adopt`, as nothing is ours before the group's policy is known.

    :param ended: called when work has ended for which something may be waiting.
    """

    def __init__(self, group_id: str, ended: Callable[[], None]) -> None:
        self._group_id = group_id
        self._handoff: Handoff | None = None
        self._ended = ended
        self._calm = asyncio.Event()
        self._predecessors: list[InFlight] = []  # of earlier participations, until the policy is known
        self._successors: list[InFlight] = []  # of later participations, which wait for our work to end
        self._adopted = False

    def adopt(self, handoff: Handoff | None) -> None:
        """The group's policy is known, and with it whether there is a handoff to tell."""
        self._handoff, self._adopted = handoff, True
        predecessors, self._predecessors = self._predecessors, []
        for predecessor in predecessors:
            self.succeed(predecessor)

    @property
    def works(self) -> list[Work]:
        """All that is in flight."""
        return [] if self._handoff is None else list(self._handoff.works)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return self._handoff is None or self._handoff.idle

    @property
    def drain_timeout(self) -> float:
        """Seconds in which all that is in flight can be expected to end."""
        return max((work.drain_timeout for work in self.works), default=0.0)

    def begin(self, work: Work) -> None:
        """Work begins on slots that are active by the membership's view, with no suspension since it was looked at."""
        if self._handoff is not None:
            self._handoff.began(work)

    def end(self, work: Work) -> None:
        """Work has ended. Idempotent."""
        if self._handoff is None:
            return
        self._handoff.ended(work)
        self._ended()
        if self.idle:
            self._calm.set()
        for successor in self._successors:
            successor.end(work)

    def release(self, task: object) -> None:
        """The work that ``task`` has in hand ends here: the task is about to wait for us to let go."""
        for work in self.works:
            if work.task() is task:
                self.end(work)

    def revoke(self) -> None:
        """All work has to end at once: ownership may be another member's already."""
        for work in self.works:
            try:
                work.revoke(True)
            except Exception:  # one failure must not stop the revocation of the others
                _logger.exception("group %r: %s could not be revoked", self._group_id, work.what)

    def revoke_lost(self) -> None:
        """Work on slots that are no longer active has to end, within its drain timeout."""
        for work in [] if self._handoff is None else self._handoff.revocations():
            work.revoke(False)

    def succeed(self, predecessor: InFlight) -> None:
        """Take up nothing before the work of an earlier participation of this process has ended.

        Usually its entry holds us back, for which we wait as for any other. But the session that both are in may
        expire, and the entry with it, while that work goes on.
        """
        if not self._adopted:
            self._predecessors.append(predecessor)
        elif self._handoff is not None:
            self._handoff.inherited(predecessor.works)
            predecessor._successors.append(self)

    async def until_idle(self) -> None:
        """Wait until nothing is in flight."""
        while not self.idle:
            self._calm.clear()
            await self._calm.wait()
