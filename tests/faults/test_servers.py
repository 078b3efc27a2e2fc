"""A single server that goes away and comes back, and servers that serve without a quorum."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from aiopartition import BackendUnavailableError
from tests.faults.conftest import Measure
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator, session_of
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.ports import LOOPBACK, free_ports


class TestKilledServer:
    async def test_is_missed_at_once_and_found_again(
        self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, measure: Measure
    ) -> None:
        """A member need not ask to notice that its server was killed; a question meanwhile fails at once. When the
        server is up again the member is back with the same session and the same view."""
        member = await fleet.start(url, "a", session_timeout=4.0, heartbeat=60.0)
        session, view, seen = session_of(member).session_id, await member.view(GROUP), await fleet.watch(member)
        killed = time.monotonic()
        await zookeeper.kill()
        await wait_until(lambda: not member.connected, interval=0.001)
        measure("server killed to noticed", time.monotonic() - killed)
        asked = time.monotonic()
        with pytest.raises(BackendUnavailableError):
            async with asyncio.timeout(1.0):
                await member.heartbeat()
        measure("question to its failure", time.monotonic() - asked)
        await zookeeper.start()
        up = time.monotonic()
        await wait_until(lambda: member.connected, interval=0.001)
        measure("server up to connected", time.monotonic() - up)
        await fleet.settle()
        assert session_of(member).session_id == session
        assert await member.view(GROUP) == view
        assert {sighting.mine for sighting in seen.sightings} <= {frozenset(KEYS), frozenset()}

    async def test_away_for_longer_than_a_session(
        self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, operator: Operator, namespace: str, measure: Measure
    ) -> None:
        """Nobody ends sessions while the server is away. A member lets go in time all the same; afterwards it takes
        its session up again, its entry is still there, and nobody's view has changed."""
        member = await fleet.start(url, "a", heartbeat=0.2)
        other = await fleet.start(url, "b", heartbeat=0.2)
        await fleet.settle()
        views = [await each.view(GROUP) for each in (member, other)]
        sessions = [session_of(each).session_id for each in (member, other)]
        entries = await operator.children(f"{namespace}/{GROUP}/members")
        lookouts = [await fleet.watch(each) for each in (member, other)]
        killed = time.monotonic()
        await zookeeper.kill()
        await wait_until(lambda: not any(lookout.mine for lookout in lookouts))
        assert max(lookout.sightings[0].last for lookout in lookouts) <= killed + 2.0 * 2 / 3
        await wait_until(lambda: time.monotonic() > killed + 1.5 * 2.0)
        await zookeeper.start()
        up = time.monotonic()
        await fleet.settle()
        measure("server up to exact split", time.monotonic() - up)
        assert [session_of(each).session_id for each in (member, other)] == sessions
        assert [await each.view(GROUP) for each in (member, other)] == views
        assert await operator.children(f"{namespace}/{GROUP}/members") == entries


@dataclass(frozen=True)
class Divided:
    """An ensemble of three, one of which the others cannot reach, and which goes on without a quorum."""

    quorum: tuple[ZooKeeperServer, ZooKeeperServer]
    cut_off: ZooKeeperServer


@pytest.fixture
async def divided(anyio_backend: str) -> AsyncIterator[Divided]:
    one, other, third, *nowhere = [f"{LOOPBACK}:{a}:{b}" for a, b in zip(*[iter(free_ports(12))] * 2, strict=True)]
    seen_from = {1: (one, other, nowhere[0]), 2: (one, other, nowhere[0]), 3: (nowhere[1], nowhere[2], third)}
    async with AsyncExitStack() as stack:
        servers = [
            ZooKeeperServer(
                settings={f"server.{number}": address for number, address in enumerate(addresses, start=1)},
                properties={"readonlymode.enabled": "true"},
                identity=identity,
            )
            for identity, addresses in seen_from.items()
        ]
        for server in servers:
            stack.push_async_callback(server.close)
            await server.start(wait=False)

        async def parted() -> bool:
            modes = [await server.mode(timeout=0.5) for server in servers]
            return sorted(map(str, modes[:2])) == ["follower", "leader"] and modes[2] == "read-only"

        await wait_until(parted, timeout=30.0)
        yield Divided((servers[0], servers[1]), servers[2])


class TestServerWithoutAQuorum:
    """It tells old news, and takes no entries. It serves whoever asks for that, and no other."""

    async def test_is_not_taken_for_a_server(self, fleet: Fleet, divided: Divided, namespace: str) -> None:
        """Alone it is as good as none: nothing is owned, and nothing hangs."""
        member = await fleet.start(divided.cut_off.url(namespace), "a", connect_timeout=1.0)
        assert await divided.cut_off.mode() == "read-only"
        assert not member.connected
        assert await member.extract_my_subset(GROUP, KEYS) == []
        with pytest.raises(BackendUnavailableError):
            await member.heartbeat()

    async def test_is_passed_over_for_another(self, fleet: Fleet, divided: Divided, namespace: str) -> None:
        """Among others it does no harm, wherever it stands in the list; also to those who lose another."""
        hosts = ",".join(server.address for server in (divided.cut_off, *divided.quorum))
        for name in ("a", "b", "c", "d"):
            await fleet.start(f"zookeeper://{hosts}{namespace}", name, session_timeout=4.0)
        await fleet.settle()
        sessions = [session_of(member).session_id for member in fleet.members]
        views = [await member.view(GROUP) for member in fleet.members]
        for member in fleet.members:
            connection = session_of(member)._connection
            assert connection is not None
            connection.abort("the test wants it to connect anew")
        await wait_until(lambda: all(member.connected for member in fleet.members))
        ports = {peer.port for member in fleet.members if (peer := session_of(member).peer) is not None}
        assert ports <= {server.port for server in divided.quorum}
        await fleet.settle()
        assert [session_of(member).session_id for member in fleet.members] == sessions
        assert [await member.view(GROUP) for member in fleet.members] == views
