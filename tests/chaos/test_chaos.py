"""A short run of chaos, and a few mutations that it has to find out. ``nox -s chaos`` does both at length."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.chaos.chance import WEIGHTS, random_schedule
from tests.chaos.conditions import STOCK, Conditions
from tests.chaos.evidence import keep
from tests.chaos.faults import KINDS
from tests.chaos.judge import Violation
from tests.chaos.ledger import Ledger
from tests.chaos.mutations import MUTATIONS
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.transactions import logged
from tests.chaos.trial import Trial
from tests.chaos.world import World
from tests.support import ZooKeeperServer

SECONDS = 8.0
MOST_ROUNDS = 4


COMMON = ("convergence", "end", "ids", "leftovers", "order", "use")
EXCLUSIVE = (*COMMON, "exclusive")
CHECKS = {"shared": (*COMMON, "lease", "disjoint", "share", "table"), "exclusive": EXCLUSIVE, "timed": EXCLUSIVE}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(),
        replace(STOCK, workload="exclusive"),
        Conditions(workload="timed"),
        Conditions(workload="timed", servers=1),
    ],
    ids=["shared", "exclusive", "timed", "timed with one server"],
)
async def test_no_promise_is_broken_for_a_while(conditions: Conditions, tmp_path: Path) -> None:
    """Six processes and more, faults at random: every check holds."""
    conditions = replace(conditions, members=6, convergence=20.0)  # on a busy machine everything takes longer
    async with World(conditions, tmp_path) as world:
        trial = Trial.of(world)
        for _ in range(MOST_ROUNDS):  # chance may leave something out
            seed = random.randrange(1_000_000)
            await trial.round(random_schedule(random.Random(seed), SECONDS, conditions))
            assert not trial.judge.violations, f"seed {seed}: {[str(each) for each in trial.judge.violations]}"
            missed = [check for check in CHECKS[conditions.workload] if not trial.judge.checks[check]]
            if not missed:
                break
    assert trial.struck.total() > 0
    assert not missed, f"{missed} were never looked at"


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    "name",
    [
        "acknowledged_before_work_has_ended",
        "any_answer_renews_both_leases",
        "leaves_before_work_has_ended",
        "stop_lets_go_late",
        "weights_ignored",
        "zombie_goes_on",
    ],
)
async def test_a_broken_promise_is_found_out(name: str) -> None:
    scenario = SCENARIOS[name]
    assert scenario.caught_by & set(await scenario.play(name))


@pytest.mark.timeout(150)
async def test_members_are_replaced_one_by_one() -> None:
    """With the library as it is, nobody works on what another one has not ended."""
    assert await SCENARIOS["acknowledged_before_work_has_ended"].violations(None) == []


async def test_a_violation_leaves_evidence(zookeeper: ZooKeeperServer, namespace: str, tmp_path: Path) -> None:
    """What servers have logged stands there as text, beside what they said and what members wrote."""
    url, facts = zookeeper.url(namespace), {"process": "1"}
    async with PartitionCoordinator(url, member_id="m", metadata=facts) as coordinator:
        await coordinator.join_group("g")
    journal, place = tmp_path / "1.jsonl", tmp_path / "evidence"
    journal.write_text("{}\n")
    ledger = Ledger.of(logged([zookeeper.transaction_logs()]).values(), f"{namespace}/g/members", GroupPolicy())
    keep(place, [Violation("share", "a key too many")], [zookeeper], ledger, [journal])
    assert (place / "violations").read_text() == "share: a key too many\n"
    assert (place / "1.jsonl").read_text() == "{}\n"
    assert len((place / "generations").read_text().splitlines()) == len(ledger.generations) > 1
    transactions = "".join(path.read_text() for path in (place / "server-0").glob("log.*"))
    assert f"+{namespace}/g/members/m;1;1;" in transactions
    assert " ends " in transactions
    assert (place / "server-0" / "log").stat().st_size > 0


def test_every_mutation_has_its_scenario() -> None:
    assert set(SCENARIOS) == set(MUTATIONS)


def test_every_kind_of_fault_is_struck_by_chance() -> None:
    """But for the one that only schedules on purpose need."""
    assert set(WEIGHTS) == set(KINDS) - {"confine"}


def test_the_process_in_the_first_seat_lives_on() -> None:
    """Everything befalls it but what would end it."""
    faults = [each for seed in range(50) for each in random_schedule(random.Random(seed), 20.0, Conditions())]
    its_own = {each.kind for each in faults if each.target == "0"}
    assert its_own >= {"silence", "pause_member", "reset", "leave_group", "lose_event"}
    assert not its_own & {"kill_member", "stop_member", "start_twin"}


def test_operators_spare_an_exclusive_group() -> None:
    """While a member has yet to notice that its entry was deleted nothing is promised."""
    conditions = Conditions(workload="exclusive")
    kinds = {each.kind for seed in range(50) for each in random_schedule(random.Random(seed), 20.0, conditions)}
    assert kinds == set(WEIGHTS) - {"delete_entry", "delete_members", "delete_group"}


def test_time_is_taken_only_of_processes_that_run() -> None:
    conditions = Conditions(workload="timed")
    kinds = {each.kind for seed in range(50) for each in random_schedule(random.Random(seed), 20.0, conditions)}
    assert kinds == set(WEIGHTS) - {"delete_entry", "delete_members", "delete_group", "pause_member", "grant_less"}


def test_a_seed_gives_one_schedule() -> None:
    one, same, other = (random_schedule(random.Random(seed), 20.0, Conditions()) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert all(each.at + each.lasts <= 20.0 for each in one)
