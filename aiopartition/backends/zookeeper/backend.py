"""Groups as nodes of a ZooKeeper tree, which ``docs/reference/format-1.md``, "Layout in ZooKeeper", describes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import anyio

from aiopartition.acl import Acl
from aiopartition.backends.base import Entries, ForeignRights, Listener, Mark, Marks, MarksCount, Owner, Progress
from aiopartition.backends.layout import active_path, entry_path, group_ids, group_path, members_path
from aiopartition.backends.lease import Lease
from aiopartition.backends.zookeeper import codec, watches
from aiopartition.backends.zookeeper.access import Access, acls_of
from aiopartition.backends.zookeeper.codec import ErrorCode, Watch
from aiopartition.backends.zookeeper.handoffs import Handoffs
from aiopartition.backends.zookeeper.listings import Listings, entries_of
from aiopartition.backends.zookeeper.nodes import ATTEMPTS, Nodes
from aiopartition.backends.zookeeper.protection import Protection, protect
from aiopartition.backends.zookeeper.session import Session
from aiopartition.backends.zookeeper.watches import WatchEvent
from aiopartition.clock import Clock
from aiopartition.errors import BackendError
from aiopartition.settings import Settings

__all__ = ["ZooKeeperBackend"]

_logger: Final = logging.getLogger("aiopartition.zookeeper")

_DELETION_TIMEOUT: Final = 0.6
"""Seconds of the one that :meth:`ZooKeeperBackend.close` may take."""


class ZooKeeperBackend:
    """The :class:`~aiopartition.backends.base.Backend` on a ZooKeeper ensemble.

    :param settings: must have a URL.
    """

    def __init__(self, settings: Settings, listener: Listener, clock: Clock) -> None:
        assert settings.url is not None
        self._namespace = settings.url.namespace
        self._listener = listener
        self._clock = clock
        self._members_ids: dict[str, str] = {}  # path of a watched ``members`` node -> group id
        self._active_ids: dict[str, str] = {}  # path of a watched ``active`` node -> group id
        self._session = Session(
            settings.url.hosts, settings.session_timeout, listener, self._watch_fired,
            clock=clock, ssl=settings.ssl, auth=settings.auth,
        )  # fmt: skip
        self._nodes = Nodes(self._session, settings.url, *acls_of(settings))
        self._handoffs = Handoffs(self._nodes)
        self._access = Access(self._nodes, settings)
        self._listings = Listings(self._session, self._nodes, self._members_changed)

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
        return self._session.granted

    @property
    def lease_length(self) -> float:
        return Lease.starting(0.0, self._session.timeout).safe_until

    async def run(self) -> None:
        await self._session.run()

    async def first_connection(self) -> None:
        await self._session.first_connection()

    async def close(self) -> None:
        # Portions first, so that the transaction that closes the session is short. Its length is safe in any case.
        with anyio.move_on_after(_DELETION_TIMEOUT):
            try:
                await self._nodes.delete_ephemerals()
            except BackendError as error:
                _logger.debug("deleting nodes before the end of the session: %s", error)
        await self._session.close()

    async def ping(self) -> None:
        # Not a ping of the protocol: all of those have the same number, so only one can be under way.
        await self._nodes.request(watches.no_watches(), "/", "READ")

    def _watch_fired(self, event: WatchEvent) -> None:
        if event.path in self._active_ids:
            self._listener.group_activated(self._active_ids[event.path])
        else:
            self._listings.event(event)

    def _members_changed(self, members: str) -> None:
        self._listener.group_changed(self._members_ids[members])

    # ---- groups

    async def ensure_group(self, group_id: str, document: bytes) -> bytes:
        path = self._group_path(group_id)
        await self._access.prepare()
        for _ in range(ATTEMPTS):
            found = await self._nodes.find(codec.get_data(path), path)
            if found is None:
                if await self._nodes.create_with_parents(path, document):
                    return document
                continue
            stored, stat = found
            if stored:
                return stored
            # The node was created by an operator, or as a parent of another: it becomes a group now.
            if await self._nodes.write(path, document, stat.version) is not None:
                return document
        raise BackendError("the node keeps changing while it is being set up", path)

    async def document(self, group_id: str) -> bytes | None:
        path = self._group_path(group_id)
        found = await self._nodes.find(codec.get_data(path), path)
        return None if found is None else found[0] or None

    async def check_rights(self, group_id: str) -> None:
        await self._access.check(group_id, self._group_path(group_id))

    async def foreign_rights(self, group_id: str) -> ForeignRights:
        return await self._access.foreign_rights(self._group_path(group_id))

    async def protect(self, acl: Acl, *, change: bool) -> Protection:
        """Set the ACLs of all nodes from the namespace down, see :func:`protect`."""
        return await protect(self._nodes, self._namespace, acl, change=change)

    async def enter(self, group_id: str, name: str, data: bytes, *, marks: bool = False) -> bool:
        members, path = self._members_path(group_id), self._entry_path(group_id, name)
        for _ in range(ATTEMPTS):
            with self._nodes.ephemerals.entry(path, marks=marks):
                if await self._nodes.create_ephemeral(path, data):
                    return True
            if await self._nodes.create(members, b"") == ErrorCode.NO_NODE:
                return False
        raise BackendError("the node keeps vanishing", members)

    async def replace(self, group_id: str, old: str, new: str, data: bytes, *, marks: bool = False) -> bool:
        old_path, path = self._entry_path(group_id, old), self._entry_path(group_id, new)
        with self._nodes.ephemerals.entry(path, marks=marks):
            return await self._nodes.replace_ephemeral(old_path, path, data)

    async def withdraw(self, group_id: str, name: str) -> None:
        await self._nodes.delete(self._entry_path(group_id, name))

    async def read(self, group_id: str, *, watch: bool, latest: bool = False) -> Entries | None:
        members = self._members_path(group_id)
        if latest:
            await self._nodes.sync(members)
        if watch:
            self._members_ids[members] = group_id  # before the request: the event may arrive right after the answer
            entries = await self._listings.read(members)
        else:
            entries = await self._nodes.read_children(members, entries_of)
        if entries is not None:
            self._handoffs.saw(self._group_path(group_id), entries.generation)
        return entries

    async def generation(self, group_id: str) -> int | None:
        generation = await self._listings.generation(self._members_path(group_id))
        if generation is not None:
            self._handoffs.saw(self._group_path(group_id), generation)
        return generation

    def forget(self, group_id: str) -> None:
        members, active = self._members_path(group_id), active_path(self._group_path(group_id))
        self._members_ids.pop(members, None)
        self._active_ids.pop(active, None)
        self._listings.forget(members)
        self._handoffs.forget(self._group_path(group_id))
        self._access.forget(group_id)
        self._session.forget_watch(Watch(active))

    async def owner(self, group_id: str, name: str) -> Owner | None:
        return await self._nodes.owner(self._entry_path(group_id, name))

    async def remove(self, group_id: str, name: str) -> bool:
        return await self._nodes.delete_all(self._entry_path(group_id, name))

    async def describe(self, group_id: str, name: str) -> bytes | None:
        path = self._entry_path(group_id, name)
        found = await self._nodes.find(codec.get_data(path), path)
        return None if found is None else found[0]

    async def groups(self) -> tuple[str, ...]:
        return group_ids(await self._nodes.children(self._namespace))

    # ---- exclusive groups

    async def mark(self, group_id: str, mark: Mark) -> MarksCount | None:
        return await self._handoffs.mark(self._group_path(group_id), mark)

    async def unmark(self, group_id: str, mark: Mark) -> None:
        await self._handoffs.unmark(self._group_path(group_id), mark)

    async def marks(self, group_id: str, generation: int) -> Marks:
        return await self._handoffs.marks(self._group_path(group_id), generation)

    async def remove_foreign_marks(self, group_id: str, generation: int, names: Iterable[str]) -> frozenset[str]:
        return await self._handoffs.remove_foreign_marks(self._group_path(group_id), generation, names)

    async def release(self, group_id: str, generation: int) -> None:
        await self._handoffs.release(self._group_path(group_id), generation)

    async def activate(self, group_id: str, generation: int) -> None:
        await self._handoffs.activate(self._group_path(group_id), generation)

    async def progress(self, group_id: str, *, create: bool = True) -> Progress:
        group = self._group_path(group_id)
        self._active_ids[active_path(group)] = group_id  # before the request: the event may arrive with the answer
        return await self._handoffs.progress(group, create=create)

    # ---- paths

    def _group_path(self, group_id: str) -> str:
        return group_path(self._namespace, group_id)

    def _members_path(self, group_id: str) -> str:
        return members_path(self._group_path(group_id))

    def _entry_path(self, group_id: str, name: str) -> str:
        return entry_path(self._group_path(group_id), name)
