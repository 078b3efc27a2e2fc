"""What the referee goes by: the servers' logs, and the comparison of what members say with them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from kazoo.client import KazooClient

from aiopartition import GroupPolicy
from aiopartition.clock import now
from tests.chaos.conditions import STOCK, Conditions
from tests.chaos.copies import Node, copy_of
from tests.chaos.judge import Judge, Offset
from tests.chaos.ledger import Ledger
from tests.chaos.member import WorkingMember
from tests.chaos.overlaps import Span, overlaps
from tests.chaos.pieces import RECOVERY, Piece, Presence, collisions, gaps
from tests.chaos.sightings import Sighting
from tests.chaos.transactions import Change, Transaction, epochs_of, forgotten, logged
from tests.chaos.trial import Trial
from tests.chaos.workloads import KEYS, digest_of
from tests.chaos.world import World
from tests.support import Ensemble, ZooKeeperServer, wait_until
from tests.support.journal import Journal
from tests.support.ports import free_port

POLICY = GroupPolicy(slots=256)
MEMBERS = "/chaos/work/members"


def entry(member_id: str, incarnation: int, process: str, nonce: str = "0") -> Change:
    """One member's entry."""
    data = json.dumps({"metadata": {"process": process}}).encode()
    return Change(f"{MEMBERS}/{member_id};1;{incarnation};{nonce * 16}", True, data, True)


HISTORY = [
    Transaction(1, 100, 1000.0, False, (Change(MEMBERS, True),)),
    Transaction(2, 100, 1001.0, False, (entry("a", 1, "1"),)),
    Transaction(3, 200, 1002.0, False, (entry("b", 1, "2"),)),
    Transaction(4, 300, 1003.0, False, (entry("a", 2, "3"),)),
    Transaction(5, 200, 1010.0, True, ()),
]
"""a joins, b joins, another process takes a's place, b's session ends."""


@pytest.fixture
def ledger() -> Ledger:
    return Ledger.of(HISTORY, MEMBERS, POLICY)


@pytest.fixture
def offset() -> Offset:
    return Offset(lowest=0.0, highest=0.0)  # one clock


class TestTransactions:
    async def test_the_logs_tell_what_clients_did(self, ensemble: Ensemble, namespace: str) -> None:
        """Nodes that come and go, alone and several at once, and with the session that made them."""
        client: Any = KazooClient(ensemble.hosts)
        await asyncio.to_thread(client.start)
        session = client.client_id[0]

        def use() -> None:
            client.create(namespace, b"data")
            client.create(f"{namespace}/ephemeral", ephemeral=True)
            client.delete(namespace + "/ephemeral")
            transaction = client.transaction()
            transaction.create(f"{namespace}/one")
            transaction.delete(f"{namespace}/one")
            transaction.commit()
            refused = client.transaction()
            refused.create(f"{namespace}/two")
            refused.delete(f"{namespace}/nothing")
            refused.commit()
            client.stop()
            client.close()

        await asyncio.to_thread(use)
        found = logged([server.transaction_logs() for server in ensemble.servers])
        mine = [found[zxid] for zxid in sorted(found) if found[zxid].session == session]
        assert [change for transaction in mine for change in transaction.changes] == [
            Change(namespace, True, b"data"),
            Change(f"{namespace}/ephemeral", True, b"", True),
            Change(f"{namespace}/ephemeral", False),
            Change(f"{namespace}/one", True),
            Change(f"{namespace}/one", False),
        ]
        assert [transaction.ends_session for transaction in mine].count(True) == 1
        assert mine[-1].ends_session
        epochs = epochs_of(ensemble.servers)
        assert {zxid >> 32 << 32 for zxid in found} <= set(epochs)
        assert not forgotten([transaction.zxid for transaction in mine], epochs)

    def test_what_a_leader_did_not_know_of_never_was(self) -> None:
        epochs = {0x1_0000_0000: 0, 0x2_0000_0000: 0x1_0000_0005, 0x4_0000_0000: 0x1_0000_0005}
        zxids = [0x1_0000_0001, 0x1_0000_0005, 0x1_0000_0006, 0x2_0000_0001, 0x4_0000_0001]
        assert forgotten(zxids, epochs) == {0x1_0000_0006, 0x2_0000_0001}
        assert forgotten([1, 2, 3], epochs) == set()  # before the first leader there was nothing

    async def test_copies_of_the_tree(self, ensemble: Ensemble, zookeeper: ZooKeeperServer, namespace: str) -> None:
        """Servers of one ensemble have the same nodes, made by the same transactions. Those of another are others."""

        def create(hosts: str) -> None:
            client: Any = KazooClient(hosts)
            client.start()
            client.create(f"{namespace}/lasting", makepath=True)
            client.stop()
            client.close()

        async def copies() -> list[set[Node]]:
            servers = [*ensemble.servers, zookeeper]
            found = [await asyncio.to_thread(copy_of, each.address, [namespace]) for each in servers]
            return [copy for copy in found if copy is not None]

        async def caught_up() -> bool:
            first, *others, _ = await copies()
            return all(copy == first for copy in others)

        assert await copies() == [set(), set(), set(), set()]
        for hosts in (ensemble.hosts, zookeeper.address):
            await asyncio.to_thread(create, hosts)
        await wait_until(caught_up)
        first, *_, foreign = await copies()
        assert first != foreign
        for copy in (first, foreign):
            assert {(path, owner) for path, owner, *_ in copy} == {(namespace, 0), (f"{namespace}/lasting", 0)}

    async def test_no_copy_of_a_server_that_is_down(self) -> None:
        assert await asyncio.to_thread(copy_of, f"127.0.0.1:{free_port()}", ["/"], 0.2) is None


