"""Nothing happens, and so nothing is sent."""

import asyncio
import time
from collections import Counter
from collections.abc import Sized

from aiozk import protocol

from aiopartition import GroupPolicy, PartitionCoordinator
from aiopartition.backends.layout import group_path, marks_path
from aiopartition.backends.zookeeper.backend import ZooKeeperBackend
from tests.support import Frame, Proxy, ZooKeeperServer, wait_until
from tests.support.admin import Operator
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.split import steady

PING = protocol.PingRequest.opcode
EXISTS = protocol.ExistsRequest.opcode
MULTI_READ = 22


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


class TestAHandoffThatWaits:
    async def test_names_are_read_again_only_after_a_change(
        self, fleet: Fleet, url: str, network_url: str, namespace: str, operator: Operator, network: Proxy
    ) -> None:
        """Each second a member asks whether the marks have changed. The answer's length does not depend on how many
        there are."""
        policy = GroupPolicy(exclusive=True)
        watched = await fleet.start(network_url, "a", session_timeout=4.0, heartbeat=60.0, policy=policy)
        busy = await fleet.start(url, "b", session_timeout=4.0, heartbeat=60.0)
        await steady(GROUP, watched, busy)
        looks, lengths = 0, list[int]()

        def note(frame: Frame) -> None:
            nonlocal looks
            looks += frame.opcode == MULTI_READ
            if frame.towards == "client" and len(frame.body) > 1_000:
                lengths.append(len(frame.body))

        async with busy.hold(GROUP):
            await fleet.start(url, "c", session_timeout=4.0, heartbeat=60.0, connect_timeout=1.0)
            await wait_until(lambda: len(watched.status(GROUP).waiting_for) == 1)
            marks = marks_path(group_path(namespace, GROUP), watched.status(GROUP).generation or 0, ready=False)
            for number in range(50):
                await operator.create(f"{marks}/a stranger's node, number {number}")
            network.on_frame(note)
            await wait_until(lambda: looks >= 5, timeout=15.0)
            assert len(lengths) == 1
            await operator.create(f"{marks}/one more")
            await wait_until(lambda: len(lengths) == 2, timeout=15.0)
            assert {each.member_id for each in watched.status(GROUP).waiting_for} == {"b"}
        await steady(GROUP, *fleet.members)

    async def test_what_was_read_is_forgotten_when_it_is_over(self, fleet: Fleet, url: str) -> None:
        """By members and by observers, which make no marks."""
        busy = await fleet.start(url, "a", policy=GroupPolicy(exclusive=True))
        observer = await fleet.start(url, "o", join=False)
        await observer.observe(GROUP)
        async with busy.hold(GROUP):
            waiting = await fleet.start(url, "b", connect_timeout=0.5)
            surveys = [surveys_of(each) for each in (waiting, observer)]
            await wait_until(lambda: all(surveys))
        await steady(GROUP, busy, waiting)
        await wait_until(lambda: not any(surveys))


def surveys_of(coordinator: PartitionCoordinator) -> Sized:
    """What is remembered of how marks were read."""
    backend = coordinator._registry.backend
    assert isinstance(backend, ZooKeeperBackend)
    return backend._handoffs._surveys


def count(frame: Frame, sent: Counter[int | None]) -> None:
    """Count what goes to the server, by what it asks for."""
    if frame.towards == "server":
        sent[frame.opcode] += 1
