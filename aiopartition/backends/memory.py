"""The embedded backend: coordinators in one process share a named cluster.

The same rules as with a real service hold: sessions with leases, generations, watches that fire once, expiry of
those that stay away. So a service runs and is tested without a server, and behaves on one as it did here.
"""

from __future__ import annotations

import asyncio
import math
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Concatenate, ParamSpec, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from aiopartition.backends import Entries, Listener
from aiopartition.clock import Clock, now
from aiopartition.errors import BackendError, BackendUnavailableError

__all__ = ["MemoryBackend", "MemoryCluster"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(eq=False)
class _Session:
    """What a cluster knows of one client."""

    timeout: float
    touched: float
    tell: Callable[[str], None] | None = None
    """How the client is told that a group changed; None when nobody listens (any more)."""


@dataclass(eq=False)
class _Group:
    document: bytes
    generation: int
    entries: dict[str, _Session] = field(default_factory=dict[str, _Session])
    watchers: set[_Session] = field(default_factory=set[_Session])


class MemoryCluster:
    """Groups and sessions, as a coordination service keeps them. Safe to use from several threads.

    When the last coordinator on it has stopped, a cluster is empty again.

    :param name: for messages alone.
    :param clock: what sessions expire by.
    """

    _named: ClassVar[weakref.WeakValueDictionary[str, MemoryCluster]] = weakref.WeakValueDictionary()
    _named_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str = "", clock: Clock = now) -> None:
        self.name = name
        self.clock = clock
        self._lock = threading.Lock()
        self._sessions: set[_Session] = set()
        self._groups: dict[str, _Group] = {}
        self._generation = 0
        self._clients = 0

    @classmethod
    def named(cls, name: str) -> MemoryCluster:
        """The one cluster of that name in this process."""
        with cls._named_lock:
            cluster = cls._named.get(name)
            if cluster is None:
                cluster = cls._named[name] = cls(name)
            return cluster

    # ---- clients and their sessions

    def attach(self) -> None:
        """A client begins to use the cluster."""
        with self._lock:
            self._clients += 1

    def detach(self) -> None:
        """A client is through with it. The last one leaves nothing behind."""
        with self._lock:
            self._clients -= 1
            if not self._clients:
                self._sessions.clear()
                self._groups.clear()

    def open(self, timeout: float, tell: Callable[[str], None]) -> _Session:
        """A new session. ``tell`` is called with a group's id, in whatever thread changed the group."""
        with self._lock:
            session = _Session(timeout, self.clock(), tell)
            self._sessions.add(session)
            return session

    def touch(self, session: _Session) -> bool:
        """The session's client is alive. Whether the session still is; those that stayed away are ended."""
        with self._lock:
            return self._touch(session)

    def end(self, session: _Session) -> None:
        """End a session now, and its entries with it; its client learns of it at its next word."""
        with self._lock:
            self._end(session)

    def next_expiry(self) -> float:
        """When, on the cluster's clock, the next session would expire."""
        with self._lock:
            return min((session.touched + session.timeout for session in self._sessions), default=math.inf)

    # ---- requests of a session; BackendUnavailableError once it has ended

    def ping(self, session: _Session) -> None:
        with self._lock:
            self._require(session)

    def ensure_group(self, session: _Session, group_id: str, document: bytes) -> bytes:
        with self._lock:
            self._require(session)
            group = self._group(group_id, document)
            group.document = group.document or document
            return group.document

    def enter(self, session: _Session, group_id: str, name: str) -> bool:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is None:
                return False
            if name not in group.entries:
                group.entries[name] = session
                self._changed(group_id, group)
            if group.entries[name] is not session:
                raise BackendError("the entry belongs to another session", f"{group_id}/{name}")
            return True

    def withdraw(self, session: _Session, group_id: str, name: str) -> None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is not None and group.entries.pop(name, None) is not None:
                self._changed(group_id, group)

    def read(self, session: _Session, group_id: str, watch: bool) -> Entries | None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is None:
                return None
            if watch:
                group.watchers.add(session)
            return Entries(group.generation, tuple(group.entries))

    def generation(self, session: _Session, group_id: str) -> int | None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            return None if group is None else group.generation

    # ---- what an operator or a fault may do to it

    def delete_group(self, group_id: str) -> None:
        """Delete a group with all its entries."""
        with self._lock:
            group = self._groups.pop(group_id, None)
            if group is not None:
                self._changed(group_id, group)

    def entries(self, group_id: str) -> list[str]:
        """The names of the entries, sorted."""
        with self._lock:
            return sorted(self._groups[group_id].entries)

    def put_document(self, group_id: str, document: bytes) -> None:
        """Overwrite the group's document, creating the group at need."""
        with self._lock:
            self._group(group_id, b"").document = document

    def put_entry(self, group_id: str, name: str) -> None:
        """Put an entry that belongs to no live client, whatever its name."""
        with self._lock:
            group = self._groups[group_id]
            group.entries[name] = _Session(math.inf, 0.0)
            self._changed(group_id, group)

    def delete_entry(self, group_id: str, name: str) -> None:
        """Delete an entry under its owner."""
        with self._lock:
            group = self._groups[group_id]
            del group.entries[name]
            self._changed(group_id, group)

    def lose_watches(self, group_id: str) -> None:
        """Forget who wanted to know of the group's next change, as if the news had got lost on the way."""
        with self._lock:
            self._groups[group_id].watchers.clear()

    # ---- inside; all with the lock held

    def _group(self, group_id: str, document: bytes) -> _Group:
        group = self._groups.get(group_id)
        if group is None:
            self._generation += 1
            group = self._groups[group_id] = _Group(document, self._generation)
        return group

    def _touch(self, session: _Session) -> bool:
        moment = self.clock()
        if session in self._sessions:
            session.touched = moment
        for other in [other for other in self._sessions if moment >= other.touched + other.timeout]:
            self._end(other)
        return session in self._sessions

    def _require(self, session: _Session) -> None:
        if not self._touch(session):
            raise BackendUnavailableError("the session with the memory cluster has expired")

    def _end(self, session: _Session) -> None:
        self._sessions.discard(session)
        for group_id, group in self._groups.items():
            group.watchers.discard(session)
            ours = [name for name, owner in group.entries.items() if owner is session]
            for name in ours:
                del group.entries[name]
            if ours:
                self._changed(group_id, group)

    def _changed(self, group_id: str, group: _Group) -> None:
        self._generation += 1
        group.generation = self._generation
        watchers, group.watchers = group.watchers, set()
        for session in watchers:
            if session.tell is not None:
                session.tell(group_id)


