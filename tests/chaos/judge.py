"""The checks. What members handed out is compared with what the ensemble did, and with each other."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aiopartition.clock import now
from aiopartition.group.heartbeats import LONGEST
from tests.chaos.conditions import Conditions
from tests.chaos.held import Steps, fewest
from tests.chaos.ledger import Generation, Ledger
from tests.chaos.member import WorkingMember
from tests.chaos.overlaps import Span, overlaps
from tests.chaos.pieces import collisions, gaps
from tests.chaos.sightings import Sighting
from tests.chaos.transactions import forgotten
from tests.chaos.workloads import KEYS, digest_of

ROUNDING = 0.002
"""Seconds: the servers write milliseconds down, and it takes a moment to compare two clocks."""
SLACK = 1.0
"""Seconds for which a busy machine may keep anybody from running."""


@dataclass(frozen=True)
class Violation:
    """A promise that was broken."""

    check: str
    text: str

    def __str__(self) -> str:
        return f"{self.check}: {self.text}"


@dataclass
class Offset:
    """How far the wall clock is ahead of the machine's monotonic one. It may be set or slewed while a run lasts."""

    lowest: float = float("inf")
    highest: float = float("-inf")

    def look(self) -> None:
        offset = time.time() - now()
        self.lowest, self.highest = min(self.lowest, offset), max(self.highest, offset)

    def latest(self, wall: float) -> float:
        """The latest moment, on the monotonic clock, that this moment of the wall clock can have been."""
        return wall - self.lowest + ROUNDING

    def earliest(self, wall: float) -> float:
        """The earliest one."""
        return wall - self.highest - ROUNDING


