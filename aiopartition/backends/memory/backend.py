"""The in-memory backend: coordinators in one process share a named cluster.

It follows the rules of a real coordination service: sessions, leases, generations, watches that fire once, expiry. So
code that was developed and tested without a server behaves the same on one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from anyio.lowlevel import checkpoint

from aiopartition.backends.base import Entries, ForeignRights, Listener, Mark, Marks, MarksCount, Owner, Progress
from aiopartition.backends.ephemerals import Ephemerals
from aiopartition.backends.layout import entry_path, group_path, mark_path
from aiopartition.backends.lease import NO_LEASE, Lease
from aiopartition.backends.listing import Event, Listing
from aiopartition.backends.memory.network import MemoryNetwork
from aiopartition.backends.memory.store import MemoryCluster, MemorySession
from aiopartition.errors import BackendUnavailableError
from aiopartition.forks import tell_child
from aiopartition.url import DEFAULT_NAMESPACE

__all__ = ["MemoryBackend", "MemoryCluster"]

P = ParamSpec("P")
T = TypeVar("T")


class MemoryBackend:
    """The :class:`~aiopartition.backends.base.Backend` of one coordinator on a :class:`MemoryCluster`.

    :param session_timeout: seconds without a request after which the cluster ends the session.
    """

    def __init__(self, cluster: MemoryCluster, session_timeout: float, listener: Listener) -> None:
        self.cluster = cluster
        self.session_timeout = session_timeout
        self.listener = listener
        self.network: MemoryNetwork = MemoryNetwork()
        self._session: MemorySession | None = None
        self._suspended = False
        self._lease = NO_LEASE
        self._opened = asyncio.Event()
        self._woken = asyncio.Event()
        self._listings: dict[str, Listing] = {}  # of the groups that are watched
        self._inherited = False
        self._ephemerals = Ephemerals()

    # ---- the session

    @property
    def connected(self) -> bool:
        return self._session is not None and not self.network.is_cut

    @property
    def last_error(self) -> str:
        return f"cut off from memory cluster {self.cluster.name!r}"

    @property
    def server(self) -> str | None:
        return f"memory cluster {self.cluster.name!r}" if self.connected else None

    def lease_left(self, *, quorum: bool = False) -> float:  # every answer comes from the whole cluster
        return self._lease.safe_until - self.cluster.clock()

    @property
    def lease_length(self) -> float:
        return Lease.starting(0.0, self.session_timeout).safe_until

    async def run(self) -> None:
        tell_child(self)
        self.cluster.attach(self)
        try:
            while not self._inherited:
                self._keep_session()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._idle_seconds()):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            if not self._inherited:
                self.crash()
                self.cluster.detach(self)

    def forked(self) -> None:
        """In a child the cluster is a copy, and empty."""
        self._inherited = True
        self._session = None
        self._lease = NO_LEASE
        self.cluster.forked()

    async def first_connection(self) -> None:
        await self._opened.wait()

    async def close(self) -> None:
        session = self._session
        if session is not None and self.network.open:
            self.cluster.end(session)

    async def ping(self) -> None:
        await self._request(self.cluster.ping)

    # ---- groups

    async def ensure_group(self, group_id: str, document: bytes) -> bytes:
        return await self._request(self.cluster.ensure_group, group_id, document)

    async def document(self, group_id: str) -> bytes | None:
        return await self._request(self.cluster.document, group_id)

    async def check_rights(self, group_id: str) -> None:
        await checkpoint()  # all may do everything

    async def foreign_rights(self, group_id: str) -> ForeignRights:
        await checkpoint()
        return ForeignRights()

    async def enter(self, group_id: str, name: str, data: bytes, *, marks: bool = False) -> bool:
        path = entry_path(_group_path(group_id), name)
        with self._ephemerals.entry(path, marks=marks):
            entered = await self._request(self.cluster.enter, group_id, name, data)
        if not entered:
            self._ephemerals.discard(path)
        return entered

    async def replace(self, group_id: str, old: str, new: str, data: bytes, *, marks: bool = False) -> bool:
        old_path, path = (entry_path(_group_path(group_id), name) for name in (old, new))
        with self._ephemerals.entry(path, marks=marks):
            replaced = await self._request(self.cluster.replace, group_id, old, new, data)
        self._ephemerals.discard(old_path if replaced else path)
        return replaced

    async def withdraw(self, group_id: str, name: str) -> None:
        await self._request(self.cluster.withdraw, group_id, name)
        self._ephemerals.discard(entry_path(_group_path(group_id), name))

    async def read(self, group_id: str, *, watch: bool, latest: bool = False) -> Entries | None:
        listing = self._listings.setdefault(group_id, Listing()) if watch else Listing()
        listing.look()
        if listing.known:
            tally = await self._request(self.cluster.tally, group_id)
            entries = None if tally is None else listing.counted(tally, self.network.connection)
            if entries is not None:
                return entries
        found = await self._request(self.cluster.read, group_id, watch)
        return None if found is None else listing.listed(*found, self.network.connection)

    async def generation(self, group_id: str) -> int | None:
        tally = await self._request(self.cluster.tally, group_id)
        if tally is not None and group_id in self._listings:
            self._listings[group_id].confirm(tally, self.network.connection)
        return None if tally is None else tally.generation

    def forget(self, group_id: str) -> None:
        self._listings.pop(group_id, None)

    async def owner(self, group_id: str, name: str) -> Owner | None:
        return await self._request(self.cluster.owner, group_id, name)

    async def remove(self, group_id: str, name: str) -> bool:
        await self._request(self.cluster.withdraw, group_id, name)
        return True

    async def describe(self, group_id: str, name: str) -> bytes | None:
        return await self._request(self.cluster.describe, group_id, name)

    async def groups(self) -> tuple[str, ...]:
        return await self._request(self.cluster.groups)

    # ---- exclusive groups

    async def mark(self, group_id: str, mark: Mark) -> MarksCount | None:
        path = mark_path(_group_path(group_id), mark)
        with self._ephemerals.mark(path):
            count = await self._request(self.cluster.mark, group_id, mark)
        if count is None:
            self._ephemerals.discard(path)
        return count

    async def unmark(self, group_id: str, mark: Mark) -> None:
        await self._request(self.cluster.unmark, group_id, mark)
        self._ephemerals.discard(mark_path(_group_path(group_id), mark))

    async def marks(self, group_id: str, generation: int) -> Marks:
        return await self._request(self.cluster.marks, group_id, generation)

    async def remove_foreign_marks(self, group_id: str, generation: int, names: Iterable[str]) -> frozenset[str]:
        return await self._request(self.cluster.remove_foreign_marks, group_id, generation, frozenset(names))

    async def release(self, group_id: str, generation: int) -> None:
        await self._request(self.cluster.release, group_id, generation)

    async def activate(self, group_id: str, generation: int) -> None:
        await self._request(self.cluster.activate, group_id, generation)

    async def progress(self, group_id: str, *, create: bool = True) -> Progress:  # its place is always there
        return await self._request(self.cluster.progress, group_id)

    # ---- faults

    def crash(self) -> None:
        """Stop as a killed process does: the session ends with its timeout."""
        session, self._session = self._session, None
        if session is not None:
            session.tell = None
        self.network.cut()

    def cut_off(self) -> None:
        """Break the connection, as a network partition does. The client knows that it is disconnected."""
        self._suspended = True
        self.network.cut()
        self.listener.session_suspended("cut off from the memory cluster")

    def silence(self) -> None:
        """Hold back all requests, answers and notifications, while the connection appears to stay open."""
        self.network.silence()

    def reconnect(self) -> None:
        """Undo :meth:`cut_off` and :meth:`silence`. The session goes on if it has not expired meanwhile."""
        self.network.heal()
        self._woken.set()

    def expire(self) -> None:
        """End the session at the cluster now, as an operator can."""
        if self._session is not None:
            self.cluster.end(self._session)
            self._woken.set()

    # ---- inside

    async def _request(
        self, operation: Callable[Concatenate[MemorySession, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Send a request to the cluster and return its answer, which renews the lease."""
        await checkpoint()
        session = self._session
        if session is None or self.network.is_cut:
            raise BackendUnavailableError(f"no connection to the memory cluster {self.cluster.name!r}")
        sent = self.cluster.clock()
        await self.network.cross()
        try:
            answer = operation(session, *args, **kwargs)
        except BackendUnavailableError:
            self._woken.set()  # to open another session
            raise
        await self.network.cross()
        if session is not self._session:
            raise BackendUnavailableError("the session ended before the answer arrived")
        self._renew(sent)
        return answer

    def _keep_session(self) -> None:
        if not self.network.open:
            return
        sent, session = self.cluster.clock(), self._session
        if session is not None and self.cluster.touch(session):
            self._renew(sent)
            fresh = False
        else:
            if session is not None:
                self._lease = NO_LEASE
                self._ephemerals.clear()
                for listing in self._listings.values():
                    listing.forget()  # nothing is watched in the next session
                self.listener.session_expired()
            loop = asyncio.get_running_loop()
            session = self.cluster.open(self.session_timeout, partial(self._tell, loop))
            self._session, self._lease, fresh = session, Lease.starting(sent, self.session_timeout), True
        if fresh or self._suspended:
            self._suspended = False
            self._opened.set()
            self.listener.session_opened(fresh=fresh)

    def _idle_seconds(self) -> float | None:
        """Return the seconds until the session must be kept alive, or another one expires; ``None`` for never."""
        if not self.network.open:
            return None
        seconds = min(self.session_timeout / 3, max(0.001, self.cluster.next_expiry() - self.cluster.clock()))
        return None if seconds == math.inf else seconds

    def _renew(self, sent: float) -> None:
        lapsed = self._lease.lapsed(self.cluster.clock())
        self._lease = self._lease.renewed(sent, self.session_timeout)
        if lapsed:
            for quorum in (False, True):
                self.listener.lease_renewed(quorum=quorum)

    def _tell(self, loop: asyncio.AbstractEventLoop, group_id: str, event: Event | None) -> None:
        # The change may come from another thread. A client whose event loop is closed expires.
        if not loop.is_closed():
            loop.call_soon_threadsafe(self.network.deliver, partial(self._changed, group_id, event))

    def _changed(self, group_id: str, event: Event | None) -> None:
        listing = self._listings.get(group_id)
        if listing is None or not self.connected:
            return
        if event is None:
            self.listener.group_activated(group_id)
        elif listing.event(event):
            self.listener.group_changed(group_id)


def _group_path(group_id: str) -> str:
    """The path that the group's node would have on a server."""
    return group_path(DEFAULT_NAMESPACE, group_id)
