"""The options with which a member joins a group."""

from __future__ import annotations

from dataclasses import dataclass, fields

from aiopartition.errors import ConfigurationError, PolicyMismatchError
from aiopartition.placement.policy import GroupPolicy

__all__ = ["JoinOptions"]


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """The options with which a member joins a group, validated. ``join_group`` describes them.

    If ``policy`` is ``None``, it is the policy that the group has.
    """

    weight: int = 1
    policy: GroupPolicy | None = None
    min_members: int = 1
    settle: float = 0.05

    def require_same(self, group_id: str, asked: JoinOptions) -> None:
        """Check that the group, joined with these options, could have been joined with those asked for now.

        :raises PartitionError: if not; it names the difference.
        """
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
