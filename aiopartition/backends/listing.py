"""The entries of a group, kept up to date by events: after a change a look costs three numbers rather than a list.

A backend tells an event for each entry that comes or goes. At a look it tells three numbers: the generation, how many
entries there are, and how many have ever come or gone. Both travel in the order in which they came about, so what the
events have told before the numbers arrive is the list at their generation. Nothing depends on that, though. What the
events tell is believed only if exactly as many have arrived as the count has grown by, each of them makes a change to
the list, and the list is then as long as it should be. Otherwise the list is read. So a lost event costs a list.

After another connection what happened in between is not told any more. Then the list is only believed if nothing has
changed at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from aiopartition.backends.base import Entries

__all__ = ["WHOLE", "Event", "Listing", "Tally"]

MAX_EVENTS: Final = 1 << 20
"""Characters of names in events that are kept between two looks. After more it is the list that is read."""

MAX_NAMES: Final = 16 << 20
"""Characters of the names of a list. Nobody could read a longer one."""

_WRAP: Final = 1 << 32
"""ZooKeeper counts changes in 32 bits."""


class Event(NamedTuple):
    """An entry came or went."""

    name: str
    came: bool


WHOLE: Final = Event("", came=False)
"""The group itself came or went, so that its list begins anew."""


class Tally(NamedTuple):
    """What is told at a look.

    :ivar changes: how many entries have ever come or gone.
    :ivar size: how many there are.
    """

    generation: int
    changes: int
    size: int


@dataclass(frozen=True, slots=True)
class _Known:
    tally: Tally
    names: frozenset[str]
    length: int
    """Characters of all names."""
    connection: int


class Listing:
    """What is known of one group's entries. No I/O: what arrives goes in, in the order in which it arrives."""

    def __init__(self) -> None:
        self._known: _Known | None = None
        self._events: list[Event] = []  # since then
        self._kept = 0  # characters of their names
        self._told = True  # that something has changed since the last look

    @property
    def known(self) -> bool:
        """Whether it is worth a look at the tally."""
        return self._known is not None

    def look(self) -> None:
        """A look is about to begin. A change after it is news."""
        self._told = False

    def event(self, event: Event) -> bool:
        """An event has arrived.

        :returns: whether it is the first one after a look.
        """
        self._kept += len(event.name)
        if event is WHOLE or self._kept > MAX_EVENTS:
            self.forget()
        elif self._known is not None:
            self._events.append(event)
        told, self._told = self._told, True
        return not told

    def forget(self) -> None:
        """Nothing is known any more."""
        self._known, self._events, self._kept = None, [], 0

    def listed(self, entries: Entries, tally: Tally, connection: int) -> Entries:
        """The whole list has arrived, with a tally. Return it.

        :param connection: the number of the connection on which it did.
        """
        self.forget()
        self._known = _Known(tally, entries.names, sum(map(len, entries.names)), connection)
        return entries

    def counted(self, tally: Tally, connection: int) -> Entries | None:
        """A tally has arrived. Return the entries, or ``None`` if the list has to be read."""
        if not self.confirm(tally, connection):
            known, events = self._known, self._events
            self.forget()
            if known is not None and connection == known.connection:
                self._known = _followed(known, events, tally)
        return None if self._known is None else Entries(tally.generation, self._known.names)

    def confirm(self, tally: Tally, connection: int) -> bool:
        """A tally has arrived. Return whether nothing has changed, so that what was known before this connection is
        still true."""
        if self._known is None or self._events or tally != self._known.tally:
            return False
        if connection != self._known.connection:
            self._known = replace(self._known, connection=connection)
        return True


def _followed(known: _Known, events: list[Event], tally: Tally) -> _Known | None:
    changes = (tally.changes - known.tally.changes) % _WRAP
    if not events or changes != len(events) or tally.generation <= known.tally.generation:
        return None
    names, length = set(known.names), known.length
    for name, came in events:
        if came == (name in names):
            return None
        if came:
            names.add(name)
            length += len(name)
        else:
            names.remove(name)
            length -= len(name)
    if len(names) != tally.size or length > MAX_NAMES:
        return None
    return _Known(tally, frozenset(names), length, known.connection)
