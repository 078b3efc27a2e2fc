"""The entries of a group as they were last read. Their names are parsed in steps, as there may be very many."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
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

    names: tuple[str, ...] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    foreign: AbstractSet[str] = field(default_factory=frozenset[str])
    examples: tuple[str, ...] = ()
    appeared: int = 0

    def steps(self, names: tuple[str, ...]) -> Generator[None, None, Roster]:
        """Return the roster of the next read, in steps, each of which does a bounded amount of work.

        Of a thousand names few are new: names that this roster knows are not parsed again.
        """
        if names is self.names:
            return self
        entries: dict[str, Entry] = {}
        foreign: set[str] = set()
        examples: list[str] = []
        appeared = 0
        for count, name in enumerate(names, start=1):
            if name in self.foreign:
                foreign.add(name)
            elif (entry := self.entries.get(name) or Entry.parse(name)) is not None:
                entries[name] = entry
            else:
                foreign.add(name)
                appeared += 1
                if len(examples) < EXAMPLES:
                    examples.append(name)
            if count % NAMES_PER_STEP == 0:
                yield
        return Roster(names, entries, foreign, tuple(examples), appeared)

    @property
    def members(self) -> frozenset[str]:
        """The names of all entries of members."""
        return frozenset(self.entries)

    def after(self, names: tuple[str, ...]) -> Roster:
        """Return the roster of the next read, without steps."""
        steps = self.steps(names)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                return cast("Roster", finished.value)

    def of_member(self, member_id: str) -> list[Entry]:
        """Return the entries under one member id."""
        return [entry for entry in self.entries.values() if entry.member_id == member_id]

    def live(self, orphans: Collection[str] = ()) -> dict[str, Entry]:
        """Return the members by their ids: of several entries under one id, the live one.

        :param orphans: names of entries that do not count.
        """
        live: dict[str, Entry] = {}
        for name, entry in self.entries.items():
            known = live.get(entry.member_id)
            if name not in orphans and (known is None or entry.seniority > known.seniority):
                live[entry.member_id] = entry
        return live
