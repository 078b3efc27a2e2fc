"""What the exploration itself expects, where it once expected something else of a library that kept its promises."""

import pytest

from tests.exploration.attempt import Attempt, try_out

pytestmark = pytest.mark.usefixtures("quiet_library")

ONLY_DRAINED_MEMBERS_REMAIN = [
    "crowd exclusive | 285:weight:1 | 292:weight:0",
    "two exclusive | 84:weight:0 | 109:kill:1",
    "items ordinary | 83:stop:0 | 141:weight:1",
]
SUCCESSOR_ENDS = [
    "two ordinary | 68:second start:1 | 236:leave:1",
    "three exclusive | 65:second start:2 | 264:shorter session:2",
    "many exclusive | 31:second start:0 | 103:kill:0",
]


@pytest.mark.parametrize("attempt", ONLY_DRAINED_MEMBERS_REMAIN + SUCCESSOR_ENDS)
def test_promises_are_kept(attempt: str) -> None:
    """Nobody owns anything without a weight, and a superseded program ends."""
    outcome = try_out(Attempt.parse(attempt))
    assert outcome.failure is None, outcome.failure
    assert outcome.applied


def test_no_fault_begins_after_the_last_is_over() -> None:
    """A member that comes back to a server that grants less is cut off a moment later, which is then never."""
    attempt = "items exclusive | 26:shorter session:0"
    last_turn = try_out(Attempt.parse(attempt)).window_ended - 1
    outcome = try_out(Attempt.parse(f"{attempt} | {last_turn}:shorter session:1"))
    assert outcome.failure is None, outcome.failure
    assert outcome.applied
