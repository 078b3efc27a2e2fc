"""A small crew in one event loop: processes with a coordinator each, and their participations in one group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from aiopartition import GroupPolicy, MemberSupersededError, NotStartedError, PartitionCoordinator
from aiopartition.testing import PartitionCluster, cut_off, reconnect
from tests.exploration.internals import backend_of, seconds_of_silence
from tests.exploration.loop import TurnLoop

GROUP: Final = "work"
SESSION_TIMEOUT: Final = 3.0
LEASE: Final = SESSION_TIMEOUT * 2 / 3
HEARTBEAT: Final = 0.5
TIME_TO_END: Final = 0.65
"""Seconds that the slowest work takes to end once it is cancelled."""

Kind = Literal["worker", "batch", "item"]
Ending = Literal["left", "stopped", "superseded", "killed"]


class BrokenPromise(AssertionError):  # noqa: N818
    """A promise of the library does not hold."""


@dataclass(eq=False)
class Claim:
    """One participation is at work on one key.

    :ivar since: when it began, in seconds of the event loop.
    :ivar told: whether it has been cancelled.
    :ivar excused: whether its member has lost the key at some time since it began.
    :ivar unowned_since: the turn in which it was first seen to work on a key that is not its member's.
    """

    participation: Participation
    key: str
    kind: Kind
    since: float
    told: bool = False
    excused: bool = False
    unowned_since: int | None = None

    @property
    def is_blind(self) -> bool:
        """Whether no handoff could have known of it, or told it."""
        return self.since <= self.participation.process.blind_until

    def __str__(self) -> str:
        return f"a {self.kind} on {self.key} at {self.participation}"


@dataclass(eq=False)
class Process:
    """One process: a coordinator, which outlives a participation that is left."""

    number: int
    coordinator: PartitionCoordinator
    dead: bool = False
    blind_until: float = -1.0
    """What it has begun up to that moment cannot be known to go on."""
    participations: list[Participation] = field(default_factory=list["Participation"])

    def __str__(self) -> str:
        return f"process {self.number} ({self.coordinator.member_id})"

    @property
    def present(self) -> Participation | None:
        """The participation that goes on."""
        latest = self.participations[-1] if self.participations else None
        return latest if latest is not None and latest.ending is None else None


@dataclass(eq=False)
class Participation:
    """A process takes part in the group, from joining it to leaving it."""

    process: Process
    ending: Ending | None = None
    claims: dict[Claim, None] = field(default_factory=dict[Claim, None])
    run_returned: bool = False
    task: asyncio.Task[None] | None = None
    seen: object = None
    """The view that was looked at last."""
    claimed_then: int = 0
    """How many claims there were when it came."""

    def __str__(self) -> str:
        turn = self.process.participations.index(self) + 1
        return str(self.process) if turn == 1 else f"{self.process}, participation {turn}"


TakePart: TypeAlias = "Callable[[Crew, Participation], Coroutine[Any, Any, None]]"


class Crew:
    """The processes, and who of them is at work on what.

    :param work: what each participation does.
    """

    def __init__(
        self, loop: TurnLoop, policy: GroupPolicy, keys: tuple[str, ...], work: TakePart, *, lists_once: bool
    ) -> None:
        self.loop = loop
        self.policy = policy
        self.listing = keys
        """What ``resources()`` returns now."""
        self.all_keys = keys
        self.lists_once = lists_once
        self.next_listing: Callable[[], list[str]] | None = None
        """What ``resources()`` does the next time, instead of returning the listing."""
        self.next_key_takes = 0.0
        """Seconds for which the next call of ``key()`` blocks the event loop."""
        self.cluster = PartitionCluster(session_timeout=SESSION_TIMEOUT, heartbeat=HEARTBEAT)
        self.processes: list[Process] = []
        self.slots: dict[int, Process] = {}
        """The latest process of each number by which an attempt calls it."""
        self.at_work: dict[str, list[Claim]] = {}
        self.ever_at_work: set[str] = set()
        self.closing = False
        self.failure: BrokenPromise | None = None
        self._work = work
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_come: list[asyncio.TimerHandle] = []

    # ---- processes

    def start(self, slot: int, member_id: str) -> None:
        """A process starts, and joins the group."""
        coordinator = PartitionCoordinator(
            self.cluster.url, member_id=member_id, session_timeout=SESSION_TIMEOUT, heartbeat=HEARTBEAT,
            connect_timeout=1.0,
        )  # fmt: skip
        process = Process(len(self.processes), coordinator)
        self.processes.append(process)
        self.slots[slot] = process
        self.spawn(self._begin(process))

    async def _begin(self, process: Process) -> None:
        try:
            await process.coordinator.start()
        except NotStartedError:
            return  # stopped meanwhile
        if not process.dead:
            self.take_part(process)

    def take_part(self, process: Process) -> None:
        """A process joins the group (again)."""
        participation = Participation(process)
        process.participations.append(participation)
        participation.task = self.spawn(self._work(self, participation))

    def leave(self, participation: Participation) -> None:
        participation.ending = "left"
        self.spawn(self._leave(participation.process.coordinator))

    async def _leave(self, coordinator: PartitionCoordinator) -> None:
        try:
            await coordinator.leave_group(GROUP)
        except (NotStartedError, MemberSupersededError):
            return

    def stop(self, process: Process) -> None:
        process.dead = True
        for participation in process.participations:
            participation.ending = participation.ending or "stopped"
        self.spawn(process.coordinator.stop())

    def kill(self, process: Process) -> None:
        """From now on nothing that it does is seen by anybody."""
        process.dead = True
        backend_of(process.coordinator).crash()
        for participation in process.participations:
            participation.ending = "killed"
            for claim in list(participation.claims):
                self.end(claim)
            if participation.task is not None:
                participation.task.cancel()
        self.spawn(process.coordinator.stop())

    def jump(self, seconds: float) -> None:
        """Time passes in which nothing runs. Nobody can let go meanwhile."""
        self.loop.jump(seconds)
        for process in self.processes:
            silence = seconds_of_silence(process.coordinator)
            if silence is not None and silence > process.coordinator.session_timeout - TIME_TO_END:
                self.blind(process, 0.0)

    def blind(self, process: Process, seconds: float) -> None:
        """A process may lose its session, or its entry, before it can let go: what it begins within that many seconds
        no handoff can wait for."""
        process.blind_until = self.loop.time() + seconds

    def heal(self) -> None:
        """All faults end, those that have been waiting for an occasion among them."""
        self.next_listing, self.next_key_takes = None, 0.0
        while self._to_come:
            self._to_come.pop().cancel()
        for process in self.processes:
            if not process.dead:
                reconnect(process.coordinator)

    def cut_off(self, process: Process, *, after: float = 0.0) -> None:
        """Cut a process off, now or in so many seconds, unless all faults have ended by then."""
        if after:
            self._to_come.append(self.loop.call_later(after, cut_off, process.coordinator))
        else:
            cut_off(process.coordinator)

    @property
    def present(self) -> list[Participation]:
        """The participations that go on."""
        return [each for process in self.processes if (each := process.present) is not None]

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.closing:
            self.break_promise(f"P9: {type(error).__name__} was raised: {error}", error)

    @property
    def unfinished(self) -> int:
        """How many of the starts, leaves and stops go on."""
        taking_part = {each.task for process in self.processes for each in process.participations}
        return sum(task not in taking_part for task in self._tasks)

    # ---- work

    def begin(self, claim: Claim) -> None:
        """Work on a key begins. In an exclusive group no other participation may be at it (P7)."""
        participation = claim.participation
        if participation.ending == "killed" or self.closing:
            return
        claims = self.at_work.setdefault(claim.key, [])
        if self.policy.exclusive:
            for other in claims:
                if other.participation is participation:
                    continue
                if other.participation.process is participation.process or not (other.is_blind or claim.is_blind):
                    self.break_promise(f"P7: {claim} begins during {other}")
        claims.append(claim)
        participation.claims[claim] = None
        self.ever_at_work.add(claim.key)

    def end(self, claim: Claim) -> None:
        """It has ended. Idempotent."""
        if claim in claim.participation.claims:
            del claim.participation.claims[claim]
            self.at_work[claim.key].remove(claim)

    def require_lease(self, claim: Claim) -> None:
        """P3, P4: what is handed out belongs to a session that cannot have ended."""
        if self.closing or claim.participation.ending == "killed":
            return
        silence = seconds_of_silence(claim.participation.process.coordinator)
        if silence is None or silence >= claim.participation.process.coordinator.session_timeout * 2 / 3:
            self.break_promise(f"P4: {claim} begins without a lease (silent for {silence} s)")

    def break_promise(self, text: str, cause: BaseException | None = None) -> None:
        """The first broken promise is kept; the run ends before the next turn."""
        if self.failure is None:
            self.failure = BrokenPromise(f"{text} (turn {self.loop.turn}, {self.loop.time():.3f} s)")
            self.failure.__cause__ = cause
