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

_NONE: Final = frozenset[str]()

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

    names: frozenset[str] = _NONE
    entries: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    foreign: frozenset[str] = _NONE
    examples: tuple[str, ...] = ()
    appeared: int = 0
    _live: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    """The live entry under each id."""
    _several: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict[str, tuple[Entry, ...]])
    """All entries under each id that has more than one; the live one is the last."""

    def steps(self, names: frozenset[str]) -> Generator[None, None, Roster]:
        """Return the roster of the next read, in steps, each of which does a bounded amount of work.

        Of a thousand names few are new: names that this roster knows are not parsed again.
        """
        if names == self.names:
            return self
        entries, live, several, foreign = dict(self.entries), dict(self._live), dict(self._several), set[str]()
        concerned: dict[str, set[Entry]] = {}  # the entries of each id that has, or has had, more than one

        def entries_of(member_id: str) -> set[Entry]:
            if member_id not in concerned:
                concerned[member_id] = set(several.pop(member_id, (live[member_id],)))
            return concerned[member_id]

        for count, name in enumerate(chain(self.names - names, names - self.names), start=1):
            if (entry := entries.pop(name, None)) is not None:
                if entry.member_id in several or entry.member_id in concerned:
                    entries_of(entry.member_id).remove(entry)
                else:
                    del live[entry.member_id]
            elif name in names and (entry := Entry.parse(name)) is not None:
                entries[name] = entry
                if entry.member_id in live:
                    entries_of(entry.member_id).add(entry)
                else:
                    live[entry.member_id] = entry
            elif name in names:
                foreign.add(name)
            if count % NAMES_PER_STEP == 0:
                yield
        for count, (member_id, present) in enumerate(concerned.items(), start=1):
            del live[member_id]
            if present:
                *elders, live[member_id] = sorted(present, key=lambda entry: entry.seniority)
                if elders:
                    several[member_id] = (*elders, live[member_id])
            if count % NAMES_PER_STEP == 0:
                yield
        examples = tuple(nsmallest(EXAMPLES, foreign))
        return Roster(names, entries, (self.foreign & names) | foreign or _NONE, examples, len(foreign), live, several)

    @property
    def members(self) -> frozenset[str]:
        """The names of all entries of members."""
        return frozenset(self.entries) if self.foreign else self.names  # mostly all of them: one object

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
        if member_id in self._several:
            return self._several[member_id]
        return (self._live[member_id],) if member_id in self._live else ()

    def live(self, orphans: Collection[str] = ()) -> dict[str, Entry]:
        """Return the members by their ids: of several entries under one id, the live one.

        :param orphans: names of entries that do not count.
        """
        live = dict(self._live)
        for member_id in {self.entries[name].member_id for name in orphans if name in self.entries}:
            entries = [entry for entry in self.of_member(member_id) if entry.name not in orphans]
            if entries:
                live[member_id] = entries[-1]
            else:
                del live[member_id]
        return live
