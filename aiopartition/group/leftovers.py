"""Entries of this member's session that should not be there."""

from __future__ import annotations

__all__ = ["Leftovers"]


class Leftovers:
    """Which entries to delete, and which were deleted, by their names.

    An ensemble can forget that an entry was deleted (ZOOKEEPER-4643). The entry is then back in the middle of our
    session. Other members would wait for it in each handoff, or take it for a process that has come in our place.
    """

    def __init__(self) -> None:
        self.to_delete: set[str] = set()
        """Entries that are ours to delete."""
        self.deleted: set[str] = set()
        """Entries that were deleted in this session."""
        self.orphans: set[str] = set()
        """Entries of our session whose participation has ended: nobody need yield to them."""

    def disown(self, name: str) -> None:
        """An entry turned out to be an orphan."""
        self.orphans.add(name)
        self.to_delete.add(name)

    def was_deleted(self, name: str) -> None:
        """An entry is gone."""
        self.to_delete.discard(name)
        self.deleted.add(name)

    def keep(self, name: str) -> None:
        """An entry is wanted, although an earlier one may have had its name."""
        self.to_delete.discard(name)
        self.deleted.discard(name)

    def delete_again(self) -> None:
        """Servers that have come together again may have forgotten deletions, and no watch tells of that."""
        self.to_delete |= self.deleted

    def abandon(self) -> None:
        """The end of the session will delete every entry."""
        self.to_delete.clear()
        self.deleted.clear()

    def session_ended(self) -> None:
        """Every entry went with the session."""
        self.abandon()
        self.orphans.clear()
