"""The protocols between the library and a coordination backend.

A backend keeps a document (the policy) for each group, and a set of entries: names that vanish with the session that
created them. Each change of the set increases one number, the group's generation. A backend holds one session, knows
its lease, and reports events to a :class:`Listener`. Everything else is decided above the backends, for all of them
alike: which entries are members, which incarnation counts, and which member owns what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

__all__ = ["Backend", "Entries", "ForeignRights", "Listener", "Mark", "Marks", "MarksCount", "Owner", "Progress"]


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of a group at one generation."""

    generation: int
    names: frozenset[str]


class Mark(NamedTuple):
    """What an entry says in a handoff. It vanishes with the session that made it.

    :ivar generation: to which members hand over.
    :ivar name: the entry.
    :ivar ready: whether it says "ready to let go"; else it is an acknowledgement: "has let go".
    """

    generation: int
    name: str
    ready: bool = False


class Marks(NamedTuple):
    """The entries that have made marks of one generation."""

    ready: frozenset[str] = frozenset()
    acknowledged: frozenset[str] = frozenset()

    def missing(self, names: frozenset[str], *, all_ready: bool) -> frozenset[str]:
        """Return the entries that a handoff waits for.

        :param names: all entries of the generation.
        :param all_ready: whether the generation is released, so that only acknowledgements count.
        """
        return names - self.acknowledged - (frozenset() if all_ready else self.ready)


class MarksCount(NamedTuple):
    """The number of marks of one generation.

    :ivar last: whether no mark of that generation was made, or deleted, after ours.
    """

    ready: int
    acknowledged: int
    last: bool = True


class Progress(NamedTuple):
    """How far a group's handoffs have come.

    :ivar active: the newest generation that all its entries have acknowledged; 0 if there has been none.
    :ivar released: the newest generation whose entries are all ready or have acknowledged.
    """

    active: int = 0
    released: int = 0


NOBODY_ELSE: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = MappingProxyType({})


class ForeignRights(NamedTuple):
    """Who may change a group's nodes, but for its members.

    :ivar others: for each node that they may change, by its path: who may do what (:class:`ForeignRightsError`).
    :ivar unreadable: the paths of nodes of which we may not know it.
    """

    others: Mapping[str, Mapping[str, tuple[str, ...]]] = NOBODY_ELSE
    unreadable: tuple[str, ...] = ()


class Owner(Enum):
    """Whose an entry is."""

    US = auto()
    """It was created in this session."""
    ANOTHER = auto()
    """It was created in another session."""
    NOBODY = auto()
    """It does not vanish with any session: no member has created it."""


class Listener(Protocol):
    """Receives a backend's events. All calls are made in the event loop's thread, and must neither block nor raise."""

    def session_opened(self, *, fresh: bool) -> None:
        """The session is connected.

        :param fresh: the session is a new one, so entries from before do not exist any more.
        """

    def session_suspended(self, reason: str) -> None:
        """The connection is lost. The session may still be alive."""

    def session_expired(self) -> None:
        """The session has ended, and its entries with it. The backend opens a new one next."""

    def lease_renewed(self, *, quorum: bool) -> None:
        """One of the two leases holds again after it had lapsed. Anything read before may be out of date."""

    def lease_shortened(self) -> None:
        """Both leases now end earlier than before. They may have ended already."""

    def needs_quorum(self) -> bool:
        """Return whether to keep the quorum lease renewed."""
        ...

    def group_changed(self, group_id: str) -> None:
        """A group's entries have changed since the last read with ``watch=True``. Reported once for each such read."""

    def may_end(self) -> bool:
        """Return whether the session may end before its timeout: no exclusive work is in flight."""
        ...

    def group_activated(self, group_id: str) -> None:
        """A group's progress has changed since it was last read. Reported once for each such read."""


