"""A simulation: coordinators on one memory cluster, the events of a schedule, and checks at every look.

Everything runs in one event loop in virtual time, so a schedule always goes the same way.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast
from unittest.mock import patch

import anyio
from anyio.abc import TaskGroup

from aiopartition import (
    MemberSupersededError,
    NotStartedError,
    OwnershipLostError,
    OwnershipUnknownError,
    PartitionCoordinator,
    View,
)
from aiopartition.backends.listing import Event as EntryEvent
from aiopartition.backends.memory.backend import MemoryBackend
from aiopartition.backends.memory.store import MemoryCluster, MemorySession
from aiopartition.group.entry import Entry
from aiopartition.group.heartbeats import LONGEST
from aiopartition.testing import VirtualTimeLoop
from tests.simulation.schedules import SESSION_TIMEOUT, Event, Schedule

GROUP: Final = "work"
KEYS: Final = [f"key-{number}" for number in range(20)]
HEARTBEAT: Final = 0.5
LOOK: Final = 0.2
"""Seconds between two looks of one member at what is its own."""
CONVERGENCE: Final = SESSION_TIMEOUT + (LONGEST + 1) * HEARTBEAT + 1.0
"""Seconds from the last fault: until the dead are given up, a lost watch is found, and who returns has joined."""
LEASE: Final = SESSION_TIMEOUT * 2 / 3
MOST_MEMBERS: Final = 6

Owners = tuple[tuple[str, ...], ...]


class RecordedCluster(MemoryCluster):
    """Remembers who the members were at each generation: the truth that no member may contradict."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__("simulation", clock)
        self.history: dict[int, dict[str, int]] = {}
        self.entered: dict[MemorySession, int] = {}
        """At which generation a session's first entry was there."""

    def newest(self, group_id: str) -> int | None:
        generation = super().newest(group_id)
        self._remember()
        return generation

    def _changed(self, group_id: str, group: Any, *events: EntryEvent) -> None:
        super()._changed(group_id, group, *events)
        self._remember()

    def _remember(self) -> None:
        group = self._groups.get(GROUP)
        if group is not None:
            entries = sorted(filter(None, map(Entry.parse, group.entries)), key=lambda entry: entry.seniority)
            self.history[group.generation] = {entry.member_id: entry.weight for entry in entries}
            for session in group.entries.values():
                self.entered.setdefault(session, group.generation)


@dataclass(eq=False)
class Simulated:
    """One coordinator and its work."""

    coordinator: PartitionCoordinator
    weight: int
    generation: int = -1
    mine: tuple[str, ...] = ()
    """What it was last handed."""
    in_flight: tuple[str, ...] = ()
    """What it works on in a batch."""
    checked: View | None = None
    """The view that was looked into last."""
    superseded: int | None = None
    """The newest generation when it was told so, until it takes part again."""

    @property
    def id(self) -> str:
        return self.coordinator.member_id

    @property
    def backend(self) -> MemoryBackend:
        return cast("MemoryBackend", self.coordinator._registry.backend)


