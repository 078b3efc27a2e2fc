"""What faults do to a coordinator, and beside it to kazoo, on the same servers at the same moment.

Both ask for a session of T = 4 s of servers with a tick of 0.5 s; seconds, medians, and the worst. Noticed: the
connection is known to be gone. Lost: it is known that others may take over; of a coordinator this is when it hands out
nothing any more (after 2/3 of T at the latest), of kazoo its state LOST. Back: connected, and of a coordinator, handing
out its keys. Kept: how many went on with the session that they had. "Never": not while the fault lasted, nor, where it
is waited for, in the 20 s after it. kazoo is observed by its listener; a coordinator by looks a millisecond apart. Each
row names the test that holds the library to it.

Faults that last long are measured side by side, each on a server of its own; quick ones alone.
"""

import asyncio
import math
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.fault_clients import KINDS, Scale
from tests.benchmarks.fault_scenes import ALONE, LONG, Outcome, Scene, on_ensemble
from tests.benchmarks.report import Cell, Report, Table, Target

ROWS: dict[str, tuple[str, str]] = {
    "killed": ("server killed, client idle: noticed", "servers::is_missed_at_once_and_found_again"),
    "asked": ("… a question 50 ms later", "servers::is_missed_at_once_and_found_again"),
    "killed back": ("… back after the server is up again", "servers::is_missed_at_once_and_found_again"),
    "away lost": ("server away for 9 s: lost", "servers::away_for_longer_than_a_session"),
    "away back": ("… back after it is up", "servers::away_for_longer_than_a_session"),
    "away kept": ("… session kept", "servers::away_for_longer_than_a_session"),
    "ended": ("end of the client, server down", "startup::killed"),
    "frozen": ("server stopped for 10 s: noticed", "ensemble::single"),
    "frozen lost": ("… lost", "ensemble::single"),
    "follower killed": ("connected follower killed: back", "ensemble::changes_nothing"),
    "leader from follower": ("leader killed, client at a follower: back", "ensemble::leader_killed_under_followers"),
    "leader": ("leader killed, client at the leader: back", "ensemble::changes_nothing"),
    "follower frozen": ("connected follower stopped: back", "ensemble::is_left_for_another"),
    "short silence": ("silence of 3 s: noticed", "network::longer_than_the_lease_but_not_than_the_session"),
    "short silence kept": ("… session kept", "network::longer_than_the_lease_but_not_than_the_session"),
    "silence lost": ("silence of 12 s: lost", "network::a_member_lets_go_before_another_takes_over"),
    "silence back": ("… back after the healing", "network::a_member_lets_go_before_another_takes_over"),
    "reset": ("connection reset, client idle: noticed", "network::is_replaced_at_once"),
    "expired": ("session expired by the server: noticed", "expiry::is_replaced_and_the_group_joined_again"),
    "expired back": ("… back with a fresh one", "expiry::is_replaced_and_the_group_joined_again"),
    "stopped": ("client stopped for 8 s: knows after waking", "processes::hands_out_nothing_of_another_when_it_wakes"),
    "stopped back": ("… back after waking", "processes::hands_out_nothing_of_another_when_it_wakes"),
    "refused": ("refused at the start: back after the server is up", "startup::everything_is_well_when_it_appears"),
    "quorum back": ("quorum lost for 6 s: back after the healing", "ensemble::lost_and_healed"),
    "quorum kept": ("… session kept", "ensemble::lost_and_healed"),
}
"""What is measured, and the test that holds the library to it: ``tests/faults/test_<file>.py::test_<name>``."""


FULL = Scale()
QUICK = Scale(second=0.25, times_long=1, times_alone=0, times_ensemble=0, pairs=1)


@dataclass
class Findings:
    """What was measured, by row and client."""

    outcomes: dict[tuple[str, str], list[Outcome]] = field(default_factory=dict[tuple[str, str], list[Outcome]])

    def note(self, row: str, client: str, outcome: Outcome) -> None:
        assert row in ROWS, row
        self.outcomes.setdefault((row, client), []).append(outcome)

    def times(self, row: str) -> int:
        return len(self.outcomes.get((row, KINDS[0].name), []))

    def median(self, row: str, client: str) -> float:
        """Without an end where it never came."""
        return median(each if isinstance(each, float) else math.inf for each in self.outcomes[row, client])

    def cells(self, row: str, client: str) -> tuple[Cell, Cell]:
        """Median and worst, or how many."""
        found = self.outcomes[row, client]
        if any(isinstance(each, bool) for each in found):
            return f"{sum(each is True for each in found)} of {len(found)}", None
        seconds = sorted(each for each in found if isinstance(each, float))
        words = [each for each in found if isinstance(each, str)]
        if not seconds:
            return words[0], None
        return median(seconds), f"{len(words)} × {words[0]}" if words else seconds[-1]


async def measure(*, quick: bool) -> Report:
    scale, findings = (QUICK if quick else FULL), Findings()
    scene = Scene(scale, findings.note)

    for _ in range(scale.times_long):
        async with asyncio.TaskGroup() as scenes:
            for play in [LONG[0], *ALONE] if quick else LONG:
                scenes.create_task(play(scene))
    for _ in range(scale.times_ensemble):
        await on_ensemble(scene)
    for _ in range(scale.times_alone):
        for play in ALONE:
            await play(scene)
    table = Table(
        "faults",
        "seconds from the fault, or from its end",
        ("fault", "times", *(f"{kind.name}{what}|.3f" for kind in KINDS for what in ("", ", worst")), "test"),
    )
    for row in filter(findings.times, ROWS):
        title, test = ROWS[row]
        cells = [cell for kind in KINDS for cell in findings.cells(row, kind.name)]
        table.add(title, findings.times(row), *cells, test)
    if quick:
        return Report([table])
    targets = [
        Target("lost in a silence", findings.median("silence lost", "aiopartition"), scale.timeout * 2 / 3, "s"),
        Target("back after a silence", findings.median("silence back", "aiopartition"), 2 * scale.second, "s"),
        Target("connected follower killed", findings.median("follower killed", "aiopartition"), 0.5, "s"),
    ]
    return Report([table], targets)