class TestLedger:
    def test_generations(self, ledger: Ledger) -> None:
        assert [sorted(generation.live) for generation in ledger.generations] == [[], ["a"], *[["a", "b"]] * 2, ["a"]]
        assert ledger.generations[3].live["a"].process == "3"
        assert ledger.get(6) is None
        assert ledger.superseded(3) == 1003.0
        assert ledger.superseded(5) is None
        assert ledger.ends == {200: 1010.0}

    def test_a_node_that_is_made_anew_is_empty(self) -> None:
        again = [
            *HISTORY,
            Transaction(6, 1, 1011.0, False, (Change(MEMBERS, False),)),
            Transaction(7, 1, 1012.0, False, (Change(MEMBERS, True),)),
        ]
        ledger = Ledger.of(again, MEMBERS, POLICY)
        assert ledger.get(6) is None
        assert ledger.newest.live == {}

    @pytest.mark.parametrize("name", ["litter-10.636", "nobody;1;1;0123456789abcdef"])
    def test_a_node_that_nobody_made_is_deleted(self, name: str) -> None:
        """A server that kept what was forgotten has come to lead."""
        deletion = Transaction(6, 1, 1011.0, False, (Change(f"{MEMBERS}/{name}", False),))
        ledger = Ledger.of([*HISTORY, deletion], MEMBERS, POLICY)
        assert ledger.newest.number == 6
        assert sorted(ledger.newest.live) == ["a"]

    def test_foreign_nodes_make_a_generation_and_no_member(self) -> None:
        litter = Transaction(6, 1, 1011.0, False, (Change(f"{MEMBERS}/litter", True),))
        ledger = Ledger.of([*HISTORY, litter], MEMBERS, POLICY)
        assert ledger.newest.number == 6
        assert sorted(ledger.newest.live) == ["a"]