@dataclass
class Simulation:
    """The members, and what was seen of them."""

    schedule: Schedule
    loop: VirtualTimeLoop
    tasks: TaskGroup
    cluster: RecordedCluster
    chance: random.Random
    members: list[Simulated] = field(default_factory=list[Simulated])
    looks: int = 0
    trace: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    owners: dict[int, Owners] = field(default_factory=dict[int, Owners])
    placements: dict[tuple[tuple[str, int], ...], Owners] = field(
        default_factory=dict[tuple[tuple[str, int], ...], Owners]
    )
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def run(self) -> None:
        for _ in range(self.schedule.members):
            await self.start(f"m{next(self.numbers)}")
        for event in self.schedule.events:
            await anyio.sleep(event.after)
            await self.strike(event)
        self.heal()
        await anyio.sleep(CONVERGENCE)
        await self.require_convergence()

    # ---- members

    async def start(self, member_id: str, weight: int = 1) -> Simulated:
        coordinator = PartitionCoordinator(
            "memory://simulation", member_id=member_id, session_timeout=SESSION_TIMEOUT, heartbeat=HEARTBEAT,
            connect_timeout=1.0, on_unknown="raise",
        )  # fmt: skip
        member = Simulated(coordinator, weight)
        self.delay(member, self.schedule.delay)
        self.members.append(member)
        await coordinator.start()
        self.tasks.start_soon(self.work, member)
        return member

    async def work(self, member: Simulated) -> None:
        """What a service does: asks what is its own, again and again."""
        with suppress(NotStartedError):
            await self.guard(member, self.join(member))
            while True:
                self.looks += 1
                await self.guard(member, self.look(member))
                await anyio.sleep(LOOK)

    async def join(self, member: Simulated) -> None:
        await member.coordinator.join_group(GROUP, weight=member.weight, policy=self.schedule.policy)

    async def guard(self, member: Simulated, step: Awaitable[None]) -> None:
        try:
            await step
        except (OwnershipUnknownError, OwnershipLostError):
            member.mine = ()
        except MemberSupersededError:
            member.mine, member.superseded = (), self.cluster.newest(GROUP) or 0

    async def look(self, member: Simulated) -> None:
        mine = await member.coordinator.extract_my_subset(GROUP, KEYS)
        self.handed(member, mine)
        view = await member.coordinator.view(GROUP)
        self.check_view(member, view, mine)
        if self.schedule.is_exclusive:
            self.check_exclusion()
        if member.mine != tuple(mine):
            member.mine = tuple(mine)
            self.trace.append((round(self.loop.time(), 6), member.id, view.generation, member.mine))

    # ---- what must hold

    def handed(self, member: Simulated, mine: list[str]) -> None:
        """P3, P4: nothing is handed out beyond the lease, counted from when the cluster last heard of the member."""
        if not mine:
            return
        session = member.backend._session
        assert session is not None, f"{member.id} was handed {mine} without a session"
        silent = self.loop.time() - session.touched
        assert silent < LEASE, f"{member.id} was handed {mine} {silent:.2f} s after the cluster last heard of it"
        if member.superseded is not None:  # P6: until it has joined again, which only does who finds no successor
            view = member.coordinator._registry.memberships[GROUP].announced_view
            again = view is not None and view.generation >= member.superseded
            assert again, f"{member.id} was handed {mine} after it was superseded"
            member.superseded = None

    def check_view(self, member: Simulated, view: View, mine: list[str]) -> None:
        """P1, P2: the members are those that there were, and who sees the same members sees the same owners."""
        assert view.generation >= member.generation, f"{member.id} went back to {view}"
        if member.superseded is not None and view.generation >= member.superseded:
            member.superseded = None  # it may have joined again and own nothing
        member.generation = view.generation
        session = member.backend._session
        joined = self.cluster.entered.get(session) if session is not None else None
        assert joined is not None, f"{member.id} has not joined in this session, and goes by {view}"
        assert joined <= view.generation, f"{member.id} joined at {joined}, and goes by {view} of a session before"
        if view is not member.checked:
            self.check_owners(member, view)
            member.checked = view
        if not view.policy.exclusive:
            owners = self.owners[view.generation]
            assert mine == [key for key, each in zip(KEYS, owners, strict=True) if member.id in each]

    def check_owners(self, member: Simulated, view: View) -> None:
        members = {each.id: each.weight for each in view.members}
        assert members == self.cluster.history[view.generation], f"{member.id} believes in {members} at {view}"
        owners = tuple(view.owners(key) for key in KEYS)
        assert all(len(set(each)) == min(view.policy.replicas, len(members)) == len(each) for each in owners)
        assert self.owners.setdefault(view.generation, owners) == owners, f"disagreement about {view}"
        # P6: whatever happened between, the same members share in the same way.
        before = self.placements.setdefault(tuple(sorted(members.items())), owners)
        assert before == owners, f"the members of {view} share in another way than they did"

    def check_exclusion(self) -> None:
        """P7: at this very moment no key is at two members."""
        claims: dict[str, str] = {}
        for member in self.members:
            membership = member.coordinator._registry.memberships.get(GROUP)
            view = None if membership is None else membership.view
            for key in {*([] if view is None else view.mine(KEYS)), *member.in_flight}:
                assert key not in claims, f"{key} is at {claims[key]} and at {member.id} at once"
                claims[key] = member.id

    async def require_convergence(self) -> None:
        """P5: all are at the newest generation, and share everything."""
        newest = self.cluster.newest(GROUP)
        live = [member for member in self.members if member.superseded is None]
        standing = {member.id: (member.generation, member.mine) for member in live}
        assert newest is not None, standing
        assert self.cluster.history[newest] == {member.id: member.weight for member in live}, standing
        for member in live:
            try:
                view = await member.coordinator.view(GROUP)
            except OwnershipUnknownError as error:
                raise AssertionError(f"{member.id}, {newest}: {error}: {standing}") from None
            assert view.generation == newest, f"{member.id}, {newest}: {standing}"
        shares = sorted(key for member in live for key in member.mine)
        complete = shares == sorted(KEYS * min(self.schedule.policy.replicas, len(live)))
        assert complete, standing  # compared before, as pytest would take minutes to show how two such lists differ

    # ---- events

    async def strike(self, event: Event) -> None:
        member = self.members[event.who % len(self.members)]
        self.trace.append((round(self.loop.time(), 6), event.kind, member.id))
        network = member.backend.network
        match event.kind:
            case "join" if len(self.members) < MOST_MEMBERS:
                await self.start(f"m{next(self.numbers)}", weight=1 + event.who % 3)
            case "twin" if len(self.members) < MOST_MEMBERS:
                await self.start(member.id, member.weight)
            case "leave" | "crash" if len(self.members) > 1:
                await self.end(member, crash=event.kind == "crash")
            case "restart":
                await self.end(member, crash=True)
                await anyio.sleep(event.amount)
                await self.start(member.id, member.weight)
            case "expire":
                member.backend.expire()
            case "cut":
                member.backend.cut_off()
            case "silence":
                member.backend.silence()
            case "heal":
                member.backend.reconnect()
            case "slow":
                self.delay(member, event.amount)
            case "lag":
                network.news_delay = event.amount
            case "lose" if self.cluster.newest(GROUP) is not None:
                self.cluster.lose_watches(GROUP)
            case "stall":
                self.loop.jump(event.amount)
            case "block":
                await self.guard(member, self.block(member, event.amount))
            case "hold" if self.schedule.policy.exclusive and GROUP in member.coordinator.groups:
                self.tasks.start_soon(self.guard, member, self.hold(member, event.amount))
            case "delete entry" if self.cluster.newest(GROUP) is not None:
                for name in self.cluster.entries(GROUP)[:1]:
                    self.cluster.delete_entry(GROUP, name)
            case "delete group":
                self.cluster.delete_group(GROUP)
            case _:
                return

    async def end(self, member: Simulated, *, crash: bool) -> None:
        if crash:
            self.members.remove(member)  # whatever it is at, a dead process does no more of it
            member.backend.crash()
        await member.coordinator.stop()
        if not crash:
            self.members.remove(member)

    async def block(self, member: Simulated, seconds: float) -> None:
        """The event loop is blocked while this member iterates over its work, and filters a list."""
        stream = member.coordinator.my_subset(GROUP, KEYS * 2)
        with suppress(StopAsyncIteration):
            self.handed(member, [await anext(stream)])
            self.loop.jump(seconds)
            async for item in stream:
                self.handed(member, [item])
        await stream.aclose()

        def slow_key(item: str) -> str:
            self.loop.jump(seconds / len(KEYS))
            return item

        self.handed(member, await member.coordinator.extract_my_subset(GROUP, KEYS, key=slow_key))

    def delay(self, member: Simulated, most: float) -> None:
        member.backend.network.delay = (lambda: self.chance.random() * most) if most else None

    async def hold(self, member: Simulated, seconds: float) -> None:
        """A batch of work that takes a while. If the handoff cancels it, it is over at once."""
        with suppress(NotStartedError):
            async with member.coordinator.hold(GROUP, drain_timeout=1.0) as view:
                member.in_flight = tuple(view.mine(KEYS))
                try:
                    await anyio.sleep(seconds)
                finally:
                    member.in_flight = ()

    def heal(self) -> None:
        for member in self.members:
            member.backend.network.delay, member.backend.network.news_delay = None, 0.0
            member.backend.reconnect()


def simulate(schedule: Schedule) -> Simulation:
    """Let a schedule happen, from nothing to convergence; AssertionError where something does not hold."""
    chance = random.Random(schedule.seed)

    async def main() -> Simulation:
        loop = cast("VirtualTimeLoop", asyncio.get_running_loop())
        cluster = RecordedCluster(loop.time)
        with (
            patch.dict(MemoryCluster._named, {"simulation": cluster}),
            patch.object(secrets, "token_hex", lambda size: chance.randbytes(size).hex()),
        ):
            async with anyio.create_task_group() as tasks:
                simulation = Simulation(schedule, loop, tasks, cluster, chance)
                await simulation.run()
                tasks.cancel_scope.cancel()
            for member in simulation.members:
                await member.coordinator.stop()
        return simulation

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        try:
            return runner.run(main())
        except ExceptionGroup as errors:
            raise first_of(errors) from None


def first_of(errors: ExceptionGroup[Exception]) -> Exception:
    """The first failure, which is what one wants to read about."""
    error = errors.exceptions[0]
    return first_of(error) if isinstance(error, ExceptionGroup) else error
