"""All that the exploration knows of the library beyond its public surface: when rooms move, this follows."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, cast
from unittest.mock import patch

from aiopartition import GroupPolicy, MemberSupersededError, PartitionCoordinator, View
from aiopartition.backends.base import Mark, Marks, MarksCount, Progress
from aiopartition.backends.memory.store import MemoryCluster
from aiopartition.group.candidacy import Candidacy
from aiopartition.group.handoff import Handoff, Stage
from aiopartition.group.in_flight import InFlight
from aiopartition.group.leftovers import Leftovers
from aiopartition.group.membership import Membership
from aiopartition.group.registry import Registry
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.group.work import Work
from aiopartition.placement.keys import encode
from aiopartition.testing import PartitionCluster
from aiopartition.testing.faults import backend_of
from aiopartition.work import subset as subset_module
from aiopartition.work.hold import Hold
from aiopartition.work.run import Supervisor

__all__ = [
    "ROUNDING",
    "Candidacy",
    "Group",
    "GroupPolicy",
    "Handoff",
    "Hold",
    "InFlight",
    "Leftovers",
    "Mark",
    "Marks",
    "MarksCount",
    "MemberSupersededError",
    "Membership",
    "Progress",
    "Registry",
    "Stage",
    "Step",
    "Supervisor",
    "Work",
    "backend_of",
    "belongs_to",
    "cluster_of",
    "grant_less",
    "numbered_nonces",
    "seconds_of_silence",
    "state_machines",
    "subset_module",
    "toggle_weight",
    "usable_view",
]

ROUNDING = 0.001
"""Seconds by which the library may wake later than its lease ends."""


def usable_view(coordinator: PartitionCoordinator, group_id: str, late: float = 0.0) -> View | None:
    """The view that a member goes by now, if there is one and the lease has not ended, or that many seconds ago."""
    membership = _registry(coordinator).memberships.get(group_id)
    if membership is None or membership.lease_left() <= -late:
        return None
    return membership.announced_view


def belongs_to(view: View | None, key: str) -> bool:
    """Whether a view lets its member work on a key now."""
    return view is not None and bool(view.mask[view.table.slot(encode(key))])


def seconds_of_silence(coordinator: PartitionCoordinator) -> float | None:
    """Seconds since the cluster last heard of a member's session; ``None`` without a session."""
    backend = backend_of(coordinator)
    session = backend._session
    return None if session is None else backend.cluster.clock() - session.touched


def cluster_of(cluster: PartitionCluster) -> MemoryCluster:
    """The cluster itself, on which an operator may delete things."""
    return cluster._cluster


def grant_less(coordinator: PartitionCoordinator, timeout: float) -> bool:
    """What a session is from now on that was resumed with a shorter timeout. ``False`` without a session."""
    backend = backend_of(coordinator)
    session = backend._session
    if session is None:
        return False
    backend.session_timeout = session.timeout = timeout
    backend._lease = backend._lease.cut(timeout)
    return True


def state_machines(coordinator: PartitionCoordinator, group_id: str) -> Iterator[object]:
    """What decides how a member goes on, for fingerprints."""
    backend = backend_of(coordinator)
    yield backend.network
    yield backend._suspended
    yield backend._lease.safe_until - backend.cluster.clock()
    membership = _registry(coordinator).memberships.get(group_id)
    if membership is not None:
        yield membership.group


@contextmanager
def numbered_nonces() -> Iterator[None]:
    """Entries have nonces that are the same in each run."""
    numbers = count(1)

    def token_hex(size: int) -> str:
        return f"{next(numbers):0{2 * size}x}"

    with patch.object(secrets, "token_hex", token_hex):
        yield


def _registry(coordinator: PartitionCoordinator) -> Registry:
    return cast("Registry", cast("Any", coordinator)._registry)


def toggle_weight(coordinator: PartitionCoordinator, group_id: str) -> bool:
    """Set a member's weight to 0, or from 0 to 1, in the background. ``False`` if it does not take part."""
    membership = coordinator._registry.memberships.get(group_id)
    if membership is not None:
        membership.group.candidacy.set_weight(0 if membership.group.member.weight else 1)
        membership.wake()
    return membership is not None


def is_drained(coordinator: PartitionCoordinator, group_id: str) -> bool:
    """Whether a member's weight was set to 0."""
    membership = coordinator._registry.memberships.get(group_id)
    return membership is not None and membership.group.member.weight == 0
