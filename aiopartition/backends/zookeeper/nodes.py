"""Requests about the nodes of a ZooKeeper tree, with the library's errors."""

from __future__ import annotations

from typing import Final, TypeVar

from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import ErrorCode, Operation, ReplyError, Stat
from aiopartition.backends.zookeeper.connection import ConnectionLostError
from aiopartition.backends.zookeeper.frames import ProtocolError
from aiopartition.backends.zookeeper.session import Session
from aiopartition.errors import AuthenticationError, BackendError, BackendUnavailableError
from aiopartition.url import Url

__all__ = ["ATTEMPTS", "ForeignNodeError", "Nodes"]

T = TypeVar("T")

ATTEMPTS: Final = 10
"""How often a sequence of requests starts again when other clients change the tree meanwhile."""

_UNAVAILABLE: Final = frozenset({ErrorCode.CONNECTION_LOSS, ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_MOVED})


class ForeignNodeError(BackendError):
    """A node that we want to create exists, and is not of this session."""


class Nodes:
    """The nodes that a session can see.

    Every method raises the errors that :class:`~aiopartition.backends.base.Backend` names. All but :meth:`request` can
    be repeated: a node that has the wanted state already is not an error.

    :param creator_only: whether only clients with this session's credentials get rights to the nodes that it creates.
    """

    def __init__(self, session: Session, url: Url, *, creator_only: bool) -> None:
        self._session = session
        self._url = url
        self._creator_only = creator_only

    async def request(self, operation: Operation[T], path: str, permission: str, *expected: ErrorCode) -> T:
        """Send a request once and return its answer.

        :param path: the node on which the request requires ``permission``.
        :param expected: refusals that are raised as they are.
        :raises ReplyError: for an expected refusal.
        """
        try:
            return await self._session.send(operation)
        except ConnectionLostError as error:
            raise BackendUnavailableError(f"no connection to {self._url}: {error}") from error
        except ProtocolError as error:
            raise BackendError(f"the server sent {error}", path) from error
        except ReplyError as error:
            if error.code in expected:
                raise
            raise self._translated(error, path, permission) from error

    async def find(self, operation: Operation[T], path: str) -> T | None:
        """Send a request that reads a node. Return ``None`` if there is no such node."""
        try:
            return await self.request(operation, path, "READ", ErrorCode.NO_NODE)
        except ReplyError:
            return None

    async def sync(self, path: str) -> None:
        """Bring our server up to date. Later reads see everything that was done before this call."""
        await self.request(codec.sync(path), path, "READ")

    async def children(self, path: str) -> tuple[str, ...]:
        """Return the names of the nodes below a node, none if there is no such node."""
        found = await self.find(codec.get_children(path, watch=False), path)
        return () if found is None else found.names

    async def is_ours(self, path: str) -> bool | None:
        """Return whether a node was created in this session, ``None`` if there is no such node."""
        stat = await self.find(codec.exists(path), path)
        return None if stat is None else stat.ephemeral_owner == self._session.session_id

    async def write(self, path: str, data: bytes, version: int) -> Stat | None:
        """Replace a node's data. Return ``None`` if its version is another, or there is no such node."""
        operation = codec.set_data(path, data, version)
        try:
            return await self.request(operation, path, "WRITE", ErrorCode.NO_NODE, ErrorCode.BAD_VERSION)
        except ReplyError:
            return None

    async def delete(self, path: str) -> None:
        """Delete a node. It stays if it has children."""
        # The permission belongs to the parent (ZooKeeper Programmer's Guide, "ACL Permissions").
        parent = path.rpartition("/")[0]
        try:
            await self.request(codec.delete(path), parent, "DELETE", ErrorCode.NO_NODE, ErrorCode.NOT_EMPTY)
        except ReplyError:
            return

    async def create(self, path: str, data: bytes, *, ephemeral: bool = False) -> ErrorCode | None:
        """Create a node. Return ``NODE_EXISTS`` if it exists, ``NO_NODE`` if its parent does not, or else ``None``."""
        # Nodes above the namespace stay open to all: other clients create their namespaces there.
        creator_only = self._creator_only and path.startswith(self._url.namespace)
        operation = codec.create(path, data, ephemeral=ephemeral, creator_only=creator_only)
        parent = path.rpartition("/")[0] or "/"
        try:
            await self.request(operation, parent, "CREATE", ErrorCode.NODE_EXISTS, ErrorCode.NO_NODE)
        except ReplyError as error:
            return ErrorCode(error.code)
        return None

    async def create_with_parents(self, path: str, data: bytes) -> bool:
        """Create a node and the missing nodes above it. Return whether this call created the node.

        It starts at the bottom: a client may lack the permission to create nodes further up, and ZooKeeper checks that
        permission before it checks whether the node exists.
        """
        for _ in range(ATTEMPTS):
            outcome = await self.create(path, data)
            if outcome != ErrorCode.NO_NODE:
                return outcome is None
            await self.create_with_parents(path.rpartition("/")[0], b"")
        raise BackendError("the node's parent keeps vanishing", path)

    async def create_ephemeral(self, path: str, data: bytes) -> bool:
        """Create an ephemeral node of this session. Return ``False`` if its parent is missing."""
        for _ in range(ATTEMPTS):
            outcome = await self.create(path, data, ephemeral=True)
            if outcome is None:
                return True
            if outcome == ErrorCode.NO_NODE:
                return False
            if await self.is_ours(path):
                return True  # created by an earlier request whose answer was lost
        raise ForeignNodeError("the node belongs to another session", path)

    def _translated(self, error: ReplyError, path: str, permission: str) -> BackendError:
        if error.code == ErrorCode.NO_AUTH:
            return AuthenticationError("these credentials do not have it", path, permission)
        if error.code in codec.REFUSALS:
            return AuthenticationError(f"{self._url} demands authentication that was not given: {error}")
        if error.code in _UNAVAILABLE:
            return BackendUnavailableError(f"no connection to {self._url}: {error}")
        return BackendError(str(error), path)
