"""The support itself: that a server, an ensemble and a network do what the fault tests take for granted."""

import asyncio
import os
import random
import signal
import socket
import struct
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiozk import protocol

from tests.support import Ensemble, Frame, Proxy, ZooKeeperServer, java, wait_until
from tests.support.admin import session_of
from tests.support.fleet import GROUP, Fleet
from tests.support.frames import FrameSplitter
from tests.support.leaks import LeakCheck
from tests.support.ports import LOOPBACK, free_port
from tests.support.server import ServerStartError
from tests.support.tls import Certificates

REPOSITORY = Path(__file__).parents[2]
SOON = 2.0
A_WHILE = 0.1
"""Long enough for a loopback round trip, so that nothing arriving means that nothing will."""


class RawSession:
    """A ZooKeeper session of bare frames: no reconnection, no pings."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._xid = 0
        self.events: list[str] = []

    async def handshake(self) -> None:
        self._write(
            protocol.ConnectRequest(
                protocol_version=0, last_seen_zxid=0, timeout=4000, session_id=0, password=bytes(16), read_only=False
            ).serialize()
        )
        await self._read()

    async def send(self, request: Any) -> int:
        """Send a request and return the error of its answer; watch events on the way are kept."""
        self._xid += 1
        self._write(request.serialize(self._xid))
        while True:
            frame = await self._read()
            xid, _, error = struct.unpack_from("!iqi", frame)
            if xid == self._xid:
                return int(error)
            event: Any = protocol.WatchEvent.deserialize(frame[16:])
            self.events.append(event.path)

    async def create(self, path: str) -> int:
        return await self.send(protocol.CreateRequest(path=path, data=b"", acl=[protocol.UNRESTRICTED_ACCESS], flags=0))

    async def exists(self, path: str, *, watch: bool = False) -> bool:
        return await self.send(protocol.ExistsRequest(path=path, watch=watch)) == 0

    def _write(self, body: bytes) -> None:
        self._writer.write(struct.pack("!i", len(body)) + body)

    async def _read(self) -> bytes:
        async with asyncio.timeout(SOON):
            (length,) = struct.unpack("!i", await self._reader.readexactly(4))
            return await self._reader.readexactly(length)


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def raw_session(port: int) -> AsyncIterator[RawSession]:
    async with connection(port) as (reader, writer):
        session = RawSession(reader, writer)
        await session.handshake()
        yield session


async def say(reader: StreamReader, writer: StreamWriter, words: bytes) -> bytes:
    """Send ``words`` and return what comes back of them."""
    writer.write(words)
    async with asyncio.timeout(SOON):
        return await reader.readexactly(len(words))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


async def stays_silent(reader: StreamReader) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(A_WHILE):
            await reader.read(1)
            return False
    return True


@pytest.fixture
async def echo() -> AsyncIterator[Proxy]:
    """A network in front of a server that sends everything back."""
    heard: set[asyncio.Task[Any] | None] = set()

    async def send_back(reader: StreamReader, writer: StreamWriter) -> None:
        heard.add(asyncio.current_task())
        with suppress(ConnectionError):
            while data := await reader.read(1024):
                writer.write(data)
        writer.close()
        heard.discard(asyncio.current_task())

    server = await asyncio.start_server(send_back, LOOPBACK, free_port())
    async with server, Proxy(LOOPBACK, server.sockets[0].getsockname()[1]) as network:
        yield network
        await network.close()
        await wait_until(lambda: not heard)


class TestServer:
    async def test_is_up_when_it_has_started(self, zookeeper: ZooKeeperServer) -> None:
        assert await zookeeper.mode() == "standalone"
        assert (await zookeeper.mntr())["zk_server_state"] == "standalone"
        assert zookeeper.running

    async def test_tells_of_ephemeral_nodes(
        self, url: str, zookeeper: ZooKeeperServer, fleet: Fleet, namespace: str
    ) -> None:
        member = await fleet.start(url, "a")
        found = [(session, path) for session, path in await zookeeper.ephemerals() if path.startswith(f"{namespace}/")]
        assert [session for session, _ in found] == [hex(session_of(member).session_id)]
        assert found[0][1].startswith(f"{namespace}/{GROUP}/members/a;1;1;")
        await member.stop()
        assert not [path for _, path in await zookeeper.ephemerals() if path.startswith(f"{namespace}/")]

    async def test_killed_it_refuses_and_restarted_it_has_its_data(
        self, zookeeper: ZooKeeperServer, namespace: str
    ) -> None:
        async with raw_session(zookeeper.port) as session:
            await session.create(namespace)
            await zookeeper.kill()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await session.exists(namespace)
        assert not zookeeper.running
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, zookeeper.port)
        await zookeeper.restart()
        async with raw_session(zookeeper.port) as session:
            assert await session.exists(namespace)

    async def test_wiped_it_has_forgotten(self, zookeeper: ZooKeeperServer, namespace: str) -> None:
        async with raw_session(zookeeper.port) as session:
            await session.create(namespace)
        with pytest.raises(RuntimeError, match="must be down"):
            await zookeeper.wipe()
        await zookeeper.stop()
        await zookeeper.wipe()
        await zookeeper.start()
        async with raw_session(zookeeper.port) as session:
            assert not await session.exists(namespace)

    async def test_restored_it_has_what_the_backup_has(self, zookeeper: ZooKeeperServer, namespace: str) -> None:
        with pytest.raises(RuntimeError, match="must be down"):
            zookeeper.back_up()
        async with raw_session(zookeeper.port) as session:
            await session.create(f"{namespace}-before")
        await zookeeper.stop()
        zookeeper.back_up()
        await zookeeper.start()
        async with raw_session(zookeeper.port) as session:
            await session.create(f"{namespace}-after")
        await zookeeper.stop()
        zookeeper.restore()
        await zookeeper.start()
        async with raw_session(zookeeper.port) as session:
            assert await session.exists(f"{namespace}-before")
            assert not await session.exists(f"{namespace}-after")

    async def test_frozen_it_takes_connections_and_answers_nothing(self, zookeeper: ZooKeeperServer) -> None:
        await zookeeper.freeze()
        async with connection(zookeeper.port) as (reader, writer):
            writer.write(b"ruok")
            assert await stays_silent(reader)
            await zookeeper.thaw()
            async with asyncio.timeout(SOON):
                assert await reader.read() == b"imok"

    async def test_heals_from_anything(self, zookeeper: ZooKeeperServer) -> None:
        await zookeeper.freeze()
        await zookeeper.heal()
        assert await zookeeper.mode() == "standalone"
        assert zookeeper.pid is not None
        os.kill(zookeeper.pid, signal.SIGKILL)
        await wait_until(lambda: not zookeeper.running)
        await zookeeper.heal()
        assert await zookeeper.mode() == "standalone"

    async def test_says_why_it_does_not_start(self) -> None:
        with pytest.raises(ServerStartError, match=r"ended instead of starting(.|\n)*NumberFormatException"):
            async with ZooKeeperServer(settings={"tickTime": "often"}):
                pass

    async def test_speaks_tls(self, tmp_path: Path) -> None:
        certificates, port = Certificates(tmp_path), free_port()
        settings = certificates.server_settings(port, client_certificate=True)
        async with ZooKeeperServer(settings=settings) as server:
            context = certificates.client_context(name="agent")
            await wait_until(lambda: listens(port))  # it opens this port after the plain one
            reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
            async with asyncio.timeout(10):
                writer.write(b"ruok")
                assert await reader.read() == b"imok"
            writer.transport.abort()
            assert certificates.identity("agent") in server.log_tail()

    async def test_does_not_outlive_a_killed_test_run(self, tmp_path: Path) -> None:
        start_and_hang = (
            "import asyncio; from tests.support import ZooKeeperServer\n"
            "async def main():\n"
            "    server = ZooKeeperServer(); await server.start(wait=False)\n"
            "    print(server.pid, flush=True); await asyncio.Event().wait()\n"
            "asyncio.run(main())"
        )
        with subprocess.Popen(
            [sys.executable, "-c", start_and_hang],
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(tmp_path)},  # what is killed removes nothing
        ) as run:
            assert run.stdout is not None
            process = Path("/proc", run.stdout.readline().decode().strip())
            assert process.exists()
            run.kill()
        await wait_until(lambda: not process.exists() or "\nState:\tZ" in (process / "status").read_text())


def test_missing_java_code_is_an_error_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ZOOKEEPER_CLASSPATH", raising=False)
    monkeypatch.setattr(java, "DEBIAN_JAR", Path("/nowhere/zookeeper.jar"))
    monkeypatch.setattr(java, "DOWNLOADED", tmp_path)
    with pytest.raises(
        java.ZooKeeperMissingError, match="apt-get install -y --no-install-recommends libzookeeper-java$"
    ):
        java.find_class_path()
    (tmp_path / "zookeeper-3.9.5.jar").touch()
    assert java.find_class_path() == str(tmp_path / "*")
    monkeypatch.setenv("ZOOKEEPER_CLASSPATH", "/elsewhere/*")
    assert java.find_class_path() == "/elsewhere/*"


class TestEnsemble:
    async def test_has_one_leader_and_followers(self, ensemble: Ensemble) -> None:
        leader, followers = await ensemble.leader(), await ensemble.followers()
        assert {leader, *followers} == set(ensemble.servers)
        assert len(followers) == 2
        assert ensemble.server_of(leader.port) is leader
        with pytest.raises(LookupError):
            ensemble.server_of(1)

    async def test_elects_another_when_the_leader_is_killed(self, ensemble: Ensemble, namespace: str) -> None:
        killed, survivor = await ensemble.leader(), (await ensemble.followers())[0]
        async with raw_session(survivor.port) as session:
            await session.create(namespace)
        await killed.kill()
        assert await ensemble.wait_quorum() is not killed
        await ensemble.heal()
        assert len(await ensemble.followers()) == 2
        async with raw_session(killed.port) as session:
            assert await session.exists(namespace)

    async def test_a_follower_that_has_forgotten_gets_the_tree_of_its_leader(
        self, ensemble: Ensemble, namespace: str
    ) -> None:
        """What it had logged can still be read."""
        follower = (await ensemble.followers())[0]
        async with raw_session(follower.port) as session:
            await session.create(namespace)
        with pytest.raises(RuntimeError, match="must be down"):
            follower.forget_tree()
        await follower.stop()
        logged = [path.read_bytes() for path in follower.transaction_logs()]
        follower.forget_tree()
        await follower.start()
        async with raw_session(follower.port) as session:
            assert await session.exists(namespace)
        assert [path.read_bytes() for path in follower.transaction_logs()][: len(logged)] == logged

    async def test_does_without_a_frozen_follower(self, ensemble: Ensemble) -> None:
        leader, frozen = await ensemble.leader(), (await ensemble.followers())[0]
        await frozen.freeze()
        assert await ensemble.wait_quorum() is leader
        assert await ensemble.modes() == {
            server: None if server is frozen else "leader" if server is leader else "follower"
            for server in ensemble.servers
        }

    async def test_without_a_quorum_nobody_leads(self, ensemble: Ensemble) -> None:
        for server in await ensemble.followers():
            await server.kill()

        async def nobody_serves() -> bool:
            return not any((await ensemble.modes()).values())

        await wait_until(nobody_serves)
        with pytest.raises(LookupError):
            await ensemble.leader()


class TestNetwork:
    async def test_passes_through_and_counts(self, echo: Proxy) -> None:
        async with connection(echo.port) as (reader, writer):
            assert await say(reader, writer, b"hello") == b"hello"
            assert await say(reader, writer, bytes(100_000)) == bytes(100_000)
            assert echo.connections == echo.open_connections == 1
            assert echo.traffic == {"server": 100_005, "client": 100_005}
            writer.write_eof()
            assert await reader.read() == b""
        await wait_until(lambda: echo.open_connections == 0)

    async def test_closes_in_the_middle_of_everything(self, echo: Proxy) -> None:
        async with connection(echo.port) as (reader, writer):
            assert await say(reader, writer, b"hello") == b"hello"
            async with connection(echo.port):  # not even accepted yet
                echo.silent()
                writer.write(b"lost")
                await echo.close()
                with pytest.raises(ConnectionResetError):
                    await reader.read()
        assert echo.open_connections == 0

    async def test_silence_keeps_connections_and_drops_what_arrives(self, echo: Proxy) -> None:
        async with connection(echo.port) as (reader, writer), connection(echo.port) as (idle_reader, idle_writer):
            assert await say(reader, writer, b"before") == b"before"
            assert await say(idle_reader, idle_writer, b"before") == b"before"
            async with echo.silent():
                writer.write(b"lost")
                async with connection(echo.port) as (new_reader, new_writer):
                    new_writer.write(b"lost as well")
                    assert await stays_silent(new_reader)
                assert await stays_silent(reader)
            writer.write(b"the middle of a stream is never lost alone")
            assert await stays_silent(reader)
            assert await say(idle_reader, idle_writer, b"lost nothing") == b"lost nothing"

    @pytest.mark.parametrize(("towards", "arrived"), [("server", 0), ("client", 4)])
    async def test_silence_one_way(self, echo: Proxy, towards: Any, arrived: int) -> None:
        async with connection(echo.port) as (reader, writer):
            assert await say(reader, writer, b"before") == b"before"
            with echo.silent(towards):
                writer.write(b"lost")
                assert await stays_silent(reader)
            assert echo.traffic["client"] == len(b"before") + arrived

    async def test_silence_hides_the_end_of_a_connection(self, echo: Proxy) -> None:
        async with connection(echo.port) as (reader, writer):
            assert await say(reader, writer, b"before") == b"before"
            echo.silent()
        await asyncio.sleep(A_WHILE)
        assert echo.open_connections == 1
        echo.pass_through()
        await wait_until(lambda: echo.open_connections == 0)

    async def test_holds_and_delivers_later(self, echo: Proxy) -> None:
        async with connection(echo.port) as (reader, writer):
            async with echo.hold():
                writer.write(b"late")
                assert await stays_silent(reader)
            assert await reader.readexactly(4) == b"late"

    async def test_delays(self, echo: Proxy) -> None:
        clock = asyncio.get_running_loop()
        async with connection(echo.port) as (reader, writer):
            start = clock.time()
            async with echo.delay(0.05):
                await say(reader, writer, b"slow")
            assert clock.time() - start >= 0.1
            assert echo.connections == 1
            start = clock.time()
            await say(reader, writer, b"quick")
            assert clock.time() - start < 0.05

    async def test_resets(self, echo: Proxy) -> None:
        async with connection(echo.port) as (reader, writer):
            assert await say(reader, writer, b"before") == b"before"
            echo.reset()
            with pytest.raises(ConnectionResetError):
                await reader.read()
        async with connection(echo.port) as (reader, writer):
            assert await say(reader, writer, b"after") == b"after"

    async def test_closes_half(self, echo: Proxy) -> None:
        async with connection(echo.port) as (reader, writer):
            assert await say(reader, writer, b"before") == b"before"
            echo.half_close()
            assert await reader.read() == b""
            writer.write(b"still read")
            await wait_until(lambda: echo.traffic["client"] == len(b"before" + b"still read"))

    async def test_refuses_and_listens_again(self, echo: Proxy) -> None:
        async with connection(echo.port) as (reader, writer):
            assert await say(reader, writer, b"before") == b"before"
            async with echo.refuse():
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(LOOPBACK, echo.port)
                assert await say(reader, writer, b"still open") == b"still open"
            async with connection(echo.port) as (new_reader, new_writer):
                assert await say(new_reader, new_writer, b"after") == b"after"

    async def test_a_server_that_is_down_resets(self) -> None:
        async with Proxy(LOOPBACK, free_port()) as network, connection(network.port) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read()

    async def test_an_error_of_a_filter_is_not_lost(self, network: Proxy) -> None:
        def fail(frame: Frame) -> bool:
            raise ValueError(frame)

        network.on_frame(fail)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            async with raw_session(network.port):
                pass
        with pytest.raises(ExceptionGroup):
            await network.close()


class TestZooKeeperNetwork:
    async def test_passes_four_letter_words(self, network: Proxy) -> None:
        async with connection(network.port) as (reader, writer):
            assert await say(reader, writer, b"ruok") == b"imok"[:4]

    async def test_shows_every_frame(self, network: Proxy, namespace: str) -> None:
        requests: Counter[int | None] = Counter()
        replies: list[int | None] = []

        def look(frame: Frame) -> None:
            if frame.towards == "server":
                requests[frame.opcode] += 1
            else:
                replies.append(frame.xid)

        with network.on_frame(look):
            async with raw_session(network.port) as session:
                await session.create(namespace)
                await session.exists(namespace)
                await session.exists(namespace)
        assert requests == {None: 1, protocol.CreateRequest.opcode: 1, protocol.ExistsRequest.opcode: 2}
        assert replies == [None, 1, 2, 3]

    async def test_passes_on_what_a_filter_gives_instead(self, network: Proxy, namespace: str) -> None:
        def other(frame: Frame) -> tuple[bytes, ...] | None:
            if frame.opcode == protocol.ExistsRequest.opcode:
                return (frame.body, frame.body)
            return (frame.body[:-1] + b"?",) if frame.opcode == protocol.CreateRequest.opcode else None

        replies: list[int | None] = []
        async with raw_session(network.port) as session:
            with network.on_frame(other), network.on_frame(lambda frame: replies.append(frame.xid)):
                await session.exists(namespace)
                await wait_until(lambda: len(replies) == 3)
        assert replies == [1, 1, 1]  # the question, and two answers

    async def test_swallows_what_a_filter_refuses(self, network: Proxy, namespace: str) -> None:
        async with raw_session(network.port) as session:
            with (
                network.on_frame(lambda frame: frame.opcode != protocol.CreateRequest.opcode),
                pytest.raises(TimeoutError),
            ):
                async with asyncio.timeout(A_WHILE):
                    await session.create(namespace)
            assert not await session.exists(namespace)

    async def test_loses_a_watch_and_nothing_else(self, network: Proxy, namespace: str) -> None:
        async with raw_session(network.port) as session:
            for count, name in enumerate(("lost", "seen")):
                await session.exists(f"{namespace}-{name}", watch=True)
                if name == "lost":
                    network.drop_next_event()
                await session.create(f"{namespace}-{name}")
                assert len(session.events) == count
            assert session.events == [f"{namespace}-seen"]
        assert network.events_dropped == 1

    async def test_cuts_a_frame_in_the_middle(self, network: Proxy, namespace: str) -> None:
        async with raw_session(network.port) as session:
            network.cut_mid_frame()
            with pytest.raises(asyncio.IncompleteReadError) as cut:
                await session.exists(namespace)
            assert 0 < len(cut.value.partial) < (cut.value.expected or 0)
        async with raw_session(network.port) as session:
            assert not await session.exists(namespace)


class TestFrameSplitter:
    @pytest.mark.parametrize("step", [1, 3, 7, 1000])
    def test_finds_frames_however_they_arrive(self, step: int) -> None:
        frames = [struct.pack("!i", length) + bytes(length) for length in (0, 1, 8, 300)]
        stream = b"".join(frames)
        splitter = FrameSplitter()
        pieces = [piece for at in range(0, len(stream), step) for piece in splitter.feed(stream[at : at + step])]
        assert pieces == [(frame, True) for frame in frames]
        assert splitter.rest == b""

    def test_passes_on_what_is_no_frame(self) -> None:
        splitter = FrameSplitter()
        assert list(splitter.feed(b"sr")) == []
        assert list(splitter.feed(b"vr")) == [(b"srvr", False)]
        assert list(splitter.feed(b"\n")) == [(b"\n", False)]


class TestWaiting:
    async def test_returns_the_answer(self) -> None:
        answers = iter([None, 0, "", "at last"])

        async def ask() -> object:
            return next(answers)

        assert await wait_until(ask, interval=0) == "at last"
        assert await wait_until(lambda: 3) == 3

    async def test_says_what_did_not_happen(self) -> None:
        with pytest.raises(AssertionError, match=r"^not within 0 s: .*lambda: 0 > 1.* \(the last answer was False\)$"):
            await wait_until(lambda: 0 > 1, timeout=0)
        with pytest.raises(AssertionError, match=r"^not within 0 s: rain \(the last answer was False\)$"):
            await wait_until(lambda: False, timeout=0, what=lambda: "rain")


class TestPorts:
    def test_no_two_processes_are_given_one_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        program = "from tests.support.ports import free_port; print(free_port(), flush=True); input()"
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            taken = int(other.stdout.readline())
            by_chance = random.randrange
            candidates = iter([taken])
            monkeypatch.setattr(random, "randrange", lambda *_: next(candidates, None) or by_chance(10_000, 32_768))
            assert free_port() != taken
            other.kill()
        monkeypatch.setattr(random, "randrange", lambda *_: taken)
        assert free_port() == taken


class TestLeakCheck:
    async def test_a_task(self) -> None:
        check = LeakCheck(asyncio.get_running_loop())
        check.begin()
        task = asyncio.create_task(asyncio.Event().wait(), name="left behind")
        with pytest.raises(AssertionError, match="a task: .*left behind"):
            await check.end()
        task.cancel()

    async def test_a_socket(self) -> None:
        check = LeakCheck(asyncio.get_running_loop())
        check.begin()
        with (
            socket.create_server((LOOPBACK, free_port())) as left_behind,
            pytest.raises(AssertionError, match=f"a socket: .*{left_behind.getsockname()[1]}"),
        ):
            await check.end()

    async def test_an_error_that_nobody_looked_at(self) -> None:
        async def fail() -> None:
            raise ValueError("unheard")

        check = LeakCheck(asyncio.get_running_loop())
        check.begin()
        asyncio.create_task(fail())  # noqa: RUF006  (to be forgotten is its part)
        with pytest.raises(AssertionError, match="an error that nobody looked at: .*unheard"):
            await check.end()

    async def test_nothing(self, network: Proxy, namespace: str) -> None:
        check = LeakCheck(asyncio.get_running_loop())
        check.begin()
        async with Proxy(network.host, network.port) as second, raw_session(second.port) as session:
            await session.create(namespace)
        await wait_until(lambda: network.open_connections == 0)
        await check.end()


async def test_a_test_whose_time_is_up_is_cancelled(tmp_path: Path) -> None:
    (tmp_path / "test_late.py").write_text(
        "import asyncio, pytest\n"
        "@pytest.fixture\n"
        "async def resource(anyio_backend):\n"
        "    yield\n"
        "    print('released')\n"
        "async def test_late(resource):\n"
        "    await asyncio.Event().wait()\n"
        "async def test_next(resource):\n"
        "    pass\n"
    )
    options = ("-p", "tests.conftest", "-c", str(REPOSITORY / "pyproject.toml"), "-o", "timeout=0.5", "-s")
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", *options, str(tmp_path)), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    output = (await run.communicate())[0].decode()
    assert "1 failed, 1 passed" in output
    assert output.count("released") == 2
