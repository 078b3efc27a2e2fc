"""The call that changes this member's weight in a group. :mod:`~.candidacy` and :mod:`~.requests` carry it out."""

from __future__ import annotations

import asyncio
from functools import partial

from aiopartition.errors import ConfigurationError
from aiopartition.group.membership import Membership
from aiopartition.group.registry import Registry

__all__ = ["reweigh"]


async def reweigh(registry: Registry, group_id: str, weight: int) -> None:
    """Change this member's weight in a group, and wait until it has taken effect.

    :param weight: shares of the work; 0 for a member that owns nothing.
    :raises PartitionError: if the group is not joined, the change is refused, or this member cannot take part.
    """
    registry.require_unobserved(group_id)
    membership = registry.memberships.get(group_id)
    if membership is None:
        raise ConfigurationError("group_id", f"{group_id!r} is not joined; join_group() takes a weight too")
    membership.group.candidacy.set_weight(weight)
    membership.wake()
    await registry.until(membership, partial(_decided, membership, asyncio.current_task()))
    error = membership.error or membership.group.candidacy.refusal
    if error is not None and not membership.left:
        raise error


def _decided(membership: Membership, caller: object) -> bool:
    """Return whether the weight has taken effect, or never will. In an exclusive group the handoff has to be complete
    too, unless the caller itself has work in flight, for which the handoff may be waiting."""
    group = membership.group
    if membership.left or membership.error is not None or group.candidacy.refusal is not None:
        return True
    handing_over = group.handoff is not None and group.handoff.waiting
    own_work = any(work.task() is caller for work in membership.in_flight.works)
    return group.weighed and (own_work or not handing_over)