class Backend(Protocol):
    """One session with a coordination service.

    All methods that send requests raise :class:`BackendUnavailableError` if there is no connection or it breaks before
    the answer arrives (the request may have been carried out or not), :class:`AuthenticationError` if the service
    refuses the client, and :class:`BackendError` for any other refusal. All may be cancelled at any time.
    """

    @property
    def connected(self) -> bool:
        """Whether the session is connected now."""
        ...

    @property
    def last_error(self) -> str:
        """Why the session is not connected, as text for a log. Meaningless while it is connected."""
        ...

    @property
    def server(self) -> str | None:
        """The server to which the session is connected, as text for a log, or ``None``."""
        ...

    def lease_left(self, *, quorum: bool = False) -> float:
        """Return the seconds in which no service can have expired the session; 0 or less if it may have. Reads the
        clock.

        :param quorum: count only answers that took a quorum, rather than any answer. This lease holds even if the
            server that answers us is cut off from the rest.
        """
        ...

    @property
    def session_timeout(self) -> float:
        """Seconds, as negotiated with the service."""
        ...

    @property
    def lease_length(self) -> float:
        """Seconds that one answer adds to the lease."""
        ...

    async def run(self) -> None:
        """Hold the session, and reconnect whenever the connection is lost, until cancelled. Needs a task of its own."""
        ...

    async def first_connection(self) -> None:
        """Wait until connected.

        :raises AuthenticationError: if every server refuses this client.
        """
        ...

    async def close(self) -> None:
        """End the session, and delete all its entries and marks. Waits at most a second.

        Many of them are deleted in portions first, so that the end of the session is a short transaction.
        """
        ...

    async def ping(self) -> None:
        """Make one round trip."""
        ...

    async def ensure_group(self, group_id: str, document: bytes) -> bytes:
        """Return the group's document. If the group has none, it gets ``document``. Idempotent."""
        ...

    async def document(self, group_id: str) -> bytes | None:
        """Return the group's document, or ``None`` if there is no group, or none has been set up in its place yet."""
        ...

    async def check_rights(self, group_id: str) -> None:
        """Look who may change the group's nodes, and warn of others than its members, or refuse, as the settings say.

        :raises ForeignRightsError: if it refuses.
        """
        ...

    async def foreign_rights(self, group_id: str) -> ForeignRights:
        """Return who may change the group's nodes, but for its members: nobody unless we have credentials."""
        ...

    async def enter(self, group_id: str, name: str, data: bytes, *, marks: bool = False) -> bool:
        """Create an entry of this session. Return ``False`` if the group does not exist.

        Idempotent: each incarnation has a name of its own, so an existing entry of this session is the one wanted.

        :param data: a document for operators. Placement never reads it.
        :param marks: whether handoffs will wait for marks of this entry, so that they need room.
        :raises SessionFullError: if the session must not own more nodes, see :mod:`aiopartition.backends.ephemerals`.
        """
        ...

    async def replace(self, group_id: str, old: str, new: str, data: bytes, *, marks: bool = False) -> bool:
        """Create an entry of this session and delete another in one transaction, which is one generation.

        Idempotent like :meth:`enter`, whose other parameters it has.

        :returns: ``False`` if nothing was done, as the old entry, or the group, does not exist.
        :raises SessionFullError: if the session must not own more nodes. For a moment both entries count.
        """
        ...

    async def withdraw(self, group_id: str, name: str) -> None:
        """Delete an entry if it exists."""
        ...

    async def read(self, group_id: str, *, watch: bool, latest: bool = False) -> Entries | None:
        """Return the current entries, or ``None`` if the group does not exist.

        :param watch: report the next change to the listener. The same request reads and arms the watch.
        :param latest: see everything that was done before this call, even if our server lags behind.
        """
        ...

    async def generation(self, group_id: str) -> int | None:
        """Return the group's generation, or ``None`` if the group does not exist.

        No other request about a group costs the service less.
        """
        ...

    def forget(self, group_id: str) -> None:
        """Stop reporting changes of this group."""
        ...

    async def owner(self, group_id: str, name: str) -> Owner | None:
        """Return whose an entry is, or ``None`` if there is no such entry."""
        ...

    async def remove(self, group_id: str, name: str) -> bool:
        """Delete an entry that is nobody's, with all that may be below it. Idempotent.

        :returns: ``False`` if it is still there, as there is too much below it for one call.
        """
        ...

    async def describe(self, group_id: str, name: str) -> bytes | None:
        """Return the document with which an entry was created, or ``None`` if there is no such entry."""
        ...

    async def groups(self) -> tuple[str, ...]:
        """Return the ids under which groups may be found, sorted: whatever has the name of one is among them."""
        ...

    # ---- exclusive groups (see aiopartition.group.handoff)

    async def mark(self, group_id: str, mark: Mark) -> MarksCount | None:
        """Make a mark, which vanishes with this session. Idempotent.

        :returns: how many marks of that generation exist now, or ``None`` if the group does not exist.
        :raises SessionFullError: if the session must not own more nodes.
        """
        ...

    async def unmark(self, group_id: str, mark: Mark) -> None:
        """Delete a mark if it exists."""
        ...

    async def marks(self, group_id: str, generation: int) -> Marks:
        """Return the marks of a generation."""
        ...

    async def remove_foreign_marks(self, group_id: str, generation: int, names: Iterable[str]) -> frozenset[str]:
        """Delete those acknowledgements of a generation that were not made in the session of their entry.

        :param names: the entries to look at.
        :returns: the entries of those that were deleted.
        """
        ...

    async def release(self, group_id: str, generation: int) -> None:
        """Write that a generation is released, unless a later one is, or is active."""
        ...

    async def activate(self, group_id: str, generation: int) -> None:
        """Write that a generation is active, unless a later one is. Delete marks of earlier generations."""
        ...

    async def progress(self, group_id: str, *, create: bool = True) -> Progress:
        """Return how far the group's handoffs have come, and report the next change of that to the listener. The same
        request reads and arms the watch.

        :param create: make the place for it if it is missing. Without, nothing is written, and no change is reported
            of what is not there.
        """
        ...
