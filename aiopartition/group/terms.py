"""What one member joins a group with."""

from __future__ import annotations

from dataclasses import dataclass, fields

from aiopartition.errors import ConfigurationError, PolicyMismatchError
from aiopartition.placement.policy import GroupPolicy

__all__ = ["JoinOptions"]


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """What one member joins a group with, validated; the fields as ``join_group`` describes them.

    Without a ``policy`` it is the one that the group has.
    """

    weight: int = 1
    policy: GroupPolicy | None = None
    min_members: int = 1
    settle: float = 0.05

    def require_same(self, group_id: str, asked: JoinOptions) -> None:
        """:raises PartitionError: naming what differs from these options, with which the group was joined."""
        if self.policy is not None and asked.policy is not None and self.policy != asked.policy:
            raise PolicyMismatchError(group_id, self.policy.differences(asked.policy))
        for option in fields(self):
            if option.name == "policy":
                continue
            there, here = getattr(self, option.name), getattr(asked, option.name)
            if there != here:
                change = "set_weight() changes that" if option.name == "weight" else "leave it first to change that"
                raise ConfigurationError(
                    option.name,
                    f"group {group_id!r} was joined with {there!r}, not {here!r}; {change}",
                )
