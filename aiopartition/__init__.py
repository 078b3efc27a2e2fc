"""Divides a list of work among the members of a group, so that exactly one member handles each item."""

from aiopartition.coordinator import PartitionCoordinator
from aiopartition.errors import (
    AuthenticationError,
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    MemberSupersededError,
    NotStartedError,
    OwnershipLostError,
    OwnershipUnknownError,
    PartitionError,
    PolicyMismatchError,
    SessionFullError,
)
from aiopartition.group.description import MemberInfo
from aiopartition.group.status import Awaited, GroupStatus, Rebalance
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import Change, Member, View
from aiopartition.version import __version__

__all__ = [
    "AuthenticationError",
    "Awaited",
    "BackendError",
    "BackendUnavailableError",
    "Change",
    "ConfigurationError",
    "GroupPolicy",
    "GroupStatus",
    "Member",
    "MemberInfo",
    "MemberSupersededError",
    "NotStartedError",
    "OwnershipLostError",
    "OwnershipUnknownError",
    "PartitionCoordinator",
    "PartitionError",
    "PolicyMismatchError",
    "Rebalance",
    "SessionFullError",
    "View",
    "__version__",
]
