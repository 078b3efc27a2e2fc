"""Groups as nodes of a ZooKeeper tree. ``docs/format-1.md``, "Layout in ZooKeeper", says which nodes there are."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from aiopartition.backends.base import Entries, Listener
from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import ErrorCode
from aiopartition.backends.zookeeper.nodes import ATTEMPTS, Nodes
from aiopartition.backends.zookeeper.session import Session
from aiopartition.clock import Clock
from aiopartition.errors import BackendError, BackendUnavailableError
from aiopartition.parsing import parse_number
from aiopartition.quoting import quote_component
from aiopartition.settings import Settings

__all__ = ["ZooKeeperBackend"]

_logger: Final = logging.getLogger("aiopartition.zookeeper")


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
        self._generations: dict[str, int] = {}  # group id -> the generation that was read last
        self._left_behind: dict[str, set[str]] = {}  # group id -> nodes of past handoffs that we may not delete
        self._session = Session(
            settings.url.hosts, settings.session_timeout, listener, self._watch_fired,
            clock=clock, ssl=settings.ssl, auth=settings.auth,
        )  # fmt: skip
        self._nodes = Nodes(self._session, settings.url, creator_only=settings.auth is not None)

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
        # Not a ping of the protocol: all of those have the same number, so only one can be under way.
        await self._nodes.request(codec.no_watches(), "/", "READ")

    def _watch_fired(self, path: str) -> None:
        if path in self._members_ids:
            self._listener.group_changed(self._members_ids[path])
        elif path in self._active_ids:
            self._listener.group_activated(self._active_ids[path])

    # ---- groups

    async def ensure_group(self, group_id: str, document: bytes) -> bytes:
        path = self._group_path(group_id)
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

    async def enter(self, group_id: str, name: str, data: bytes) -> bool:
        members = self._members_path(group_id)
        for _ in range(ATTEMPTS):
            if await self._nodes.create_ephemeral(f"{members}/{name}", data):
                return True
            if await self._nodes.create(members, b"") == ErrorCode.NO_NODE:
                return False
        raise BackendError("the node keeps vanishing", members)

    async def withdraw(self, group_id: str, name: str) -> None:
        await self._nodes.delete(f"{self._members_path(group_id)}/{name}")

    async def read(self, group_id: str, *, watch: bool, latest: bool = False) -> Entries | None:
        members = self._members_path(group_id)
        if watch:
            self._members_ids[members] = group_id  # before the request: the event may arrive right after the answer
        if latest:
            await self._nodes.sync(members)
        children = await self._nodes.find(codec.get_children(members, watch=watch), members)
        if children is None:
            return None
        self._generations[group_id] = children.stat.children_zxid
        return Entries(children.stat.children_zxid, children.names)

    async def generation(self, group_id: str) -> int | None:
        members = self._members_path(group_id)
        stat = await self._nodes.find(codec.exists(members), members)
        if stat is None:
            return None
        self._generations[group_id] = stat.children_zxid
        return stat.children_zxid

    def forget(self, group_id: str) -> None:
        members, active = self._members_path(group_id), self._active_path(group_id)
        self._members_ids.pop(members, None)
        self._active_ids.pop(active, None)
        self._generations.pop(group_id, None)
        self._left_behind.pop(group_id, None)
        for path in (members, active):
            self._session.forget_watches(path)

    async def is_ours(self, group_id: str, name: str) -> bool | None:
        return await self._nodes.is_ours(f"{self._members_path(group_id)}/{name}")

    async def describe(self, group_id: str, name: str) -> bytes | None:
        path = f"{self._members_path(group_id)}/{name}"
        found = await self._nodes.find(codec.get_data(path), path)
        return None if found is None else found[0]

    # ---- exclusive groups

    async def acknowledge(self, group_id: str, generation: int, name: str) -> int | None:
        handoff = self._handoff_path(group_id, generation)
        for _ in range(ATTEMPTS):
            if await self._nodes.create_ephemeral(f"{handoff}/{name}", b""):
                # Our server has applied our own creation before it answers this, so the last member counts all.
                stat = await self._nodes.find(codec.exists(handoff), handoff)
                if stat is not None:
                    return stat.children
            elif (
                await self._nodes.create(handoff, b"") == ErrorCode.NO_NODE
                and await self._nodes.create(self._handoffs_path(group_id), b"") == ErrorCode.NO_NODE
            ):
                return None
        raise BackendError("the node keeps vanishing", handoff)

    async def retract(self, group_id: str, generation: int, name: str) -> None:
        await self._nodes.delete(f"{self._handoff_path(group_id, generation)}/{name}")

    async def acknowledgements(self, group_id: str, generation: int) -> tuple[str, ...]:
        return await self._nodes.children(self._handoff_path(group_id, generation))

    async def activate(self, group_id: str, generation: int) -> None:
        path = self._active_path(group_id)
        for _ in range(ATTEMPTS):
            found = await self._read_active(group_id)
            if found is None:
                await self._nodes.create(path, b"0")
                continue
            active, version = found
            # The newest generation may replace an invalid number: no later one can have been active.
            newer = generation > active if active is not None else generation == await self._newest(group_id)
            if not newer:
                return
            stat = await self._nodes.write(path, b"%d" % generation, version)
            if stat is None:
                continue
            if generation >= stat.data_zxid:  # all members would ignore it, and write it again and again
                raise BackendError(f"generation {generation} is later than the transaction that names it", path)
            await self._delete_earlier(group_id, generation)
            return
        raise BackendError("the node keeps changing while it is being written", path)

    async def active(self, group_id: str) -> int:
        path = self._active_path(group_id)
        self._active_ids[path] = group_id  # before the request: the event may arrive right after the answer
        for _ in range(ATTEMPTS):
            found = await self._read_active(group_id, watch=True)
            if found is not None:
                return found[0] or 0
            if await self._nodes.create(path, b"0") == ErrorCode.NO_NODE:
                return 0  # no group, so no handoff
        raise BackendError("the node keeps vanishing", path)

    async def _read_active(self, group_id: str, *, watch: bool = False) -> tuple[int | None, int] | None:
        """Return the active generation and the version of its node; ``None`` without a node.

        The generation is ``None`` if the node holds something that no member has written. If it were believed, it would
        block all later handoffs.
        """
        path = self._active_path(group_id)
        found = await self._nodes.find(codec.get_data(path, watch=watch), path)
        if found is None:
            return None
        data, stat = found
        active = parse_number(data.decode("ascii", "replace"))
        if active is None or active >= stat.data_zxid:  # a generation is older than the transaction that activates it
            return None, stat.version
        if active > self._generations.get(group_id, 0):
            newest = await self._newest(group_id)
            if newest is not None and active > newest:  # generations only grow, so there has never been this one
                return None, stat.version
        return active, stat.version

    async def _newest(self, group_id: str) -> int | None:
        """Return the group's generation, at least as new as everything that was done before this call."""
        await self._nodes.sync(self._members_path(group_id))
        return await self.generation(group_id)

    async def _delete_earlier(self, group_id: str, generation: int) -> None:
        """Delete the nodes of handoffs to earlier generations, with the acknowledgements that are left there.

        A refusal does not stop it, and a node that must not be deleted is not tried again.
        """
        handoffs = self._handoffs_path(group_id)
        names: tuple[str, ...] = ()
        with self._left_behind_if_refused(group_id, handoffs):
            names = await self._nodes.children(handoffs)
        for name in names:
            number, path = parse_number(name), f"{handoffs}/{name}"
            if number is not None and number < generation and path not in self._left_behind.get(group_id, ()):
                with self._left_behind_if_refused(group_id, path):
                    for entry in await self._nodes.children(path):
                        await self._nodes.delete(f"{path}/{entry}")
                    await self._nodes.delete(path)

    @contextmanager
    def _left_behind_if_refused(self, group_id: str, path: str) -> Generator[None]:
        try:
            yield
        except BackendUnavailableError:
            raise
        except BackendError as error:
            left_behind = self._left_behind.setdefault(group_id, set())
            if not left_behind:  # one warning: most refusals have the same reason
                _logger.warning("nodes of past handoffs are left behind: %s", error)
            left_behind.add(path)

    # ---- paths

    def _group_path(self, group_id: str) -> str:
        return f"{self._namespace}/{quote_component(group_id)}"

    def _members_path(self, group_id: str) -> str:
        return f"{self._group_path(group_id)}/members"

    def _handoffs_path(self, group_id: str) -> str:
        return f"{self._group_path(group_id)}/handoff"

    def _handoff_path(self, group_id: str, generation: int) -> str:
        return f"{self._handoffs_path(group_id)}/{generation}"

    def _active_path(self, group_id: str) -> str:
        return f"{self._group_path(group_id)}/active"
