"""An ensemble that loses servers: members move on to the others, and keys stay where they are."""

import asyncio
import time

import pytest

from aiopartition import PartitionCoordinator
from aiopartition.backends.layout import group_path, marks_path
from tests.faults.conftest import Measure
from tests.support import Ensemble, Proxy, ZooKeeperServer, wait_until
from tests.support.admin import Operator, session_of
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.lookout import Lookout, overlap


def server_of(ensemble: Ensemble, member: PartitionCoordinator) -> ZooKeeperServer | None:
    """The server that a member is connected to."""
    peer = session_of(member).peer
    return ensemble.server_of(peer.port) if peer is not None else None


async def start_members(
    fleet: Fleet, ensemble: Ensemble, namespace: str, server: ZooKeeperServer, *, session_timeout: float
) -> tuple[PartitionCoordinator, list[Lookout]]:
    """Three members, or more until one is connected to ``server``: that one, and a lookout on each."""

    def connected_there() -> list[PartitionCoordinator]:
        return [member for member in fleet.members if server_of(ensemble, member) is server]

    while len(fleet.members) < 3 or not connected_there():
        name = f"member-{len(fleet.members)}"
        await fleet.start(ensemble.url(namespace), name, session_timeout=session_timeout)
    await fleet.settle()
    return connected_there()[0], [await fleet.watch(member, interval=0.005) for member in fleet.members]


def never_anything_else(lookouts: list[Lookout]) -> bool:
    """Whether no member was seen to hand out a key that it did not have at first, nor at another generation."""
    return all(
        {seen.mine for seen in lookout.sightings} <= {lookout.sightings[0].mine, frozenset()}
        and {seen.generation for seen in lookout.sightings} <= {lookout.sightings[0].generation, None}
        for lookout in lookouts
    )


class TestKilledServer:
    @pytest.mark.parametrize("role", ["follower", "leader"])
    async def test_changes_nothing(
        self, fleet: Fleet, ensemble: Ensemble, namespace: str, role: str, measure: Measure
    ) -> None:
        """The server that a member is connected to is killed: no member's view or generation changes, ``changes()``
        has nothing to tell, and where no new leader must be elected first, the member is connected again within
        half a second."""
        killed = await ensemble.leader() if role == "leader" else (await ensemble.followers())[0]
        # An election takes longer than the lease of a short session where the machine is busy.
        member, lookouts = await start_members(
            fleet, ensemble, namespace, killed, session_timeout=2.0 if role == "follower" else 4.0
        )
        views = [await each.view(GROUP) for each in fleet.members]
        changes = [fleet.changes(each) for each in fleet.members]
        await wait_until(lambda: all(changes))

        session = session_of(member).session_id
        moment = time.monotonic()
        await killed.kill()
        await wait_until(lambda: not member.connected, interval=0.001)
        await wait_until(lambda: member.connected, interval=0.001)
        took = time.monotonic() - moment
        measure(f"{role} killed to connected", took)
        if role == "follower":
            assert took < 0.5
        await ensemble.wait_quorum()
        for each in fleet.members:
            await wait_until(lambda: each.connected)  # noqa: B023
            await each.heartbeat()
        await fleet.settle()

        assert session_of(member).session_id == session
        assert [await each.view(GROUP) for each in fleet.members] == views
        assert [len(seen) for seen in changes] == [1] * len(changes)
        assert [len(lookout.sightings) for lookout in lookouts] == [1] * len(lookouts)

    async def test_leader_killed_under_followers(
        self, fleet: Fleet, ensemble: Ensemble, namespace: str, measure: Measure
    ) -> None:
        """The leader is killed, and members are connected to followers, which leave their clients until another is
        elected: the sessions go on, and no key moves."""
        leader, follower = await ensemble.leader(), (await ensemble.followers())[0]
        member, lookouts = await start_members(fleet, ensemble, namespace, follower, session_timeout=4.0)
        session = session_of(member).session_id
        moment = time.monotonic()
        await leader.kill()
        await wait_until(lambda: not member.connected, interval=0.001)
        await wait_until(lambda: member.connected, interval=0.001)
        measure("leader killed to connected, from a follower", time.monotonic() - moment)
        for each in fleet.members:
            await wait_until(lambda: each.connected)  # noqa: B023
            await each.heartbeat()
        await fleet.settle()
        assert session_of(member).session_id == session
        assert never_anything_else(lookouts)


