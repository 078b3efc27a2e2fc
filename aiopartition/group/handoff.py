"""The handoff of an exclusive group, as one member sees it. No I/O, no clock: events go in, the next step comes out.

A member works on its *active* slots alone. At a new generation

1. a member that has to let go of active slots says that it is ready to do so, and goes on working;
2. a member that finds that every entry of the generation is ready releases the generation;
3. then members let go of the active slots that are no longer their own: work in flight on them ends;
4. a member that has nothing (left) to let go of acknowledges the generation, which implies that it is ready;
5. a member that finds that every entry has acknowledged makes the generation active;
6. members that still see exactly that generation make all their slots active;
7. a member that has seen that deletes its marks, and those of generations that were overtaken.

Why no slot is ever active at two members: before a slot becomes active at Y under generation G, every member of G has
acknowledged exactly G. So each has let go of every slot that G does not give it, and can take one up again only under
a later generation, which Y must have acknowledged, having let go first. That is why generations are compared for
equality: acknowledging a later generation does not acknowledge G. A process that is not a member of G has lost its
session, and was fenced off by its lease.

Why nobody lets go before all are ready: an entry whose process is dead blocks the handoff until its session ends. Until
then all other members keep what they have. A member that holds nothing acknowledges at once; if it dies, it takes
nothing away from anybody.

Entries are counted, not member ids: a superseded incarnation may be at work until its entry is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from enum import Enum
from operator import gt
from typing import Final

from aiopartition.backends.base import Mark, Marks, MarksCount, Progress
from aiopartition.group.step import Step
from aiopartition.group.work import Work
from aiopartition.placement.table import Mask, nothing

__all__ = ["Handoff", "Stage"]


class Stage(Enum):
    """How far a member has come in the handoff to the newest generation."""

    ABSENT = "this member has no entry"
    ANNOUNCING = "this member is about to say that it is ready to let go"
    READY = "not all entries are known to be ready"
    LETTING_GO = "work in flight on lost slots has to end before this member acknowledges"
    ACKNOWLEDGED = "not all entries are known to have acknowledged"
    ACTIVE = "all that the generation gives this member is active"


class Handoff:
    """One member's part in the handoffs of one group.

    :param slots: the number of slots.
    """

    def __init__(self, slots: int) -> None:
        self.nothing: Final[Mask] = nothing(slots)
        self.active: Mask = self.nothing
        """The slots that may be worked on."""
        self.stage: Stage = Stage.ABSENT
        self.generation: int | None = None
        """The newest generation that we have seen; ``None`` in stage ABSENT."""
        self.active_generation: int | None = None
        """The last generation whose handoff was completed, as far as we know."""
        self.names: frozenset[str] = frozenset()
        """All entries of :attr:`generation`."""
        self.missing: frozenset[str] = frozenset()
        """The entries that the handoff was waiting for when we last read the marks."""
        self.name: str = ""
        """Our entry at :attr:`generation`."""
        self.moves: int = 0
        """How often the active node was reported to have changed."""
        self.in_the_way: set[Work] = set()
        """Work that has to end before we can acknowledge."""
        self._released = 0  # the last generation that was released, as far as we know
        self._mine: Mask = self.nothing  # by the newest generation
        self._works: set[Work] = set()
        self._unrevoked: list[Work] = []
        self._made: set[Mark] = set()  # marks that we made in this session, and have not deleted since
        self._conclusion: Step | None = None  # RELEASE or ACTIVATE, if perhaps only we know that it is due
        self._said = False  # whether we have written our conclusion since we last heard of the active node
        self._active_due = True
        self._acknowledgements_due = False
        self._active_first = False  # whether to read the active node before the acknowledgements

    @property
    def waiting(self) -> bool:
        """Whether a handoff is under way."""
        return self.stage not in (Stage.ABSENT, Stage.ACTIVE)

    @property
    def next_mark(self) -> Mark:
        """The mark to make in the steps ANNOUNCE and ACKNOWLEDGE."""
        assert self.generation is not None  # or there would be no such step
        return Mark(self.generation, self.name, ready=self.stage is Stage.ANNOUNCING)

    @property
    def obsolete(self) -> Mark | None:
        """A mark of ours that is no longer of use, the oldest first; ``None`` if there is none."""
        needed = (self.generation, self.name) if self.waiting else None
        return min((mark for mark in self._made if (mark.generation, mark.name) != needed), default=None)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._works

    @property
    def works(self) -> AbstractSet[Work]:
        """All work in flight."""
        return self._works

    # ---- events: work

    def began(self, work: Work) -> None:
        """Work begins, on active slots."""
        assert work.within(self.active)
        self._works.add(work)

    def inherited(self, works: Iterable[Work]) -> None:
        """An earlier participation of this process began these. Whatever their slots, they have to end first."""
        self.in_the_way.update(works)

    def ended(self, work: Work) -> None:
        """Work has ended. Idempotent."""
        self._works.discard(work)
        if work in self.in_the_way:
            self.in_the_way.remove(work)
            self._go_on()

    def revocations(self) -> list[Work]:
        """Return the work that has got in the way since the last call. The caller revokes it."""
        unrevoked, self._unrevoked = self._unrevoked, []
        return [work for work in unrevoked if work in self._works]

    # ---- events: the group

    def viewed(self, generation: int, name: str, names: frozenset[str], mine: Mask) -> None:
        """We see a generation, and know which slots it gives us.

        :param name: our entry.
        :param names: all entries of that generation, ours among them.
        """
        if generation == self.generation and mine == self._mine:
            return
        if self.generation is not None and generation < self.generation:
            # The generation went back: the ensemble has forgotten later changes (ZOOKEEPER-4643). It has also forgotten
            # which generation had become active since, and may never reach that number again.
            self.active_generation, self._released = None, 0
            self._active_due = True
        self.missing &= names  # not emptied: operators see whom the handoff waits for even if members change often
        self._conclusion = None
        self._said = False
        self.generation, self.name, self.names, self._mine = generation, name, names, mine
        self.stage = Stage.ANNOUNCING
        self._go_on()

    def let_go(self) -> None:
        """Let go of the slots that the newest generation does not give us, whether all are ready or not."""
        if self._undecided:
            self.stage = Stage.LETTING_GO
            self._acknowledgements_due = False
            self.missing = frozenset()
            self._keep(self._mine)

    def lapsed(self) -> None:
        """We are no longer a member: nothing is active, and earlier answers no longer count."""
        self.stage = Stage.ABSENT
        self.generation = self.active_generation = None
        self._released = 0
        self._conclusion = None
        self._acknowledgements_due = False
        self._active_due = True
        self._mine, self.missing = self.nothing, frozenset()
        self._keep(self.nothing)

    def session_ended(self) -> None:
        """The session has ended, and our marks with it."""
        self._made.clear()

    def marking(self, mark: Mark) -> None:
        """We are about to ask for a mark. From now on it may exist, even if no answer comes."""
        self._made.add(mark)

    def marked(self, mark: Mark, count: MarksCount) -> None:
        """Our mark exists. ``count`` says how many marks its generation has."""
        if (mark.generation, mark.name) != (self.generation, self.name):
            return
        if mark.ready and self.stage is Stage.ANNOUNCING:
            self.stage = Stage.READY
        elif not mark.ready and self.stage is Stage.LETTING_GO:
            self.stage = Stage.ACKNOWLEDGED
        # The count may include nodes of strangers, so it only says when to read whose marks they are.
        known = count.acknowledged if self._all_ready else count.ready + count.acknowledged
        self._acknowledgements_due |= known >= len(self.names) and count.last  # it is enough that one member reads
        self._go_on()  # this answer may come after the news that everybody has acknowledged

    def retracted(self, mark: Mark) -> None:
        """A mark of ours was deleted."""
        self._made.discard(mark)

    def read_acknowledgements(self, generation: int, marks: Marks) -> None:
        """The marks of a generation were read. Once it is active, members delete them."""
        if generation != self.generation or not self.waiting:
            return
        self._acknowledgements_due = False
        self.missing = marks.missing(self.names, all_ready=self._all_ready)
        if self.names <= marks.acknowledged:
            self._conclusion = Step.ACTIVATE
        elif self.names <= marks.ready | marks.acknowledged and not self._all_ready:
            self._conclusion = Step.RELEASE
        if self.stage is Stage.ACKNOWLEDGED and self.name not in marks.acknowledged:
            self.stage = Stage.LETTING_GO  # somebody deleted it
        elif self.stage is Stage.READY and self.name not in marks.ready:
            self.stage = Stage.ANNOUNCING  # likewise

    def acknowledgements_refused(self) -> None:
        """We are not allowed to read the acknowledgements. Another member may be, and may have concluded: look."""
        self._active_first = self._active_due = True

    def moved(self) -> None:
        """The active node has changed since we last read it."""
        self.moves += 1
        self._active_due = True
        self._said = False

    def read_active(self, progress: Progress) -> None:
        """How far the group's handoffs have come."""
        self._active_due = self._active_first = False
        if self.generation is not None and progress.active < self.generation and not self._said:
            # Somebody deleted the node, perhaps before others had seen it: write it again.
            if self.active_generation == self.generation:
                self._conclusion = Step.ACTIVATE
            elif self._released == self.generation != progress.released:
                self._conclusion = Step.RELEASE
        self.active_generation = max(progress.active, self.active_generation or 0)  # a server may lag
        self._released = max(progress.released, self._released)
        self._go_on()

    def concluded(self, generation: int) -> None:
        """That generation is now released or active, as we concluded, unless a later one already was."""
        self._conclusion = None
        self._said = True
        if generation == self.generation:
            self._active_due = True

    def overdue(self) -> None:
        """The handoff has taken so much time that what we know of it may be out of date."""
        if self.waiting:
            self._active_due = True
            self._said = False
            self._acknowledgements_due = self.stage in (Stage.READY, Stage.ACKNOWLEDGED)

    # ---- decisions

    def next_step(self) -> Step:
        """What to do next. Asking changes nothing."""
        if self.stage is not Stage.ABSENT:
            if self.stage is Stage.ANNOUNCING:
                return Step.ANNOUNCE
            if self.stage is Stage.LETTING_GO and not self.in_the_way:
                return Step.ACKNOWLEDGE
            if self._conclusion is not None:
                return self._conclusion
            if self._acknowledgements_due and not self._active_first:
                return Step.READ_ACKNOWLEDGEMENTS
            if self._active_due:
                return Step.READ_ACTIVE
        return Step.REST if self.obsolete is None else Step.RETRACT  # last, as nobody waits for it

    # ---- inside

    @property
    def _all_ready(self) -> bool:
        """Whether all entries of the newest generation are known to be ready."""
        return self.generation is not None and self.generation in (self._released, self.active_generation)

    @property
    def _undecided(self) -> bool:
        """Whether we are waiting until all are ready."""
        return self.stage in (Stage.ANNOUNCING, Stage.READY)

    @property
    def _holds_on(self) -> bool:
        """Whether there is anything that we have to let go of."""
        return bool(self.in_the_way) or any(map(gt, self.active, self._mine))

    def _go_on(self) -> None:
        """Enter the next stage, if what we know allows it."""
        if self._undecided and (self._all_ready or not self._holds_on):
            self.let_go()
        if self.stage is Stage.ACKNOWLEDGED and self.active_generation == self.generation:
            self.stage = Stage.ACTIVE
            self.active = self._mine
            self._acknowledgements_due = False
            self.missing = frozenset()

    def _keep(self, mine: Mask) -> None:
        """Let only slots of ``mine`` stay active."""
        active: Mask = tuple([held and given for held, given in zip(self.active, mine, strict=True)])
        if active == self.active:
            return
        # Equal masks share one object: many groups have the same members.
        active = self.active = next((each for each in (mine, self.nothing) if each == active), active)
        for work in self._works - self.in_the_way:
            if not work.within(active):
                self.in_the_way.add(work)
                self._unrevoked.append(work)
