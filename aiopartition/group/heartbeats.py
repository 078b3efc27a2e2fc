"""Heartbeats, which find out whether a notification was lost in any group.

Notifications tell of nearly every change, so members ask less and less often about a group that stays quiet. Otherwise
a hundred members of a hundred groups would ask ten thousand questions a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiopartition.backends.base import Backend
from aiopartition.errors import BackendError
from aiopartition.group.membership import Membership
from aiopartition.group.observation import Observation

__all__ = ["LONGEST", "Heartbeats"]

LONGEST: Final = 4
"""The greatest number of heartbeats from one question about a quiet group to the next. More would save little: with
the defaults, the session itself needs a request every 2.5 seconds."""

_AT_ONCE: Final = 16
"""Groups asked about at once: enough to keep the connection busy. A thousand at once would stall the event loop."""


@dataclass(frozen=True, slots=True)
class _Pace:
    """How often we ask about one group.

    :ivar interval: heartbeats from one question to the next.
    :ivar left: heartbeats before the next question.
    :ivar told: the number of changes in the group at the last heartbeat.
    """

    interval: int
    left: int
    told: int

    def after(self, group: Membership | Observation) -> _Pace:
        """Return the pace at the next heartbeat, which asks if no heartbeats are left."""
        if group.news.told != self.told or group.view is None or group.error is not None:
            return _Pace(1, 0, group.news.told)
        if self.left:
            return _Pace(self.interval, self.left - 1, self.told)
        interval = min(2 * self.interval, LONGEST)
        return _Pace(interval, interval - 1, self.told)


class Heartbeats:
    """Asks the backend for the generations of groups."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._paces: dict[Membership | Observation, _Pace] = {}

    async def beat(self, groups: Sequence[Membership | Observation], *, quiet_too: bool) -> None:
        """Ask the backend for each group's generation. Without groups, ask only whether the backend answers.

        :param quiet_too: whether to ask about quiet groups even if it is not their turn. A group has its turn at each
            heartbeat while it changes, is unknown or cannot be read. Later it has its turn less often.
        :raises BackendError: the first failure, after all groups have been asked about.
        """
        known = self._paces
        self._paces = {
            group: known[group].after(group) if group in known else _Pace(1, 0, group.news.told) for group in groups
        }
        due = [group for group in groups if quiet_too or not self._paces[group].left]
        if not groups:
            await self._backend.ping()
        if due:
            await self._ask(due)

    async def _ask(self, groups: Sequence[Membership | Observation]) -> None:
        failures: list[BackendError] = []
        waiting = iter(groups)

        async def ask() -> None:
            for group in waiting:
                try:
                    await group.heartbeat()
                except BackendError as error:
                    failures.append(error)
                except Exception as error:
                    group.fail(error)

        async with asyncio.TaskGroup() as questions:  # not anyio's, which a forked child could not leave
            for _ in range(min(_AT_ONCE, len(groups))):
                questions.create_task(ask(), name="aiopartition beat")
        if failures:
            raise failures[0]
