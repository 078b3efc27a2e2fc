"""N agents, one list of work, every item handled by exactly one agent, rebalanced when agents come and go."""

from aiopartition.coordinator import PartitionCoordinator
from aiopartition.errors import (
    AuthenticationError,
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    MemberSupersededError,
    NotStartedError,
    OwnershipUnknownError,
    PartitionError,
    PolicyMismatchError,
)
from aiopartition.settings import GroupPolicy
from aiopartition.version import __version__
from aiopartition.view import Change, Member, View

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BackendUnavailableError",
    "Change",
    "ConfigurationError",
    "GroupPolicy",
    "Member",
    "MemberSupersededError",
    "NotStartedError",
    "OwnershipUnknownError",
    "PartitionCoordinator",
    "PartitionError",
    "PolicyMismatchError",
    "View",
    "__version__",
]
