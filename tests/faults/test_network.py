"""Between a member and its server: silence, interruptions, rubbish."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aiozk import protocol

from aiopartition import BackendError, BackendUnavailableError, Change, OwnershipUnknownError, PartitionCoordinator
from tests.faults.conftest import Measure
from tests.support import Frame, Proxy, ZooKeeperServer, wait_until
from tests.support.admin import Operator, session_of
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.lookout import overlap
from tests.support.ports import LOOPBACK, free_port
from tests.support.proxy import Episode

TIMEOUT = 2.0
LEASE = TIMEOUT * 2 / 3
PING = protocol.PingRequest.opcode


def warnings_of_unknown_ownership(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "nothing is handed out" in record.getMessage()
    ]


def is_unknown(changes: list[Change]) -> list[bool]:
    return [change.view is None for change in changes]


class TestSilence:
    async def test_a_member_lets_go_before_another_takes_over(
        self,
        fleet: Fleet,
        url: str,
        network_url: str,
        network: Proxy,
        caplog: pytest.LogCaptureFixture,
        measure: Measure,
    ) -> None:
        """In a network that fell silent a member hands out nothing from two thirds of its session timeout after the
        last answered request, and so before any other can own its keys. It is back within 2 s of the healing."""
        cut_off = await fleet.start(network_url, "cut off")
        strict = await fleet.start(network_url, "strict", on_unknown="raise")
        other = await fleet.start(url, "other")
        await fleet.settle()
        changes = fleet.changes(cut_off)
        await wait_until(lambda: len(changes) == 1)
        seen, strictly_seen, seen_elsewhere = [await fleet.watch(member) for member in fleet.members]

        network.silent()
        silent = time.monotonic()
        await wait_until(lambda: len(seen_elsewhere.mine) == len(KEYS))
        taken_over = seen_elsewhere.sightings[-1].first
        assert not seen.mine
        assert not strictly_seen.mine
        for fenced in (seen, strictly_seen):
            handed_out = [sighting for sighting in fenced.sightings if sighting.mine]
            measure("silence to nothing handed out", handed_out[-1].last - silent)
            assert handed_out[-1].last <= silent + LEASE
            assert overlap(handed_out, seen_elsewhere.since(silent)[1:]) < 0
        measure("silence to taken over", taken_over - silent)
        assert seen.errors == []
        assert {type(error) for error in strictly_seen.errors} == {OwnershipUnknownError}
        with pytest.raises(OwnershipUnknownError):
            await strict.extract_my_subset(GROUP, KEYS)
        with pytest.raises(OwnershipUnknownError):
            await cut_off.view(GROUP)
        assert is_unknown(changes) == [False, True]

        network.pass_through()
        healed = time.monotonic()
        await fleet.settle()
        measure("healing to exact split", time.monotonic() - healed)
        assert time.monotonic() - healed < 2.0
        await wait_until(lambda: changes[-1].view is not None)
        view = await cut_off.view(GROUP)
        assert changes[-1].view == view
        assert len(view.members) == 3
        assert sum(is_unknown(changes)) == 1
        [warning] = warnings_of_unknown_ownership(caplog)
        assert f"ownership in group {GROUP!r} is unknown" in warning
        assert (await other.view(GROUP)).generation == view.generation

    async def test_one_warning_for_each_episode(
        self, fleet: Fleet, network_url: str, network: Proxy, caplog: pytest.LogCaptureFixture
    ) -> None:
        """However often somebody asks, one warning is logged for each time that ownership becomes unknown."""
        member = await fleet.start(network_url, "a", session_timeout=0.6, heartbeat=0.1)
        seen = await fleet.watch(member)
        for episode in (1, 2):
            with network.silent():
                await wait_until(lambda: not seen.mine)
                looks = len(seen.sightings)
                await asyncio.sleep(0.1)
                assert len(seen.sightings) == looks
                assert len(warnings_of_unknown_ownership(caplog)) == episode
            await fleet.settle()
            await wait_until(lambda: seen.mine)
        assert len(warnings_of_unknown_ownership(caplog)) == 2

    async def test_shorter_than_the_lease_it_changes_nothing(
        self, fleet: Fleet, url: str, network_url: str, network: Proxy
    ) -> None:
        """A short interruption, with or without a broken connection, is nothing that a user can notice: nobody can
        have taken over yet."""
        member = await fleet.start(network_url, "a", heartbeat=0.1)
        await fleet.start(url, "b")
        await fleet.settle()
        changes, view = fleet.changes(member), await member.view(GROUP)
        seen = await fleet.watch(member)
        with network.hold():
            await asyncio.sleep(0.7)
        await member.heartbeat()
        with network.refuse():
            network.reset()
            await wait_until(lambda: not member.connected)
            await asyncio.sleep(0.3)
        await wait_until(lambda: member.connected)
        await member.heartbeat()
        await wait_until(lambda: changes)
        assert len(seen.sightings) == len(changes) == 1
        assert await member.view(GROUP) == view
        assert seen.errors == []

    async def test_longer_than_the_lease_but_not_than_the_session(
        self, fleet: Fleet, url: str, network_url: str, network: Proxy
    ) -> None:
        """A member that was silent for longer than its lease goes on with the same session and the same view as
        soon as it is heard again, and nothing has moved."""
        member = await fleet.start(network_url, "a", session_timeout=4.0, heartbeat=0.1)
        other = await fleet.start(url, "b", session_timeout=4.0)
        await fleet.settle()
        seen, seen_elsewhere = [await fleet.watch(each) for each in (member, other)]
        view, session, changes = await member.view(GROUP), session_of(member).session_id, fleet.changes(member)
        with network.silent():
            await wait_until(lambda: not seen.mine)
        await fleet.settle()
        assert session_of(member).session_id == session
        assert await member.view(GROUP) == view
        assert len(seen_elsewhere.sightings) == 1
        await wait_until(lambda: is_unknown(changes) == [False, True, False])
        assert (changes[-1].joined, changes[-1].left, changes[-1].moved) == ((), (), 0.0)

    async def test_counts_by_the_timeout_that_was_granted(self, fleet: Fleet, network_url: str, network: Proxy) -> None:
        """A server may grant less than was asked for. What it granted is what the lease is measured by."""
        member = await fleet.start(network_url, "a", session_timeout=600.0, heartbeat=0.1)
        assert member.session_timeout == 4.0
        seen = await fleet.watch(member)
        with network.silent():
            silent = time.monotonic()
            await wait_until(lambda: not seen.mine)
        assert seen.sightings[0].last <= silent + 4.0 * 2 / 3
        await fleet.settle()

    async def test_counts_by_the_timeout_that_was_asked_for(self, fleet: Fleet, namespace: str) -> None:
        """A server may also grant more: an hour. When it freezes, its member lets go as if it had granted what was
        asked for. The others have to wait for the hour."""
        hour = 3_600_000
        async with ZooKeeperServer(settings={"minSessionTimeout": hour, "maxSessionTimeout": hour}) as server:
            member = await fleet.start(server.url(namespace), "a", session_timeout=2.0, heartbeat=0.1)
            assert member.session_timeout == 3600.0
            seen, session = await fleet.watch(member), session_of(member).session_id
            await server.freeze()
            frozen = time.monotonic()
            await wait_until(lambda: not seen.mine)
            assert seen.sightings[0].last <= frozen + 2.0 * 2 / 3
            await wait_until(lambda: not member.connected)
            await server.thaw()
            await fleet.settle()
            assert session_of(member).session_id == session

    async def test_slow_network(
        self, fleet: Fleet, url: str, network_url: str, network: Proxy, measure: Measure
    ) -> None:
        """A network that takes a tenth of a second each way slows things down, and nothing else."""
        with network.delay(0.1):
            begun = time.monotonic()
            member = await fleet.start(network_url, "far", session_timeout=4.0)
            measure("joined through 0.1 s each way", time.monotonic() - begun)
            await fleet.start(url, "near", session_timeout=4.0)
            await fleet.settle()
            seen = await fleet.watch(member)
            await asyncio.sleep(1.0)
            assert len(seen.sightings) == 1
            assert network.connections == 1

    async def test_in_one_direction_only(self, fleet: Fleet, url: str, network_url: str, network: Proxy) -> None:
        """Answers that do not arrive count as silence too, although the server goes on hearing us: the member lets
        go, and has its keys again when answers come."""
        member = await fleet.start(network_url, "a", session_timeout=1.0, heartbeat=0.1)
        await fleet.start(url, "b", session_timeout=1.0)
        await fleet.settle()
        seen = await fleet.watch(member)
        with network.silent("client"):
            silent = time.monotonic()
            await wait_until(lambda: not seen.mine)
        assert seen.sightings[0].last <= silent + 1.0 * 2 / 3
        await fleet.settle()


class TestLostWatch:
    async def test_is_made_good_by_the_next_heartbeat(
        self, fleet: Fleet, url: str, network_url: str, network: Proxy
    ) -> None:
        """A watch event that never arrives is made good by the next heartbeat, and by nothing before."""
        deaf = await fleet.start(network_url, "a", heartbeat=60.0)
        network.drop_next_event()
        other = await fleet.start(url, "b")
        await wait_until(lambda: network.events_dropped == 1)
        assert await other.get_members(GROUP) == ("a", "b")
        assert await deaf.get_members(GROUP) == ("a",)
        await deaf.heartbeat()
        await fleet.settle()
        # The watch is armed again: what comes next needs no heartbeat.
        await other.stop()
        await fleet.settle(deaf)

    async def test_heartbeats_come_by_themselves(
        self, fleet: Fleet, url: str, network_url: str, network: Proxy, measure: Measure
    ) -> None:
        """Nobody has to call ``heartbeat()``: the background does."""
        await fleet.start(network_url, "a", heartbeat=0.3)
        network.drop_next_event()
        await fleet.start(url, "b")
        joined = time.monotonic()
        await fleet.settle()
        measure("lost watch made good", time.monotonic() - joined)
        assert network.events_dropped == 1


class TestHeldAnswer:
    async def test_is_fetched_by_the_next_ping(self, fleet: Fleet, network_url: str, network: Proxy) -> None:
        """A server of 3.8.0 now and then keeps an answer until something else comes on that connection. Whichever
        answer of a join or a farewell it is: the next ping fetches it, over the same connection."""
        for step in range(1, 9):
            group, member = f"step-{step}", await fleet.start(network_url, "a", join=False, heartbeat=60.0)
            holds, connections = HoldsAnswer(network, step), network.connections
            with network.on_frame(holds):
                async with asyncio.timeout(TIMEOUT):
                    await member.join_group(group)
                    assert await member.get_members(group) == ("a",)
                    await member.leave_group(group)
            assert holds.fetched
            assert network.connections == connections
            await member.stop()


class TestBrokenConnection:
    @pytest.mark.parametrize("trouble", ["reset", "half_close", "cut_mid_frame"])
    async def test_is_replaced_at_once(
        self, fleet: Fleet, url: str, network_url: str, network: Proxy, trouble: str, measure: Measure
    ) -> None:
        """A connection that was reset, closed or cut in the middle of a frame is replaced each time, by one other,
        with the same session; nothing moves and nothing is left behind."""
        member = await fleet.start(network_url, "a", heartbeat=0.1)
        await fleet.start(url, "b")
        await fleet.settle()
        seen, session = await fleet.watch(member), session_of(member).session_id
        for count in range(1, 4):
            getattr(network, trouble)()
            broken = time.monotonic()
            await wait_until(lambda: network.connections > count, interval=0.001)  # noqa: B023
            await wait_until(lambda: member.connected, interval=0.001)
            measure(f"{trouble} to connected", time.monotonic() - broken)
            await member.heartbeat()
            assert session_of(member).session_id == session
        await fleet.settle()
        await wait_until(lambda: network.open_connections == 1)
        assert network.connections == 4
        assert len(seen.sightings) == 1

    async def test_a_request_under_way_fails_at_once(self, fleet: Fleet, network_url: str, network: Proxy) -> None:
        """Whoever waits for an answer when the connection breaks is told so, instead of waiting for a timeout."""
        member = await fleet.start(network_url, "a", heartbeat=60.0)
        with network.hold():
            waiting = asyncio.create_task(member.heartbeat())
            await wait_until(lambda: network.traffic["server"] and not waiting.done())
            network.reset()
            with pytest.raises(BackendUnavailableError):
                async with asyncio.timeout(0.5):
                    await waiting
        await fleet.settle()

    @pytest.mark.parametrize("request_lost", [True, False], ids=["request lost", "answer lost"])
    async def test_at_every_step_of_joining_and_leaving(
        self, fleet: Fleet, network_url: str, operator: Operator, network: Proxy, namespace: str, request_lost: bool
    ) -> None:
        """Wherever the connection breaks, before a request reaches the server or after the server has carried it out
        and before the answer arrives: a join is completed with exactly one entry, and a farewell leaves none."""
        for step in range(1, 8):
            group, breaks = f"step-{step}", Breaks(network, step, request_lost)
            members = f"{namespace}/{group}/members"
            member = await fleet.start(network_url, "a", join=False, heartbeat=0.1)
            with network.on_frame(breaks):
                await member.join_group(group)
                await wait_until(lambda: sees_itself(member, group))  # noqa: B023
            assert [name.split(";")[:2] for name in await operator.children(members)] == [["a", "1"]]
            assert breaks.broken or step > 5
            if step <= 3:
                with network.on_frame(Breaks(network, step, request_lost)):
                    await member.leave_group(group)
                    await wait_until(lambda: is_empty(operator, members))  # noqa: B023
                    await member.join_group(group)
                    await wait_until(lambda: sees_itself(member, group))  # noqa: B023
                assert len(await operator.children(members)) == 1
            await member.stop()
            await wait_until(lambda: is_empty(operator, members))  # noqa: B023

    async def test_news_missed_meanwhile_are_learned_at_once(
        self, fleet: Fleet, url: str, network_url: str, network: Proxy, measure: Measure
    ) -> None:
        """What changed while a member was disconnected it learns as soon as it is connected, without a heartbeat."""
        member = await fleet.start(network_url, "a", heartbeat=60.0, session_timeout=4.0)
        with network.refuse():
            network.reset()
            await wait_until(lambda: not member.connected)
            await fleet.start(url, "b", heartbeat=60.0, session_timeout=4.0)
        await wait_until(lambda: member.connected, interval=0.001)
        connected = time.monotonic()
        await fleet.settle()
        measure("connected to exact split", time.monotonic() - connected)

    async def test_right_after_each_handshake(
        self, fleet: Fleet, network_url: str, network: Proxy, measure: Measure
    ) -> None:
        """A server that takes each connection and drops it at the first question is not besieged."""
        member = await fleet.start(network_url, "a", heartbeat=0.1)

        def drop(frame: Frame) -> bool:
            if frame.towards == "server" and not frame.is_handshake:
                asyncio.get_running_loop().call_soon(network.reset)
                return False
            return True

        with network.on_frame(drop):
            await wait_until(lambda: not member.connected, interval=0.001)
            assert await connections_in_a_second(lambda: network.connections) < 20
        await fleet.settle()
        await wait_until(lambda: network.open_connections == 1)


class Breaks:
    """Resets the network once, at the ``step``-th request after the handshake."""

    def __init__(self, network: Proxy, step: int, request_lost: bool) -> None:
        self.network = network
        self.left = step
        self.request_lost = request_lost
        self.broken = False
        self._lost: tuple[int, int | None] | None = None

    def __call__(self, frame: Frame) -> bool:
        if frame.is_handshake or self.broken:
            return True
        if frame.towards == "server" and frame.opcode != PING:
            self.left -= 1
            if self.left == 0:
                if not self.request_lost:
                    self._lost = frame.connection, frame.xid
                    return True
                return self._break()
        if frame.towards == "client" and (frame.connection, frame.xid) == self._lost:
            return self._break()
        return True

    def _break(self) -> bool:
        self.broken = True
        asyncio.get_running_loop().call_soon(self.network.reset)
        return False


class HoldsAnswer:
    """Keeps what answers the ``step``-th request until the next request passes."""

    def __init__(self, network: Proxy, step: int) -> None:
        self.network = network
        self.left = step
        self.held: Episode | None = None
        self.fetched = False

    def __call__(self, frame: Frame) -> None:
        if frame.towards == "client" or self.fetched:
            return
        self.left -= 1
        if self.held is not None:
            self.held.end()
            self.fetched = True
        elif self.left == 0:
            self.held = self.network.hold("client")


async def sees_itself(member: PartitionCoordinator, group: str) -> bool:
    try:
        return await member.get_members(group) == (member.member_id,)
    except OwnershipUnknownError:
        return False


async def is_empty(operator: Operator, path: str) -> bool:
    return not await operator.children(path)


async def connections_in_a_second(count: Callable[[], int]) -> int:
    before = count()
    await asyncio.sleep(1.0)
    return count() - before


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Impostor:
    """Something that listens on a port and is no ZooKeeper."""

    def __init__(self, answer: Answer) -> None:
        self.port = free_port()
        self.connections = 0
        self._answer = answer
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    @property
    def open(self) -> int:
        return len(self._writers)

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await wait_until(lambda: not self._writers)


@asynccontextmanager
async def impostor(answer: Answer) -> AsyncIterator[Impostor]:
    """Has it listen."""
    listening = Impostor(answer)
    async with await asyncio.start_server(listening.serve, LOOPBACK, listening.port) as server:
        yield listening
        server.close()
        await listening.close()


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big", signed=True) + body


GOOD_HANDSHAKE = frame(bytes(4) + (2000).to_bytes(4, "big") + (77).to_bytes(8, "big") + frame(bytes(16)) + b"\0")


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept and say nothing."""
    await reader.read(-1)


