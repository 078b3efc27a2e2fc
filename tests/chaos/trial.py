"""A run: rounds of faults, after each of which everything must be well again, and all that was done is judged."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from aiopartition.clock import now
from tests.chaos.evidence import keep
from tests.chaos.faults import Fault, play
from tests.chaos.judge import Judge, Offset
from tests.chaos.ledger import is_entry
from tests.chaos.member import WorkingMember
from tests.chaos.nuisances import kept_at_least, nuisances_alone
from tests.chaos.workloads import GROUP, KEYS, NAMESPACE, WORKLOADS, Workload
from tests.chaos.world import GROUP_PATH, MEMBERS_PATH, TREES, World
from tests.support import wait_until

EVERYTHING = (1 << len(KEYS)) - 1
LEFTOVERS = 5.0
"""Seconds for what a fault has left at the servers to go: sessions that nobody knows of expire."""
READING = 0.02
START = 30.0
GROWTH = 1.10
ROUNDS_FOR_GROWTH = 8
"""Of one process, before it can be told whether it grows."""


@dataclass
class Trial:
    """Plays schedules in one world."""

    world: World
    judge: Judge
    evidence: Path | None = None
    """Where to leave what a violation can be explained by; a folder for each round that has any."""
    struck: Counter[str] = field(default_factory=Counter[str])
    missed: Counter[str] = field(default_factory=Counter[str])
    convergence: list[float] = field(default_factory=list[float])
    """Seconds, of each round."""
    reunited: int = 0
    """After how many rounds the servers had come apart."""
    _unsettled: bool = False
    """Whether the last round was not judged."""
    used: dict[str, list[dict[str, int]]] = field(default_factory=lambda: defaultdict(list))
    """What each process that is alive used at the end of each round."""

    @classmethod
    def of(cls, world: World, evidence: Path | None = None) -> Trial:
        return cls(world, Judge(world.conditions), evidence)

    @property
    def _workload(self) -> type[Workload]:
        return WORKLOADS[self.world.conditions.workload]

    @property
    def _tasks_at_rest(self) -> int:
        return self._workload.tasks_at_rest

    async def round(self, schedule: Sequence[Fault]) -> None:
        """Fill the seats, wait for a first split, strike, heal, and check."""
        offset = Offset()
        offset.look()
        violations_before, unjudged_before = len(self.judge.violations), self.judge.rounds_unjudged
        reader = asyncio.create_task(self._keep_reading(offset), name="reader of the journals")
        try:
            await self._fill_seats()
            await self._begin()
            if self._unsettled:
                self.judge.since, self._unsettled = now(), False
            begun, settled = now(), self.world.holders
            await play(self.world, schedule, self.struck, self.missed)
            until = now()
            self._check_servers(schedule)
            await self.world.heal()
            await self.world.tidy_up()
            # How long a busy machine takes to start Python is not the library's doing.
            await wait_until(lambda: all("running" in m.told for m in self.world.holders), timeout=START)
            await self._converge()
            apart = await self._came_apart()
            if apart:
                self.judge.pass_over(violations_before)
                await self._reunite()
            else:
                self._check_ids()
                await self._check_leftovers()
                self._check_use(await self._ask_for_use())
        finally:
            reader.cancel()
            await asyncio.wait({reader})
        self.world.read()
        self._check_ends()
        offset.look()
        ledger = await self.world.ledger()
        if apart:
            self.judge.forgotten = ledger.forgotten  # they excuse nothing in the next round
        else:
            self._check_held(schedule, settled, begun, until)
            await asyncio.to_thread(self.judge.judge, self.world.processes, ledger, offset)
        self._unsettled = self.judge.rounds_unjudged > unjudged_before
        violations = self.judge.violations[violations_before:]
        if violations and self.evidence is not None:
            journals = [member.path for member in self.world.processes]
            place = self.evidence / f"round-{len(self.convergence) - 1}"
            await asyncio.to_thread(keep, place, violations, self.world.ensemble.servers, ledger, journals)
        for member in self.world.processes:
            member.forget_judged()
        await self.world.bury()

    async def _fill_seats(self) -> None:
        for member in self.world.members.values():
            member.join_again()
        for seat in range(self.world.conditions.seats):
            if len(self.world.members) < self.world.conditions.members and seat not in self.world.members:
                await self.world.start_member(seat)

    async def _begin(self) -> None:
        def begun() -> bool:
            for member in self.world.members.values():
                if not member.alive and "running" not in member.told:
                    raise RuntimeError(f"{member!r} did not start, or its mutation could not be applied")
            return self._of_one_mind()

        try:
            await wait_until(begun, timeout=START, interval=0.02)
        except AssertionError:
            self.judge.object_to("convergence", f"not within {START:g} s of the start: {self.world.holders}")

    async def _keep_reading(self, offset: Offset) -> None:
        while True:
            await asyncio.sleep(READING)
            self.world.read()
            offset.look()

    # ---- (e) convergence

    def _of_one_mind(self, since: float = 0.0) -> bool:
        """Whether all who must be there are at one generation, and share the keys exactly.

        Nobody has none of them: in an exclusive group, the others share them all until they know that a newcomer is
        ready.
        """
        shares = [member.newest for member in self.world.holders]
        known = [share for share in shares if share is not None and share.last >= since]
        return (
            len(known) == len(shares)
            and all(share.mine for share in known)
            and len({share.generation for share in known} - {None}) == 1
            and sum(share.mine.bit_count() for share in known) == len(KEYS)
            and exactly_all(share.mine for share in known)
        )

    async def _converge(self) -> None:
        """Everybody at the newest generation, with an exact split, not long after the last fault.

        They may be of one mind and lose their connections the next moment, as the servers elect: then they are well
        only when they are of one mind again.
        """
        begun = now()
        limit = self.world.conditions.convergence
        well = float("inf")
        found = "of several minds"

        async def converged() -> bool:
            nonlocal well, found
            if not self._of_one_mind(begun):
                well = float("inf")
                return False
            well = min(well, now())
            if not await self._has_no_ghosts():
                return False
            newest = (await self.world.ledger()).newest
            held = {share.generation for share in (member.newest for member in self.world.holders) if share}
            ids = sorted(member.member_id for member in self.world.holders)
            found = f"all at {held}, members {ids}; but it is {newest.number}: {sorted(newest.live)}"
            if held != {newest.number} or sorted(newest.live) != ids:
                well = float("inf")
            return isfinite(well)

        try:  # for as long again, as what expires has to expire
            await wait_until(converged, timeout=2 * limit, interval=0.01)
        except AssertionError:
            well = float("inf")
        if well - begun > limit:
            self.judge.object_to("convergence", f"not within {limit:g} s: {found}; {self.world.holders}")
        self.convergence.append(well - begun)
        self.judge.checks["convergence"] += 1

    async def _has_no_ghosts(self) -> bool:
        """Whether no entry is there any more but those of the members that are to be there."""
        entries = [name for name in await self.world.children(MEMBERS_PATH) if is_entry(name)]
        return len(entries) == len(self.world.holders)

    # ---- no harm to others

    def _check_servers(self, schedule: Sequence[Fault]) -> None:
        """Whatever members do and suffer, the servers go on."""
        if nuisances_alone(schedule):
            self.judge.checks["ensemble"] += 1
            down = [server for server in self.world.ensemble.servers if not server.running]
            if down:
                self.judge.object_to("ensemble", f"not running any more: {down}")

    def _check_held(
        self, schedule: Sequence[Fault], settled: Sequence[WorkingMember], begun: float, until: float
    ) -> None:
        if nuisances_alone(schedule):
            floor = kept_at_least(self.world.conditions, schedule)
            self.judge.check_held(settled, begun, until, floor)

    def _check_ends(self) -> None:
        """No process ends but by a SIGKILL or because it was told to."""
        for member in self.world.processes:
            self.judge.checks["end"] += 1
            code = member.process.returncode
            if code not in (None, 0, -signal.SIGKILL) or (code == 0 and not member.told.get("stopped")):
                self.judge.object_to("end", f"{member!r} has ended with {code}")

    def _check_ids(self) -> None:
        """Of two processes with one id exactly one goes on, and nobody else is superseded."""
        self.judge.checks["ids"] += 1
        elders = {member.member_id for member in self.world.elders}
        for member in self.world.processes:
            if member.superseded and member.member_id not in elders:
                self.judge.object_to("ids", f"{member!r} is superseded by nobody")
        # The second one may have ended since, or left.
        taking_part = {member.member_id for member in self.world.members.values() if not member.out_of_group}
        for member_id in elders & taking_part:
            going_on = [member for member in self.world.holders if member.member_id == member_id]
            if len(going_on) != 1:
                self.judge.object_to("ids", f"{len(going_on)} processes go on as {member_id}: {going_on}")

    # ---- servers that have come apart

    async def _came_apart(self) -> bool:
        """Whether the servers' copies of the tree differ, for longer than it takes to catch up.

        When an ensemble has forgotten something, a server that had carried it out may go on from there. Each copy then
        shows other entries at the same generation, which no member can know, and round after round.
        """
        try:
            await self._wait_together(LEFTOVERS)
        except AssertionError:
            return True
        return False

    async def _reunite(self) -> None:
        """What an operator would do who has found out."""
        self.reunited += 1
        await self.world.copy_leader()
        for path in TREES:
            await self.world.operate("delete", path)
        try:
            await self._wait_together(START)
        except AssertionError:
            self.judge.object_to("copies", "the servers' copies of the tree differ, and that does not end")

    async def _wait_together(self, timeout: float) -> None:
        await wait_until(self.world.agree, timeout=timeout, interval=0.1)

    # ---- (f) leaks

    async def _check_leftovers(self) -> None:
        """At the servers: no nodes, sessions or watches but those of the members; one connection for each."""
        found: list[str] = []

        async def clean() -> bool:
            found[:] = await self._leftovers()
            return not found

        self.judge.checks["leftovers"] += 1
        with suppress(AssertionError):
            await wait_until(clean, timeout=LEFTOVERS, interval=0.1)
        for text in found:
            where = f": {await self.world.watches()}" if text.startswith("watches") else ""
            self.judge.object_to("leftovers", text + where)

    async def _leftovers(self) -> list[str]:
        holders = self.world.holders
        connected = [m for m in [*self.world.members.values(), *self.world.elders] if m.alive]
        tree, figures = await self.world.tree(), await self.world.figures()
        entries = [path for path in tree if path.startswith(f"{MEMBERS_PATH}/")]
        others = set(tree) - set(entries) - {NAMESPACE, GROUP_PATH, MEMBERS_PATH}
        others -= {path for path in others if re.fullmatch(self._workload.nodes, path.removeprefix(GROUP_PATH))}
        # One that was superseded goes on watching until it has left.
        least, most = (len(some) * self._workload.watches for some in (holders, connected))
        facts = [
            (f"nodes {sorted(others)} in group {GROUP!r}", len(others), 0),
            (
                f"entries {[path[:100] for path in entries]} of {[member.member_id for member in holders]}",
                len(entries),
                len(holders),
            ),
            ("watches", figures["watches"], min(max(figures["watches"], least), most)),
            ("sessions", figures["sessions"], len(connected)),
            *((f"connections of {m!r}", sum(p.open_connections for p in m.network), 1) for m in connected),
        ]
        return [f"{what}: {count} instead of {due}" for what, count, due in facts if count != due]

    async def _ask_for_use(self) -> dict[str, dict[str, int]]:
        """What each uses, at a moment in which it has nothing under way; after some time at any moment."""
        holders = self.world.holders

        asked = {member.name: len(member.reports) for member in holders}

        async def at_rest() -> bool:
            for member in holders:
                if len(member.reports) >= asked[member.name]:  # it has answered: on a busy machine that takes a while
                    member.say("report")
                    asked[member.name] = len(member.reports) + 1
            await asyncio.sleep(5 * READING)
            return all(
                len(member.reports) >= asked[member.name] and member.reports[-1]["tasks"] <= self._tasks_at_rest
                for member in holders
            )

        with suppress(AssertionError):  # who does not answer has been found out before
            await wait_until(at_rest, timeout=LEFTOVERS)
        return {member.name: self._use_of(member) for member in holders if member.reports}

    def _use_of(self, member: WorkingMember) -> dict[str, int]:
        return {**member.reports[-1], "descriptors": member.descriptors(), "resident": member.resident()}

    def _check_use(self, use: dict[str, dict[str, int]]) -> None:
        """Tasks and descriptors are as many as at the beginning, and memory does not grow for ever."""
        for name, now_used in use.items():
            history = self.used[name]
            history.append(now_used)
            self.judge.checks["use"] += 1
            if now_used["tasks"] > self._tasks_at_rest:
                names = next(member.tasks for member in self.world.holders if member.name == name)
                self.judge.object_to("use", f"process {name}: {len(names)} tasks, not {self._tasks_at_rest}: {names}")
            if now_used["descriptors"] > history[0]["descriptors"]:
                self.judge.object_to("use", f"process {name}: descriptors {[each['descriptors'] for each in history]}")
            for what in ("blocks", "resident"):
                values = [each[what] for each in history]
                if grows(values):
                    self.judge.object_to("use", f"process {name}: {what} {values}")
        for name in [name for name in self.used if name not in use]:
            del self.used[name]


def exactly_all(shares: Iterable[int]) -> bool:
    """Whether the keys are divided among the shares and none is left."""
    together = 0
    for share in shares:
        together |= share
    return together == EVERYTHING


def grows(values: Sequence[int]) -> bool:
    """Whether a process that has lived long enough uses more in each third of its life, and much more in all."""
    if len(values) < ROUNDS_FOR_GROWTH:
        return False
    third = len(values) // 3
    settled = values[1:]  # the first round loads what is loaded once
    first, second, last = max(settled[:third]), max(settled[third : 2 * third]), min(settled[-third:])
    return first < second < last and last > first * GROWTH
