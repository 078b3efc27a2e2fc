"""A bounded part of the exploration; ``python -m tests.exploration`` is the whole."""

import re

import pytest

from tests.exploration.attempt import Attempt, try_out
from tests.exploration.explorer import Exploration, every_injection, sample
from tests.exploration.faults import FAULTS, Injection
from tests.exploration.mutations import MUTATIONS, Mutation, find
from tests.exploration.scenarios import SCENARIOS

SINGLE_FAULTS = 40
"""In each scenario."""

TRIES = 120
"""Single faults in each scenario, in which a mistake must be found."""


pytestmark = [pytest.mark.usefixtures("quiet_library"), pytest.mark.timeout(120)]


@pytest.mark.parametrize("name", [name for name in SCENARIOS if "crowd" not in name])
def test_promises_are_kept_under_single_faults(name: str) -> None:
    """P1 to P9, with a sample of all faults at all turns of the event loop."""
    exploration = Exploration()
    turns = exploration.begin(SCENARIOS[name]).turns_for_faults
    exploration.single_faults(SCENARIOS[name], sample(every_injection(SCENARIOS[name], turns), SINGLE_FAULTS))
    print(f"\n    {exploration}")
    assert not exploration.failures, "\n".join(exploration.failures.values())
    assert exploration.attempts > SINGLE_FAULTS / 3


@pytest.mark.parametrize(
    ("name", "fault"),
    [("many ordinary", "lease over"), ("many exclusive", "lease over"), ("crowd exclusive", "second start")],
)
def test_a_start_is_interrupted_at_any_turn(name: str, fault: str) -> None:
    """P6, P7, P8: a member comes back, and loses its work again, or its id, while it starts its workers."""
    scenario = SCENARIOS[name]
    turns = try_out(Attempt(scenario)).turns_for_faults[-LAST_TURNS:]
    exploration = Exploration()
    exploration.single_faults(scenario, [Injection(turn, fault, 0) for turn in turns])
    assert not exploration.failures, "\n".join(exploration.failures.values())
    assert exploration.attempts == len(turns) > LAST_TURNS / 2


LAST_TURNS = 30
"""From the reconnection to the end of the scenario."""


def test_a_session_ends_while_an_earlier_participation_ends_its_work() -> None:
    """P7 within one process: its entry was all that held the later participation back."""
    exploration = Exploration()
    for turn in range(70, 110, 4):
        for later in range(1, 12, 3):
            injections = (Injection(turn, "leave and join again", 0), Injection(turn + later, "expire", 0))
            exploration.try_out(Attempt(SCENARIOS["two exclusive"], injections))
    assert not exploration.failures, "\n".join(exploration.failures.values())
    assert exploration.attempts == 40


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_can_happen(fault: str) -> None:
    """A fault that never applies would be explored in vain. A member that was left or cut off comes first."""
    before = {"start": "kill", "join again": "leave", "reconnect": "cut off"}
    injections = [Injection(60, fault, 1)]
    if fault in before:
        injections.insert(0, Injection(60, before[fault], 1))
    assert try_out(Attempt(SCENARIOS["two exclusive"], tuple(injections))).applied


def test_a_schedule_always_goes_the_same_way() -> None:
    """So that a failure can be replayed from its text."""
    attempt = Attempt.parse("three exclusive | 70:cut off:0 | 90:expire:1")
    assert str(attempt) == "three exclusive | 70:cut off:0 | 90:expire:1"
    assert try_out(attempt).turns == try_out(attempt).turns > 200


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mistakes_are_found(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exploration that lets these pass would prove nothing."""
    mutation.make(monkeypatch)
    found = find(mutation, TRIES)
    assert found is not None
    print(f"\n    in {found.tried} attempts: {found.attempt}: {found.failure}")
    assert re.match(mutation.promises, found.failure), found.failure
