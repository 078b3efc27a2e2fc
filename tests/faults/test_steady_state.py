"""Nothing happens, and so nothing is sent."""

import asyncio
import time
from collections import Counter

from aiozk import protocol

from tests.support import Frame, Proxy, ZooKeeperServer, wait_until
from tests.support.fleet import GROUP, KEYS, Fleet

PING = protocol.PingRequest.opcode
EXISTS = protocol.ExistsRequest.opcode


async def packets_received(server: ZooKeeperServer) -> int:
    """The server's own counter. Asking is one packet more."""
    return int((await server.mntr())["zk_packets_received"])


async def received_exactly(server: ZooKeeperServer, before: int, sent: Counter[int | None]) -> None:
    """Wait until the server has received, apart from our asking, what was sent to it: never more than that."""
    asked = 0

    async def equal() -> bool:
        nonlocal asked
        asked += 1
        received = await packets_received(server) - before - asked
        assert received <= sent.total()
        return received == sent.total()

    await wait_until(equal, what="the arrival of all that was sent")


class TestNothingIsSent:
    async def test_asking_what_is_mine_is_local(
        self, fleet: Fleet, url: str, network_url: str, zookeeper: ZooKeeperServer, network: Proxy
    ) -> None:
        """A thousand questions send nothing. The server's counter of packets grows by our asking for it and by the
        pings that keep the session alive, whatever is asked of the library."""
        member = await fleet.start(network_url, "a", session_timeout=4.0, heartbeat=60.0)
        await fleet.start(url, "b", session_timeout=4.0, heartbeat=60.0)
        await fleet.settle()
        neighbour = fleet.members.pop()
        await neighbour.leave_group(GROUP)
        await neighbour.stop()
        await fleet.settle(member)

        sent: Counter[int | None] = Counter()
        network.on_frame(lambda frame: count(frame, sent))
        before = await packets_received(zookeeper)
        for _ in range(1000):
            assert await member.extract_my_subset(GROUP, KEYS) == KEYS
        assert [key async for key in member.my_subset(GROUP, KEYS)] == KEYS
        assert (await member.view(GROUP)).mine(KEYS) == KEYS
        assert await member.get_members(GROUP) == ("a",)
        await member.join_group(GROUP)
        assert set(sent) <= {PING}
        await received_exactly(zookeeper, before, sent)

    async def test_an_idle_member_sends_pings_and_nothing_else(
        self, fleet: Fleet, network_url: str, zookeeper: ZooKeeperServer, network: Proxy
    ) -> None:
        """Between heartbeats a session sends a ping each third of its timeout, for any number of groups."""
        member = await fleet.start(network_url, "a", session_timeout=1.0, heartbeat=60.0)
        for number in range(5):
            await member.join_group(f"group-{number}")
        sent: Counter[int | None] = Counter()
        network.on_frame(lambda frame: count(frame, sent))
        before, begun = await packets_received(zookeeper), time.monotonic()
        while sent.total() < 4:
            await member.extract_my_subset(GROUP, KEYS)
            await asyncio.sleep(0.01)
        took = time.monotonic() - begun
        assert set(sent) == {PING}
        assert took > 3 * 0.9 / 3
        await received_exactly(zookeeper, before, sent)

    async def test_a_heartbeat_is_one_question_for_each_group(
        self, fleet: Fleet, network_url: str, zookeeper: ZooKeeperServer, network: Proxy
    ) -> None:
        """A heartbeat asks for one number per group, not for members."""
        member = await fleet.start(network_url, "a", session_timeout=4.0, heartbeat=60.0)
        await member.join_group("another")
        await member.extract_my_subset("a third", KEYS)
        await member.heartbeat()  # which looks once into what it has not seen before
        sent: Counter[int | None] = Counter()
        network.on_frame(lambda frame: count(frame, sent))
        before = await packets_received(zookeeper)
        for _ in range(10):
            await member.heartbeat()
        sent.pop(PING, None)
        assert sent == {EXISTS: 30}
        assert await packets_received(zookeeper) - before >= 1 + 30


def count(frame: Frame, sent: Counter[int | None]) -> None:
    """Count what goes to the server, by what it asks for."""
    if frame.towards == "server":
        sent[frame.opcode] += 1
