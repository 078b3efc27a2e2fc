"""An operator at ZooKeeper's shell: what the tests do to the tree behind the library's back, with another client."""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError, NotEmptyError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import ACL, OPEN_ACL_UNSAFE, make_digest_acl

from aiopartition import PartitionCoordinator
from aiopartition.backends.zookeeper.backend import ZooKeeperBackend
from aiopartition.backends.zookeeper.session import Session

T = TypeVar("T")


class Operator:
    """A session of kazoo's, whose calls block a thread instead of the event loop.

    :param hosts: a connection string.
    :param auth: digest user and password.
    """

    def __init__(self, hosts: str, *, auth: tuple[str, str] | None = None) -> None:
        self._client: Any = KazooClient(hosts, auth_data=[("digest", ":".join(auth))] if auth else None)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._client.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._client.stop)
        await asyncio.to_thread(self._client.close)

    async def create(self, path: str, data: bytes = b"", *, acl: Sequence[ACL] = OPEN_ACL_UNSAFE) -> None:
        """A persistent node; its parents, which are open to all, are made at need."""
        await self._call(self._client.create, path, data, acl=list(acl), makepath=True)

    async def children(self, path: str) -> list[str]:
        """Names, sorted; none if there is no such node."""
        try:
            return sorted(await self._call(self._client.get_children, path))
        except NoNodeError:
            return []

    async def get(self, path: str) -> bytes:
        """A node's data."""
        data: bytes = (await self._call(self._client.get, path))[0]
        return data

    async def set(self, path: str, data: bytes) -> None:
        """Write a node's data."""
        await self._call(self._client.set, path, data)

    async def set_acl(self, path: str, acl: Sequence[ACL]) -> None:
        """Replace who may do what."""
        await self._call(self._client.set_acls, path, list(acl))

    async def get_acl(self, path: str) -> list[ACL]:
        """Who may do what."""
        acl: list[ACL] = (await self._call(self._client.get_acls, path))[0]
        return acl

    async def owner(self, path: str) -> int:
        """The session that an ephemeral node belongs to; 0 for others."""
        owner: int = (await self._call(self._client.get, path))[1].ephemeralOwner
        return owner

    async def created(self, path: str) -> int:
        """The transaction that created a node."""
        transaction: int = (await self._call(self._client.get, path))[1].czxid
        return transaction

    async def delete(self, path: str) -> None:
        """Delete a node and all that is below it. What grows again meanwhile is deleted again."""
        for _ in range(20):
            try:
                await self._call(self._client.delete, path, recursive=True)
            except NotEmptyError:
                continue
            return
        raise AssertionError(f"{path} grows again faster than it can be deleted")

    async def _call(self, function: Callable[..., T], *arguments: object, **keywords: object) -> T:
        return await asyncio.to_thread(function, *arguments, **keywords)


async def end_session(hosts: str, session: Session) -> None:
    """Have the servers end somebody else's session: take it over, with its id and password, and close it.

    Its owner reconnects, and may take it back before it is closed: so it is tried again until the session is gone.
    """
    ended, password = session.session_id, session._password.reveal()
    for attempt in range(20):
        client: Any = KazooClient(hosts, client_id=(ended, password), timeout=session.timeout)
        try:
            await asyncio.to_thread(client.start)
            if client.client_id[0] != ended:
                assert attempt, "it had ended already"
                return
        except KazooTimeoutError:
            continue  # while it is taken back, servers may turn us away for as long as kazoo tries
        finally:
            await asyncio.to_thread(client.stop)
            await asyncio.to_thread(client.close)
    raise AssertionError("its owner takes it back each time")


def session_of(coordinator: PartitionCoordinator) -> Session:
    """A coordinator's session, for what cannot be asked from outside."""
    backend = coordinator._registry.backend
    assert isinstance(backend, ZooKeeperBackend)
    return backend._session


def rights(auth: tuple[str, str], permissions: str) -> ACL:
    """What the one with these credentials may do: letters of ``crwda``, as at ZooKeeper's shell."""
    names = {"c": "create", "r": "read", "w": "write", "d": "delete", "a": "admin"}
    return make_digest_acl(*auth, **{names[letter]: True for letter in permissions})


def super_user_properties(user: str, password: str) -> dict[str, object]:
    """System properties of a server on which no ACL keeps this user out."""
    digest = base64.b64encode(hashlib.sha1(f"{user}:{password}".encode()).digest()).decode()
    return {"zookeeper.DigestAuthenticationProvider.superDigest": f"{user}:{digest}"}
