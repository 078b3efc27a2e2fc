"""The state of one group, as an observer sees it. No I/O, no clock: events go in, the next step comes out.

An observer only reads: who the members are, by the group's own policy, and how far its handoff has come.
:mod:`aiopartition.group.observation` takes the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from aiopartition.backends.base import Entries, Marks, Progress
from aiopartition.errors import PartitionError
from aiopartition.group.document import policy_of
from aiopartition.group.roster import NO_MEMBERS, NO_WEIGHT, Roster
from aiopartition.group.step import Step
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import Mask, Table, nothing
from aiopartition.placement.view import View

__all__ = ["Model", "ObservedGroup"]

Model: TypeAlias = tuple[GroupPolicy, dict[str, int]]
"""A policy, and the weights of members by their ids: a table is built from these."""

_NO_GROUP: Final = "the group does not exist"
_READING: Final = "the members are being read"


class ObservedGroup:
    """One group, seen from outside.

    :param member_id: the observer's id. The observer owns nothing, even if a member has the same id.
    """

    def __init__(self, group_id: str, member_id: str) -> None:
        self.group_id = group_id
        self.member_id = member_id
        self.left: bool = False
        """Whether the observation has ended."""
        self.error: PartitionError | None = None
        """What keeps us from seeing the group, other than a missing connection."""
        self.policy: GroupPolicy | None = None
        """The group's policy, as it was last read; ``None`` if there is no group."""
        self.generation: int | None = None
        """The generation of the entries that were last read; ``None`` if there is no group."""
        self.roster: Roster = Roster()
        """The entries that were last read."""
        self.model: Model | None = None
        """What the table is to be built from; ``None`` if no member has a weight."""
        self.active_generation: int = 0
        """The last generation whose handoff was completed, as far as we know."""
        self.missing: frozenset[str] = frozenset()
        """The entries that the handoff was waiting for when we last looked."""

        self._connected = False
        self._paused = False  # after a failed step, until the next heartbeat or connection
        self._due: Step | None = Step.READ  # or SETTLE
        self._look_due = False  # whether to look at the handoff
        self._released = 0  # the last generation whose entries were all ready
        self._insist = False  # whether the next read must return the latest state
        self._interruptions = 0  # since the last read
        self._was_read = False
        self._trusted = False  # whether there is no reason to doubt what was read
        self._document: bytes | None = None
        self._view: View | None = None
        self._built: Model | None = None
        self._table: Table | None = None
        self._nothing: Mask = ()

    # ---- what holds now

    @property
    def view(self) -> View | None:
        """The view that holds; the caller checks the lease."""
        return self._view if self._trusted and not self.left else None

    @property
    def settled(self) -> bool:
        """Whether looking has had a first result: a view, the fact that nobody can own anything, or an error."""
        return self._view is not None or (self._was_read and self.model is None) or self.error is not None or self.left

    @property
    def unknown_reason(self) -> str:
        """Why there is no view, while there is a connection."""
        if not self._was_read or not self._trusted or self.model is not None:
            return _READING
        if self.policy is None:
            return _NO_GROUP
        return NO_WEIGHT if self.names else NO_MEMBERS

    @property
    def handing_over(self) -> bool:
        """Whether a handoff is under way, in an exclusive group."""
        return self.model is not None and self.model[0].exclusive and self.active_generation != self.generation

    @property
    def names(self) -> frozenset[str]:
        """The names of the entries that were last read."""
        return self.roster.members

    # ---- events

    def session_opened(self, *, fresh: bool) -> None:
        """Read everything again, as changes may have gone unreported."""
        self._connected = True
        self._paused = False
        self._due = Step.READ
        if fresh:
            self._trusted = False

    def session_suspended(self) -> None:
        self._connected = False

    def session_expired(self) -> None:
        self.doubt()

    def doubt(self) -> None:
        """What we know has to be confirmed before it is used again."""
        self._trusted = False
        self._due = Step.READ

    def changed(self) -> None:
        """The watch fired."""
        if self._due is None:
            self._due = Step.SETTLE

    def moved(self) -> None:
        """A handoff may have come further."""
        self._look_due = True

    def probed(self, generation: int | None, document: bytes | None) -> None:
        """A heartbeat has read both. It is also time to try again what failed."""
        self._paused = False
        if (generation, document) != (self.generation, self._document):
            self._due = Step.READ

    def failed(self, error: PartitionError) -> None:
        """A step was refused, or failed. It is tried again at the next heartbeat."""
        self.error = error
        self._paused = True
        self.doubt()

    def interrupted(self) -> None:
        """The connection was lost during a step. The step is tried again after reconnecting, or at a heartbeat."""
        self._paused = True
        self._due = Step.READ
        self._interruptions += 1
        if self._interruptions > 1:
            self._trusted = False  # reading has failed repeatedly: what we believe may be very old

    def leave(self) -> None:
        self.left = True

    # ---- reading

    def reading(self) -> bool:
        """A read begins. The watch that it arms reports later changes.

        :returns: whether the read must return the latest state.
        """
        self._due = None
        return self._insist

    def sift(self, entries: Entries | None) -> Iterator[None]:
        """Parse the names of the entries in steps, so that :meth:`read` need not parse them all at once."""
        self.roster = yield from self.roster.steps(frozenset() if entries is None else entries.names)

    def read(self, entries: Entries | None, document: bytes | None) -> None:
        """The entries were read, and after them the group's document.

        :raises PolicyMismatchError: if this version of the library cannot follow the document.
        """
        generation = None if entries is None else entries.generation
        insisted, self._insist = self._insist, False
        self._interruptions = 0
        if not insisted and self.generation is not None and (generation is None or generation < self.generation):
            # Older than what we have seen: either a server lags, or the group was deleted. The next read will tell.
            self._insist, self._due = True, Step.READ
            return
        known, self._document = self._document, document
        if known != document and self._due is not None:
            self._due = Step.READ  # between the two answers the group may have been recreated with another policy
            return
        policy = None if document is None else policy_of(document, self.group_id)
        self.error = None
        self._was_read = True
        if self._due is not Step.READ:  # otherwise there is a reason to doubt it already
            self._trusted = True
        if policy != self.policy:
            self._view = None
            self._nothing = nothing(0 if policy is None else policy.slots)
        if generation != self.generation:
            self.missing = frozenset()
            self._look_due = True
        self.policy, self.generation = policy, generation
        self._take_apart(frozenset() if entries is None else entries.names)

    def built(self, model: Model, table: Table) -> None:
        """The table for ``model`` is built."""
        self._built, self._table = model, table
        self._show()

    def looking(self) -> None:
        """A look at the handoff begins."""
        self._look_due = False

    def read_progress(self, generation: int, progress: Progress) -> None:
        """The progress of the group's handoffs was read, while ``generation`` was the newest one known."""
        if generation == self.generation:
            self.active_generation, self._released = progress
            if not self.handing_over:
                self.missing = frozenset()

    def read_marks(self, generation: int, marks: Marks) -> None:
        """The marks of ``generation`` were read: whose entries are ready, or have let go."""
        if generation == self.generation:
            self.missing = marks.missing(self.names, all_ready=self._released == generation)

    # ---- decisions

    def next_step(self) -> Step:
        """Return what to do next. Asking changes nothing."""
        if self.left:
            return Step.FINISH
        if not self._connected or self._paused:
            return Step.REST
        if self._due is not None:
            return self._due
        if self._look_due and self.model is not None and self.model[0].exclusive:
            return Step.READ_ACTIVE  # before the view is built, so that the status is complete when the view appears
        return Step.BUILD if self.model != self._built and self.model is not None else Step.REST

    # ---- inside

    def _take_apart(self, names: frozenset[str]) -> None:
        self.roster = self.roster.after(names)
        live = self.roster.live()
        weights = {member_id: live[member_id].weight for member_id in sorted(live)}
        if self.policy is None or not any(weights.values()):
            self.model = self._view = None
            return
        model = self.policy, weights
        if model != self.model:  # a build for an equal model goes on
            self.model = model
        self._show()

    def _show(self) -> None:
        if self.model is None or self._table is None or self.model != self._built:
            return
        assert self.generation is not None
        policy, weights = self.model
        view = View.of(self.group_id, self.generation, weights, policy, self.member_id, self._table)
        if view != self._view:  # while nothing changes, the object stays the same
            self._view = replace(view, active=self._nothing)
