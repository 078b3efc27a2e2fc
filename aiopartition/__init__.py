"""N agents, one list of work, every item handled by exactly one agent, rebalanced when agents come and go."""

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
)
from aiopartition.settings import GroupPolicy
from aiopartition.status import Awaited, GroupStatus, Rebalance
from aiopartition.version import __version__
from aiopartition.view import Change, Member, View

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
    "MemberSupersededError",
    "NotStartedError",
    "OwnershipLostError",
    "OwnershipUnknownError",
    "PartitionCoordinator",
    "PartitionError",
    "PolicyMismatchError",
    "Rebalance",
    "View",
    "__version__",
]
