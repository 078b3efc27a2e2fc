"""Groups in a ZooKeeper tree::

    <namespace>/<group>                   data: the group's document
    <namespace>/<group>/members/<entry>   ephemeral: one incarnation of one member
    <namespace>/<group>/handoff/<generation>/<entry>   ephemeral: it has let go of what that generation does not give it
    <namespace>/<group>/active            data: the newest generation that all its entries have acknowledged

The generation is the ``pzxid`` of ``members``: the transaction that last added or removed an entry. It comes with the
very read that lists the entries, it is the same for everybody who sees the same list, and it only grows.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

from aiopartition.backends.base import Entries, Listener
from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import ErrorCode, ProtocolError, ReplyError
from aiopartition.backends.zookeeper.connection import ConnectionLostError
from aiopartition.backends.zookeeper.session import Session
from aiopartition.clock import Clock
from aiopartition.errors import AuthenticationError, BackendError, BackendUnavailableError
from aiopartition.parsing import parse_number
from aiopartition.quoting import quote_component
from aiopartition.settings import Settings

__all__ = ["ZooKeeperBackend"]

_logger: Final = logging.getLogger("aiopartition.zookeeper")

_NOT_CREATED: Final = (ErrorCode.NODE_EXISTS, ErrorCode.NO_NODE)

_ATTEMPTS: Final = 10
"""How often a sequence of steps starts anew when others change the tree under it."""


class ZooKeeperBackend:
    """The :class:`~aiopartition.backends.Backend` over a hardened session."""

    def __init__(self, settings: Settings, listener: Listener, clock: Clock) -> None:
        assert settings.url is not None
        self._url = settings.url
        self._creator_only = settings.auth is not None
        self._listener = listener
        self._clock = clock
        self._group_ids: dict[str, str] = {}  # path of a members node -> group id, to tell whose watch has fired
        self._active_ids: dict[str, str] = {}  # the same for nodes that name the active generation
        self._generations: dict[str, int] = {}  # group id -> the one that we have read last
        self._left_behind: dict[str, set[str]] = {}  # group id -> nodes of past handoffs that we may not delete
        self._session = Session(
            settings.url.hosts, settings.session_timeout, listener, self._watch_fired,
            clock=clock, ssl=settings.ssl, auth=settings.auth,
        )  # fmt: skip

    # ---- the session

    @property
    def connected(self) -> bool:
        return self._session.connected

    @property
    def last_error(self) -> str:
        return self._session.last_error

    @property
    def server(self) -> str | None:
        return None if self._session.peer is None else str(self._session.peer)

    def lease_left(self, *, quorum: bool = False) -> float:
        lease = self._session.quorum_lease if quorum else self._session.lease
        return lease.safe_until - self._clock()

    @property
    def session_timeout(self) -> float:
        return self._session.timeout

    async def run(self) -> None:
        await self._session.run()

    async def first_connection(self) -> None:
        await self._session.first_connection()

    async def close(self) -> None:
        await self._session.close()

    async def ping(self) -> None:
        with self._translated("/", "READ"):
            await self._session.ping()

    def _watch_fired(self, path: str) -> None:
        group_id = self._group_ids.get(path)
        if group_id is not None:
            self._listener.group_changed(group_id)
        elif path in self._active_ids:
            self._listener.group_activated(self._active_ids[path])

    # ---- groups

    async def ensure_group(self, group_id: str, document: bytes) -> bytes:
        path = self._group_path(group_id)
        for _ in range(_ATTEMPTS):
            try:
                with self._translated(path, "READ", ErrorCode.NO_NODE):
                    stored, stat = await self._session.send(codec.get_data(path))
                if stored:
                    return stored
                # Somebody made the bare node, by hand or as a parent: it becomes a group now.
                with self._translated(path, "WRITE", ErrorCode.NO_NODE, ErrorCode.BAD_VERSION):
                    await self._session.send(codec.set_data(path, document, stat.version))
                return document
            except ReplyError as error:
                if error.code == ErrorCode.NO_NODE and await self._create(path, document):
                    return document
        raise BackendError("the node keeps changing while it is being set up", path)

    async def enter(self, group_id: str, name: str, data: bytes) -> bool:
        members = self._members_path(group_id)
        for _ in range(_ATTEMPTS):
            if await self._create_ephemeral(f"{members}/{name}", data):
                return True
            if await self._try_create(members, b"") == ErrorCode.NO_NODE:
                return False
        raise BackendError("the node keeps vanishing", members)

    async def withdraw(self, group_id: str, name: str) -> None:
        await self._delete(f"{self._members_path(group_id)}/{name}")

    async def read(self, group_id: str, *, watch: bool, latest: bool = False) -> Entries | None:
        members = self._members_path(group_id)
        if watch:
            self._group_ids[members] = group_id  # before the request: the event may follow on the answer's heels
        try:
            with self._translated(members, "READ", ErrorCode.NO_NODE):
                if latest:
                    await self._session.send(codec.sync(members))
                children = await self._session.send(codec.get_children(members, watch=watch))
        except ReplyError:
            return None
        self._generations[group_id] = children.stat.children_zxid
        return Entries(children.stat.children_zxid, children.names)

    async def generation(self, group_id: str) -> int | None:
        members = self._members_path(group_id)
        try:
            with self._translated(members, "READ", ErrorCode.NO_NODE):
                stat = await self._session.send(codec.exists(members))
        except ReplyError:
            return None
        self._generations[group_id] = stat.children_zxid
        return stat.children_zxid

    def forget(self, group_id: str) -> None:
        members, active = self._members_path(group_id), self._active_path(group_id)
        self._group_ids.pop(members, None)
        self._active_ids.pop(active, None)
        self._generations.pop(group_id, None)
        self._left_behind.pop(group_id, None)
        for path in (members, active):
            self._session.forget_watches(path)

    async def is_ours(self, group_id: str, name: str) -> bool | None:
        return await self._is_ours(f"{self._members_path(group_id)}/{name}")

    async def describe(self, group_id: str, name: str) -> bytes | None:
        path = f"{self._members_path(group_id)}/{name}"
        try:
            with self._translated(path, "READ", ErrorCode.NO_NODE):
                return (await self._session.send(codec.get_data(path)))[0]
        except ReplyError:
            return None

    # ---- exclusive groups

    async def acknowledge(self, group_id: str, generation: int, name: str) -> int | None:
        barrier = self._barrier_path(group_id, generation)
        for _ in range(_ATTEMPTS):
            if await self._create_ephemeral(f"{barrier}/{name}", b""):
                # A server has carried out our own request before it answers this one: the last to acknowledge sees all.
                with suppress(ReplyError), self._translated(barrier, "READ", ErrorCode.NO_NODE):
                    return (await self._session.send(codec.exists(barrier))).children
            elif (
                await self._try_create(barrier, b"") == ErrorCode.NO_NODE
                and await self._try_create(self._handoff_path(group_id), b"") == ErrorCode.NO_NODE
            ):
                return None
        raise BackendError("the node keeps vanishing", barrier)

    async def retract(self, group_id: str, generation: int, name: str) -> None:
        await self._delete(f"{self._barrier_path(group_id, generation)}/{name}")

    async def acknowledgements(self, group_id: str, generation: int) -> tuple[str, ...]:
        return await self._children(self._barrier_path(group_id, generation))

    async def activate(self, group_id: str, generation: int) -> None:
        path = self._active_path(group_id)
        for _ in range(_ATTEMPTS):
            try:
                with self._translated(path, "READ", ErrorCode.NO_NODE):
                    active, version = await self._read_active(group_id)
                if active is None:
                    # It hides which one was active. None later than the newest can have been, so that may be written.
                    writable = generation == await self._newest_generation(group_id)
                else:
                    writable = active < generation
                if writable:
                    with self._translated(path, "WRITE", ErrorCode.NO_NODE, ErrorCode.BAD_VERSION):
                        stat = await self._session.send(codec.set_data(path, b"%d" % generation, version))
                    if generation >= stat.data_zxid:
                        # No member believes that, so it would be written again and again.
                        raise BackendError(f"generation {generation} is later than the transaction that names it", path)
                    await self._tidy(group_id, generation)
                return
            except ReplyError as error:
                if error.code == ErrorCode.NO_NODE:
                    await self._try_create(path, b"0")
        raise BackendError("the node keeps changing while it is being written", path)

    async def active(self, group_id: str) -> int:
        path = self._active_path(group_id)
        self._active_ids[path] = group_id  # before the request: the event may follow on the answer's heels
        for _ in range(_ATTEMPTS):
            try:
                with self._translated(path, "READ", ErrorCode.NO_NODE):
                    return (await self._read_active(group_id, watch=True))[0] or 0
            except ReplyError:
                if await self._try_create(path, b"0") == ErrorCode.NO_NODE:
                    return 0  # without the group there is nothing to hand over
        raise BackendError("the node keeps vanishing", path)

    async def _read_active(self, group_id: str, *, watch: bool = False) -> tuple[int | None, int]:
        """The active generation, and the version of the node that names it. ``None`` for what no member has written,
        which would otherwise be in the way of all handoffs to come."""
        data, stat = await self._session.send(codec.get_data(self._active_path(group_id), watch=watch))
        active = parse_number(data.decode("ascii", "replace"))
        if active is None or active >= stat.data_zxid:  # a generation is older than what made it active
            return None, stat.version
        if active > self._generations.get(group_id, 0):
            newest = await self._newest_generation(group_id)
            if newest is not None and active > newest:  # generations only grow, so there has never been that one
                return None, stat.version
        return active, stat.version

    async def _newest_generation(self, group_id: str) -> int | None:
        """The group's generation, not older than anything that was done before this call."""
        members = self._members_path(group_id)
        with self._translated(members, "READ"):
            await self._session.send(codec.sync(members))
        return await self.generation(group_id)

    async def _tidy(self, group_id: str, generation: int) -> None:
        """Remove the nodes of generations before that, with acknowledgements that could not be deleted by those who
        made them. A node that may not be removed is tried once, and is in the way of no other."""
        barriers = self._handoff_path(group_id)
        names: tuple[str, ...] = ()
        with self._left_behind_if_refused(group_id, barriers):
            names = await self._children(barriers)
        for name in names:
            number, path = parse_number(name), f"{barriers}/{name}"
            if number is not None and number < generation and path not in self._left_behind.get(group_id, ()):
                with self._left_behind_if_refused(group_id, path):
                    for entry in await self._children(path):
                        await self._delete(f"{path}/{entry}")
                    await self._delete(path)

    @contextmanager
    def _left_behind_if_refused(self, group_id: str, path: str) -> Generator[None]:
        try:
            yield
        except BackendUnavailableError:
            raise
        except BackendError as error:
            left_behind = self._left_behind.setdefault(group_id, set())
            if not left_behind:  # said once: the others are mostly refused for the same reason
                _logger.warning("nodes of past handoffs are left behind: %s", error)
            left_behind.add(path)

    # ---- inside

    async def _children(self, path: str) -> tuple[str, ...]:
        """The names below a node; empty if there is no such node."""
        try:
            with self._translated(path, "READ", ErrorCode.NO_NODE):
                return (await self._session.send(codec.get_children(path, watch=False))).names
        except ReplyError:
            return ()

    async def _delete(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        try:
            # The right to delete a node belongs to its parent (ZooKeeper Programmer's Guide, "ACL Permissions").
            with self._translated(parent, "DELETE", ErrorCode.NO_NODE, ErrorCode.NOT_EMPTY):
                await self._session.send(codec.delete(path))
        except ReplyError:
            return  # it is gone, which is all that was asked; or somebody still puts nodes into it

    async def _create_ephemeral(self, path: str, data: bytes) -> bool:
        """Make an ephemeral node of this session. ``False`` if its parent is missing. Idempotent."""
        for _ in range(_ATTEMPTS):
            outcome = await self._try_create(path, data, ephemeral=True)
            if outcome is None:
                return True
            if outcome == ErrorCode.NO_NODE:
                return False
            if await self._is_ours(path):
                return True  # an earlier attempt, whose answer was lost
        raise BackendError("the node belongs to another session", path)

    def _group_path(self, group_id: str) -> str:
        return f"{self._url.namespace}/{quote_component(group_id)}"

    def _members_path(self, group_id: str) -> str:
        return f"{self._group_path(group_id)}/members"

    def _handoff_path(self, group_id: str) -> str:
        return f"{self._group_path(group_id)}/handoff"

    def _barrier_path(self, group_id: str, generation: int) -> str:
        return f"{self._handoff_path(group_id)}/{generation}"

    def _active_path(self, group_id: str) -> str:
        return f"{self._group_path(group_id)}/active"

    async def _create(self, path: str, data: bytes) -> bool:
        """Create ``path``, and its parents at need. Whether it was us who created it.

        From the bottom upwards: who may only create below some node must not be made to touch what lies above it,
        and ZooKeeper checks the right to create before it looks whether the node is there already.
        """
        for _ in range(_ATTEMPTS):
            outcome = await self._try_create(path, data)
            if outcome != ErrorCode.NO_NODE:
                return outcome is None
            await self._create(path.rpartition("/")[0], b"")
        raise BackendError("the node's parent keeps vanishing", path)

    async def _try_create(self, path: str, data: bytes, *, ephemeral: bool = False) -> ErrorCode | None:
        """``None`` when created, else ``NODE_EXISTS``, or ``NO_NODE`` when it is the parent that is missing."""
        try:
            with self._translated(path.rpartition("/")[0] or "/", "CREATE", *_NOT_CREATED):
                # What lies above the namespace is not ours alone: others make their namespaces there.
                creator_only = self._creator_only and path.startswith(self._url.namespace)
                await self._session.send(codec.create(path, data, ephemeral=ephemeral, creator_only=creator_only))
        except ReplyError as error:
            return ErrorCode(error.code)
        return None

    async def _is_ours(self, path: str) -> bool | None:
        try:
            with self._translated(path, "READ", ErrorCode.NO_NODE):
                stat = await self._session.send(codec.exists(path))
        except ReplyError:
            return None
        return stat.ephemeral_owner == self._session.session_id

    @contextmanager
    def _translated(self, path: str, permission: str, *expected: ErrorCode) -> Generator[None]:
        """Turn what a session raises into the library's errors, but for the ``expected`` refusals.

        :param path: the node whose ``permission`` it takes.
        """
        try:
            yield
        except ConnectionLostError as error:
            raise BackendUnavailableError(f"no connection to {self._url}: {error}") from error
        except ProtocolError as error:
            raise BackendError(f"the server sent {error}", path) from error
        except ReplyError as error:
            if error.code in expected:
                raise
            if error.code == ErrorCode.NO_AUTH:
                raise AuthenticationError("these credentials do not have it", path, permission) from error
            if error.code in codec.REFUSALS:
                raise AuthenticationError(f"{self._url} demands authentication that was not given: {error}") from error
            if error.code in (ErrorCode.CONNECTION_LOSS, ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_MOVED):
                raise BackendUnavailableError(f"no connection to {self._url}: {error}") from error
            raise BackendError(str(error), path) from error