class MemoryBackend:
    """The :class:`~aiopartition.backends.Backend` of one coordinator on a :class:`MemoryCluster`.

    :param session_timeout: seconds without a word after which the cluster gives this client up.
    """

    def __init__(self, cluster: MemoryCluster, session_timeout: float, listener: Listener) -> None:
        self.cluster = cluster
        self.session_timeout = session_timeout
        self._listener = listener
        self._session: _Session | None = None
        self._cut_off = False
        self._suspended = False
        self._safe_until = -math.inf
        self._opened = asyncio.Event()
        self._woken = asyncio.Event()
        self._watched: set[str] = set()

    # ---- the session

    @property
    def connected(self) -> bool:
        return self._session is not None and not self._cut_off

    @property
    def trouble(self) -> str:
        return f"cut off from memory cluster {self.cluster.name!r}"

    def lease_left(self) -> float:
        return self._safe_until - self.cluster.clock()

    async def run(self) -> None:
        self.cluster.attach()
        try:
            while True:
                self._keep_session()
                with anyio.move_on_after(self._idle_seconds()):
                    await self._woken.wait()
                self._woken.clear()
        finally:
            self.crash()
            self.cluster.detach()

    async def first_connection(self) -> None:
        await self._opened.wait()

    async def close(self) -> None:
        session = self._session
        if session is not None and not self._cut_off:
            self.cluster.end(session)

    async def ping(self) -> None:
        await self._request(self.cluster.ping)

    # ---- groups

    async def ensure_group(self, group_id: str, document: bytes) -> bytes:
        return await self._request(self.cluster.ensure_group, group_id, document)

    async def enter(self, group_id: str, name: str, data: bytes) -> bool:
        return await self._request(self.cluster.enter, group_id, name)

    async def withdraw(self, group_id: str, name: str) -> None:
        await self._request(self.cluster.withdraw, group_id, name)

    async def read(self, group_id: str, *, watch: bool, latest: bool = False) -> Entries | None:
        if watch:
            self._watched.add(group_id)
        return await self._request(self.cluster.read, group_id, watch)

    async def generation(self, group_id: str) -> int | None:
        return await self._request(self.cluster.generation, group_id)

    def forget(self, group_id: str) -> None:
        self._watched.discard(group_id)

    # ---- faults

    def crash(self) -> None:
        """Fall silent without a farewell, as a killed process does: the session expires in its time."""
        session, self._session = self._session, None
        if session is not None:
            session.tell = None
        self._cut_off = True

    def cut_off(self) -> None:
        """From now on nothing gets through, as in a network partition; the client knows that it is disconnected."""
        self._cut_off = self._suspended = True
        self._listener.session_suspended("cut off from the memory cluster")

    def reconnect(self) -> None:
        """Heal what :meth:`cut_off` did. The session goes on if it has not expired meanwhile."""
        self._cut_off = False
        self._woken.set()

    def expire(self) -> None:
        """Have the cluster end the session now, as an operator or a lost quorum can."""
        if self._session is not None:
            self.cluster.end(self._session)
            self._woken.set()

    # ---- inside

    async def _request(self, operation: Callable[Concatenate[_Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One exchange with the cluster, which also proves the session to be alive."""
        await checkpoint()
        session = self._session
        if session is None or self._cut_off:
            raise BackendUnavailableError(f"no connection to the memory cluster {self.cluster.name!r}")
        sent = self.cluster.clock()
        try:
            answer = operation(session, *args, **kwargs)
        except BackendUnavailableError:
            self._woken.set()  # to open another session
            raise
        self._renew(sent)
        return answer

    def _keep_session(self) -> None:
        if self._cut_off:
            return
        sent, session = self.cluster.clock(), self._session
        if session is not None and self.cluster.touch(session):
            self._renew(sent)
            fresh = False
        else:
            if session is not None:
                self._safe_until = -math.inf
                self._listener.session_expired()
            loop = asyncio.get_running_loop()
            session = self.cluster.open(self.session_timeout, lambda group_id: self._tell(loop, group_id))
            self._session, self._safe_until, fresh = session, sent + self.session_timeout * 2 / 3, True
        if fresh or self._suspended:
            self._suspended = False
            self._opened.set()
            self._listener.session_opened(fresh=fresh)

    def _idle_seconds(self) -> float:
        """Until the next sign of life is due, or somebody else's session may expire."""
        if self._cut_off:
            return math.inf
        return min(self.session_timeout / 3, max(0.001, self.cluster.next_expiry() - self.cluster.clock()))

    def _renew(self, sent: float) -> None:
        lapsed = self.lease_left() <= 0
        self._safe_until = max(self._safe_until, sent + self.session_timeout * 2 / 3)
        if lapsed:
            self._listener.lease_renewed()

    def _tell(self, loop: asyncio.AbstractEventLoop, group_id: str) -> None:
        # The change may come from another thread's loop. A client whose own loop is closed will expire.
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._changed, group_id)

    def _changed(self, group_id: str) -> None:
        if group_id in self._watched and self.connected:
            self._listener.group_changed(group_id)
