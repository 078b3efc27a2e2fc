"""What one member suffers, and what others leave in the tree, does no harm: how that is struck and judged."""

import asyncio
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aiopartition import GroupPolicy
from tests.chaos.chance import WEIGHTS, kinds_of_round, random_schedule
from tests.chaos.conditions import Conditions
from tests.chaos.faults import Fault
from tests.chaos.held import fewest
from tests.chaos.judge import Judge
from tests.chaos.ledger import Entry, Ledger
from tests.chaos.member import WorkingMember
from tests.chaos.mutations import MUTATIONS
from tests.chaos.nuisances import ENTRY_OF_NOBODY, FORGED, JUNK, NUISANCES, kept_at_least, nuisances_alone
from tests.chaos.pieces import Presence
from tests.chaos.transactions import Change, Transaction
from tests.chaos.trial import Trial
from tests.chaos.workloads import KEYS, NAMESPACE
from tests.chaos.world import GROUP_PATH, HANDOFF_PATH, MEMBERS_PATH, World
from tests.support.journal import Journal, JournalReader

EXCLUSIVE = Conditions(workload="exclusive")
EVERYTHING = (1 << len(KEYS)) - 1


@pytest.mark.timeout(150)
@pytest.mark.parametrize("workload", ["supervised", "exclusive"])
async def test_members_keep_their_work_while_only_others_are_in_trouble(workload: str, tmp_path: Path) -> None:
    conditions = Conditions(members=4, workload=workload, convergence=20.0, servers_fail=False)
    schedule = [
        Fault(0.1, "crash_loop", "all", 5.0, "0.3 1.0"),
        *(
            Fault(0.5 * number, "fork_member", str(number % 4), detail=way)
            for number, way in enumerate(("return", "own"))
        ),
        *(Fault(1.0, "fail_listing", str(seat), 1.0, way) for seat, way in enumerate(("none", "rubbish", "hang"))),
        Fault(0.2, "junk_node", "0", 1.0, "among entries"),
        Fault(2.0, "junk_node", "0", 2.0, "among handoffs"),
    ]
    async with World(conditions, tmp_path) as world:
        trial = Trial.of(world)
        await trial.round(schedule)
    assert not trial.judge.violations, [str(violation) for violation in trial.judge.violations]
    assert trial.judge.checks["held"] == trial.judge.checks["ensemble"] == 1
    assert trial.struck.total() == len(schedule), trial.missed