class TestJudge:
    """What each check objects to. The member is b, process 2, at generation 3, whose session ends at 1010."""

    @pytest.fixture
    def objections(self, ledger: Ledger, offset: Offset, tmp_path: Path) -> Callable[..., set[str]]:
        def judge(
            *sightings: Sighting,
            process: str = "2",
            member_id: str = "b",
            digest: str | None = None,
            told_at: int = 3,
        ) -> set[str]:
            member = WorkingMember(member_id, process, 0, [], tmp_path / process)
            member.sightings = list(sightings)
            if digest is not None:
                member.digests = {told_at: digest}
            judge = Judge(Conditions(heartbeat=0.1))
            judge.judge([member], ledger, offset)
            return {violation.check for violation in judge.violations}

        return judge

    @pytest.fixture
    def seen(self, ledger: Ledger) -> Callable[..., Sighting]:
        def make(last: float, *, generation: int | None = 3, mine: int | None = None, way: str = "list") -> Sighting:
            share = ledger.share(ledger.generations[2], "b", KEYS) if mine is None else mine
            return Sighting(way, generation, share, last - 0.1, last)

        return make

    def test_nothing_to_object_to(
        self, objections: Callable[..., set[str]], seen: Callable[..., Sighting], ledger: Ledger
    ) -> None:
        table = ledger.table(ledger.generations[2])
        assert table is not None
        digest = digest_of(table)
        assert objections(seen(1002.5), seen(1003.5, way="stream", mine=0), digest=digest) == set()

    def test_after_the_end_of_the_session(
        self, objections: Callable[..., set[str]], seen: Callable[..., Sighting]
    ) -> None:
        assert "lease" not in objections(seen(1010.0))
        assert "lease" in objections(seen(1010.01))
        assert "lease" in objections(seen(1010.01, generation=None, way="stream"))

    def test_another_share(self, objections: Callable[..., set[str]], seen: Callable[..., Sighting]) -> None:
        share = seen(1002.5).mine
        assert objections(seen(1002.5, mine=share & share - 1)) == {"share"}
        assert objections(seen(1002.5, mine=share & share - 1, way="stream")) == set()
        assert objections(seen(1002.5, mine=share | ~share & 0xFF, way="stream")) == {"share"}

    def test_another_table(self, objections: Callable[..., set[str]], seen: Callable[..., Sighting]) -> None:
        assert objections(seen(1002.5), digest="else") == {"table"}

    def test_a_generation_that_never_was(
        self, objections: Callable[..., set[str]], seen: Callable[..., Sighting]
    ) -> None:
        assert objections(seen(1002.5, generation=17)) == {"generation"}

    def test_a_generation_without_members(
        self, objections: Callable[..., set[str]], seen: Callable[..., Sighting]
    ) -> None:
        """There nobody owns anything."""
        assert {"entry", "share", "table"} <= objections(seen(1000.5, generation=1, mine=1), digest="any", told_at=1)

    @pytest.mark.parametrize(("number", "unjudged"), [(0x41_0000_0008, 0), (0x41_0000_0009, 1), (0x43_0000_0001, 0)])
    def test_a_generation_that_was_forgotten_and_is_in_no_log(
        self, ledger: Ledger, offset: Offset, seen: Callable[..., Sighting], tmp_path: Path, number: int, unjudged: int
    ) -> None:
        """A server that cut it off its log may go on showing it."""
        ledger.epochs = {0x41_0000_0000: 0x40_0000_000A, 0x43_0000_0000: 0x41_0000_0008}
        member = WorkingMember("b", "2", 0, [], tmp_path / "2")
        member.sightings = [seen(1002.5, generation=number), seen(1002.6, generation=None, mine=0)]
        judge = Judge(Conditions())
        judge.judge([member], ledger, offset)
        assert judge.rounds_unjudged == unjudged
        assert [violation.check for violation in judge.violations] == ([] if unjudged else ["generation"])

    def test_errors_count_unless_the_ensemble_has_just_forgotten_something(
        self, ledger: Ledger, offset: Offset, tmp_path: Path
    ) -> None:
        """A server that goes on from what was forgotten may show no entry where its leader has one."""
        judge, member = Judge(Conditions()), WorkingMember("b", "2", 0, [], tmp_path / "2")
        for lost, objected in [(0, 1), (2, 1), (2, 2)]:
            ledger.forgotten = lost
            member.errors.append("ForeignNodeError: the node belongs to another session")
            judge.judge([member], ledger, offset)
            assert [violation.check for violation in judge.violations] == ["error"] * objected

    def test_a_generation_that_was_over_long_ago(
        self, objections: Callable[..., set[str]], seen: Callable[..., Sighting]
    ) -> None:
        assert objections(seen(1009.9)) == {"age"}

    def test_going_back(self, objections: Callable[..., set[str]], seen: Callable[..., Sighting]) -> None:
        assert "order" in objections(seen(1003.1, generation=4), seen(1003.2, generation=3))

    def test_unconfirmed(self, objections: Callable[..., set[str]], seen: Callable[..., Sighting]) -> None:
        assert "confirmed" in objections(seen(1009.0, generation=None, mine=0), seen(1009.5))
        assert "confirmed" not in objections(seen(1003.0, generation=None, mine=0), seen(1004.0))

    def test_superseded(
        self, objections: Callable[..., set[str]], seen: Callable[..., Sighting], ledger: Ledger
    ) -> None:
        share = ledger.share(ledger.generations[3], "a", KEYS)
        assert "entry" in objections(seen(1003.5, generation=4, mine=share), process="1", member_id="a")
        assert objections(seen(1003.5, generation=4, mine=share), process="3", member_id="a") == set()

    def test_two_owners_at_one_generation(self, ledger: Ledger, offset: Offset, tmp_path: Path) -> None:
        judge = Judge(Conditions())
        members = [WorkingMember(member_id, name, 0, [], tmp_path / name) for member_id, name in ("a1", "b2")]
        for member in members:
            member.sightings = [Sighting("list", 3, 1, 1002.1, 1002.5)]
        judge.judge(members, ledger, offset)
        assert "disjoint" in {violation.check for violation in judge.violations}
        assert judge.longest_overlap == pytest.approx(0.4)

    def test_the_lease_where_any_answer_renews_it(
        self, ledger: Ledger, offset: Offset, seen: Callable[..., Sighting], tmp_path: Path
    ) -> None:
        """A follower that answers without its leader for as long as a session lasts, and half a tick of 0.6 s more."""
        excess = STOCK.lease_excess
        assert excess == pytest.approx(3.0 + 0.3 - 2.0 / 3)
        for late, expected in ((excess - 0.01, False), (excess + 0.01, True)):
            judge = Judge(STOCK)
            member = WorkingMember("b", "2", 0, [], tmp_path / "2")
            member.sightings = [seen(1010.0 + late)]
            judge.judge([member], ledger, offset)
            assert ("lease" in {violation.check for violation in judge.violations}) is expected
        assert Conditions().lease_excess == 0.0

    def test_exclusive_work_twice_at_one(self, ledger: Ledger, offset: Offset, tmp_path: Path) -> None:
        member = WorkingMember("1", "1", 0, [], tmp_path / "1")
        at_work(member.work, (7, 1.0, 9.0), (7, 2.0, 9.0))
        judge = Judge(Conditions(workload="exclusive"))
        judge.judge([member], ledger, offset)
        assert [str(each) for each in judge.violations] == ["exclusive: process 1 works twice on key 7"]

    @pytest.mark.parametrize(("began", "expected"), [(4.9, {"exclusive"}), (5.0, set()), (5.1, set())])
    def test_exclusive_work_at_two(
        self, ledger: Ledger, offset: Offset, tmp_path: Path, began: float, expected: set[str]
    ) -> None:
        one, other = (WorkingMember(name, name, 0, [], tmp_path / name) for name in "12")
        at_work(one.work, (7, 1.0, 5.0))
        at_work(other.work, (7, began, 9.0), (8, 2.0, 9.0))
        judge = Judge(Conditions(workload="exclusive"))
        judge.judge([one, other], ledger, offset)
        assert {violation.check for violation in judge.violations} == expected


