"""Reports what happens to a coordinator: to the log, with the facts of each event as ``extra``, and to subscribers.

``docs/reference/log-events.md`` is the page for users: the names here are part of the public surface.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from aiopartition.showing import printable, shown_name

__all__ = ["FIELDS", "KINDS", "LONGEST_LIST", "PREFIX", "Event", "Events", "Kind", "as_data", "log"]

_logger: Final = logging.getLogger("aiopartition")

PREFIX: Final = "aiopartition_"
"""Each attribute that we add to a log record has a name that begins with this."""

LONGEST_LIST: Final = 10
"""How many of several members are named, in a line and in its facts. Their number is told as well."""

_LONGEST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of event is written to the log.

    :ivar level: a level of :mod:`logging`.
    :ivar text: a format string, with the facts by name.
    """

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened.

    :ivar name: one of :data:`KINDS`, or the name of an event that is counted and not logged.
    """

    name: str
    facts: Mapping[str, Any]


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "group_joined": Kind(
            logging.INFO,
            "group %(group)s: takes part at generation %(generation)s, %(members)s members, own share %(share_after)s",
        ),
        "group_observed": Kind(
            logging.INFO, "group %(group)s: is observed at generation %(generation)s, %(members)s members"
        ),
        "group_left": Kind(logging.INFO, "group %(group)s: is left, own share %(share_before)s before"),
        "membership_changed": Kind(
            logging.INFO,
            "group %(group)s: generation %(generation)s, %(members)s members; joined: %(joined)s; left: %(left)s; "
            "moved: %(moved)s; own share %(share_before)s before, %(share_after)s now",
        ),
        "ownership_lost": Kind(
            logging.INFO,
            "group %(group)s: ownership is unknown (%(reason)s), own share %(share_before)s before",
        ),
        "ownership_regained": Kind(
            logging.INFO,
            "group %(group)s: ownership is known again at generation %(generation)s, own share %(share_after)s",
        ),
        "connecting_failed": Kind(logging.WARNING, "no server can be reached; still trying: %(reason)s"),
        "coordinator_stopped": Kind(logging.INFO, "the coordinator has stopped: %(reason)s"),
        "coordinator_refused": Kind(logging.WARNING, "the coordinator has stopped: %(reason)s"),
        "coordinator_cancelled": Kind(logging.WARNING, "the coordinator %(reason)s"),
        "coordinator_failed": Kind(
            logging.ERROR, "the coordinator has failed, and no longer owns anything: %(reason)s"
        ),
    }
)
"""All events that this module writes to the log, by name."""


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _listed(names: Collection[str]) -> str:
    """Name some members, and say how many more there are."""
    named = [shown_name(name) for name in list(names)[:LONGEST_LIST]]
    more = len(names) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "") or "nobody"


FIELDS: Final[Mapping[str, Callable[[Any], object]]] = MappingProxyType(
    {
        "group": shown_name,
        "generation": int,
        "members": int,
        "joined": _listed,
        "left": _listed,
        "moved": _percent,
        "share_before": _percent,
        "share_after": _percent,
        "reason": lambda reason: printable(str(reason), _LONGEST_REASON),
    }
)
"""The facts of these events, each with how a line shows it."""


class Events:
    """Reports what happens to one coordinator. Costs nothing while nobody has subscribed or reads the log."""

    def __init__(self) -> None:
        self.member_id: str = ""
        """The member whose events these are, once it is known."""
        self._subscribers: tuple[Callable[[Event], None], ...] = ()
        self._inherited = False  # whether this is a copy in a forked process

    @property
    def told(self) -> bool:
        """Whether anybody has subscribed."""
        return bool(self._subscribers)

    @property
    def wanted(self) -> bool:
        """Whether it is worth working out the facts of a change."""
        return self.told or (_logger.isEnabledFor(logging.INFO) and not self._inherited)

    def forked(self) -> None:
        """In a child process nothing happens that anybody should be told."""
        self._inherited, self._subscribers = True, ()

    def subscribe(self, hear: Callable[[Event], None]) -> None:
        """Have ``hear`` called with each event, in the event loop. It must return at once."""
        self._subscribers = (*self._subscribers, hear)

    def unsubscribe(self, hear: Callable[[Event], None]) -> None:
        """Undo :meth:`subscribe`."""
        self._subscribers = tuple(each for each in self._subscribers if each != hear)

    def say(self, name: str, *, error: BaseException | None = None, **facts: Any) -> None:
        """Write an event to the log, and tell it.

        :param name: one of :data:`KINDS`.
        :param error: an error whose traceback follows the line.
        :param facts: some of :data:`FIELDS`.
        """
        if not self._inherited:
            log(_logger, name, error=error, member=self.member_id, **facts)
        self.tell(name, **facts)

    def tell(self, name: str, **facts: Any) -> None:
        """Tell only the subscribers: this is not worth a line in the log. If one raises, the others are still told."""
        for hear in self._subscribers:
            try:
                hear(Event(name, facts))
            except Exception:
                _logger.exception("a subscriber to events has failed")


def as_data(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of an event as programs get them. A list of members is cut, and their number is added."""
    data: dict[str, Any] = {}
    for field, fact in facts.items():
        if isinstance(fact, tuple):
            names = cast("tuple[str, ...]", fact)
            data[field], data[f"{field}_count"] = names[:LONGEST_LIST], len(names)
        else:
            data[field] = fact if isinstance(fact, str | int | float) else str(fact)
    return data


def log(logger: logging.Logger, name: str, *, error: BaseException | None = None, **facts: Any) -> None:
    """Write an event to the log. Its facts are attributes of the record, for formatters that write JSON."""
    kind = KINDS[name]
    if not logger.isEnabledFor(kind.level):
        return
    extra = {f"{PREFIX}{field}": fact for field, fact in {"event": name, **as_data(facts)}.items()}
    shown = {field: FIELDS[field](fact) for field, fact in facts.items() if field in FIELDS}
    logger.log(kind.level, kind.text, shown, exc_info=error, extra=extra, stacklevel=3)
