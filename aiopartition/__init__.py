"""Divides a list of work among the members of a group, so that exactly one member handles each item."""

from aiopartition.acl import Acl
from aiopartition.coordinator import PartitionCoordinator
from aiopartition.credentials import Kerberos, SaslDigest
from aiopartition.errors import (
    AuthenticationError,
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    ForeignRightsError,
    GroupTooLargeError,
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
from aiopartition.placement.partition import Partition, partitions
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import Change, Member, View
from aiopartition.secret import Secret
from aiopartition.signals import stop_on_signal
from aiopartition.tls import TlsFiles
from aiopartition.version import __version__
from aiopartition.work.threads import finish_in_thread

__all__ = [
    "Acl",
    "AuthenticationError",
    "Awaited",
    "BackendError",
    "BackendUnavailableError",
    "Change",
    "ConfigurationError",
    "ForeignRightsError",
    "GroupPolicy",
    "GroupStatus",
    "GroupTooLargeError",
    "Kerberos",
    "Member",
    "MemberInfo",
    "MemberSupersededError",
    "NotStartedError",
    "OwnershipLostError",
    "OwnershipUnknownError",
    "Partition",
    "PartitionCoordinator",
    "PartitionError",
    "PolicyMismatchError",
    "Rebalance",
    "SaslDigest",
    "Secret",
    "SessionFullError",
    "TlsFiles",
    "View",
    "__version__",
    "finish_in_thread",
    "partitions",
    "stop_on_signal",
]