class TestLease:
    @pytest.mark.parametrize("fault", ["killed", "frozen"])
    async def test_ends_before_the_ensemble_gives_a_member_up(
        self, fleet: Fleet, ensemble: Ensemble, namespace: str, fault: str, measure: Measure
    ) -> None:
        """The follower that answered a member last is lost, and with it what the leader has not yet been told of that
        member: so its session ends early. The member, which finds no other server, has let go by then."""
        lost = (await ensemble.followers())[0]
        member = await fleet.start(lost.url(namespace), "a", heartbeat=0.1)
        others = [server.address for server in ensemble.servers if server is not lost]
        other = await fleet.start(f"zookeeper://{','.join(others)}{namespace}", "b")
        await fleet.settle()
        seen, seen_elsewhere = [await fleet.watch(each) for each in (member, other)]
        begun = time.monotonic()
        await (lost.kill() if fault == "killed" else lost.freeze())
        gone = time.monotonic()
        await wait_until(lambda: seen_elsewhere.mine == set(KEYS))
        assert not seen.mine
        let_go, taken_over = seen.sightings[0].last, seen_elsewhere.sightings[-1].first
        measure(f"follower {fault} to nothing handed out", let_go - begun)
        measure(f"follower {fault} to taken over", taken_over - begun)
        assert let_go <= gone + 2.0 * 2 / 3
        assert let_go < taken_over
        await lost.heal()
        await fleet.settle()
        assert overlap(seen.since(taken_over)[1:], seen_elsewhere.since(begun)) < 0.5


class TestFrozenServer:
    async def test_leader(self, fleet: Fleet, ensemble: Ensemble, namespace: str, measure: Measure) -> None:
        """The leader is stopped (SIGSTOP) until the others have elected another, and then wakes, believing for a
        moment that it leads: nothing is handed out twice, and the split is exact before and after."""
        frozen = await ensemble.leader()
        members = [await fleet.start(frozen.url(namespace), "a"), await fleet.start(ensemble.url(namespace), "b")]
        await fleet.settle()
        lookouts = [await fleet.watch(member) for member in members]
        begun = time.monotonic()
        await frozen.freeze()
        await ensemble.wait_quorum()
        measure("leader frozen to another elected", time.monotonic() - begun)
        await fleet.settle(members[1])
        await wait_until(lambda: lookouts[1].mine == set(KEYS))
        let_go, taken_over = lookouts[0].sightings[0].last, lookouts[1].sightings[-1].first
        assert let_go < taken_over
        await frozen.thaw()
        thawed = time.monotonic()
        await fleet.settle()
        measure("leader thawed to exact split", time.monotonic() - thawed)
        since, elsewhere = lookouts[0].since(thawed)[1:], lookouts[1].sightings
        measure("leader thawed, two owners at different generations for", overlap(since, elsewhere))
        assert not any(
            mine.mine & theirs.mine for mine in since for theirs in elsewhere if mine.generation == theirs.generation
        )

    async def test_single(self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, measure: Measure) -> None:
        """The only server is stopped for longer than a session and goes on: nothing is handed out meanwhile, and never
        the same by two. Afterwards the split is exact again."""
        for name in ("a", "b"):
            await fleet.start(url, name, session_timeout=1.0)
        await fleet.settle()
        lookouts = [await fleet.watch(member) for member in fleet.members]
        await zookeeper.freeze()
        frozen = time.monotonic()
        await wait_until(lambda: not any(lookout.mine for lookout in lookouts))
        assert max(lookout.sightings[0].last for lookout in lookouts) <= frozen + 1.0 * 2 / 3
        await wait_until(lambda: time.monotonic() > frozen + 1.5)
        await zookeeper.thaw()
        thawed = time.monotonic()
        await fleet.settle()
        measure("single server thawed to exact split", time.monotonic() - thawed)
        assert overlap(lookouts[0].sightings, lookouts[1].sightings) < 0.5

    async def test_is_left_for_another(
        self, fleet: Fleet, ensemble: Ensemble, namespace: str, measure: Measure
    ) -> None:
        """A server that is stopped (SIGSTOP) keeps its connections and answers nothing: its clients go on with the
        same session at another one, and no key moves."""
        frozen = (await ensemble.followers())[0]
        member, lookouts = await start_members(fleet, ensemble, namespace, frozen, session_timeout=4.0)
        session = session_of(member).session_id
        moment = time.monotonic()
        await frozen.freeze()
        await wait_until(lambda: not member.connected, interval=0.001)
        measure("follower frozen to noticed", time.monotonic() - moment)
        await wait_until(lambda: member.connected, interval=0.001)
        measure("follower frozen to connected", time.monotonic() - moment)
        assert server_of(ensemble, member) is not frozen
        await fleet.settle()
        assert session_of(member).session_id == session
        assert never_anything_else(lookouts)