@pytest.mark.timeout(150)
async def test_after_servers_have_come_apart_all_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of that round is judged. The tree is deleted, as an operator would do, and the next round is as any."""
    monkeypatch.setattr("tests.chaos.trial.LEFTOVERS", 0.5)
    async with World(Conditions(members=2, seats=2, servers=1, convergence=20.0), tmp_path) as world:
        trial = Trial.of(world)
        with monkeypatch.context() as apart:
            apart.setattr(world, "agree", lambda: trial.reunited > 0)
            await trial.round([Fault(0.0, "junk_node", "0", 0.1, "beside")])
        assert (trial.reunited, trial.judge.rounds_unjudged) == (1, 1)
        monkeypatch.setattr("tests.chaos.trial.LEFTOVERS", 10.0)
        await trial.round([Fault(0.0, "foreign_node", "0", 0.1)])
    assert not trial.judge.violations, [str(violation) for violation in trial.judge.violations]
    assert (trial.reunited, trial.judge.rounds_unjudged) == (1, 1)
    assert trial.judge.checks["share"] > 0


class TestFewest:
    def test_what_two_hold_together(self) -> None:
        one, other = [(0.0, 0b0011), (5.0, 0b0001), (6.0, 0b0011)], [(0.0, 0b1100), (7.0, 0b1000)]
        assert fewest([one, other], 1.0, 5.0) == (4, 1.0)
        assert fewest([one, other], 1.0, 9.0) == (3, 5.0)
        assert fewest([one, other], 5.5, 6.5) == (3, 5.5)
        assert fewest([one, other], 8.0, 9.0) == (3, 8.0)

    def test_a_moment_between_two_who_share_a_key_is_no_loss(self) -> None:
        assert fewest([[(0.0, 1), (2.0, 0)], [(0.0, 0), (1.0, 1)]], 0.0, 3.0) == (1, 0.0)

    def test_nobody_holds_nothing(self) -> None:
        assert fewest([], 1.0, 2.0) == (0, 1.0)

    def test_work_is_held_from_its_beginning_to_its_end(self) -> None:
        presence = Presence("1")
        for kind, at, key in (("began", 1.0, 0), ("began", 2.0, 3), ("ended", 4.0, 0), ("began", 5.0, 0)):
            presence.note(kind, at, key)
        assert presence.steps() == [(1.0, 0b0001), (2.0, 0b1001), (4.0, 0b1000), (5.0, 0b1001)]


class TestJudge:
    def judged(self, keys: int, floor: float, tmp_path: Path) -> Judge:
        judge = Judge(EXCLUSIVE)
        member = WorkingMember("a", "1", 0, [], tmp_path / "1.jsonl")
        member.work.begun = dict.fromkeys(range(keys), 1.0)
        judge.check_held([member], 2.0, 3.0, floor)
        return judge

    def test_what_is_lost(self, tmp_path: Path) -> None:
        assert [each.check for each in self.judged(len(KEYS) - 1, 1.0, tmp_path).violations] == ["held"]

    def test_what_may_be_lost(self, tmp_path: Path) -> None:
        judge = self.judged(180, 0.7, tmp_path)
        assert not judge.violations
        assert judge.least_held == 0.75

    def test_how_much_is_kept(self) -> None:
        """A share for each process that may be dead and not given up; everything, if there is none."""
        ordinary = Conditions()
        crash, entry = Fault(0.0, "crash_loop", "all", 5.0, "0.1 0.5"), Fault(0.0, "junk_node", "0", 1.0, "entry")
        forged, fork = replace(entry, detail=FORGED), Fault(0.0, "fork_member", "0", detail="exit")
        assert [kept_at_least(EXCLUSIVE, [each]) for each in (crash, entry, forged, fork)] == [0.7, 1.0, 1.0, 1.0]
        assert [kept_at_least(ordinary, [each]) for each in (crash, entry, forged, fork)] == [0.5, 0.7, 1.0, 1.0]
        assert kept_at_least(EXCLUSIVE, [crash, forged]) == 0.5
        assert nuisances_alone([crash, entry, fork])
        assert not nuisances_alone([crash, Fault(0.0, "reset", "0")])


class TestChance:
    def test_some_rounds_have_nothing_else(self) -> None:
        assert {kinds_of_round(number) == NUISANCES for number in range(8)} == {True, False}
        for seed in range(20):
            schedule = random_schedule(random.Random(seed), 20.0, EXCLUSIVE, NUISANCES)
            assert nuisances_alone(schedule)
            assert all(each.at + each.lasts <= 20.0 for each in schedule)

    def test_each_way_is_drawn(self) -> None:
        drawn = [
            each for seed in range(60) for each in random_schedule(random.Random(seed), 20.0, EXCLUSIVE, NUISANCES)
        ]
        details = {each.detail for each in drawn}
        assert details >= {*JUNK, FORGED, "return", "own", "kernel", "rubbish", "hang", "none"}

    def test_listings_fail_where_there_are_any(self) -> None:
        kinds = {each.kind for seed in range(20) for each in random_schedule(random.Random(seed), 20.0, Conditions())}
        assert "fail_listing" in WEIGHTS
        assert "fail_listing" not in kinds


@pytest.mark.timeout(90)
@pytest.mark.parametrize("workload", ["shared", "exclusive"])
async def test_junk_that_comes_back_is_removed_again(workload: str, tmp_path: Path) -> None:
    """As it does when the ensemble forgets that it was deleted. What members make too is not waited for."""
    junk = [f"{MEMBERS_PATH}/member", f"{MEMBERS_PATH}/member/below", f"{GROUP_PATH}/junk-1", f"{HANDOFF_PATH}/²"]
    async with World(Conditions(workload=workload, servers=1), tmp_path) as world:
        for path in (NAMESPACE, GROUP_PATH, MEMBERS_PATH):
            assert await world.operate("create", path)
        for path in (HANDOFF_PATH, *junk):
            assert await world.leave_junk(path, b"")
        await world.remove_junk([HANDOFF_PATH, *junk])
        assert await world.tree() == [NAMESPACE, GROUP_PATH, MEMBERS_PATH]
        for path in (HANDOFF_PATH, *junk):
            assert await world.operate("create", path)
        await world.tidy_up()
        handoff = [HANDOFF_PATH] if workload == "exclusive" else []
        assert await world.tree() == [NAMESPACE, GROUP_PATH, *handoff, MEMBERS_PATH]


@pytest.mark.timeout(90)
async def test_junk_that_cannot_be_removed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may show a node that no other has: the round goes on, and the servers' copies are compared."""
    monkeypatch.setattr("tests.chaos.world.START_TIMEOUT", 0.2)
    async with World(Conditions(servers=1), tmp_path) as world:
        assert await world.operate("create", NAMESPACE)
        assert await world.leave_junk(f"{NAMESPACE}/junk-1", b"")
        with monkeypatch.context() as only_here:
            only_here.setattr(world, "operate", lambda *_: asyncio.sleep(0, result=True))
            await world.tidy_up()
        assert await world.tree() == [NAMESPACE, f"{NAMESPACE}/junk-1"]
        await world.tidy_up()
        assert await world.tree() == [NAMESPACE]
        assert await world.agree()