def at_work(presence: Presence, *pieces: tuple[int, float, float], last: float = 10.0) -> None:
    """Write what a process does that is alive from 0.0 on: a line each tenth of a second."""
    lines = [("saw", moment / 10, -1) for moment in range(round(last * 10) + 1)]
    lines += [("began", begin, key) for key, begin, _ in pieces] + [("ended", end, key) for key, _, end in pieces]
    for kind, at, key in sorted(lines, key=lambda line: line[1]):
        if at <= last:
            presence.note(kind, at, key)


class TestConvergence:
    """When the members are well: all of them at the newest generation of the ledger."""

    class Quiet:
        """A world in which nothing happens but what a test says."""

        conditions = Conditions(convergence=0.3)

        def __init__(self, ledger: Ledger, holders: list[WorkingMember], names: list[str]) -> None:
            self.holders = holders
            self.looked = asyncio.Event()
            self._ledger = ledger
            self._names = names

        async def children(self, path: str) -> list[str]:
            return self._names

        async def ledger(self) -> Ledger:
            self.looked.set()
            return self._ledger

    @pytest.fixture
    def member(self, tmp_path: Path) -> WorkingMember:
        return WorkingMember("a", "3", 0, [], tmp_path / "3")

    def hand_out(self, member: WorkingMember, generation: int | None) -> None:
        keys = (1 << len(KEYS)) - 1 if generation else 0
        last = now() + 10  # all that this test takes
        member._note("saw", last, way="list", generation=generation, mine=f"{keys:x}", first=now(), last=last)

    async def converge(self, world: Quiet) -> Trial:
        trial = Trial.of(cast(World, world))
        await trial._converge()
        return trial

    async def test_all_at_the_newest(self, ledger: Ledger, member: WorkingMember) -> None:
        self.hand_out(member, 5)
        trial = await self.converge(self.Quiet(ledger, [member], ["a;1;2;0000000000000000", "litter", "²"]))
        assert not trial.judge.violations
        assert trial.convergence[0] < 0.3

    async def test_who_does_not_know_for_a_moment_knows_again(self, ledger: Ledger, member: WorkingMember) -> None:
        """The servers elect just when the ledger is looked at."""
        world = self.Quiet(ledger, [member], ["a;1;2;0000000000000000"])
        children = world.children
        asked: list[str] = []

        async def lose(path: str) -> list[str]:
            if not asked:
                asked.append(path)
                self.hand_out(member, None)
            return await children(path)

        world.children = lose  # type: ignore[method-assign]
        self.hand_out(member, 5)
        converging = asyncio.create_task(self.converge(world))
        await world.looked.wait()
        self.hand_out(member, 5)
        trial = await converging
        assert not trial.judge.violations
        assert len(trial.convergence) == 1

    @pytest.mark.parametrize("generation", [4, None])
    async def test_who_stays_behind(self, ledger: Ledger, member: WorkingMember, generation: int | None) -> None:
        self.hand_out(member, generation)
        trial = await self.converge(self.Quiet(ledger, [member], ["a;1;2;0000000000000000"]))
        assert [violation.check for violation in trial.judge.violations] == ["convergence"]
        assert trial.convergence == [float("inf")]

    async def test_an_entry_that_nobody_has_any_more(self, ledger: Ledger, member: WorkingMember) -> None:
        self.hand_out(member, 5)
        names = ["a;1;2;0000000000000000", "b;1;1;0000000000000000"]
        trial = await self.converge(self.Quiet(ledger, [member], names))
        assert [violation.check for violation in trial.judge.violations] == ["convergence"]


