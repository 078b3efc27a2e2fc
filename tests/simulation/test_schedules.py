"""What the library promises, under hundreds of schedules of faults of every kind."""

import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aiopartition import GroupPolicy
from tests.simulation.schedules import KINDS, Event, Schedule, schedules
from tests.simulation.simulation import KEYS, Simulation, simulate

SCHEDULES = 400
SUCCESSOR_DIES = Schedule(
    2, (Event(0.0, "twin", 0), Event(0.01, "crash", 2), Event(0.0, "join", 2)), GroupPolicy(slots=16, vnodes=4)
)
"""The first member joins again, and owns none of the keys."""
OVERTAKEN = Schedule(
    4,
    (
        Event(3.0, "delete group", 1), Event(2.1, "leave", 1), Event(3.0, "lag", 1, 0.01), Event(3.0, "join", 7),
        Event(2.1, "restart", 0, 0.5), Event(1.9, "hold", 1), Event(2.9, "hold", 3), Event(2.1, "join", 1),
        Event(0.0, "restart", 7, 1.0), Event(0.0, "lose", 0), Event(2.1, "leave", 3), Event(2.9, "lag", 4, 3.1),
    ),
    GroupPolicy(replicas=2, load_bound=1.5, slots=16, vnodes=4),
    delay=0.5,
    seed=736,
)  # fmt: skip
"""One event overtakes a list, and the next one the numbers that were asked for after it: their count is right."""

pytestmark = pytest.mark.usefixtures("quiet_library")


@pytest.mark.timeout(600)
def test_any_schedule_of_faults() -> None:
    """All agree and share completely at each generation (P1, P2), nothing is handed out outside of a lease (P3,
    P4), and after the last fault all converge (P5)."""
    simulated: list[Simulation] = []

    @settings(max_examples=SCHEDULES, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(schedules)
    @example(Schedule(3, tuple(Event(1.0, kind, 1, 2.5) for kind in KINDS)))
    @example(SUCCESSOR_DIES)
    @example(OVERTAKEN)
    def run(schedule: Schedule) -> None:
        simulated.append(simulate(schedule))

    began = time.monotonic()
    run()
    events = sum(len(each.schedule.events) for each in simulated)
    print(
        f"\n    {len(simulated)} schedules, {events} events, {sum(each.looks for each in simulated)} looks, "
        f"{sum(each.loop.time() for each in simulated):.0f} virtual seconds in {time.monotonic() - began:.1f} s"
    )
    assert len(simulated) >= SCHEDULES


@settings(max_examples=30, deadline=None, database=None)
@given(schedules)
def test_a_schedule_always_goes_the_same_way(schedule: Schedule) -> None:
    """So that a failure can be looked into: the same schedule gives the same history."""
    assert simulate(schedule).trace == simulate(schedule).trace


@settings(max_examples=150, deadline=None, database=None)
@given(
    members=st.integers(2, 4),
    who=st.integers(0, 3),
    kind=st.sampled_from(["restart", "twin"]),
    pause=st.sampled_from([0.0, 0.1, 1.0, 1.9]),
)
def test_who_comes_back_in_time_moves_nothing(members: int, who: int, kind: str, pause: float) -> None:
    """P6: neither a restart within the session's timeout nor a second start under the same id moves a key of another
    member, and the newcomer gets just what its former self had."""
    quiet_time = Event(4.0, "heal")
    events = (Event(1.0, "heal"), Event(0.0, kind, who, pause), quiet_time)
    simulation = simulate(Schedule(members, events, GroupPolicy(slots=16, vnodes=4)))
    comes_back = f"m{who % members}"
    strike = next(entry[0] for entry in simulation.trace if entry[1:] == (kind, comes_back))
    before = {entry[1]: entry[3] for entry in simulation.trace if len(entry) == 4 and entry[0] < strike}  # type: ignore[operator]
    after = {(entry[1], entry[3]) for entry in simulation.trace if len(entry) == 4 and entry[0] >= strike}  # type: ignore[operator]
    assert after <= {(comes_back, before[comes_back])}
    assert sorted(key for share in before.values() for key in share) == sorted(KEYS)  # type: ignore[attr-defined]
