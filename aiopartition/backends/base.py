"""What the library asks of a coordination backend.

A backend keeps, for each group, a document (the policy) and a set of *entries*: names that vanish with the session
that made them. It gives one number, the generation, that grows with every change of the set. It holds one
session, whose lease it knows, and calls a :class:`Listener` when something happens. Everything else (who is a
member, which incarnation is the live one, who owns what) is decided above it, the same way for every backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Backend", "Entries", "Listener"]


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of a group at one generation."""

    generation: int
    names: tuple[str, ...]


class Listener(Protocol):
    """What a backend reports. All are called in the event loop's thread, and must neither block nor raise."""

    def session_opened(self, *, fresh: bool) -> None:
        """Connected. ``fresh``: the session is a new one, so no entry of ours is left; else it is the one before."""

    def session_suspended(self, reason: str) -> None:
        """The connection is gone; the session may live on."""

    def session_expired(self) -> None:
        """The session is over, and our entries with it. A fresh one is opened next."""

    def lease_renewed(self, *, quorum: bool) -> None:
        """One of the two leases holds again after it had lapsed: what was seen before may be out of date."""

    def lease_shortened(self) -> None:
        """Both leases end earlier than they would have; they may be over already."""

    def needs_quorum(self) -> bool:
        """Whether the lease that only a quorum renews is to be renewed all the time."""
        ...

    def group_changed(self, group_id: str) -> None:
        """The entries of a group changed since they were last read with ``watch=True``. Once for each such read."""

    def may_end(self) -> bool:
        """Whether the session may be ended early: not while work is in flight that others would then begin as well."""
        ...

    def group_activated(self, group_id: str) -> None:
        """The active generation of a group changed since it was last asked for. Once for each such question."""


class Backend(Protocol):
    """One session with a coordination service.

    Every method raises :class:`BackendUnavailableError` when there is no connection or it breaks before the answer
    (what was asked may then have been done or not), :class:`AuthenticationError` when it is refused, and
    :class:`BackendError` for whatever else the service says. All may be cancelled at any time.
    """

    @property
    def connected(self) -> bool:
        """Whether the session is connected now."""
        ...

    @property
    def last_error(self) -> str:
        """Why the session is not connected, in words for a log; of no meaning while it is."""
        ...

    @property
    def server(self) -> str | None:
        """What it is connected to, for people; ``None`` while it is not."""
        ...

    def lease_left(self, *, quorum: bool = False) -> float:
        """Seconds for which no service can yet have expired the session; 0 or less: it may have. Reads the clock.

        :param quorum: by what a quorum of the service has agreed to, so that it also holds where the part of the
            service that answers us is cut off from the rest. Without, by any answer.
        """
        ...

    @property
    def session_timeout(self) -> float:
        """Seconds, as negotiated with the service."""
        ...

    async def run(self) -> None:
        """Hold the session, reconnecting for ever, until cancelled. One task's whole work."""
        ...

    async def first_connection(self) -> None:
        """Wait until connected. :class:`AuthenticationError` when every server refuses this client."""
        ...

    async def close(self) -> None:
        """End the session, which withdraws all its entries at once. Waits at most a second."""
        ...

    async def ping(self) -> None:
        """One round trip."""
        ...

    async def ensure_group(self, group_id: str, document: bytes) -> bytes:
        """The group's document; it is ``document`` when the group had none. Idempotent."""
        ...

    async def enter(self, group_id: str, name: str, data: bytes) -> bool:
        """Create an entry of this session; ``False`` if the group does not exist (any more).

        Idempotent: each incarnation has a name of its own, so one that is there and ours is the one asked for.

        :param data: a document for operators; placement never reads it.
        """
        ...

    async def withdraw(self, group_id: str, name: str) -> None:
        """Delete an entry, if it is there."""
        ...

    async def read(self, group_id: str, *, watch: bool, latest: bool = False) -> Entries | None:
        """The entries now, ``None`` if the group does not exist.

        :param watch: report the next change to the listener. The watch is armed by the same request that reads.
        :param latest: do not accept what a lagging server knows, but all that was done before this call.
        """
        ...

    async def generation(self, group_id: str) -> int | None:
        """The group's generation alone, ``None`` if the group does not exist: the cheapest question there is."""
        ...

    def forget(self, group_id: str) -> None:
        """No longer report changes of this group."""
        ...

    async def is_ours(self, group_id: str, name: str) -> bool | None:
        """Whether an entry was created in this session; ``None`` if there is no such entry (any more)."""
        ...

    async def describe(self, group_id: str, name: str) -> bytes | None:
        """The document with which an entry was created, ``None`` if there is no such entry."""
        ...

    # ---- exclusive groups (see aiopartition.handoff)

    async def acknowledge(self, group_id: str, generation: int, name: str) -> int | None:
        """Put an acknowledgement of a generation, which vanishes with this session. Idempotent.

        :param name: of our entry.
        :returns: how many there are of that generation now; ``None`` if the group does not exist (any more).
        """
        ...

    async def retract(self, group_id: str, generation: int, name: str) -> None:
        """Delete an acknowledgement, if it is there.

        :param name: of the entry that made it.
        """
        ...

    async def acknowledgements(self, group_id: str, generation: int) -> tuple[str, ...]:
        """The names of those who have acknowledged a generation."""
        ...

    async def activate(self, group_id: str, generation: int) -> None:
        """Make that the active generation, unless a later one is. Acknowledgements of earlier ones are removed."""
        ...

    async def active(self, group_id: str) -> int:
        """The active generation, 0 before the first; the next change of it is reported to the listener. The watch is
        armed by the same request that reads."""
        ...
