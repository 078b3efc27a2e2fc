"""The cluster of the in-memory backend: sessions and groups, as a coordination service keeps them."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from aiopartition.backends.base import Backend, Entries, Mark, Marks, MarksCount, Owner, Progress
from aiopartition.backends.listing import WHOLE, Event, Tally
from aiopartition.clock import Clock, now
from aiopartition.errors import BackendError, BackendUnavailableError

__all__ = ["MemoryCluster", "MemorySession"]


@dataclass(eq=False)
class MemorySession:
    """A client's session at a cluster. ``timeout`` is in seconds; ``touched`` is the time of the last request."""

    timeout: float
    touched: float
    tell: Callable[[str, Event | None], None] | None = None
    """Called with the group's id for each entry that comes or goes, and with ``None`` if the group's progress has
    changed. ``None`` if the client is gone."""


@dataclass(eq=False)
class _Group:
    # Dictionaries rather than sets keep the order, so that every run is the same.
    document: bytes
    generation: int
    entries: dict[str, MemorySession] = field(default_factory=dict[str, MemorySession])
    documents: dict[str, bytes] = field(default_factory=dict[str, bytes])  # of the entries
    changes: int = 0  # entries that have ever come or gone
    watchers: dict[MemorySession, None] = field(default_factory=dict[MemorySession, None])
    deaf: bool = False  # nobody hears of the next change
    progress: Progress = field(default_factory=Progress)
    progress_watchers: dict[MemorySession, None] = field(default_factory=dict[MemorySession, None])
    marks: dict[Mark, MemorySession] = field(default_factory=dict[Mark, MemorySession])

    @property
    def tally(self) -> Tally:
        return Tally(self.generation, self.changes, len(self.entries))

    def marks_of(self, generation: int) -> Marks:
        ours = [mark for mark in self.marks if mark.generation == generation]
        return Marks(
            frozenset(mark.name for mark in ours if mark.ready),
            frozenset(mark.name for mark in ours if not mark.ready),
        )


