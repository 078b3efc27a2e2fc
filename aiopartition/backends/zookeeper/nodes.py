"""Requests about the nodes of a ZooKeeper tree, with the library's errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from aiopartition.acl import CREATOR_ACL, OPEN_ACL, Grant, shown_id
from aiopartition.backends.base import Owner
from aiopartition.backends.ephemerals import Ephemerals
from aiopartition.backends.zookeeper import acls, codec
from aiopartition.backends.zookeeper.acls import LockedOutError
from aiopartition.backends.zookeeper.authentication import REFUSALS
from aiopartition.backends.zookeeper.codec import Children, ErrorCode, Operation, ReplyError, Stat
from aiopartition.backends.zookeeper.connection import ConnectionLostError, LongAnswerError
from aiopartition.backends.zookeeper.frames import ProtocolError
from aiopartition.backends.zookeeper.session import Session
from aiopartition.errors import AuthenticationError, BackendError, BackendUnavailableError
from aiopartition.url import Url

__all__ = ["ATTEMPTS", "ForeignNodeError", "Nodes"]

T = TypeVar("T")

ATTEMPTS: Final = 10
"""How often a sequence of requests starts again when other clients change the tree meanwhile."""

DELETIONS: Final = 100
"""Nodes deleted, at most, below one that has no right to be there."""

_UNAVAILABLE: Final = frozenset({ErrorCode.CONNECTION_LOSS, ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_MOVED})


class ForeignNodeError(BackendError):
    """A node that we want to create exists, and is not of this session."""


def is_session(owner: int) -> bool:
    """Return whether the owner of a node is a session. In nodes that are not ephemeral it tells their kind
    (``EphemeralType.java``): 0, or the smallest number for a container, or 0xff0000 and a time to live."""
    return owner not in (0, -(1 << 63)) and owner >> 40 & 0xFFFFFF != 0xFF0000


class Nodes:
    """The nodes that a session can see.

    Every method raises the errors that :class:`~aiopartition.backends.base.Backend` names. All but :meth:`request` can
    be repeated: a node that has the wanted state already is not an error.

    :param acls: the first that does not lock us out is that of all nodes that are created below the namespace.
    """

    def __init__(self, session: Session, url: Url, *acls: tuple[Grant, ...]) -> None:
        self._session = session
        self._url = url
        self._acls = acls
        self._too_long: dict[tuple[str, ...], tuple[int, LongAnswerError]] = {}
        """Why the names below these paths could not be read, and on which connection."""

    @property
    def connection(self) -> int:
        """The number of the session's connection. Numbers of transactions tell an order only on one connection: a
        server that was restored from a backup repeats some."""
        return self._session.connections

    async def request(self, operation: Operation[T], path: str, permission: str, *expected: ErrorCode) -> T:
        """Send a request once and return its answer.

        :param path: the node on which the request requires ``permission``.
        :param expected: refusals that are raised as they are.
        :raises ReplyError: for an expected refusal.
        """
        try:
            return await self._send(operation, path, permission, *expected)
        except LongAnswerError as error:
            raise _too_long((path,), error) from error

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
        return await self.read_children(path, lambda found: found.names) or ()

    async def read_children(self, path: str, take: Callable[[Children], T]) -> T | None:
        """Read the names of the nodes below a node and its stat. Return what ``take`` makes of them as soon as they
        arrive, ``None`` if there is no such node."""
        try:
            return await self.read_lists(codec.get_children(path).then(take), path)
        except ReplyError:
            return None

    async def read_lists(self, operation: Operation[T], *paths: str) -> T:
        """Send a request that reads the names of the nodes below other nodes, and return its answer.

        If they are too many to be read, they are not asked for again on this connection before they have changed.

        :raises ReplyError: if one of several nodes, or the only one, does not exist.
        """
        connection, (noted, known) = self.connection, self._too_long.pop(paths, (0, None))
        if (
            known is not None
            and noted == connection
            and known.zxid >= max(filter(None, await self.lists_changed(paths)), default=math.inf)
        ):
            self._too_long[paths] = connection, known
            raise _too_long(paths, known)
        try:
            return await self._send(operation, paths[-1], "READ", ErrorCode.NO_NODE)
        except LongAnswerError as error:
            self._too_long[paths] = connection, error
            raise _too_long(paths, error) from error

    async def lists_changed(self, paths: Sequence[str]) -> list[int | None]:
        """Return the transactions that changed the lists of the nodes below these nodes last, ``None`` for one that
        does not exist."""
        nodes = await self.request(codec.read_nodes(paths), paths[-1], "READ")
        return [None if node is None else node.stat.children_zxid for node in nodes]

    async def owner(self, path: str) -> Owner | None:
        """Return whose a node is, ``None`` if there is no such node."""
        stat = await self.find(codec.exists(path), path)
        if stat is None:
            return None
        if not is_session(stat.ephemeral_owner):
            return Owner.NOBODY
        return Owner.US if stat.ephemeral_owner == self._session.session_id else Owner.ANOTHER

    async def write(self, path: str, data: bytes, version: int) -> Stat | None:
        """Replace a node's data. Return ``None`` if its version is another, or there is no such node."""
        operation = codec.set_data(path, data, version)
        try:
            return await self.request(operation, path, "WRITE", ErrorCode.NO_NODE, ErrorCode.BAD_VERSION)
        except ReplyError:
            return None

    async def delete(self, path: str) -> None:
        """Delete a node. It stays if it has children."""
        await self._delete(path)

    async def _delete(self, path: str) -> bool:
        """Return ``False`` if it has children."""
        # The permission belongs to the parent (ZooKeeper Programmer's Guide, "ACL Permissions").
        parent = path.rpartition("/")[0]
        gone = True
        try:
            await self.request(codec.delete(path), parent, "DELETE", ErrorCode.NO_NODE, ErrorCode.NOT_EMPTY)
        except ReplyError as error:  # NOT_EMPTY: not a node of ours, because ephemeral nodes have no children
            gone = error.code != ErrorCode.NOT_EMPTY
        self.ephemerals.discard(path)
        return gone

    async def delete_ephemerals(self) -> None:
        """Delete nodes of this session in portions, until a single portion is left."""
        for paths in self.ephemerals.portions():
            if await self.request(codec.delete_all(paths), paths[0], "DELETE"):
                for path in paths:
                    self.ephemerals.discard(path)
            else:  # one does not exist, or must not be deleted
                for path in paths:
                    await self.delete(path)

    async def delete_all(self, path: str) -> bool:
        """Delete a node and what is below it. Return ``False`` if some of it is still there: only so many nodes are
        deleted in one call."""
        doomed = [path]
        for _ in range(DELETIONS):
            if not doomed:
                return True
            if await self._delete(doomed[-1]):
                doomed.pop()
            else:
                names = await self.children(doomed[-1])
                doomed += [f"{doomed[-1]}/{name}" for name in names[:DELETIONS]]
        return not doomed

    async def create(self, path: str, data: bytes, *, ephemeral: bool = False) -> ErrorCode | None:
        """Create a node. Return ``NODE_EXISTS`` if it exists, ``NO_NODE`` if its parent does not, or else ``None``."""
        acl, parent = self._acl_of(path), path.rpartition("/")[0] or "/"
        create = acls.create if acl in (OPEN_ACL, CREATOR_ACL) else acls.create_for
        try:
            await self.request(
                create(path, data, acl, ephemeral=ephemeral), parent, "CREATE", ErrorCode.NODE_EXISTS, ErrorCode.NO_NODE
            )
        except LockedOutError as error:
            if acl != self._acls[-1]:
                self._acls = self._acls[1:]
                return await self.create(path, data, ephemeral=ephemeral)
            known = await self.known_as()
            reason = f"not created, as acl has no id of this client; the server takes it for {known}"
            raise AuthenticationError(reason, path) from error
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

    @property
    def ephemerals(self) -> Ephemerals:
        """The ephemeral nodes of this session."""
        return self._session.ephemerals

    async def create_ephemeral(self, path: str, data: bytes) -> bool:
        """Create an ephemeral node of this session, which counts it. Return ``False`` if its parent is missing."""
        for _ in range(ATTEMPTS):
            outcome = await self.create(path, data, ephemeral=True)
            if outcome is None:
                return True
            if outcome == ErrorCode.NO_NODE:
                self.ephemerals.discard(path)
                return False
            if await self.owner(path) is Owner.US:
                return True  # created by an earlier request whose answer was lost
        self.ephemerals.discard(path)
        raise ForeignNodeError("the node belongs to another session", path)

    async def replace_ephemeral(self, old: str, new: str, data: bytes) -> bool:
        """Delete one node and create another, of this session, in one transaction. Count those that are there then.

        :returns: whether the new one is there, perhaps by an earlier request whose answer was lost.
        """
        operation = acls.replace(old, new, data, self._acl_of(new))
        parent = new.rpartition("/")[0]
        try:
            await self.request(operation, parent, "CREATE or DELETE", ErrorCode.NO_NODE, ErrorCode.NODE_EXISTS)
        except ReplyError:
            replaced = await self.owner(new) is Owner.US
        else:
            replaced = True
        self.ephemerals.discard(old if replaced else new)
        return replaced

    def prefer(self, acl: tuple[Grant, ...]) -> None:
        """Create nodes with this ACL from now on, unless it locks us out."""
        self._acls = (acl, self._acls[-1])

    async def our_ids(self) -> tuple[str, ...]:
        """Return the ids that the server knows us by, with users of the scheme digest as ``digest:user``. None if it is
        older than 3.7."""
        try:
            return await self.request(acls.who_am_i(), "/", "READ", ErrorCode.UNIMPLEMENTED)
        except ReplyError:
            return ()

    async def known_as(self) -> str:
        """Return :meth:`our_ids` for a message."""
        return ", ".join(map(shown_id, await self.our_ids())) or "nobody that it tells"

    def _acl_of(self, path: str) -> tuple[Grant, ...]:
        # Nodes above the namespace stay open to all: other clients create their namespaces there.
        return self._acls[0] if path.startswith(self._url.namespace) else OPEN_ACL

    async def _send(self, operation: Operation[T], path: str, permission: str, *expected: ErrorCode) -> T:
        try:
            return await self._session.send(operation)
        except ConnectionLostError as error:
            raise BackendUnavailableError(f"no connection to {self._url}: {error}") from error
        except ProtocolError as error:
            raise BackendError(f"the server sent {error}", path) from error
        except ReplyError as error:
            if error.code in expected or isinstance(error, LockedOutError):
                raise
            raise self._translated(error, path, permission) from error

    def _translated(self, error: ReplyError, path: str, permission: str) -> BackendError:
        if error.code == ErrorCode.NO_AUTH:
            return AuthenticationError("these credentials do not have it", path, permission)
        if error.code in REFUSALS:
            return AuthenticationError(f"{self._url} demands authentication that was not given: {error}")
        if error.code in _UNAVAILABLE:
            return BackendUnavailableError(f"no connection to {self._url}: {error}")
        return BackendError(str(error), path)


def _too_long(paths: tuple[str, ...], error: LongAnswerError) -> BackendError:
    path = paths[0] if len(paths) == 1 else paths[0].rpartition("/")[0]
    return BackendError(f"the server sent {error}; remove what no member has put there", path)