def saying(words: bytes, *, handshake: bool = False) -> Answer:
    """Answer the first frame with these words, after a good handshake or instead of one, and then nothing more."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        if handshake:
            writer.write(GOOD_HANDSHAKE)
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        writer.write(words)
        await reader.read(-1)

    return answer


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept and hang up."""


IMPOSTORS = {
    "never answers": never,
    "hangs up": closing,
    "speaks HTTP": saying(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    "sends an empty frame": saying(bytes(4)),
    "sends a negative length": saying(b"\xff\xff\xff\xfe????"),
    "sends a short handshake": saying(frame(b"\0\0\0")),
    "sends a handshake of rubbish": saying(frame(bytes(range(37)))),
    "says that the session has expired": saying(frame(bytes(16) + frame(bytes(16)))),
    "grants no time": saying(frame(bytes(8) + (77).to_bytes(8, "big") + frame(bytes(16)))),
    "sends half a handshake": saying(GOOD_HANDSHAKE[:20]),
    "says that it is read-only": saying(GOOD_HANDSHAKE[:-1] + b"\1"),
    "answers requests with rubbish": saying(frame(b"rubbish"), handshake=True),
    "answers what nobody asked": saying(frame((4711).to_bytes(4, "big") + bytes(12)), handshake=True),
    "answers with an unknown error": saying(
        frame((1).to_bytes(4, "big") + bytes(8) + (-999).to_bytes(4, "big", signed=True)), handshake=True
    ),
    "answers with a body of rubbish": saying(frame((1).to_bytes(4, "big") + bytes(12) + b"\xff" * 30), handshake=True),
    "sends a watch event of rubbish": saying(frame(b"\xff" * 4 + bytes(12) + b"\x7f" * 9), handshake=True),
    "sends an event of no known kind": saying(
        frame(b"\xff" * 4 + bytes(12) + (99).to_bytes(4, "big") + (99).to_bytes(4, "big") + b"\xff" * 4), handshake=True
    ),
}

PLAUSIBLE = [IMPOSTORS["answers with an unknown error"]]
"""Those that nothing tells from a server, except that it is a useless one."""


class TestImpostor:
    async def test_is_neither_trusted_nor_besieged(
        self, fleet: Fleet, zookeeper: ZooKeeperServer, namespace: str
    ) -> None:
        """Whatever answers instead of ZooKeeper: nothing is handed out, no error gets out of the background, attempts
        to connect stay rare and leave nothing behind, and a real server in the same list is found."""

        async def meet(name: str, answer: Answer) -> None:
            async with impostor(answer) as listening:
                deceived = f"{LOOPBACK}:{listening.port}"
                member = await fleet.start(
                    f"zookeeper://{deceived}{namespace}", name, join=False, connect_timeout=0.2, heartbeat=0.1
                )
                before = listening.connections
                begun = time.monotonic()
                while time.monotonic() < begun + 1.0:
                    with suppress(BackendError):
                        async with asyncio.timeout(5.0):
                            assert await member.extract_my_subset(GROUP, KEYS) == [], name
                    await asyncio.sleep(0.05)
                assert listening.connections - before < 20, name
                assert listening.open <= 1, name
                await member.stop()
                await wait_until(lambda: not listening.open, what=lambda: f"the end of connections to one that {name}")
                if answer not in PLAUSIBLE:
                    url = f"zookeeper://{deceived},{zookeeper.address}{namespace}"
                    found = await fleet.start(url, name, join=False, connect_timeout=5.0)

                    async def takes_part() -> bool:
                        try:
                            return await found.get_members(name) == (name,)
                        except OwnershipUnknownError:
                            return False

                    await wait_until(takes_part, what=lambda: f"a real server beside one that {name}")
                    await found.stop()

        async with asyncio.TaskGroup() as meetings:
            for name, answer in IMPOSTORS.items():
                meetings.create_task(meet(name, answer))


class TestNames:
    async def test_that_do_not_resolve_at_first(
        self, fleet: Fleet, zookeeper: ZooKeeperServer, namespace: str, names: dict[str, str], measure: Measure
    ) -> None:
        """A name that does not resolve when the service starts is looked up again until it does."""
        url = f"zookeeper://zk.example:{zookeeper.port}{namespace}"
        member = await fleet.start(url, "a", connect_timeout=0.3)
        assert await member.extract_my_subset(GROUP, KEYS) == []
        assert not member.connected
        names["zk.example"] = LOOPBACK
        known = time.monotonic()
        await fleet.settle()
        measure("name known to exact split", time.monotonic() - known)

    async def test_one_that_does_not_resolve_among_others(
        self, fleet: Fleet, zookeeper: ZooKeeperServer, namespace: str, names: dict[str, str]
    ) -> None:
        """One bad name in the list does no harm."""
        await fleet.start(f"zookeeper://zk.example,{zookeeper.address}{namespace}", "a", connect_timeout=5.0)
        await fleet.settle()
