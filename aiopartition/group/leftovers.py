"""Entries of this member's session that should not exist."""

from __future__ import annotations

from typing import Final

__all__ = ["Leftovers"]

_NONE: Final = frozenset[str]()


class Leftovers:
    """The names of the entries to delete, and of those that were deleted.

    An ensemble can forget that an entry was deleted (ZOOKEEPER-4643). Then the entry comes back while our session goes
    on. Other members would wait for it in each handoff, or take it for a process that has taken our place.
    """

    def __init__(self) -> None:
        self.to_delete: set[str] = set()
        """Entries that we have to delete."""
        self.deleted: frozenset[str] = _NONE
        """Entries that were deleted in this session."""
        self.orphans: frozenset[str] = _NONE
        """Entries of our session whose participation has ended, and which count for nobody."""

    def disown(self, name: str) -> None:
        """An entry has turned out to be an orphan."""
        self.orphans |= {name}
        self.to_delete.add(name)

    def was_deleted(self, name: str) -> None:
        """An entry is gone."""
        self.to_delete.discard(name)
        self.deleted |= {name}

    def keep(self, name: str) -> None:
        """An entry is wanted after all, although it may have been deleted, or marked for deletion, before."""
        self.to_delete.discard(name)
        self.deleted -= {name}

    def delete_again(self) -> None:
        """After a reconnection: the ensemble may have forgotten deletions, and no watch would report that."""
        self.to_delete |= self.deleted

    def abandon(self) -> None:
        """The end of the session will delete every entry."""
        self.to_delete.clear()
        self.deleted = _NONE

    def session_ended(self) -> None:
        """The session has ended, and every entry with it."""
        self.abandon()
        self.orphans = _NONE
