"""The model of a coordination service with marks and the active generation, and members with work."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeAlias, cast

from aiopartition.backends.base import Mark, Marks, MarksCount, Progress
from aiopartition.errors import PartitionError
from aiopartition.group.handoff import Handoff
from aiopartition.group.handoff_task import HandoffTask
from aiopartition.group.step import Step
from aiopartition.group.work import Work
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import Mask, Table
from tests.unit.group.group_model import Actions, Actor, Asked, LostError, ModelBackend, ModelTables, Request, Service

POLICY: Final = GroupPolicy(slots=16, vnodes=1, exclusive=True)


MembersKey: TypeAlias = tuple[tuple[str, int], ...]


class Scattered:
    """A placement that moves nearly everything at each change, which is harder on handoffs than the real one."""

    def __init__(self, members: MembersKey) -> None:
        chance, ids = random.Random(str(members)), [member_id for member_id, _ in members]
        owners = [chance.choice(ids) for _ in range(POLICY.slots)]
        self._masks: dict[str, Mask] = {each: tuple(owner == each for owner in owners) for each in ids}

    def mask(self, member_id: str) -> Mask:
        return self._masks[member_id]


class Settled(Scattered):
    """A placement that moves as little as can be: members often have nothing to let go of."""

    def __init__(self, members: MembersKey) -> None:
        ids = [member_id for member_id, _ in members]
        owners = [max(ids, key=lambda each: random.Random(f"{each} {slot}").random()) for slot in range(POLICY.slots)]
        self._masks = {each: tuple(owner == each for owner in owners) for each in ids}


@cache
def scattered(members: MembersKey) -> Table:
    return cast("Table", Scattered(members))


@cache
def settled(members: MembersKey) -> Table:
    return cast("Table", Settled(members))


@cache
def bits(mask: Mask) -> int:
    """The same as a number, which is quicker to compare."""
    return int("".join("1" if active else "0" for active in mask), 2)


class BarrierService(Service):
    """Beside the members: who has made which marks, and which generations are released and active."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: dict[Mark, int] = {}  # the session of each
        self.latest: dict[int, Mark | None] = {}  # of each generation; none after a deletion
        self.surveys: dict[int, list[Marks]] = {}  # how the marks of a generation were before
        self.progress: list[Progress] = [Progress()]  # the last holds; a server that lags may tell the others
        self.version = 0
        self.active_watchers: set[Exclusive] = set()
        self.activations = 0
        self.releases = 0
        self.late: list[tuple[Request, Exclusive]] = []
        self.table_of: Callable[[MembersKey], Table] = scattered
        self.left_behind: set[Mark] = set()  # those that nobody was allowed to delete

    def end(self, session: int) -> None:
        super().end(session)
        for mark in [mark for mark, owner in self.marks.items() if owner == session]:
            self.unmark(mark)

    def perform(self, request: Request, actor: Actor) -> object:
        actor = cast("Exclusive", actor)
        argument = request.argument
        match request.kind, argument:
            case "mark", Mark():
                if self.document is None:
                    return None
                if argument not in self.marks:
                    self.latest[argument.generation] = argument
                self.marks[argument] = actor.session
                self._surveyed(argument.generation)
                return True
            case "unmark", Mark():
                if argument in self.marks:
                    self.unmark(argument)
                return True
            case "count", Mark():
                marks = self.marks_of(argument.generation)
                last = self.latest.get(argument.generation) == argument
                return MarksCount(len(marks.ready), len(marks.acknowledged), last)
            case "marks", int():
                known = self.surveys.get(argument, [Marks()])
                return known[-1 - min(actor.lag, len(known) - 1)]
            case "progress", _:
                self.active_watchers.add(actor)
                lag = min(actor.lag, len(self.progress) - 1)
                if lag:
                    actor.active_news += 1  # the watch is on that server, which will know better in a moment
                return self.progress[-1 - lag]
            case "progress and version", _:
                return self.progress[-1], self.version
            case "write", (Progress() as progress, int(version)):
                if version not in (self.version, -1):
                    return False
                self.advance(progress)
                return True
            case _:
                return super().perform(request, actor)

    def marks_of(self, generation: int) -> Marks:
        marks = [mark for mark in self.marks if mark.generation == generation]
        return Marks(
            frozenset(mark.name for mark in marks if mark.ready),
            frozenset(mark.name for mark in marks if not mark.ready),
        )

    def advance(self, progress: Progress) -> None:
        before = self.progress[-1]
        assert progress.active >= before.active, f"active went back from {before} to {progress}"
        if progress.active > before.active:
            self.activations += 1
            self.marks = {mark: owner for mark, owner in self.marks.items() if mark.generation >= progress.active}
        else:
            self.releases += 1
        self._write(progress)

    def unmark(self, mark: Mark) -> None:
        del self.marks[mark]
        self.latest[mark.generation] = None
        self._surveyed(mark.generation)

    def delete_active(self) -> None:
        self._write(Progress())
        self.version = 0
        self.late.clear()  # versions count anew, and a late one could be mistaken; members remember what they saw

    def _write(self, progress: Progress) -> None:
        self.progress.append(progress)
        self.version += 1
        for watcher in self.active_watchers:
            watcher.active_news += 1
        self.active_watchers.clear()

    def _surveyed(self, generation: int) -> None:
        self.surveys.setdefault(generation, []).append(self.marks_of(generation))


