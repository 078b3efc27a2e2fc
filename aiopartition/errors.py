"""Every error that the library raises on purpose.

::

    PartitionError
    ├── ConfigurationError (also ValueError)
    ├── NotStartedError
    ├── PolicyMismatchError
    ├── MemberSupersededError
    ├── OwnershipUnknownError
    ├── OwnershipLostError
    └── BackendError
        ├── BackendUnavailableError
        └── AuthenticationError

Each carries its facts as attributes and builds its text from them, so a handler never has to take a
message apart. The facts are also the exception's ``args``, which keeps every error picklable.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from itertools import islice
from typing import Any

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BackendUnavailableError",
    "ConfigurationError",
    "MemberSupersededError",
    "NotStartedError",
    "OwnershipLostError",
    "OwnershipUnknownError",
    "PartitionError",
    "PolicyMismatchError",
]


class PartitionError(Exception):
    """The root of the library's errors."""


class ConfigurationError(PartitionError, ValueError):
    """A URL, an argument or an environment variable cannot mean anything.

    ``part`` names the offending part (``"backend_url port"``, ``"weight"``), ``reason`` says what is wrong with it.
    """

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(part, reason)
        self.part = part
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.part}: {self.reason}"


class NotStartedError(PartitionError):
    """A coordinator was used before ``start()``, after it stopped, or where it does not belong: in another event loop,
    thread or process than the one in which it was started.

    ``operation`` is the call that was made, ``state`` what the coordinator was instead of started. If it stopped for
    another reason than ``stop()``, that is the ``__cause__``.
    """

    def __init__(self, operation: str, state: str) -> None:
        super().__init__(operation, state)
        self.operation = operation
        self.state = state

    def __str__(self) -> str:
        return f"{self.operation}() needs a started coordinator, and this one {self.state}"


class PolicyMismatchError(PartitionError):
    """A group exists with another policy than the joiner's; all members of a group must agree.

    ``differences`` maps each field that differs to a pair: the value stored in the group, the joiner's value.
    """

    def __init__(self, group_id: str, differences: Mapping[str, tuple[Any, Any]]) -> None:
        super().__init__(group_id, differences)
        self.group_id = group_id
        self.differences: dict[str, tuple[Any, Any]] = dict(differences)

    def __str__(self) -> str:
        # What is stored may be another program's, and up to 1 MB: names and values are cut, and only a few told.
        told = [
            f"{field[:40]} is {_short(stored)} there and {_short(ours)} here"
            for field, (stored, ours) in islice(self.differences.items(), 8)
        ]
        more = len(self.differences) - len(told)
        return f"group {self.group_id!r} has another policy: {', '.join(told)}" + (f", and {more} more" if more else "")


def _short(value: object) -> str:
    text = reprlib.repr(value)  # which does not build what it will not show
    return text if len(text) <= 60 else f"{text[:60]}…"


class MemberSupersededError(PartitionError):
    """Another process joined the group with this member's id later, so this one owns nothing there any more.

    ``incarnation`` is the other's. ``leave_group()`` clears the state; two live processes need two member ids.
    """

    def __init__(self, group_id: str, member_id: str, incarnation: int) -> None:
        super().__init__(group_id, member_id, incarnation)
        self.group_id = group_id
        self.member_id = member_id
        self.incarnation = incarnation

    def __str__(self) -> str:
        return (
            f"member {self.member_id!r} of group {self.group_id!r} was superseded: "
            f"a later incarnation ({self.incarnation}) of the same member id has joined"
        )


class OwnershipUnknownError(PartitionError):
    """The coordinator cannot prove which keys are its own, so it must be taken to own none.

    ``reason`` says what it waits for. The state heals by itself.
    """

    def __init__(self, group_id: str, reason: str) -> None:
        super().__init__(group_id, reason)
        self.group_id = group_id
        self.reason = reason

    def __str__(self) -> str:
        return f"ownership in group {self.group_id!r} is unknown: {self.reason}"


class OwnershipLostError(PartitionError):
    """The body of a ``hold()`` was cancelled, since what it worked on was about to be another's.

    ``reason`` says why. What it had begun may be half done.
    """

    def __init__(self, group_id: str, reason: str) -> None:
        super().__init__(group_id, reason)
        self.group_id = group_id
        self.reason = reason

    def __str__(self) -> str:
        return f"ownership in group {self.group_id!r} was lost while it was held: {self.reason}"


class BackendError(PartitionError):
    """The coordination backend could not do what was asked.

    ``reason`` says why; ``path`` is the node concerned, where there is one.
    """

    def __init__(self, reason: str, path: str | None = None) -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return self.reason if self.path is None else f"{self.path}: {self.reason}"


class BackendUnavailableError(BackendError):
    """The backend cannot be reached now, or the connection was lost before its answer came.

    What was asked may have been done or not. Reconnection goes on in the background.
    """


class AuthenticationError(BackendError):
    """The backend refuses this client: its credentials, its certificate, or one operation on one node.

    For one operation ``path`` is the node and ``permission`` the missing right on it, in ZooKeeper's words
    (``"READ"``, ``"WRITE"``, ``"CREATE"``, ``"DELETE"``, ``"ADMIN"``).
    """

    def __init__(self, reason: str, path: str | None = None, permission: str | None = None) -> None:
        super().__init__(reason, path)
        self.args: tuple[Any, ...] = (reason, path, permission)
        self.permission = permission

    def __str__(self) -> str:
        if self.permission is None:
            return super().__str__()
        where = "" if self.path is None else f"{self.path}: "
        return f"{where}permission {self.permission} denied: {self.reason}"