class TestJunk:
    def test_no_name_of_rubbish_is_an_entry(self) -> None:
        """But for the entry of nobody: it is one, until it is deleted."""
        history = [Transaction(1, 100, 1000.0, False, (Change(MEMBERS_PATH, True),))]
        for kind, nodes in JUNK.items():
            for path, data in nodes(random.Random(kind)):
                history.append(Transaction(len(history) + 1, 100, 1001.0, False, (Change(path, True, data),)))
        ledger = Ledger.of(history, MEMBERS_PATH, GroupPolicy(slots=256))
        assert [each.member_id for each in ledger.newest.entries.values()] == ["nobody"]

    @pytest.mark.parametrize("name", ["a;1;1;0123456789abcdef", "%C3%A4;1000;0;0123456789abcdef"])
    def test_what_is_an_entry(self, name: str) -> None:
        assert Entry.of(name, 1, ENTRY_OF_NOBODY) is not None

    @pytest.mark.parametrize(
        "name", ["%41;1;1;0123456789abcdef", "%C3;1;1;0123456789abcdef", "a;1;1;0;0123456789abcdef"]
    )
    def test_what_is_none(self, name: str) -> None:
        assert Entry.of(name, 1, b"") is None


def test_a_forked_child_writes_nothing_into_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write("before")
    child = os.fork()
    if child == 0:
        journal.write("child")
        os._exit(0)
    os.waitpid(child, 0)
    journal.write("after")
    journal.close()
    assert [line["kind"] for line in JournalReader(tmp_path / "journal").lines()] == ["before", "after"]


def test_every_mutation_finds_what_it_replaces() -> None:
    """A mutation of something that has moved is an error. All of them together, as each keeps what was there before."""
    program = (
        "from tests.chaos.mutations import MUTATIONS\nfor mutate in MUTATIONS.values(): mutate()\nprint(len(MUTATIONS))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{len(MUTATIONS)}\n", "")


@pytest.mark.timeout(90)
async def test_a_mutation_that_cannot_be_applied_is_an_error(tmp_path: Path) -> None:
    """It must not pass for one that was found out, because members did not converge."""
    conditions = Conditions(members=1, mutation="of nothing", servers_fail=False)
    async with World(conditions, tmp_path) as world:
        with pytest.raises(RuntimeError, match="did not start"):
            await Trial.of(world).round([])
