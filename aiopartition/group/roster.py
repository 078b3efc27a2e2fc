"""The entries of a group as they were last read. Their names are parsed in steps, as there may be very many."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import chain
from typing import Final, cast

from aiopartition.group.entry import Entry

__all__ = ["EXAMPLES", "NAMES_PER_STEP", "NO_MEMBERS", "NO_WEIGHT", "Roster"]

NAMES_PER_STEP: Final = 500
"""Names parsed in one turn of the event loop, which takes some milliseconds if all of them are new."""

EXAMPLES: Final = 3
"""How many names a warning of foreign names quotes."""

NO_WEIGHT: Final = "no member has a weight above 0"
"""Why there is no view of a group that has members."""

NO_MEMBERS: Final = "the group has no members"
"""Why there is no view of a group that has none."""


@dataclass(frozen=True, slots=True)
class Roster:
    """What the names found by one read say.

    :ivar names: all names, as they were read.
    :ivar entries: the entries of members, by their names.
    :ivar foreign: the other names, which are ignored.
    :ivar examples: the first few foreign names that the previous read did not find.
    :ivar appeared: how many foreign names the previous read did not find.
    """

    names: frozenset[str] = frozenset()
    entries: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    foreign: frozenset[str] = frozenset()
    examples: tuple[str, ...] = ()
    appeared: int = 0
    _members: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict[str, tuple[Entry, ...]])
    """The entries under each id; the live one is the last."""

    def steps(self, names: frozenset[str]) -> Generator[None, None, Roster]:
        """Return the roster of the next read, in steps, each of which does a bounded amount of work.

        Of a thousand names few are new: names that this roster knows are not parsed again.
        """
        if names == self.names:
            return self
        entries, members, foreign = dict(self.entries), dict(self._members), set[str]()
        concerned: dict[str, set[Entry]] = {}  # the entries of each id that has, or has had, more than one

        def entries_of(member_id: str) -> set[Entry]:
            if member_id not in concerned:
                concerned[member_id] = set(members[member_id])
            return concerned[member_id]

        for count, name in enumerate(chain(self.names - names, names - self.names), start=1):
            if (entry := entries.pop(name, None)) is not None:
                if members[entry.member_id] == (entry,) and entry.member_id not in concerned:
                    del members[entry.member_id]
                else:
                    entries_of(entry.member_id).remove(entry)
            elif name in names and (entry := Entry.parse(name)) is not None:
                entries[name] = entry
                if entry.member_id not in members:
                    members[entry.member_id] = (entry,)
                else:
                    entries_of(entry.member_id).add(entry)
            elif name in names:
                foreign.add(name)
            if count % NAMES_PER_STEP == 0:
                yield
        for count, (member_id, present) in enumerate(concerned.items(), start=1):
            members[member_id] = tuple(sorted(present, key=lambda entry: entry.seniority))
            if not present:
                del members[member_id]
            if count % NAMES_PER_STEP == 0:
                yield
        examples = tuple(nsmallest(EXAMPLES, foreign))
        return Roster(names, entries, (self.foreign & names) | foreign, examples, len(foreign), members)

    @property
    def members(self) -> frozenset[str]:
        """The names of all entries of members."""
        return frozenset(self.entries)

    def after(self, names: frozenset[str]) -> Roster:
        """Return the roster of the next read, without steps."""
        steps = self.steps(names)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                return cast("Roster", finished.value)

    def of_member(self, member_id: str) -> tuple[Entry, ...]:
        """Return the entries under one member id."""
        return self._members.get(member_id, ())

    def live(self, orphans: Collection[str] = ()) -> dict[str, Entry]:
        """Return the members by their ids: of several entries under one id, the live one.

        :param orphans: names of entries that do not count.
        """
        live = {member_id: entries[-1] for member_id, entries in self._members.items()}
        for member_id in {self.entries[name].member_id for name in orphans if name in self.entries}:
            entries = [entry for entry in self._members[member_id] if entry.name not in orphans]
            if entries:
                live[member_id] = entries[-1]
            else:
                del live[member_id]
        return live
