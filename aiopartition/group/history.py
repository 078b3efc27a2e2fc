"""Reports what happens in one group, for logs and metrics."""

from __future__ import annotations

import asyncio
from typing import Any

from aiopartition.events import Events
from aiopartition.group.membership import Membership
from aiopartition.group.observation import Observation
from aiopartition.placement.view import Change, View

__all__ = ["History"]


class History:
    """Looks at a group at each change of its state, and reports the differences since the last look."""

    def __init__(self, followed: Membership | Observation, member_id: str, events: Events) -> None:
        self._followed = followed
        self._member_id = member_id
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._view: View | None = None  # the last one
        self._certain = False  # whether it still holds
        self._left = False
        self._noticed_at: float | None = None  # when we heard of a change that the view does not show yet
        self._waiting_since: float | None = None  # when the handoff under way began to wait
        followed.news.subscribe(self.look)

    @property
    def waiting(self) -> float:
        """Seconds for which the handoff under way has been waiting; 0 without one."""
        since = self._waiting_since
        return 0.0 if since is None else self._loop.time() - since

    def noticed(self) -> None:
        """The backend has reported a change of the membership."""
        if self._noticed_at is None:
            self._noticed_at = self._loop.time()

    def look(self) -> None:
        """Something may have changed."""
        if self._followed.left:
            if not self._left and self._view is not None:
                self._left = True
                self._say("group_left", share_before=self._share(self._view) if self._certain else 0.0)
            return
        view = self._followed.view
        self._time_handoff()
        if view is None:
            self._lost()
        elif not self._certain or self._view is None or view.generation != self._view.generation:
            self._known(view)
        else:
            self._view = view

    # ---- inside

    def _lost(self) -> None:
        if self._certain:
            self._certain = False
            reason = self._followed.error or self._followed.unknown().reason
            self._say("ownership_lost", reason=reason, share_before=self._share(self._view))

    def _known(self, view: View) -> None:
        before, certain = self._view, self._certain
        self._view, self._certain = view, True
        if not self._events.wanted:
            self._noticed_at = None
            return
        facts: dict[str, Any] = {"generation": view.generation, "share_after": self._share(view)}
        if before is None:
            name = "group_joined" if isinstance(self._followed, Membership) else "group_observed"
            self._say(name, members=len(view.members), **facts)
        elif view.generation != before.generation:
            change = Change.between(before, view)
            self._say(
                "membership_changed", members=len(view.members), joined=change.joined, left=change.left,
                moved=change.moved, share_before=self._share(before) if certain else 0.0, **facts,
            )  # fmt: skip
        if before is not None and not certain:
            self._say("ownership_regained", **facts)
        if self._noticed_at is not None:
            self._events.tell("rebalanced", group=view.group_id, seconds=self._loop.time() - self._noticed_at)
            self._noticed_at = None

    def _time_handoff(self) -> None:
        """In an exclusive group, report how long a handoff took until we have what we gain."""
        handoff = self._followed.group.handoff if isinstance(self._followed, Membership) else None
        if handoff is not None and handoff.waiting:
            if self._waiting_since is None:
                self._waiting_since = self._loop.time()
        elif self._waiting_since is not None:
            seconds, self._waiting_since = self._loop.time() - self._waiting_since, None
            self._events.tell("handoff_completed", group=self._followed.group_id, seconds=seconds)

    def _say(self, name: str, **facts: Any) -> None:
        self._events.say(name, group=self._followed.group_id, **facts)

    def _share(self, view: View | None) -> float:
        if view is None or not self._events.wanted:
            return 0.0
        return view.shares().get(self._member_id, 0.0)
