"""Which faults strike when, drawn at random."""

import random
from collections.abc import Collection

from tests.chaos.conditions import Conditions
from tests.chaos.faults import EVERYBODY, Fault
from tests.chaos.nuisances import FORGED, JUNK, NUISANCES
from tests.chaos.program import ENDS
from tests.chaos.workloads import TROUBLES

NUISANCES_ALONE = 4
"""Of so many rounds, one has nothing but these: only then can be seen whether members keep all of their work."""

WEIGHTS = {
    "kill_server": 3, "freeze_server": 4, "restart_server": 1, "part_server": 4, "grant_less": 1,
    "silence": 9, "hold": 4, "delay": 4, "refuse": 4, "reset": 6, "half_close": 4, "cut_in_frame": 4,
    "lose_event": 5, "lose_answer": 5, "handshakes_only": 2,
    "kill_member": 6, "stop_member": 5, "pause_member": 7, "start_member": 3, "start_twin": 3, "leave_group": 3,
    "delete_entry": 5, "delete_members": 1, "delete_group": 1, "foreign_node": 2,
    "crash_loop": 2, "fail_listing": 4, "fork_member": 3, "junk_node": 4,
}  # fmt: skip
"""How likely each kind is."""

FAULTS_PER_SECOND = 1.8
LONGEST = 5.0
LONGEST_LOOP = 15.0
IDS = ("", "", "same")
SERVER_FAULTS = ("kill_server", "freeze_server", "restart_server", "part_server", "grant_less")
OPERATIONS = ("delete_entry", "delete_members", "delete_group")
"""An exclusive group promises nothing while a member has yet to notice them."""
INEXACT = ("pause_member", "grant_less")
"""Who is stopped cannot end its work, nor can one whose workers take half a second within a lease that is cut."""
FATAL = ("kill_member", "stop_member", "start_twin")
"""They end the process in a seat, at the end of the round at the latest. The one in the first seat is spared, and is
with the others at the end of each round: what a process uses after an hour can only be seen of one that lives as
long."""


def kinds_of_round(number: int) -> Collection[str]:
    """The kinds of faults that may strike in a round."""
    return NUISANCES if number % NUISANCES_ALONE == NUISANCES_ALONE - 1 else WEIGHTS


def random_schedule(
    chance: random.Random, seconds: float, conditions: Conditions, kinds: Collection[str] = WEIGHTS
) -> list[Fault]:
    """Faults at random, all of them over within ``seconds``. The same state of ``chance`` gives the same schedule."""
    moments = sorted(chance.uniform(0.0, seconds * 0.95) for _ in range(round(seconds * FAULTS_PER_SECOND)))
    excluded = {
        *(OPERATIONS if conditions.exclusive else ()),
        *(INEXACT if conditions.timed else ()),
        *(() if conditions.supervised else ("fail_listing",)),
    }
    weights = {kind: 0 if kind in excluded or kind not in kinds else WEIGHTS[kind] for kind in WEIGHTS}
    drawn = chance.choices(list(weights), list(weights.values()), k=len(moments))
    return [random_fault(chance, at, kind, seconds, conditions) for at, kind in zip(moments, drawn, strict=True)]


def random_fault(chance: random.Random, at: float, kind: str, seconds: float, conditions: Conditions) -> Fault:
    target = str(chance.randrange(1 if kind in FATAL else 0, conditions.seats))
    if kind in SERVER_FAULTS:
        target = chance.choice([*map(str, range(conditions.servers)), "leader", "follower"])
    elif kind in ("silence", "reset", "refuse", "delay") and chance.random() < 0.1:
        target = EVERYBODY
    lasts = min(chance.choice([chance.uniform(0.05, 1.0), chance.uniform(0.5, LONGEST)]), seconds - at)
    if kind == "crash_loop":
        lasts = min(chance.uniform(3.0, LONGEST_LOOP), seconds - at)
    # Towards all servers more often than towards one.
    only = chance.choice(["", "", str(chance.randrange(conditions.servers))])
    detail = {
        "silence": f"{only} {chance.choice(['', '', 'server', 'client'])}",
        "hold": f"{only} {chance.choice(['', 'server', 'client'])}",
        "half_close": f"{only} {chance.choice(['server', 'client'])}",
        "delay": str(round(chance.uniform(0.02, 0.4), 3)),
        "refuse": only,
        "reset": only,
        "kill_member": chance.choice(["", "", "new", "gone"]),
        "stop_member": chance.choice(["", "", "new", "gone"]),
        "grant_less": str(conditions.least_timeout),
        "crash_loop": f"{chance.uniform(0.1, 3.0):.2f} {chance.uniform(0.5, 6.0):.2f} {chance.choice(IDS)}",
        "fail_listing": chance.choice([way for way in TROUBLES if way != "well"]),
        "fork_member": chance.choice(list(ENDS)),
        "junk_node": chance.choice([*JUNK, FORGED]),
        "leave_group": "" if target == "0" else chance.choice(["", "", "for long"]),
    }.get(kind, "")
    return Fault(round(at, 3), kind, target, round(lasts, 3), detail.strip())
