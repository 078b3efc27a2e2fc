"""The library's exceptions.

::

    PartitionError
    ├── ConfigurationError (also ValueError)
    ├── NotStartedError
    ├── PolicyMismatchError
    ├── GroupTooLargeError
    ├── ForeignRightsError
    ├── MemberSupersededError
    ├── OwnershipUnknownError
    ├── OwnershipLostError
    └── BackendError
        ├── BackendUnavailableError
        ├── AuthenticationError
        └── SessionFullError

Each carries its details as attributes, so handlers need not parse messages. The details are also its ``args``, which
makes it picklable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from aiopartition.showing import printable, shown, shown_name

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BackendUnavailableError",
    "ConfigurationError",
    "ForeignRightsError",
    "GroupTooLargeError",
    "MemberSupersededError",
    "NotStartedError",
    "OwnershipLostError",
    "OwnershipUnknownError",
    "PartitionError",
    "PolicyMismatchError",
    "SessionFullError",
]


_NAMED: Final = 5


class PartitionError(Exception):
    """The base class of the library's exceptions.

    Its text is one line of printable characters, and short, whatever it is about. The attributes are as they came.
    """

    def __str__(self) -> str:
        return printable(self._text())

    def _text(self) -> str:
        return super().__str__()


class ConfigurationError(PartitionError, ValueError):
    """A URL, an argument or an environment variable is invalid.

    ``part`` names the invalid part (``"backend_url port"``, ``"weight"``); ``reason`` explains the problem.
    """

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(part, reason)
        self.part = part
        self.reason = reason

    def _text(self) -> str:
        return f"{self.part}: {self.reason}"


class NotStartedError(PartitionError):
    """A coordinator was used before ``start()``, after it stopped, or where it does not belong: in another event loop,
    thread or process than the one in which it was started.

    ``operation`` is the method that was called; ``state`` describes the coordinator's actual state. If it stopped for
    another reason than ``stop()``, that is the ``__cause__``.
    """

    def __init__(self, operation: str, state: str) -> None:
        super().__init__(operation, state)
        self.operation = operation
        self.state = state

    def _text(self) -> str:
        return f"{self.operation}() needs a started coordinator, and this one {self.state}"


class PolicyMismatchError(PartitionError):
    """The group has another policy than the one that this member was given or has taken, or one that it does not know.

    ``differences`` maps each differing field to a pair: the value stored in the group and this member's value.
    """

    def __init__(self, group_id: str, differences: Mapping[str, tuple[Any, Any]]) -> None:
        super().__init__(group_id, differences)
        self.group_id = group_id
        self.differences: dict[str, tuple[Any, Any]] = dict(differences)

    def _text(self) -> str:
        # Another program may have stored up to 1 MB here, so the message shows a few fields, and shortens them.
        told = [
            f"{field if field.isidentifier() and len(field) <= 40 else shown(field)} is {shown(stored)} there "
            f"and {shown(ours)} here"
            for field, (stored, ours) in islice(self.differences.items(), 8)
        ]
        more = len(self.differences) - len(told)
        return f"group {shown_name(self.group_id)} has another policy: {', '.join(told)}" + (
            f", and {more} more" if more else ""
        )


class GroupTooLargeError(PartitionError):
    """A group has more members than its policy allows, so nobody can calculate who owns what.

    ``members`` is how many take part; ``limit`` is how many may. Ownership recovers when members leave.
    """

    def __init__(self, members: int, limit: int) -> None:
        super().__init__(members, limit)
        self.members = members
        self.limit = limit

    def _text(self) -> str:
        return f"the group has {self.members:,} members that take part, and its policy allows {self.limit:,}"


class MemberSupersededError(PartitionError):
    """Another process joined the group later with the same member id, so this process owns nothing there.

    ``incarnation`` is that of the other process. When its entry has gone, this process takes part again by itself, and
    later calls succeed; a ``run()`` or ``changes()`` that has raised this has ended. Joining again after
    ``leave_group()`` counts as a new start, which supersedes the other one. Each live process needs a member id of its
    own.
    """

    def __init__(self, group_id: str, member_id: str, incarnation: int) -> None:
        super().__init__(group_id, member_id, incarnation)
        self.group_id = group_id
        self.member_id = member_id
        self.incarnation = incarnation

    def _text(self) -> str:
        return (
            f"member {shown_name(self.member_id)} of group {shown_name(self.group_id)} was superseded: "
            f"a later incarnation ({self.incarnation}) of the same member id has joined"
        )


class OwnershipUnknownError(PartitionError):
    """The coordinator cannot prove which keys it owns, so it must act as if it owned none.

    ``reason`` says what it is waiting for. Ownership recovers by itself.
    """

    def __init__(self, group_id: str, reason: str) -> None:
        super().__init__(group_id, reason)
        self.group_id = group_id
        self.reason = reason

    def _text(self) -> str:
        return f"ownership in group {shown_name(self.group_id)} is unknown: {self.reason}"


class OwnershipLostError(PartitionError):
    """The body of a ``hold()`` was cancelled because another member was about to take over its keys.

    ``reason`` says why. Work in progress may be incomplete.
    """

    def __init__(self, group_id: str, reason: str) -> None:
        super().__init__(group_id, reason)
        self.group_id = group_id
        self.reason = reason

    def _text(self) -> str:
        return f"ownership in group {shown_name(self.group_id)} was lost while it was held: {self.reason}"


class BackendError(PartitionError):
    """The backend could not carry out a request.

    ``reason`` says why; ``path`` is the node concerned, or ``None``.
    """

    def __init__(self, reason: str, path: str | None = None) -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def _text(self) -> str:
        return self.reason if self.path is None else f"{self.path}: {self.reason}"


class BackendUnavailableError(BackendError):
    """The backend is unreachable, or the connection was lost before the response arrived.

    The request may or may not have been carried out. The coordinator keeps reconnecting in the background.
    """


class AuthenticationError(BackendError):
    """The backend rejected the client's credentials or certificate, or denied an operation on a node.

    If an operation was denied, ``path`` is the node and ``permission`` the missing permission, as ZooKeeper names it
    (``"READ"``, ``"WRITE"``, ``"CREATE"``, ``"DELETE"``, ``"ADMIN"``; ``"CREATE or DELETE"`` if it took both).
    """

    def __init__(self, reason: str, path: str | None = None, permission: str | None = None) -> None:
        super().__init__(reason, path)
        self.args: tuple[Any, ...] = (reason, path, permission)
        self.permission = permission

    def _text(self) -> str:
        if self.permission is None:
            return super()._text()
        where = "" if self.path is None else f"{self.path}: "
        return f"{where}permission {self.permission} denied: {self.reason}"


class ForeignRightsError(PartitionError):
    """Others than the members may change a group's nodes, and this member has ``strict_acl``.

    ``others`` maps the path of each such node to who it is, by their ids (of the scheme digest without the hash), and
    what they may do there: ``"WRITE"``, ``"CREATE"``, ``"DELETE"``, ``"ADMIN"``. ``unreadable`` are the paths of nodes
    whose ACLs this client may not read.
    """

    def __init__(
        self, group_id: str, others: Mapping[str, Mapping[str, tuple[str, ...]]], unreadable: tuple[str, ...] = ()
    ) -> None:
        super().__init__(group_id, others, unreadable)
        self.group_id = group_id
        self.others: dict[str, dict[str, tuple[str, ...]]] = {path: dict(rights) for path, rights in others.items()}
        self.unreadable = unreadable

    def _text(self) -> str:
        told = [_some(rights_text(self.others), "; ")]
        if self.unreadable:
            told.append(f"who else, it cannot be told from the ACLs of {_some(self.unreadable)}, which may not be read")
        return (
            f"group {shown_name(self.group_id)} can be changed by others than its members: "
            f"{'; '.join(filter(None, told))}; 'aiopartition protect' closes nodes that are there"
        )


def rights_text(others: Mapping[str, Mapping[str, tuple[str, ...]]]) -> list[str]:
    """Say who has which rights where.

    :param others: as in :class:`ForeignRightsError`.
    """
    paths: dict[str, list[str]] = {}
    for path, rights in others.items():
        for who, permissions in rights.items():
            paths.setdefault(f"{shown_name(who)} has {', '.join(permissions)}", []).append(path)
    return [f"{rights} on {_some(where)}" for rights, where in paths.items()]


def _some(items: Sequence[str], separator: str = ", ") -> str:
    """Name a few, and say how many more there are."""
    more = len(items) - _NAMED
    return separator.join(items[:_NAMED]) + (f" and {more} more" if more > 0 else "")


class SessionFullError(BackendError):
    """The session must not own more ephemeral nodes: with many more, its end would take the ensemble down.

    ``path`` is the node that was not created; ``used`` is how many bytes the nodes of the session take in the
    transaction that ends it, with room for marks in exclusive groups; ``limit`` is how many they may take.
    """

    def __init__(self, reason: str, path: str, used: int, limit: int) -> None:
        super().__init__(reason, path)
        self.args: tuple[Any, ...] = (reason, path, used, limit)
        self.used = used
        self.limit = limit

    def _text(self) -> str:
        path = str(self.path)  # it may have thousands of characters
        return (
            f"{self.reason}: they take {self.used:,} bytes, and more than {self.limit:,} are a danger to the ensemble; "
            "join fewer groups, use shorter ids, or divide the groups among several coordinators "
            f"(not created: {path if len(path) <= 100 else f'{path[:100]}…'})"
        )