class TestPresence:
    SINCE = float("-inf")

    def test_a_piece_that_goes_on(self) -> None:
        presence = Presence("1")
        at_work(presence, (3, 1.0, 99.0), last=4.0)
        assert list(presence.pieces(self.SINCE)) == [Piece("1", 3, 1.0, 4.0)]
        presence.forget_done()
        assert list(presence.pieces(2.0)) == [Piece("1", 3, 2.0, 4.0)]

    def test_a_process_that_is_stopped_does_no_work(self) -> None:
        presence = Presence("1")
        presence.note("began", 1.0, 3)
        presence.note("saw", 1.1)
        presence.note("saw", 6.0)
        presence.note("ended", 6.1, 3)
        assert list(presence.pieces(self.SINCE)) == [Piece("1", 3, 1.0, 1.1)]
        assert list(presence.pieces(self.SINCE, timed=True)) == [Piece("1", 3, 1.0, 6.1)]

    def test_work_goes_on_after_a_stop(self) -> None:
        """One that has not ended by then is at work again."""
        presence = Presence("1")
        presence.note("began", 1.0, 3)
        presence.note("saw", 1.1)
        for moment in (6.0, 6.2, 6.4, 6.6):
            presence.note("saw", moment)
        assert list(presence.pieces(self.SINCE)) == [Piece("1", 3, 1.0, 1.1), Piece("1", 3, 6.0 + RECOVERY, 6.6)]

    def test_what_is_done_is_told_once(self) -> None:
        presence = Presence("1")
        at_work(presence, (3, 1.0, 2.0))
        presence.forget_done()
        assert list(presence.pieces(self.SINCE)) == []

    def test_collisions(self) -> None:
        pieces = [Piece("1", 3, 1.0, 9.0), Piece("2", 3, 4.0, 5.0), Piece("3", 3, 6.0, 7.0), Piece("2", 4, 1.0, 9.0)]
        assert [text.partition(" began")[0] for text in collisions(pieces)] == ["key 3: process 2", "key 3: process 3"]
        assert list(collisions([Piece("1", 3, 1.0, 5.0), Piece("1", 3, 4.0, 6.0), Piece("2", 3, 6.0, 7.0)])) == []

    def test_gaps(self) -> None:
        pieces = [Piece("2", 3, 6.0, 7.0), Piece("1", 3, 1.0, 4.0), Piece("2", 4, 1.0, 9.0), Piece("1", 3, 7.0, 8.0)]
        assert list(gaps(pieces)) == [2.0, 0.0]


class TestOverlaps:
    def test_longest_and_total(self) -> None:
        spans = [Span("a", 0b011, 0.0, 10.0), Span("b", 0b010, 8.0, 12.0), Span("c", 0b001, 9.0, 12.0)]
        assert overlaps(spans) == (2.0, 2.0)

    def test_taking_up_where_another_lets_go(self) -> None:
        assert overlaps([Span("a", 1, 0.0, 5.0), Span("b", 1, 5.0, 9.0)]) == (0.0, 0.0)

    def test_other_keys(self) -> None:
        assert overlaps([Span("a", 1, 0.0, 5.0), Span("b", 2, 0.0, 9.0)]) == (0.0, 0.0)


def test_a_journal_outlives_its_writer(tmp_path: Path) -> None:
    """What is written is read, each line once, and half a line not before it is whole."""
    path = tmp_path / "journal"
    member = WorkingMember("a", "1", 0, [], path)
    journal = Journal(path)
    journal.write("joined")
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"kind": "left", ')
        file.flush()
        member.read()
        assert member.told == {"joined": 1}
        file.write(b'"at": 1.0}\n')
    member.read()
    member.read()
    assert member.told == {"joined": 1, "left": 1}
