"""What one member joins a group with."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiopartition.placement.policy import GroupPolicy

__all__ = ["JoinOptions"]


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """What one member joins a group with, validated; the fields as ``join_group`` describes them."""

    weight: int = 1
    policy: GroupPolicy = field(default_factory=GroupPolicy)
    min_members: int = 1
    settle: float = 0.05
