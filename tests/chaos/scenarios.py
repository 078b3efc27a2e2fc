"""For each mutation a schedule in which it does harm, quickly and every time, and what has to find it out.

The library as it is passes all of them.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.conditions import Conditions
from tests.chaos.faults import Fault
from tests.chaos.judge import Violation
from tests.chaos.trial import Trial
from tests.chaos.world import World

CALM = Conditions(members=3, seats=6, servers_fail=False)
EXCLUSIVE = replace(CALM, workload="exclusive", convergence=10.0)
TIMED = replace(EXCLUSIVE, workload="timed", servers=1, members=4, seats=8)
SUPERVISED = replace(CALM, workload="supervised")
WATCHES_ALONE = replace(CALM, heartbeat=30.0)
"""No heartbeat finds out what a watch did not tell."""


@dataclass(frozen=True)
class Scenario:
    """A schedule, under some conditions, played a number of times."""

    schedule: tuple[Fault, ...]
    caught_by: frozenset[str]
    """The checks of which at least one must object."""
    conditions: Conditions = CALM
    rounds: int = 1

    async def play(self, mutation: str | None) -> Counter[str]:
        """With a mutated library, or as it is; how often each check has objected."""
        return checks_of(await self.violations(mutation))

    async def violations(self, mutation: str | None) -> list[Violation]:
        """With a mutated library, or as it is, what the referee objects to."""
        with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
            async with World(replace(self.conditions, mutation=mutation), Path(directory)) as world:
                trial = Trial.of(world)
                for _ in range(self.rounds):
                    await trial.round(self.schedule)
                assert not trial.missed, f"faults that were not possible: {trial.missed}"
                return trial.judge.violations


def checks_of(violations: Iterable[Violation]) -> Counter[str]:
    """How often each check has objected."""
    return Counter(violation.check for violation in violations)


def scenario(*schedule: Fault, caught_by: str, conditions: Conditions = CALM, rounds: int = 1) -> Scenario:
    return Scenario(schedule, frozenset(caught_by.split()), conditions, rounds)


FROZEN_PAST_EXPIRY = Fault(0.5, "pause_member", "all", 4.5)
SOMEBODY_LEAVES = Fault(1.0, "stop_member", "1", detail="gone")
ROLLING = tuple(
    fault
    for seat in range(4)
    for fault in (
        Fault(0.5 + 4 * seat, "start_member", str(4 + seat)),
        Fault(3.0 + 4 * seat, "stop_member", str(seat), detail="gone"),
    )
)
"""Each member is replaced by a new one, in good order."""

SCENARIOS: dict[str, Scenario] = {
    # A follower that has lost its leader answers members for a while, of which the leader does not hear.
    "lease_of_whole_timeout": scenario(
        Fault(0.0, "confine", "all", 8.0, "follower"),
        Fault(1.5, "part_server", "follower", 6.0),
        caught_by="lease",
        conditions=replace(CALM, heartbeat=0.1, servers_fail=True, convergence=10.0),
    ),
    # The last answer takes so long that the session is nearly over when it comes.
    "lease_from_arrival": scenario(
        Fault(0.5, "hold", "all", 2.6, "client"),
        Fault(0.75, "silence", "all", 7.5, "server"),
        caught_by="lease",
        conditions=replace(CALM, session_timeout=6.0, tick_time=100, heartbeat=0.05),
    ),
    "lease_by_timer": scenario(FROZEN_PAST_EXPIRY, caught_by="lease"),
    "stream_looks_once": scenario(FROZEN_PAST_EXPIRY, caught_by="lease share"),
    "lease_from_handshake": scenario(
        Fault(0.5, "handshakes_only", "0", 9.0),
        SOMEBODY_LEAVES,
        caught_by="age",
        conditions=replace(CALM, session_timeout=2.0),
    ),
    # A follower that has lost its leader answers one member, until that one's session is over.
    "any_answer_renews_both_leases": scenario(
        Fault(0.0, "confine", "0", 8.0, "follower"),
        Fault(1.5, "part_server", "follower", 6.0),
        caught_by="exclusive",
        conditions=replace(EXCLUSIVE, tick_time=600, sync_limit=5, servers_fail=True, convergence=20.0),
    ),
    # The member is told of the shorter timeout, and of nothing after that.
    "lease_survives_a_smaller_grant": scenario(
        Fault(0.0, "confine", "0", 10.0, "follower"),
        Fault(1.0, "handshakes_only", "0", 9.0, "once"),
        Fault(1.1, "grant_less", "follower", 8.0, "2.0"),
        caught_by="lease",
        conditions=replace(CALM, session_timeout=9.0, least_timeout=2.0, servers_fail=True, convergence=15.0),
    ),
    "run_goes_by_what_was_settled": scenario(
        Fault(0.5, "silence", "0", 7.0), caught_by="exclusive", conditions=EXCLUSIVE
    ),
    "work_is_not_waited_for": scenario(
        *(Fault(0.5 + 1.5 * number, "start_member", str(3 + number)) for number in range(3)),
        caught_by="exclusive", conditions=EXCLUSIVE,
    ),
    "acknowledged_before_work_has_ended": scenario(*ROLLING, caught_by="exclusive", conditions=TIMED),
    # The one that stays has nothing to let go of, so it takes over as soon as it can.
    "leaves_before_work_has_ended": scenario(
        SOMEBODY_LEAVES, caught_by="exclusive", conditions=replace(TIMED, members=2, seats=2)
    ),
    # Away for longer than the lease, and back before the session is over.
    "lapse_not_confirmed": scenario(
        Fault(0.0, "delay", "all", 9.0, "0.1"),
        Fault(0.5, "refuse", "0", 4.8),
        Fault(0.5, "refuse", "2", 4.8),
        SOMEBODY_LEAVES,
        caught_by="confirmed",
        conditions=replace(CALM, session_timeout=6.0, heartbeat=0.1),
    ),
    "view_kept_after_expiry": scenario(
        Fault(0.0, "delay", "all", 8.0, "0.1"), FROZEN_PAST_EXPIRY, caught_by="lease"
    ),
    "stop_lets_go_late": scenario(SOMEBODY_LEAVES, caught_by="lease"),
    "zombie_goes_on": scenario(Fault(0.2, "start_twin", "0"), caught_by="entry disjoint ids"),
    # The second change falls between the reading that the first one causes and the watch.
    "watch_after_read": scenario(
        Fault(0.0, "delay", "all", 4.0, "0.3"),
        Fault(1.0, "foreign_node", "0", 1.15),
        caught_by="convergence",
        conditions=replace(WATCHES_ALONE, session_timeout=12.0),  # no ping is in the way
    ),
    "events_are_applied_without_the_check": scenario(
        Fault(0.2, "lose_event", "0"), SOMEBODY_LEAVES, caught_by="table share generation"
    ),
    "the_generation_is_taken_before_the_events": scenario(
        Fault(0.2, "start_member", "3"), caught_by="table share generation"
    ),
    "watches_not_armed_again": scenario(
        Fault(0.2, "reset", "all"), replace(SOMEBODY_LEAVES, at=2.5), caught_by="convergence", conditions=WATCHES_ALONE
    ),
    "watches_with_the_future": scenario(
        Fault(0.2, "refuse", "0", 1.3), replace(SOMEBODY_LEAVES, at=0.5), caught_by="convergence",
        conditions=WATCHES_ALONE,
    ),
    "heartbeat_compares_nothing": scenario(Fault(0.2, "lose_event", "all"), SOMEBODY_LEAVES, caught_by="convergence"),
    "own_generation": scenario(Fault(0.2, "start_member", "3"), caught_by="generation"),
    "placement_with_history": scenario(Fault(0.2, "start_member", "3"), caught_by="table share"),
    "stale_table": scenario(Fault(0.2, "start_member", "3"), caught_by="table share"),
    "weights_ignored": scenario(Fault(0.2, "start_member", "3"), caught_by="table share"),
    "entry_made_twice": scenario(
        Fault(0.2, "leave_group", "0", 1.5), Fault(1.0, "lose_answer", "0"), caught_by="leftovers"
    ),
    "leaves_its_entry": scenario(Fault(0.2, "leave_group", "0", 1.0, "for long"), caught_by="leftovers"),
    "connection_leak": scenario(Fault(0.2, "silence", "0", 3.0), caught_by="leftovers"),
    "task_leak": scenario(Fault(0.2, "reset", "all"), caught_by="use"),
    "let_go_before_all_are_ready": scenario(
        Fault(0.2, "crash_loop", "all", 12.0, "0.3 1.5"),
        caught_by="held",
        conditions=replace(EXCLUSIVE, session_timeout=6.0, convergence=20.0),
    ),
    # Each time a process joins, the members that work take their time to let go of what they lose.
    "acknowledgements_of_anybody": scenario(
        Fault(0.1, "junk_node", "0", 16.0, "acknowledgements"),
        Fault(0.2, "crash_loop", "all", 15.0, "1.5 5.0"),
        caught_by="exclusive",
        conditions=EXCLUSIVE,
    ),
    "junk_is_read_as_a_number": scenario(
        Fault(0.1, "junk_node", "0", 6.0, "among handoffs"),
        Fault(1.0, "crash_loop", "all", 4.0, "3.0 4.0"),
        caught_by="held error",
        conditions=EXCLUSIVE,
    ),
    "forked_child_says_farewell": scenario(
        Fault(0.2, "fork_member", "0", detail="return"), Fault(1.5, "fork_member", "1", detail="own"),
        Fault(4.0, "junk_node", "0", 1.0, "beside"), caught_by="held", conditions=SUPERVISED,
    ),
    "failing_listing_ends_run": scenario(
        Fault(0.2, "fail_listing", "0", 1.0, "type error"), caught_by="held", conditions=SUPERVISED
    ),
    "memory_leak": scenario(Fault(0.1, "foreign_node", "0", 0.3), caught_by="use", rounds=9),
}  # fmt: skip
