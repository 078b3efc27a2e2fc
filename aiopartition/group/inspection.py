"""Finds nodes among a group's entries that are no entries: names that no member would write, and nodes that no session
owns, as in a tree that was restored from a backup.

The first are ignored, with a warning now and then. The second count as members, because membership depends on names
alone, so that all members agree on it. A member that finds one removes it, which makes a new generation.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiopartition.backends.base import Backend, Owner
from aiopartition.errors import BackendError, BackendUnavailableError, PolicyMismatchError
from aiopartition.group.roster import Roster
from aiopartition.group.state import Group
from aiopartition.showing import shown_name

__all__ = ["LOOKS", "QUIET", "Inspection"]

_logger: Final = logging.getLogger("aiopartition")

LOOKS: Final = 3
"""Entries looked up at each heartbeat. Members begin at different entries, so together they soon look at all."""

QUIET: Final = 60.0
"""Seconds between two warnings of foreign names in one group. If a program keeps adding such names, there is one
warning a minute, which says how many there were."""


class Inspection:
    """Inspects the entries that were read in one group."""

    def __init__(self, backend: Backend, group: Group) -> None:
        self._backend = backend
        self._group = group
        self._owners: dict[str, Owner] = {}  # of entries that were looked up and belong to a session
        self._queue: list[str] = []  # entries to be looked up
        self._inspected: Roster = group.roster
        self._counted = group.roster
        self._lapses = 0
        self._refused = False  # whether we have warned that an entry could not be inspected
        self._untold = 0  # foreign names that no warning has mentioned yet
        self._examples: tuple[str, ...] = ()
        self._quiet_until = 0.0

    def count_foreign(self) -> None:
        """Entries were read: warn, now or later, of the foreign names that the previous read did not have."""
        roster = self._group.roster
        if roster is not self._counted:
            self._counted = roster
            self._untold += roster.appeared
            self._examples = self._examples or roster.examples
        self._tell_of_foreign()

    async def go_on(self) -> None:
        """At a heartbeat, look up a few entries that have not been looked up yet.

        :raises BackendUnavailableError: without a connection.
        """
        group = self._group
        self._tell_of_foreign()
        if group.leaving or isinstance(group.error, PolicyMismatchError):  # we cannot judge what belongs there
            return
        self._take_stock()
        still_there: list[str] = []
        for _ in range(LOOKS):
            if not self._queue:
                break
            name = self._queue.pop(0)
            if await self.owner(name) is Owner.NOBODY:
                still_there.append(name)
        self._queue += still_there

    async def owner(self, name: str) -> Owner | None:
        """Return the owner of an entry. Remove an entry that nobody owns.

        :returns: ``None`` if it is gone. An entry that we are not allowed to look at counts as another session's.
        :raises BackendUnavailableError: without a connection.
        """
        owner = self._owners.get(name)
        if owner is not None:
            return owner
        try:
            owner = await self._backend.owner(self._group.group_id, name)
            if owner is Owner.NOBODY and await self._remove(name):
                return None
        except BackendUnavailableError:
            raise
        except BackendError as error:
            if not self._refused:  # one warning: most refusals have the same reason
                self._refused = True
                _logger.warning("group %r: %s cannot be inspected: %s", self._group.group_id, shown_name(name), error)
            return owner or Owner.ANOTHER
        if owner is not None and owner is not Owner.NOBODY:
            self._owners[name] = owner
        return owner

    async def _remove(self, name: str) -> bool:
        # Nobody can have created a real entry of that name since we looked: the name has the nonce of one
        # participation, which would have found this node in its way.
        if not await self._backend.remove(self._group.group_id, name):
            return False
        self._refused = False
        _logger.warning(
            "group %r: removed %s, which counted as a member but belonged to no session",
            self._group.group_id, shown_name(name),
        )  # fmt: skip
        return True

    def _take_stock(self) -> None:
        group = self._group
        if group.lapses != self._lapses:  # entries may have been replaced while we did not watch
            self._owners.clear()
        elif group.roster is self._inspected:
            return
        self._inspected, self._lapses = group.roster, group.lapses
        entries, member_id = group.roster.entries, group.member.id
        self._owners = {name: owner for name, owner in self._owners.items() if name in entries}
        # First the entries under our own id, which may be in our way; then, in order, the ids after ours.
        self._queue = sorted(
            entries.keys() - self._owners.keys(),
            key=lambda name: (entries[name].member_id != member_id, entries[name].member_id < member_id, name),
        )

    def _tell_of_foreign(self) -> None:
        if not self._untold:
            return
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until:
            return
        told = ", ".join(map(shown_name, self._examples))
        more = self._untold - len(self._examples)
        are = "is not an entry of a member" if self._untold == 1 else "are not entries of members"
        _logger.warning(
            "group %r: ignoring %s%s, which %s", self._group.group_id, told, f" and {more} more" if more else "", are
        )
        self._untold, self._examples, self._quiet_until = 0, (), now + QUIET