def advanced(progress: Progress, step: Step, generation: int) -> Progress | None:
    """What to write in that step, if anything."""
    if step is Step.ACTIVATE:
        return None if progress.active >= generation else Progress(generation, max(generation, progress.released))
    return None if max(progress) >= generation else Progress(progress.active, generation)


class BarrierBackend(ModelBackend):
    """With those of handoffs."""

    async def mark(self, _: str, mark: Mark) -> MarksCount | None:
        if not await Asked(Request("mark", mark)):
            return None
        return cast("MarksCount", await Asked(Request("count", mark)))

    async def unmark(self, _: str, mark: Mark) -> None:
        try:
            await Asked(Request("unmark", mark))
        except LostError:
            raise
        except PartitionError:
            cast("Exclusive", self._actor).barriers.left_behind.add(mark)
            raise

    async def marks(self, _: str, generation: int) -> Marks:
        return cast("Marks", await Asked(Request("marks", generation)))

    async def remove_foreign_marks(self, _: str, _generation: int, _names: Iterable[str]) -> frozenset[str]:
        return frozenset()

    async def release(self, _: str, generation: int) -> None:
        await self._conclude(Step.RELEASE, generation)

    async def activate(self, _: str, generation: int) -> None:
        await self._conclude(Step.ACTIVATE, generation)

    async def progress(self, _: str) -> Progress:
        return cast("Progress", await Asked(Request("progress")))

    async def _conclude(self, step: Step, generation: int) -> None:
        while True:
            progress, version = await Asked(Request("progress and version"))
            after = advanced(progress, step, generation)
            if after is None or await Asked(Request("write", (after, version))):
                return


@dataclass(eq=False, repr=False)
class Exclusive(Actor):
    """A member of an exclusive group, with its work."""

    lag: int = 0
    active_news: int = 0
    works: list[Work] = field(default_factory=list)
    revoked: list[Work] = field(default_factory=list)  # those of them that have to end
    fenced: set[Work] = field(default_factory=set)  # those that do nothing any more, as the lease was over
    stopping: bool = False
    answered_before_lapse: bool = False
    may_renew: bool = True

    @property
    def barriers(self) -> BarrierService:
        assert isinstance(self.service, BarrierService)
        return self.service

    @property
    def handoff(self) -> Handoff:
        assert self.group.handoff is not None
        return self.group.handoff

    def occupied(self) -> int:
        """What nobody else may work on now."""
        if self.gone or not self.holding:
            return 0
        occupied = bits(self.handoff.active)
        for work in self.works:
            if work not in self.fenced:
                occupied |= 1 << (15 - work.slots) if isinstance(work.slots, int) else bits(work.slots)
        return occupied

    # ---- what Membership does

    def __post_init__(self) -> None:
        self.handoff_task = HandoffTask(self._backend(), "g", self.group.member.id, self.handoff, lambda: 0.0)
        super().__post_init__()

    def _backend(self) -> Any:
        return BarrierBackend(self)

    def _tables(self) -> Any:
        return ModelTables(lambda members, _: self.barriers.table_of(tuple(members.items())))

    def _take(self, step: Step) -> Actions:
        if step not in HandoffTask.STEPS:
            yield from super()._take(step)
        elif not (yield from self.handoff_task.take(step).__await__()):
            self.group.changed()

    def _refused(self, step: Step, error: PartitionError) -> None:
        if step in HandoffTask.STEPS:
            self.handoff_task.refused(step, error)
            self.group.handoff_refused()
        else:
            super()._refused(step, error)

    def shift(self) -> None:
        """What has to end is told so; what is active is shown."""
        self.group.shift()
        self.revoked += [work for work in self.handoff.revocations() if work not in self.revoked]

    # ---- work

    def begin(self, chance: random.Random) -> None:
        view = self.group.view
        if view is None or not self.holding or self.gone:
            return
        mine = [slot for slot, active in enumerate(view.mask) if active]
        slots: int | Mask | None = view.mask if chance.random() < 0.2 else chance.choice(mine) if mine else None
        if slots is not None:
            work = Work("work", slots, 0.0, lambda: None, 1.0)
            self.works.append(work)
            self.handoff.began(work)

    def end(self, works: list[Work], chance: random.Random) -> None:
        if works:
            work = chance.choice(works)
            self.works.remove(work)
            if work in self.revoked:
                self.revoked.remove(work)
            self.fenced.discard(work)
            self.handoff.ended(work)

    # ---- the session

    def execute(self, lag: int = 0) -> None:
        self.lag = lag
        if not self.answer:
            self.answered_before_lapse = False
        super().execute(lag)

    def deliver(self) -> None:
        self.may_renew = not (self.answer and self.answered_before_lapse)  # a lease counts from the question
        super().deliver()
        self.may_renew = True

    def renew(self) -> None:
        if self.may_renew:
            super().renew()

    def lapse(self) -> None:
        """The lease is over: what is in flight does nothing more, though it may not have come to its end."""
        super().lapse()
        self.answered_before_lapse = bool(self.answer)
        self.fenced.update(self.works)
        self.revoked = list(self.works)

    def disconnect(self) -> None:
        if self.connected:
            self.active_news = 0
            self.barriers.active_watchers.discard(self)
            if self.pending.kind == "write" and not self.answer:
                self.barriers.late.append((self.pending, self))
        super().disconnect()

    def hear_active(self) -> None:
        if self.active_news and self.connected:
            self.active_news -= 1
            self.handoff.moved()

    def stop(self) -> None:
        """As ``stop()`` does: the session ends when the work has."""
        self.stopping = True
        self.group.abandon()

    def crash(self) -> None:
        super().crash()
        self.works.clear()