class TestDeposedLeader:
    async def test_renews_no_lease(self, fleet: Fleet, ensemble: Ensemble, namespace: str, measure: Measure) -> None:
        """A leader that stood still for longer than an election takes answers whoever asks it, for a moment after it
        has woken: handshakes, reads. A member that reaches nobody else hands out nothing until that leader has noticed,
        as the real one knows nothing of these answers and may end the session."""
        deposed = await ensemble.leader()
        async with Proxy(deposed.host, deposed.port) as network:
            member = await fleet.start(network.url(namespace), "a", session_timeout=4.0)
            seen = await fleet.watch(member)
            await deposed.freeze()
            await wait_until(lambda: not seen.mine)
            asked = asyncio.Event()
            with network.on_frame(lambda frame: asked.set() if frame.is_handshake else None):
                lapsed = time.monotonic()
                await asked.wait()
            await deposed.thaw()
            woken = led = time.monotonic()

            async def follows() -> bool:
                nonlocal led
                now = time.monotonic()
                mode = await deposed.mode()
                if mode == "leader":
                    led = now
                return mode == "follower"

            await wait_until(follows, interval=0.001)
            measure("answered after it had woken, deposed", led - woken)
            assert not [sighting for sighting in seen.since(lapsed) if sighting.mine and sighting.first < led]
            await fleet.settle()


class TestQuorum:
    async def test_lost_and_healed(self, fleet: Fleet, ensemble: Ensemble, namespace: str, measure: Measure) -> None:
        """Without a quorum ownership becomes unknown. When it is back everything is as before: the same sessions, the
        same generation, every key where it was."""
        leader = await ensemble.leader()
        _, lookouts = await start_members(fleet, ensemble, namespace, leader, session_timeout=2.0)
        sessions = [session_of(member).session_id for member in fleet.members]
        lost = [server for server in ensemble.servers if server is not leader]
        for server in lost:
            await server.kill()
        await wait_until(lambda: not any(lookout.mine for lookout in lookouts))
        await wait_until(lambda: not any(member.connected for member in fleet.members))
        for server in lost:
            await server.start(wait=False)
        await ensemble.wait_quorum()
        healed = time.monotonic()
        await fleet.settle()
        measure("quorum healed to exact split", time.monotonic() - healed)
        assert [session_of(member).session_id for member in fleet.members] == sessions
        assert never_anything_else(lookouts)

    async def test_rolling_restart(self, fleet: Fleet, ensemble: Ensemble, namespace: str, measure: Measure) -> None:
        """All three servers are restarted one after the other, while members ask all the time what is theirs: no key
        moves, the generation stays as it is."""
        _, lookouts = await start_members(fleet, ensemble, namespace, await ensemble.leader(), session_timeout=4.0)
        begun = time.monotonic()
        for server in ensemble.servers:
            await server.restart()
            await ensemble.wait_quorum()
        measure("rolling restart", time.monotonic() - begun)
        for member in fleet.members:
            await wait_until(lambda: member.connected)  # noqa: B023
            await member.heartbeat()
        await fleet.settle()
        assert never_anything_else(lookouts)
        measure("longest time without an answer to what is mine", longest_unknown(lookouts))

    async def test_wiped(self, fleet: Fleet, ensemble: Ensemble, namespace: str, measure: Measure) -> None:
        """All servers come back empty: every member joins again, and they converge."""
        _, lookouts = await start_members(fleet, ensemble, namespace, ensemble.servers[0], session_timeout=2.0)
        sessions = sessions_of(fleet)
        for server in ensemble.servers:
            await server.kill()
            await server.wipe()
        await ensemble.heal()
        back = time.monotonic()
        await wait_until(lambda: not sessions & sessions_of(fleet))
        await fleet.settle()
        measure("empty ensemble back to exact split", time.monotonic() - back)
        assert all(lookout.errors == [] for lookout in lookouts)


