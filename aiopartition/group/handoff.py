"""The handoff of an exclusive group, as one member sees it. No I/O, no clock: events go in, the next step comes out.

A member works on its *active* slots alone. At a new generation

1. it lets go of the active slots that are no longer its own: work in flight on them ends;
2. then, not before, it acknowledges the generation;
3. a member that finds that every entry of the generation has acknowledged makes the generation active;
4. members that still see exactly that generation make all their slots active;
5. a member that has seen that deletes its acknowledgement, and those of generations that were overtaken.

Why no slot is ever active at two members: for a slot to become active at Y under generation G, every member of G has
acknowledged exactly G, so each has let go of every slot that G does not give it, and can take one up again only under
a later generation, which Y must have acknowledged, having let go first. Hence equality: to acknowledge a later
generation is not to acknowledge G. A process that is not a member of G has lost its session, and was
fenced off by its lease.

Entries are counted, not ids: a superseded incarnation may be at work until its entry is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

from aiopartition.group.step import Step
from aiopartition.group.work import Work
from aiopartition.placement.table import Mask

__all__ = ["Acknowledgement", "Handoff"]

Acknowledgement: TypeAlias = tuple[int, str]
"""The generation, and the name of the entry that acknowledges it."""


class Handoff:
    """One member's part in the handoffs of one group.

    :param slots: how many slots there are.
    """

    def __init__(self, slots: int) -> None:
        self._nothing: Final[Mask] = (False,) * slots
        self.active: Mask = self._nothing
        """The slots that may be worked on."""
        self.generation: int | None = None
        """The newest generation viewed; ``None`` while we are no member."""
        self.active_generation: int | None = None
        """The last generation whose handoff was completed, as far as we have seen."""
        self.missing: frozenset[str] = frozenset()
        """The entries that had not acknowledged when we last read the acknowledgements."""
        self.in_the_way: set[Work] = set()
        """What has to end before we can acknowledge."""
        self.name: str = ""
        """Our entry at that generation."""
        self._mine: Mask = self._nothing
        self._names: frozenset[str] = frozenset()  # the entries of the generation
        self._works: set[Work] = set()
        self._unrevoked: list[Work] = []
        self._made: set[Acknowledgement] = set()  # in this session, and not deleted since
        self._acknowledged = False
        self._complete = False  # all have acknowledged, and perhaps only we know it
        self._look_due = True
        self._survey_due = False
        self._look_first = False  # before the survey

    @property
    def waiting(self) -> bool:
        """Whether a handoff is under way."""
        return self.generation is not None and not (self._acknowledged and self.active_generation == self.generation)

    @property
    def obsolete(self) -> Acknowledgement | None:
        """An acknowledgement of ours that is of no more use, the oldest first; ``None`` if there is none."""
        needed = (self.generation, self.name) if self.waiting else None
        return min((each for each in self._made if each != needed), default=None)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._works

    @property
    def works(self) -> AbstractSet[Work]:
        """All that is in flight."""
        return self._works

    # ---- events: work

    def began(self, work: Work) -> None:
        """Work begins, on active slots."""
        assert work.within(self.active)
        self._works.add(work)

    def inherited(self, works: Iterable[Work]) -> None:
        """An earlier participation of this process has these in flight, on whatever slots: they have to end first."""
        self.in_the_way.update(works)

    def ended(self, work: Work) -> None:
        """Work has ended. Idempotent."""
        self._works.discard(work)
        self.in_the_way.discard(work)

    def revocations(self) -> list[Work]:
        """Return the work that came to be in the way since the last call; the caller revokes it."""
        unrevoked, self._unrevoked = self._unrevoked, []
        return [work for work in unrevoked if work in self._works]

    # ---- events: the group

    def viewed(self, generation: int, name: str, names: frozenset[str], mine: Mask) -> None:
        """A generation and the slots it gives us. From now on no other slot is active.

        :param name: our entry.
        :param names: all entries of that generation, ours among them.
        """
        if generation == self.generation and mine is self._mine:
            return
        if self.generation is not None and generation < self.generation:
            # The group is older than it was: the ensemble has forgotten what came since (ZOOKEEPER-4643). What became
            # active meanwhile was forgotten too, and would never be reached again.
            self.active_generation = None
            self._look_due = True
        if generation != self.generation:
            self._acknowledged = self._complete = self._survey_due = False
            self.missing = frozenset()
        self.generation, self.name, self._names, self._mine = generation, name, names, mine
        self._let_go(mine)

    def lapsed(self) -> None:
        """We are no member any more: nothing is active, and earlier answers do not count."""
        self.generation = self.active_generation = None
        self._acknowledged = self._complete = self._survey_due = False
        self._look_due = True
        self.missing = frozenset()
        self._let_go(self._nothing)

    def session_ended(self) -> None:
        """Our acknowledgements went with the session."""
        self._made.clear()

    def acknowledging(self) -> None:
        """Our acknowledgement is about to be asked for. From now on it may be there, even if no answer comes."""
        assert self.generation is not None
        self._made.add((self.generation, self.name))

    def retracted(self, acknowledgement: Acknowledgement) -> None:
        """An acknowledgement of ours was deleted."""
        self._made.discard(acknowledgement)

    def acknowledged(self, generation: int, count: int) -> None:
        """Our acknowledgement is there, one of ``count``."""
        if generation == self.generation:
            self._acknowledged = True
            self._survey_due = count >= len(self._names)  # others may have put nodes there: see whose they are
            self._take_up()  # if this answer comes after the news that all have

    def surveyed(self, generation: int, names: Iterable[str]) -> None:
        """These have acknowledged a generation. Once it is active, they delete that again."""
        if generation == self.generation and self.waiting:
            self._survey_due = False
            self.missing = self._names.difference(names)
            self._complete = not self.missing
            if self.name in self.missing:
                self._acknowledged = False  # somebody deleted it

    def survey_refused(self) -> None:
        """We may not read the acknowledgements. A member that may can complete the handoff: look whether it has."""
        self._look_first = True
        self._look_due = True

    def moved(self) -> None:
        """The active generation has changed since we last read it."""
        self._look_due = True

    def looked(self, active_generation: int) -> None:
        """Which generation is active."""
        self._look_due = self._look_first = False
        if self.generation is not None and active_generation < self.generation == self.active_generation:
            self._complete = True  # somebody deleted the node, and others may not have seen it before: say it again
        self.active_generation = max(active_generation, self.active_generation or 0)  # a server may lag
        self._take_up()

    def activated(self, generation: int) -> None:
        """That generation is active now, or a later one was already."""
        self._complete = False
        if generation == self.generation:
            self._look_due = True

    def overdue(self) -> None:
        """The handoff takes long: what we know of it may be out of date."""
        if self.waiting:
            self._look_due = True
            self._survey_due = self._acknowledged

    # ---- decisions

    def next_step(self) -> Step:
        """What to do next. Asking changes nothing."""
        if self.generation is not None:
            if not self._acknowledged:
                if not self.in_the_way:
                    return Step.ACKNOWLEDGE
            elif self._complete:
                return Step.ACTIVATE
            elif self._survey_due and not self._look_first:
                return Step.SURVEY
            elif self._look_due:
                return Step.LOOK
        return Step.REST if self.obsolete is None else Step.RETRACT  # last, as nobody waits for it

    # ---- inside

    def _take_up(self) -> None:
        if not self.waiting and self.generation is not None:
            self.active = self._mine
            self.missing = frozenset()
            self._survey_due = False

    def _let_go(self, mine: Mask) -> None:
        self._mine = mine
        active: Mask = tuple([held and given for held, given in zip(self.active, mine, strict=True)])
        if active == self.active:
            return
        self.active = active
        for work in self._works - self.in_the_way:
            if not work.within(active):
                self.in_the_way.add(work)
                self._unrevoked.append(work)
