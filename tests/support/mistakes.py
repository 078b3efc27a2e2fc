"""Mistakes made in the library on purpose, which both the simulation and the exploration must find."""

from dataclasses import replace
from operator import or_
from typing import Protocol

from aiopartition.backends.base import Entries, Mark, MarksCount
from aiopartition.backends.listing import Listing, Tally
from aiopartition.group.handoff import Handoff
from aiopartition.group.membership import Membership
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.placement.table import Mask


class Patcher(Protocol):
    """Replaces an attribute: pytest's ``monkeypatch``, or ``builtins`` in a process of its own. Such a process must not
    have to import pytest, which takes half of the time of its start."""

    def setattr(self, target: object, name: str, value: object, /) -> None: ...


def nobody_is_superseded(mutate: Patcher) -> None:
    def stay(self: Group, live: object) -> None:
        """Go on as if nothing were the matter."""

    mutate.setattr(Group, "_be_outdone", stay)


def lost_news_are_not_looked_for(mutate: Patcher) -> None:
    async def heartbeat(self: Membership) -> None:
        await self._backend.ping()
        self.group.heartbeat()
        self.wake()

    mutate.setattr(Membership, "heartbeat", heartbeat)


def events_are_applied_without_the_check(mutate: Patcher) -> None:
    def believe(self: Listing, tally: Tally, connection: int) -> Entries | None:
        known, events = self._known, self._events
        if known is None:
            return None
        names = set(known.names)
        for name, came, _ in events:
            (names.add if came else names.discard)(name)
        return self.listed(Entries(tally.generation, frozenset(names)), tally, connection)

    mutate.setattr(Listing, "counted", believe)


def the_generation_is_taken_before_the_events(mutate: Patcher) -> None:
    counted = Listing.counted

    def count_as_before(self: Listing, tally: Tally, connection: int) -> Entries | None:
        before = self._known
        entries = counted(self, tally, connection)
        return replace(entries, generation=before.tally.generation) if entries and before else entries

    mutate.setattr(Listing, "counted", count_as_before)


def what_is_gained_is_taken_at_once(mutate: Patcher) -> None:
    viewed = Handoff.viewed

    def view_and_take(self: Handoff, generation: int, name: str, names: frozenset[str], mine: Mask) -> None:
        viewed(self, generation, name, names, mine)
        self.active = tuple(map(or_, self.active, mine))

    mutate.setattr(Handoff, "viewed", view_and_take)


def one_acknowledgement_is_enough(mutate: Patcher) -> None:
    marked = Handoff.marked

    def mark_for_all(self: Handoff, mark: Mark, count: MarksCount) -> None:
        marked(self, mark, count)
        if mark.generation == self.generation and not mark.ready:
            self._conclusion = Step.ACTIVATE

    mutate.setattr(Handoff, "marked", mark_for_all)


def acknowledged_before_work_has_ended(mutate: Patcher) -> None:
    keep = Handoff._keep

    def keep_in_words_only(self: Handoff, mine: Mask) -> None:
        keep(self, mine)
        self.in_the_way.clear()

    mutate.setattr(Handoff, "_keep", keep_in_words_only)