class TestWipedServer:
    async def test_comes_back_empty(self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, measure: Measure) -> None:
        """A single server comes back without its disk: every member joins again, and they converge."""
        for name in ("a", "b", "c"):
            await fleet.start(url, name)
        await fleet.settle()
        sessions = sessions_of(fleet)
        await zookeeper.kill()
        await zookeeper.wipe()
        await zookeeper.start()
        back = time.monotonic()
        await wait_until(lambda: not sessions & sessions_of(fleet))
        await fleet.settle()
        measure("empty server back to exact split", time.monotonic() - back)
        assert [len(await member.get_members(GROUP)) for member in fleet.members] == [3, 3, 3]


class TestRestoredServer:
    async def test_marks_are_read_again_even_if_numbers_of_transactions_come_back(
        self, fleet: Fleet, url: str, namespace: str, zookeeper: ZooKeeperServer
    ) -> None:
        """A backup is restored, and another entry acknowledges in a transaction that has the number of a forgotten
        acknowledgement. A member whose session the backup has too does not believe the forgotten one."""
        member = await fleet.start(url, "a", join=False, heartbeat=60.0)
        backend, session = member._registry.backend, session_of(member).session_id
        marks = marks_path(group_path(namespace, GROUP), 7, ready=False)
        async with Operator(zookeeper.address) as operator:
            await operator.create(marks)
        await zookeeper.stop()
        zookeeper.back_up()
        await zookeeper.start()
        async with Operator(zookeeper.address) as operator:
            for number in range(20):  # the restored server needs some numbers for the sessions of its clients
                await operator.create(f"{namespace}/before-{number}")
            await operator.create(f"{marks}/forgotten")
            repeated = await operator.created(f"{marks}/forgotten")
        await wait_until(lambda: member.connected)
        assert (await backend.marks(GROUP, 7)).acknowledged == {"forgotten"}
        await zookeeper.stop()
        zookeeper.restore()
        await zookeeper.start()
        await wait_until(lambda: member.connected)
        assert session_of(member).session_id == session
        async with Operator(zookeeper.address) as operator:
            transaction = 0
            while transaction < repeated - 1:
                await operator.create(f"{namespace}/after-{transaction}")
                transaction = await operator.created(f"{namespace}/after-{transaction}")
            await operator.create(f"{marks}/new")
            assert await operator.created(f"{marks}/new") == repeated
        assert (await backend.marks(GROUP, 7)).acknowledged == {"new"}


def sessions_of(fleet: Fleet) -> set[int]:
    """The ids of the members' sessions."""
    return {session_of(member).session_id for member in fleet.members}


def longest_unknown(lookouts: list[Lookout]) -> float:
    """The longest time for which any member handed out nothing."""
    return max(
        (seen.last - seen.first for lookout in lookouts for seen in lookout.sightings if not seen.mine), default=0.0
    )
