"""The I/O of a handoff. It looks for lost notifications, and reports the members that a handoff waits for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from aiopartition.backends.base import Backend, Marks
from aiopartition.errors import BackendError, BackendUnavailableError, PartitionError
from aiopartition.group.handoff import Handoff
from aiopartition.group.status import Awaited
from aiopartition.group.step import Step

__all__ = ["HandoffTask"]

_logger: Final = logging.getLogger("aiopartition")

_INTERVAL: Final = 1.0
"""Seconds between two looks at a handoff that is under way."""

_REPORT_AFTER: Final = 3.0
"""Seconds until a waiting handoff is reported; then again after ten times as long, and so on."""

_DESCRIBED: Final = 5
"""How many of the members that a handoff waits for are looked up for a report."""


class HandoffTask:
    """Carries out what a :class:`Handoff` decides. All its coroutines run in the group's one task."""

    STEPS: Final = frozenset(
        {
            *(Step.ANNOUNCE, Step.ACKNOWLEDGE, Step.READ_ACKNOWLEDGEMENTS),
            *(Step.RELEASE, Step.ACTIVATE, Step.READ_ACTIVE, Step.RETRACT),
        }
    )

    def __init__(
        self, backend: Backend, group_id: str, member_id: str, handoff: Handoff, time: Callable[[], float]
    ) -> None:
        self._backend = backend
        self._group_id = group_id
        self._member_id = member_id
        self._handoff = handoff
        self._time = time
        self._waiting_since: float | None = None
        self._looked_at = 0.0
        self._report_after = _REPORT_AFTER
        self._descriptions: dict[str, Awaited] = {}  # by the name of the entry
        self.last_error: str = ""
        """Why a step was refused; empty once it has been carried out."""
        self._refused: Step | None = None
        self._left_behind = False  # whether we have warned that a mark could not be deleted

    @property
    def waiting(self) -> float:
        """Seconds for which the handoff has been waiting."""
        if self._waiting_since is None or not self._handoff.waiting:
            return 0.0
        return self._time() - self._waiting_since

    def next_look(self) -> float | None:
        """Return the seconds until :meth:`overdue` is to be called (0 or less: now); ``None`` if no handoff waits."""
        if not self._handoff.waiting:
            if self._waiting_since is not None and self._report_after > _REPORT_AFTER:
                _logger.info("group %r: the handoff that had to wait is complete", self._group_id)
            self._waiting_since = None
            self._report_after = _REPORT_AFTER
            if self._handoff.next_step() is Step.REST:
                self.last_error, self._refused = "", None
            return None
        now = self._time()
        if self._waiting_since is None:
            self._waiting_since = self._looked_at = now
        return self._looked_at + _INTERVAL - now

    def overdue(self) -> None:
        """Time has passed: look again, and report work of our own that is in the way."""
        self._looked_at = self._time()
        self._handoff.overdue()
        if self._handoff.in_the_way and self._report_is_due():
            self._report()

    def awaited(self) -> tuple[Awaited, ...]:
        """Return the members that have not let go yet, as far as we can tell."""
        if not self._handoff.waiting:
            return ()
        if self._handoff.in_the_way:
            now = self._time()
            works = [f"{work.what} for {now - work.since:.1f} s" for work in self._handoff.in_the_way]
            return (Awaited(self._member_id, works=tuple(sorted(works))),)
        return tuple(self._descriptions.get(name) or Awaited.of_entry(name) for name in sorted(self._handoff.missing))

    def refused(self, step: Step, error: PartitionError) -> None:
        """A step was refused. We keep what we have; what we gain has to wait until somebody mends the cause."""
        self._refused = step
        if step is Step.READ_ACKNOWLEDGEMENTS:
            self._handoff.acknowledgements_refused()
        if str(error) != self.last_error:  # logged once, not at each attempt
            self.last_error = str(error)
            _logger.error("group %r: a handoff cannot go on: %s", self._group_id, error)

    async def take(self, step: Step) -> bool:
        """Take one of :attr:`STEPS`. Return ``False`` if the group no longer exists."""
        if step is Step.RETRACT:
            await self._retract()
            return True
        handoff, backend, group_id, generation = self._handoff, self._backend, self._group_id, self._handoff.generation
        assert generation is not None  # or there would be no step to take
        match step:
            case Step.ANNOUNCE | Step.ACKNOWLEDGE:
                mark = handoff.next_mark
                handoff.marking(mark)
                count = await backend.mark(group_id, mark)
                if count is None:
                    return False
                handoff.marked(mark, count)
            case Step.READ_ACKNOWLEDGEMENTS:
                handoff.read_acknowledgements(generation, await self._read_marks(generation))
                if handoff.missing and self._report_is_due():
                    await self._describe()
                    self._report()
            case Step.RELEASE:
                await backend.release(group_id, generation)
                handoff.concluded(generation)
            case Step.ACTIVATE:
                await backend.activate(group_id, generation)
                handoff.concluded(generation)
            case _:
                moves = handoff.moves
                handoff.read_active(await backend.progress(group_id))
                if handoff.moves != moves:  # while the answer was on its way, which may not show it
                    handoff.moved()
        if step is self._refused:
            self.last_error, self._refused = "", None
        return True

    # ---- inside

    async def _read_marks(self, generation: int) -> Marks:
        """Read the marks. Who made them matters only once all seem to have acknowledged."""
        marks = await self._backend.marks(self._group_id, generation)
        names = self._handoff.names
        if not names <= marks.acknowledged:
            return marks
        foreign = await self._backend.remove_foreign_marks(self._group_id, generation, names)
        for name in sorted(foreign):
            _logger.warning(
                "group %r: removed an acknowledgement of generation %s that member %r did not make",
                self._group_id, generation, Awaited.of_entry(name).member_id,
            )  # fmt: skip
        return Marks(marks.ready, marks.acknowledged - foreign)

    async def _retract(self) -> None:
        mark = self._handoff.obsolete
        assert mark is not None  # or there would be no step to take
        try:
            await self._backend.unmark(self._group_id, mark)
        except BackendUnavailableError:
            raise
        except BackendError as error:
            # Nobody waits for this mark, so we do not either. Members that complete a later handoff try again.
            if not self._left_behind:
                self._left_behind = True
                _logger.warning("group %r: a mark of a handoff is left behind: %s", self._group_id, error)
        self._handoff.retracted(mark)

    def _report_is_due(self) -> bool:
        return self.waiting >= self._report_after

    def _report(self) -> None:
        self._report_after *= 10
        awaited = self.awaited()
        _logger.warning(
            "group %r: the handoff to generation %s has been waiting for %.1f s for %s",
            self._group_id, self._handoff.generation, self.waiting, ", ".join(map(str, awaited[:_DESCRIBED])),
        )  # fmt: skip

    async def _describe(self) -> None:
        descriptions: dict[str, Awaited] = {}
        for name in sorted(self._handoff.missing)[:_DESCRIBED]:
            description = await self._backend.describe(self._group_id, name)
            descriptions[name] = Awaited.described(Awaited.of_entry(name).member_id, description)
        self._descriptions = descriptions
