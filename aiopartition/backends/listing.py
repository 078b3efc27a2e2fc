"""The entries of a group, kept up to date by events: after a change, a look costs three numbers rather than a list.

A backend sends an event for each entry that comes or goes. When asked, it sends three numbers: the generation, how many
entries there are, and how many have ever come or gone. Events and answers arrive in the order in which things happened,
so the events that arrive before the numbers lead to the list at their generation. Events are believed only if exactly
as many have arrived as the count has grown by, each of them changes the list, and the list then has the right length.
Otherwise the whole list is read. So a lost event only costs a list.

Since ZooKeeper 3.9 an event tells the generation that it made. It counts for that one, even if it overtakes an answer.
An event of an older server counts for the next numbers. If it could overtake an answer, it could make up for another
event that was lost; but a server sends events and answers over one connection, in order.

No event reports what happened between two connections. So after a reconnection the list is believed only if nothing has
changed at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Final, NamedTuple

from aiopartition.backends.base import Entries

__all__ = ["WHOLE", "Event", "Listing", "Tally"]

MAX_EVENTS: Final = 1 << 20
"""Characters of names in the events that are kept between two looks. If there are more, the list is read instead."""

MAX_NAMES: Final = 16 << 20
"""Characters of the names of a list. No client could read a longer one."""

_WRAP: Final = 1 << 32
"""ZooKeeper counts changes in 32 bits."""


class Event(NamedTuple):
    """An entry came or went.

    :ivar generation: the generation that this made; -1 if the backend does not tell.
    """

    name: str
    came: bool
    generation: int = -1


WHOLE: Final = Event("", came=False)
"""The group itself came or went, so its list has to be read again."""


class Tally(NamedTuple):
    """The numbers that a backend sends when asked.

    :ivar changes: how many entries have ever come or gone.
    :ivar size: how many there are.
    """

    generation: int
    changes: int
    size: int


@dataclass(frozen=True, slots=True)
class _Known:
    """The list at a tally."""

    tally: Tally
    names: frozenset[str]
    length: int
    """Characters of all names."""


class Listing:
    """What is known about one group's entries. No I/O: events and answers go in, in the order in which they arrive."""

    def __init__(self) -> None:
        self._known: _Known | None = None
        self._events: list[Event] = []  # those that the known list does not include
        self._kept = 0  # characters of their names
        self._connection = 0  # the number of the connection on which all this arrived
        self._told = True  # whether a change since the last look has been reported

    @property
    def known(self) -> bool:
        """Whether it is worth asking for the tally rather than the list."""
        return self._known is not None

    def look(self) -> None:
        """A look is about to begin. The next change after it is reported."""
        self._told = False

    def event(self, event: Event) -> bool:
        """An event has arrived.

        :returns: whether it is the first one after a look.
        """
        self._kept += len(event.name)
        if event is WHOLE or self._kept > MAX_EVENTS:
            self.forget()
        elif self._is_included(event):
            self._kept -= len(event.name)
        else:
            self._events.append(event)
        told, self._told = self._told, True
        return not told

    def forget(self) -> None:
        """Forget everything that is known."""
        self._known, self._events, self._kept = None, [], 0

    def listed(self, entries: Entries, tally: Tally, connection: int) -> Entries:
        """The whole list has arrived, with a tally. Return it.

        :param connection: the number of the connection on which it arrived.
        """
        self._known = _Known(tally, entries.names, sum(map(len, entries.names)))
        self._keep_later(tally, connection)
        return entries

    def counted(self, tally: Tally, connection: int) -> Entries | None:
        """A tally has arrived. Return the entries, or ``None`` if the list has to be read."""
        if not self.confirm(tally, connection):
            known = self._known if connection == self._connection else None
            self._known = None if known is None else _followed(known, self._up_to(tally), tally)
            self._keep_later(tally, connection)
        return None if self._known is None else Entries(tally.generation, self._known.names)

    def confirm(self, tally: Tally, connection: int) -> bool:
        """A tally has arrived. Return whether nothing has changed, so that the known list still holds, even if it was
        read on an earlier connection."""
        if self._known is None or self._up_to(tally) or tally != self._known.tally:
            return False
        self._keep_later(tally, connection)
        return True

    # ---- inside

    def _is_included(self, event: Event) -> bool:
        """Return whether the known list includes an event, or, without one, whether the next list will."""
        if self._known is None:
            return event.generation < 0
        return 0 <= event.generation <= self._known.tally.generation

    def _up_to(self, tally: Tally) -> list[Event]:
        """Return the events that the tally includes, and those that do not tell their generation, in order."""
        included = [event for event in self._events if event.generation <= tally.generation]
        return sorted(included, key=attrgetter("generation"))

    def _keep_later(self, tally: Tally, connection: int) -> None:
        """Keep only events later than the tally. Those of an earlier connection may come again, so drop them too."""
        same, self._connection = connection == self._connection, connection
        self._events = [event for event in self._events if same and event.generation > tally.generation]
        self._kept = sum(len(event.name) for event in self._events)


def _followed(known: _Known, events: list[Event], tally: Tally) -> _Known | None:
    changes = (tally.changes - known.tally.changes) % _WRAP
    if not events or changes != len(events) or tally.generation <= known.tally.generation:
        return None
    names, length = set(known.names), known.length
    for name, came, _ in events:
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
    return _Known(tally, frozenset(names), length)
