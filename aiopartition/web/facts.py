"""The data that the status page shows. ``docs/reference/status-page.md`` documents the fields."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from aiopartition.coordinator import PartitionCoordinator
from aiopartition.errors import PartitionError
from aiopartition.events import KINDS, Event, as_data
from aiopartition.group.description import MemberInfo
from aiopartition.group.registry import Followed
from aiopartition.group.status import GroupStatus
from aiopartition.runner import State
from aiopartition.version import __version__

__all__ = ["Facts"]

SCHEMA: Final = 1
"""The version of the documents. Adding a field does not change it."""

_CHANGES: Final = 50
"""The number of recent changes that are kept."""

_DESCRIBED: Final = 200
"""The greatest number of members of a group whose descriptions are read."""

_PATIENCE: Final = 1.0
"""Seconds in which to read descriptions. Each is read once, so later answers have those that are missing."""


class Facts:
    """Reads the facts from a coordinator.

    :param groups: the ids of the groups to show; ``None`` for all that are joined or observed.
    """

    def __init__(self, coordinator: PartitionCoordinator, groups: Collection[str] | None) -> None:
        self._coordinator = coordinator
        self._runner = coordinator._runner  # pyright: ignore[reportPrivateUsage]
        self._registry = self._runner.registry
        self._chosen = None if groups is None else tuple(groups)
        self._changes: deque[dict[str, Any]] = deque(maxlen=_CHANGES)
        self._registry.events.subscribe(self._hear)

    def why_not_live(self) -> str:
        """Return why the coordinator's tasks do not run; empty while they do, connected or not."""
        state = self._runner.state
        return "" if state in (State.STARTING, State.STARTED) else f"the coordinator {state.value}"

    def why_not_ready(self) -> str:
        """Return why it is not known what this member owns; empty while it is."""
        if self._runner.state is not State.STARTED:
            return f"the coordinator {self._runner.state.value}"
        if not self._coordinator.is_active():
            return ""  # everything is ours
        joined = self._registry.groups
        for group_id in self._group_ids():
            followed = joined.get(group_id)
            if followed is None:
                return f"group {group_id!r} is neither joined nor observed"
            if followed.view is None:
                return str(followed.error or followed.unknown())
        return "" if self._group_ids() else "no group is joined"

    async def document(self) -> dict[str, Any]:
        """Return the document at ``/status.json``.

        :raises NotStartedError: in another event loop than the coordinator's.
        """
        if self._runner.state is State.STARTED:
            self._runner.home.require("status_app")
        joined = self._registry.groups
        groups = [joined[group_id] for group_id in self._group_ids() if group_id in joined]
        infos = await self._describe(groups)
        return {
            "schema": SCHEMA,
            "version": __version__,
            "time": _now(),
            "member_id": self._coordinator.member_id,
            "state": self._runner.state.name.lower(),
            "live": not self.why_not_live(),
            "ready": not self.why_not_ready(),
            "reason": self.why_not_live() or self.why_not_ready(),
            "active": self._coordinator.is_active(),
            "connected": self._coordinator.connected,
            "server": self._registry.backend.server,
            "session_timeout": _finite(self._coordinator.session_timeout),
            "lease_length": _finite(self._registry.backend.lease_length),
            "groups": [_group(group.status(), infos.get(group.group_id, {})) for group in groups],
            "changes": list(reversed(self._changes)),
        }

    # ---- inside

    def _group_ids(self) -> tuple[str, ...]:
        if self._chosen is not None:
            return self._chosen
        return tuple(sorted(self._registry.groups))

    async def _describe(self, groups: list[Followed]) -> dict[str, dict[str, MemberInfo]]:
        infos: dict[str, dict[str, MemberInfo]] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                for group in groups:
                    known = infos[group.group_id] = {}
                    view = group.view
                    for member in () if view is None else view.members[:_DESCRIBED]:
                        with suppress(PartitionError):  # it has just left, or cannot be read
                            known[member.id] = await group.describe(member.id)
        return infos

    def _hear(self, event: Event) -> None:
        group_id = event.facts.get("group")
        if event.name not in KINDS or (self._chosen is not None and group_id not in (None, *self._chosen)):
            return
        self._changes.append({"time": _now(), "event": event.name, **as_data(event.facts)})


def _group(status: GroupStatus, infos: Mapping[str, MemberInfo]) -> dict[str, Any]:
    rebalance = status.last_rebalance
    return {
        "group_id": status.group_id,
        "state": status.state,
        "reason": status.reason,
        "generation": status.generation,
        "active_generation": status.active_generation,
        "policy": None if status.policy is None else asdict(status.policy),
        "own_share": status.shares.get(status.member_id, 0.0),
        "members": [
            {
                "id": member.id,
                "weight": member.weight,
                "share": status.shares.get(member.id, 0.0),
                "self": member.id == status.member_id and status.state != "observing",
                **_description(infos.get(member.id)),
            }
            for member in status.members
        ],
        "waiting_for": [asdict(awaited) for awaited in status.waiting_for],
        "waiting": status.waiting,
        "in_flight": status.in_flight,
        "lease_left": _finite(status.lease_left),
        "last_rebalance": None if rebalance is None else asdict(rebalance),
    }


def _description(info: MemberInfo | None) -> dict[str, Any]:
    if info is None:
        info = MemberInfo("", 0)
    return {
        "host": info.host,
        "pid": info.pid,
        "started": info.started,
        "age": _age(info.started),
        "version": info.version,
        "metadata": dict(info.metadata),
    }


def _age(started: str | None) -> float | None:
    """Return the seconds since a time that a member has written, if it is a time; never negative, as clocks differ."""
    try:
        since = datetime.fromisoformat(started or "")
        return max(0.0, (datetime.now(UTC) - since).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _finite(seconds: float) -> float | None:
    """Return ``None`` for infinity, which JSON does not have: a lease lasts that long while partitioning is off."""
    return seconds if math.isfinite(seconds) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