class MemoryCluster:
    """Sessions, groups and clients. Safe to use from several threads.

    A cluster becomes empty when its last client has stopped.

    :param name: for messages only.
    :param clock: decides when sessions expire.
    """

    _named: ClassVar[weakref.WeakValueDictionary[str, MemoryCluster]] = weakref.WeakValueDictionary()
    _named_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str = "", clock: Clock = now) -> None:
        self.name = name
        self.clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[MemorySession, None] = {}
        self._groups: dict[str, _Group] = {}
        self._generation = 0
        self._clients: list[Backend] = []

    @classmethod
    def named(cls, name: str, clock: Clock = now) -> MemoryCluster:
        """Return this process's cluster of that name. If there is none, create it with that clock."""
        with cls._named_lock:
            cluster = cls._named.get(name)
            if cluster is None:
                cluster = cls._named[name] = cls(name, clock)
            return cluster

    # ---- clients and their sessions

    @property
    def clients(self) -> tuple[Backend, ...]:
        """The clients, in the order in which they attached."""
        with self._lock:
            return tuple(self._clients)

    def attach(self, client: Backend) -> None:
        """Add a client."""
        with self._lock:
            self._clients.append(client)

    def detach(self, client: Backend) -> None:
        """Remove a client. After the last one, remove all sessions and groups."""
        with self._lock:
            self._clients.remove(client)
            if not self._clients:
                self._sessions.clear()
                self._groups.clear()

    def forked(self) -> None:
        """In a child process, start empty, with a lock that no thread of the parent holds."""
        self._lock = threading.Lock()
        self._sessions, self._groups, self._clients = {}, {}, []

    def open(self, timeout: float, tell: Callable[[str, Event | None], None]) -> MemorySession:
        """Open a session.

        :param tell: see :attr:`MemorySession.tell`. Called in the thread that changes the group.
        """
        with self._lock:
            session = MemorySession(timeout, self.clock(), tell)
            self._sessions[session] = None
            return session

    def touch(self, session: MemorySession) -> bool:
        """Keep a session alive, after ending all that have expired. Return whether this one is still alive."""
        with self._lock:
            return self._touch(session)

    def end(self, session: MemorySession) -> None:
        """End a session now, and its entries with it. Its client learns of it at its next request."""
        with self._lock:
            self._end(session)

    def next_expiry(self) -> float:
        """Return when the next session expires, on the cluster's clock; infinity without sessions."""
        with self._lock:
            return min((session.touched + session.timeout for session in self._sessions), default=math.inf)

    # ---- requests of a session; they raise BackendUnavailableError once it has ended

    def ping(self, session: MemorySession) -> None:
        with self._lock:
            self._require(session)

    def ensure_group(self, session: MemorySession, group_id: str, document: bytes) -> bytes:
        with self._lock:
            self._require(session)
            group = self._group(group_id, document)
            group.document = group.document or document
            return group.document

    def document(self, session: MemorySession, group_id: str) -> bytes | None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            return None if group is None else group.document or None

    def enter(self, session: MemorySession, group_id: str, name: str, document: bytes) -> bool:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is None:
                return False
            if name not in group.entries:
                group.entries[name] = session
                group.documents[name] = document
                self._changed(group_id, group, Event(name, came=True))
            if group.entries[name] is not session:
                raise BackendError("the entry belongs to another session", f"{group_id}/{name}")
            return True

    def replace(self, session: MemorySession, group_id: str, old: str, new: str, document: bytes) -> bool:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is not None and old in group.entries and new not in group.entries:
                del group.entries[old]
                group.entries[new] = session
                group.documents[new] = document
                self._changed(group_id, group, Event(old, came=False), Event(new, came=True))
            return group is not None and group.entries.get(new) is session

    def withdraw(self, session: MemorySession, group_id: str, name: str) -> None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is not None and group.entries.pop(name, None) is not None:
                self._changed(group_id, group, Event(name, came=False))

    def read(self, session: MemorySession, group_id: str, watch: bool) -> tuple[Entries, Tally] | None:
        """``watch``: tell of all changes from now on."""
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is None:
                return None
            if watch:
                group.watchers[session] = None
            return Entries(group.generation, frozenset(group.entries)), group.tally

    def tally(self, session: MemorySession, group_id: str) -> Tally | None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            return None if group is None else group.tally

    def groups(self, session: MemorySession) -> tuple[str, ...]:
        with self._lock:
            self._require(session)
            return tuple(sorted(self._groups))

    def owner(self, session: MemorySession, group_id: str, name: str) -> Owner | None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is None or name not in group.entries:
                return None
            owner = group.entries[name]
            return Owner.US if owner is session else Owner.ANOTHER if owner in self._sessions else Owner.NOBODY

    def describe(self, session: MemorySession, group_id: str, name: str) -> bytes | None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            return None if group is None or name not in group.entries else group.documents.get(name, b"")

    def mark(self, session: MemorySession, group_id: str, mark: Mark) -> MarksCount | None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is None:
                return None
            group.marks[mark] = session
            marks = group.marks_of(mark.generation)
            return MarksCount(len(marks.ready), len(marks.acknowledged))

    def unmark(self, session: MemorySession, group_id: str, mark: Mark) -> None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is not None:
                group.marks.pop(mark, None)

    def marks(self, session: MemorySession, group_id: str, generation: int) -> Marks:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            return Marks() if group is None else group.marks_of(generation)

    def remove_foreign_marks(
        self, session: MemorySession, group_id: str, generation: int, names: frozenset[str]
    ) -> frozenset[str]:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is None:
                return frozenset()
            marks = [mark for name in names if (mark := Mark(generation, name)) in group.marks]
            foreign = [mark for mark in marks if group.marks[mark] is not group.entries.get(mark.name)]
            for mark in foreign:
                del group.marks[mark]
            return frozenset(mark.name for mark in foreign)

    def release(self, session: MemorySession, group_id: str, generation: int) -> None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is not None and max(group.progress) < generation:
                self._write_progress(group_id, group, Progress(group.progress.active, generation))

    def activate(self, session: MemorySession, group_id: str, generation: int) -> None:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is not None and group.progress.active < generation:
                group.marks = {mark: owner for mark, owner in group.marks.items() if mark.generation >= generation}
                self._write_progress(group_id, group, Progress(generation, max(generation, group.progress.released)))

    def progress(self, session: MemorySession, group_id: str) -> Progress:
        with self._lock:
            self._require(session)
            group = self._groups.get(group_id)
            if group is None:
                return Progress()
            group.progress_watchers[session] = None
            return group.progress

    # ---- actions of operators and faults

    def delete_group(self, group_id: str) -> None:
        """Delete a group with all its entries."""
        with self._lock:
            group = self._groups.pop(group_id, None)
            if group is not None:
                self._changed(group_id, group, WHOLE)

    def entries(self, group_id: str) -> list[str]:
        """Return the sorted names of the entries."""
        with self._lock:
            return sorted(self._groups[group_id].entries)

    def newest(self, group_id: str) -> int | None:
        """Return a group's generation, after ending expired sessions; ``None`` if the group does not exist."""
        with self._lock:
            self._expire()
            group = self._groups.get(group_id)
            return None if group is None else group.generation

    def put_document(self, group_id: str, document: bytes) -> None:
        """Replace the group's document. If the group does not exist, create it."""
        with self._lock:
            self._group(group_id, b"").document = document

    def put_entry(self, group_id: str, name: str) -> None:
        """Add an entry of any name that belongs to no session."""
        with self._lock:
            group = self._groups[group_id]
            group.entries[name] = MemorySession(math.inf, 0.0)
            self._changed(group_id, group, Event(name, came=True))

    def put_mark(self, group_id: str, mark: Mark) -> None:
        """Add a mark that belongs to no session."""
        with self._lock:
            self._groups[group_id].marks[mark] = MemorySession(math.inf, 0.0)

    def delete_entry(self, group_id: str, name: str) -> None:
        """Delete an entry without its owner's knowledge."""
        with self._lock:
            group = self._groups[group_id]
            del group.entries[name]
            self._changed(group_id, group, Event(name, came=False))

    def lose_watches(self, group_id: str) -> None:
        """Lose the notifications of the next change of the group's entries, and of its progress."""
        with self._lock:
            self._groups[group_id].deaf = True
            self._groups[group_id].progress_watchers.clear()

    # ---- inside; the caller holds the lock

    def _group(self, group_id: str, document: bytes) -> _Group:
        group = self._groups.get(group_id)
        if group is None:
            self._generation += 1
            group = self._groups[group_id] = _Group(document, self._generation)
        return group

    def _touch(self, session: MemorySession) -> bool:
        self._expire()  # first: a request that comes too late does not save the session
        if session not in self._sessions:
            return False
        session.touched = self.clock()
        return True

    def _expire(self) -> None:
        moment = self.clock()
        for session in [each for each in self._sessions if moment >= each.touched + each.timeout]:
            self._end(session)

    def _require(self, session: MemorySession) -> None:
        if not self._touch(session):
            raise BackendUnavailableError("the session with the memory cluster has expired")

    def _end(self, session: MemorySession) -> None:
        self._sessions.pop(session, None)
        for group_id, group in self._groups.items():
            group.watchers.pop(session, None)
            group.progress_watchers.pop(session, None)
            group.marks = {mark: owner for mark, owner in group.marks.items() if owner is not session}
            ours = [name for name, owner in group.entries.items() if owner is session]
            for name in ours:
                del group.entries[name]
            if ours:
                self._changed(group_id, group, *(Event(name, came=False) for name in ours))

    def _changed(self, group_id: str, group: _Group, *events: Event) -> None:
        self._generation += 1
        group.generation = self._generation
        group.changes += len(events)
        group.documents = {name: group.documents.get(name, b"") for name in group.entries}
        deaf, group.deaf = group.deaf, False
        for event in () if deaf else events:
            known = event if event is WHOLE else event._replace(generation=group.generation)
            self._tell(group.watchers, group_id, known)

    def _write_progress(self, group_id: str, group: _Group, progress: Progress) -> None:
        group.progress = progress
        watchers, group.progress_watchers = group.progress_watchers, {}
        self._tell(watchers, group_id, None)

    def _tell(self, watchers: Iterable[MemorySession], group_id: str, event: Event | None) -> None:
        for session in watchers:
            if session.tell is not None:
                session.tell(group_id, event)