@dataclass
class Judge:
    """Judges one round after the other, and keeps the figures."""

    conditions: Conditions
    stale_limit: float = 0.0
    """Seconds for which a generation may be in use when the next has come."""
    checks: Counter[str] = field(default_factory=Counter[str])
    violations: list[Violation] = field(default_factory=list[Violation])
    since: float = float("-inf")
    """Exclusive work before this moment is not judged: the ensemble forgot what it had agreed upon."""
    forgotten: int = 0
    """How many transactions the ensemble had forgotten when it was last judged."""
    rounds_unjudged: int = 0
    """In how many the ensemble forgot what members had seen, or its servers did not agree on it."""
    handed_out: int = 0
    """How many hand-outs all of this is about: lists, and items of streams."""
    longest_overlap: float = 0.0
    total_overlap: float = 0.0
    longest_stale: float = 0.0
    gaps: list[float] = field(default_factory=list[float])
    """Seconds for which a key of an exclusive group had no worker, each time."""
    least_held: float = 1.0
    """The least part of the work that members kept while only others were in trouble."""

    def __post_init__(self) -> None:
        conditions = self.conditions
        # Who is cut off goes by what it was told last, for its lease; a lost event waits for some heartbeats.
        lost = LONGEST * conditions.heartbeat
        self.stale_limit = conditions.session_timeout * 2 / 3 + conditions.answers_age + lost + SLACK

    def object_to(self, check: str, text: str) -> None:
        self.violations.append(Violation(check, text))

    def pass_over(self, violations: int) -> None:
        """Judge nothing of this round, before which there were so many violations."""
        self.rounds_unjudged += 1
        del self.violations[violations:]

    def judge(self, members: Sequence[WorkingMember], ledger: Ledger, offset: Offset) -> None:
        """All that these handed out since they were judged last."""
        # A server that goes on from what was forgotten contradicts its leader, until the sessions in question end.
        contradicts, self.forgotten = ledger.forgotten > self.forgotten, ledger.forgotten
        seen = {sighting.generation for member in members for sighting in member.sightings if sighting.generation}
        if forgotten(seen, ledger.epochs):
            # They were right to believe in it, and what holds between before and after nobody has promised.
            self.rounds_unjudged += 1
            return
        by_generation: dict[int, dict[str, int]] = {}
        for member in members:
            newest: dict[str, int] = {}
            unknown_since: float | None = None
            for sighting in member.sightings:
                self.handed_out += sighting.times - sighting.judged if sighting.mine else 0
                if sighting.way == "work":
                    if sighting.generation is not None:
                        self._check_order(member, sighting, newest)
                    continue
                if sighting.generation is None:
                    self._check_unknown(member, sighting, ledger, offset)
                    if sighting.way == "list":
                        unknown_since = sighting.first
                    continue
                self._check_order(member, sighting, newest)
                generation = ledger.get(sighting.generation)
                if generation is None:
                    self.object_to("generation", f"{describe(member, sighting)}: there never was such a one")
                    continue
                self._check_share(member, sighting, generation, ledger)
                self._check_lease(member, sighting, generation, ledger, offset)
                self._check_age(member, sighting, ledger, offset)
                if sighting.way == "list" and unknown_since is not None:
                    self._check_confirmed(member, sighting, unknown_since, ledger, offset)
                    unknown_since = None
                shares = by_generation.setdefault(sighting.generation, {})
                shares[member.name] = shares.get(member.name, 0) | sighting.mine
            self._check_digests(member, ledger)
            for error in [] if contradicts else member.errors:
                self.object_to("error", f"{member.member_id}: {error}")
            member.errors.clear()
        self._check_disjoint(by_generation)
        if self.conditions.exclusive:
            self._check_exclusive(members)
        self._measure_overlaps(members)

    # ---- (a) the lease

    def _check_lease(
        self, member: WorkingMember, sighting: Sighting, generation: Generation, ledger: Ledger, offset: Offset
    ) -> None:
        """Nothing is handed out that was asked for after the end of the session whose entry gave the right to it."""
        if not sighting.mine:
            return
        self.checks["lease"] += 1
        own = [entry for entry in generation.entries.values() if entry.process == member.name]
        if not own:
            self.object_to("entry", f"{describe(member, sighting)}: without an entry of its own")
            return
        live = generation.live[own[0].member_id]
        if live.process != member.name:
            self.object_to("entry", f"{describe(member, sighting)}: superseded by process {live.process}")
        ended = max(ledger.ends.get(entry.session, float("inf")) for entry in own)
        self._compare_with_end(member, sighting, ended, offset)

    def _check_unknown(self, member: WorkingMember, sighting: Sighting, ledger: Ledger, offset: Offset) -> None:
        """An item of a stream may be handed out just before the lease ends, and the view be asked for just after."""
        if not sighting.mine:
            return
        self.checks["lease"] += 1
        sessions = ledger.sessions_of(member.name, sighting.last + offset.highest + ROUNDING)
        ended = max((ledger.ends.get(session, float("inf")) for session in sessions), default=float("-inf"))
        self._compare_with_end(member, sighting, ended, offset)

    def _compare_with_end(self, member: WorkingMember, sighting: Sighting, ended: float, offset: Offset) -> None:
        late = sighting.last - offset.latest(ended) - self.conditions.lease_excess
        if late > 0:
            self.object_to("lease", f"{describe(member, sighting)}: {late:.3f} s later after its session than may be")

    # ---- (c) order, (d) agreement, and age

    def _check_order(self, member: WorkingMember, sighting: Sighting, newest: dict[str, int]) -> None:
        assert sighting.generation is not None
        self.checks["order"] += 1
        before = newest.get(sighting.way, 0)
        if sighting.generation < before:
            self.object_to("order", f"{describe(member, sighting)}: after generation {before:#x}")
        newest[sighting.way] = sighting.generation

    def _check_share(self, member: WorkingMember, sighting: Sighting, generation: Generation, ledger: Ledger) -> None:
        """The whole share by what the members of the ledger come to; of a stream, nothing else."""
        self.checks["share"] += 1
        due = ledger.share(generation, member.member_id, KEYS)
        foreign = sighting.mine & ~due
        missing = due & ~sighting.mine if sighting.way == "list" else 0
        if foreign or missing:
            self.object_to(
                "share",
                f"{describe(member, sighting)}: {foreign.bit_count()} keys of others, {missing.bit_count()} missing",
            )

    def _check_digests(self, member: WorkingMember, ledger: Ledger) -> None:
        for number, told in member.digests.items():
            generation = ledger.get(number)
            if generation is not None:
                self.checks["table"] += 1
                table = ledger.table(generation)
                if table is None or told != digest_of(table):
                    self.object_to("table", f"{member.member_id} at {number:#x}: another table than its members give")

    def _check_age(self, member: WorkingMember, sighting: Sighting, ledger: Ledger, offset: Offset) -> None:
        assert sighting.generation is not None
        superseded = ledger.superseded(sighting.generation)
        if superseded is None or not sighting.mine:
            return
        self.checks["age"] += 1
        age = sighting.last - offset.latest(superseded)
        self.longest_stale = max(self.longest_stale, age)
        if age > self.stale_limit:
            self.object_to("age", f"{describe(member, sighting)}: {age:.3f} s after the next generation")

    def _check_confirmed(
        self, member: WorkingMember, sighting: Sighting, unknown_since: float, ledger: Ledger, offset: Offset
    ) -> None:
        """What is believed after an episode of unknown ownership was asked for in it."""
        assert sighting.generation is not None
        self.checks["confirmed"] += 1
        superseded = ledger.superseded(sighting.generation)
        if superseded is None:
            return
        before = unknown_since - offset.latest(superseded) - self.conditions.answers_age
        if before > SLACK:
            self.object_to(
                "confirmed", f"{describe(member, sighting)}: it had been over for {before:.3f} s when it was last sure"
            )

    # ---- no harm to others

    def check_held(self, members: Sequence[WorkingMember], since: float, until: float, floor: float) -> None:
        """What these members hold together never falls below a part of all keys, while others are in trouble."""
        self.checks["held"] += 1
        steps = [member.work.steps() if self.conditions.supervised else lists_of(member) for member in members]
        least, moment = fewest(steps, since, until)
        self.least_held = min(self.least_held, least / len(KEYS))
        if least < floor * len(KEYS):
            self.object_to(
                "held",
                f"{least} of {len(KEYS)} keys {moment - since:.3f} s after the first fault, "
                f"and {floor:.0%} are to stay at {[member.member_id for member in members]}",
            )

    # ---- (b) owners

    def _check_disjoint(self, by_generation: dict[int, dict[str, int]]) -> None:
        for number, shares in by_generation.items():
            self.checks["disjoint"] += 1
            taken = 0
            for name, share in shares.items():
                if taken & share:
                    self.object_to("disjoint", f"generation {number:#x}: process {name} owns what another one owns")
                taken |= share

    def _check_exclusive(self, members: Iterable[WorkingMember]) -> None:
        """In an exclusive group no key is ever at work at two members, or twice at one."""
        timed = self.conditions.timed
        pieces = [piece for member in members for piece in member.work.pieces(self.since, timed=timed)]
        self.checks["exclusive"] += len(pieces)
        self.gaps += gaps(pieces)
        twice = (f"process {member.name} works twice on key {key}" for member in members for key in member.work.doubled)
        for text in (*collisions(pieces), *twice):
            self.object_to("exclusive", text)

    def _measure_overlaps(self, members: Iterable[WorkingMember]) -> None:
        spans = [
            Span(member.name, sighting.mine, sighting.first, sighting.last)
            for member in members
            for sighting in member.sightings
            if sighting.way == "list" and sighting.mine and sighting.last > sighting.first
        ]
        longest, total = overlaps(spans)
        self.longest_overlap = max(self.longest_overlap, longest)
        self.total_overlap += total


def lists_of(member: WorkingMember) -> Steps:
    return [(sighting.first, sighting.mine) for sighting in member.sightings if sighting.way == "list"]


def describe(member: WorkingMember, sighting: Sighting) -> str:
    generation = "no generation" if sighting.generation is None else f"generation {sighting.generation:#x}"
    return f"{member.member_id} (process {member.name}) at {generation} by {sighting.way}"
