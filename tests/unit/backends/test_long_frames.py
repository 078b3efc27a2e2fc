"""Frames that are too long to be kept: the rest is skipped as it arrives, and one request fails."""

import asyncio
import itertools
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import Operation, Stat, Xid
from aiopartition.backends.zookeeper.connection import Address, Connection, ConnectionLostError, LongAnswerError, Reply
from aiopartition.backends.zookeeper.frames import MAX_FRAME, MAX_SKIPPED, FrameSplitter, LongFrame, ProtocolError
from aiopartition.backends.zookeeper.keep_alive import KeepAlive
from aiopartition.backends.zookeeper.watches import WatchEvent
from aiopartition.secret import Secret
from tests.support.waiting import wait_until
from tests.unit.backends.scripted_peer import Peer, framed, reply, scripted_peer, stat

MEGABYTE = 1 << 20
HEAD = struct.Struct("!iiqi")


def start_of(size: int, xid: int = 1, zxid: int = 9) -> bytes:
    """The length of a frame, and the first 16 bytes of it."""
    return HEAD.pack(size, xid, zxid, 0)


# ---- the splitter


@pytest.mark.parametrize("piece", [1 << 18, 1_000_003, 64 * MEGABYTE])
@pytest.mark.parametrize("size", [MAX_FRAME + 1, 64 * MEGABYTE])
def test_the_rest_of_a_long_frame_is_skipped(size: int, piece: int) -> None:
    """Its start is told as soon as it is there, and what follows it is found, wherever the stream is cut."""
    splitter = FrameSplitter()
    stream = framed(b"before") + start_of(size) + bytes(size - 16) + framed(b"after") + framed(b"last")
    found = [frame for at in range(0, len(stream), piece) for frame in splitter.feed(stream[at : at + piece])]
    assert found == [b"before", LongFrame(start_of(size)[4:], size), b"after", b"last"]
    assert not splitter.within_frame


def test_start_of_a_long_frame_in_dribs() -> None:
    splitter = FrameSplitter()
    stream = start_of(MAX_FRAME + 1)
    told = [splitter.feed(stream[at : at + 1]) for at in range(len(stream))]
    assert told == [[]] * 19 + [[LongFrame(stream[4:], MAX_FRAME + 1)]]
    assert splitter.within_frame
    splitter.feed(bytes(MAX_FRAME + 1 - 16 - 1))
    assert splitter.within_frame
    assert splitter.feed(b"\0" + framed(b"after")) == [b"after"]
    assert not splitter.within_frame


def test_two_long_frames_in_a_row() -> None:
    splitter = FrameSplitter()
    size = MAX_FRAME + 5
    stream = (start_of(size, xid=1) + bytes(size - 16)) + (start_of(size, xid=2) + bytes(size - 16))
    heads = [frame for at in range(0, len(stream), 65_536) for frame in splitter.feed(stream[at : at + 65_536])]
    assert heads == [LongFrame(start_of(size, xid=xid)[4:], size) for xid in (1, 2)]


def test_memory_is_bounded_while_skipping() -> None:
    splitter = FrameSplitter()
    piece = bytes(1 << 18)
    splitter.feed(start_of(MAX_SKIPPED))
    tracemalloc.start()
    try:
        for _ in range(255):
            assert splitter.feed(piece) == []
        assert tracemalloc.get_traced_memory()[1] < 2 * len(piece)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP, so this is the port of a web server"),
        (b"\x15\x03\x01\x00\x02\x02\x50", "TLS, so this port needs a TLS connection"),
        (struct.pack("!i", MAX_SKIPPED + 1), f"a frame of {MAX_SKIPPED + 1} bytes"),
        (struct.pack("!i", -5), "a frame of -5 bytes"),
    ],
)
def test_what_no_server_sends_is_named(said: bytes, told: str) -> None:
    with pytest.raises(ProtocolError, match=told):
        FrameSplitter().feed(said)


# ---- a connection, with a clock that the test moves


@dataclass
class Owner:
    """Keeps what it is told."""

    replies: list[Reply] = field(default_factory=list[Reply])
    ended: bool = False

    def replied(self, reply: Reply) -> None:
        self.replies.append(reply)

    def event_received(self, event: WatchEvent) -> None: ...
    def connection_ended(self, connection: Connection) -> None:
        self.ended = True


@dataclass
class Line:
    """Both ends of one connection, and its clock."""

    connection: Connection
    peer: Peer
    owner: Owner
    now: float = 0.0
    tasks: list[asyncio.Task[object]] = field(default_factory=list[asyncio.Task[object]])

    async def asked(self, operation: Operation[Any]) -> asyncio.Task[object]:
        """A task for a request that the peer has received."""
        task = asyncio.create_task(self.connection.request(operation))
        self.tasks.append(task)
        await self.peer.frame()
        return task

    async def arrived(self, data: bytes) -> None:
        """Send bytes, and wait until they have been read."""
        before = self.connection.last_received
        self.now += 1e-6
        self.peer.send(data)
        await wait_until(lambda: self.connection.last_received != before or self.connection.lost.is_set())


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    owner = Owner()
    async with scripted_peer() as server:
        far: Line

        def clock() -> float:
            return far.now if opened else 0.0

        opened = False
        connection = await Connection.open(Address("localhost", "127.0.0.1", server.port), None, clock, owner)
        far = Line(connection, await server.accept(), owner)
        opened = True
        try:
            yield far
        finally:
            connection.abort("the test is over")
            await asyncio.gather(*far.tasks, return_exceptions=True)


async def outcome(task: asyncio.Task[object]) -> object:
    with anyio.fail_after(5.0):
        await asyncio.wait([task])
    return task.exception() or task.result()


@pytest.mark.parametrize("size", [MAX_FRAME + 1, 64 * MEGABYTE])
async def test_a_long_answer_fails_its_request_alone(size: int) -> None:
    """At once, before the rest has arrived; what was asked behind it is answered when that has passed."""
    async with line() as far:
        long = await far.asked(codec.get_children("/a"))
        behind = await far.asked(codec.exists("/b"))
        far.peer.send(start_of(size, xid=1, zxid=77))
        error = await outcome(long)
        assert isinstance(error, LongAnswerError)
        assert (error.size, error.zxid) == (size, 77)
        assert f"{size:,}" in str(error)
        assert f"{MAX_FRAME:,}" in str(error)
        assert not behind.done()
        assert [(each.proof, each.zxid, each.error) for each in far.owner.replies] == [(0.0, 77, 0)]
        rest = size - 16
        while rest > 0:
            far.peer.send(bytes(min(rest, MEGABYTE)))
            rest -= MEGABYTE
        far.peer.send(reply(2, stat()))
        assert await outcome(behind) == Stat(0, 0, 0, 8, 2, 5)
        assert not far.owner.ended


async def test_a_long_answer_to_a_cancelled_request() -> None:
    async with line() as far:
        long = await far.asked(codec.get_data("/a"))
        long.cancel()
        await asyncio.wait([long])
        size = MAX_FRAME + 1
        far.peer.send(start_of(size) + bytes(size - 16))
        behind = await far.asked(codec.exists("/b"))
        far.peer.send(reply(2, stat()))
        assert isinstance(await outcome(behind), Stat)


@pytest.mark.parametrize(
    ("xid", "told"), [(Xid.WATCH, f"a watch event of {MAX_FRAME + 1} bytes"), (5, "an unexpected answer to request 5")]
)
async def test_a_long_frame_that_answers_nothing_ends_the_connection(xid: int, told: str) -> None:
    async with line() as far:
        task = await far.asked(codec.exists("/a"))
        far.peer.send(start_of(MAX_FRAME + 1, xid=xid))
        error = await outcome(task)
        assert isinstance(error, ConnectionLostError)
        assert told in str(error)


async def test_a_long_connect_reply_ends_the_connection() -> None:
    async with line() as far:
        task = asyncio.create_task(far.connection.handshake(Secret(framed(b"hello"))))
        await far.peer.frame()
        far.peer.send(start_of(MAX_FRAME + 1))
        with pytest.raises(ConnectionLostError, match="a connect reply of"):
            await task


async def test_the_connection_is_lost_while_skipping() -> None:
    """Requests behind the long answer fail as always; the one that it answered has failed already."""
    async with line() as far:
        long = await far.asked(codec.get_children("/a"))
        behind = await far.asked(codec.exists("/b"))
        far.peer.send(start_of(MAX_FRAME + 1) + bytes(1000))
        assert isinstance(await outcome(long), LongAnswerError)
        far.peer.hang_up()
        assert isinstance(await outcome(behind), ConnectionLostError)
        assert far.owner.ended


# ---- keeping the connection alive meanwhile: T is 12 s


async def test_skipping_counts_as_life_and_is_not_silence_of_the_quorum() -> None:
    """The frame takes 60 s, and the server hears from us each T/4 although the first ping stays unanswered."""
    async with line() as far:
        keep_alive = KeepAlive(far.connection, lambda: far.now)
        await far.asked(codec.get_children("/a"))
        far.now = 2.0
        keep_alive.look(12.0, 0.0, late=False)  # asks the quorum
        await far.peer.frame()
        await far.arrived(start_of(MAX_FRAME + 1))
        heard = [far.now]
        for second in range(3, 60):
            far.now = float(second)
            await far.arrived(bytes(10_000))
            sent = far.connection.last_sent
            keep_alive.look(12.0, 0.0, late=False)
            if far.connection.last_sent != sent:
                heard.append(far.now)
        assert not far.owner.ended
        assert max(after - before for before, after in itertools.pairwise(heard)) <= 4.1
        assert far.now - heard[-1] <= 4.1


async def test_a_frame_that_makes_no_progress_is_silence() -> None:
    """A few bytes now and then do not keep a connection."""
    async with line() as far:
        keep_alive = KeepAlive(far.connection, lambda: far.now)
        await far.asked(codec.get_children("/a"))
        await far.arrived(start_of(MAX_FRAME + 1))
        for second in range(1, 7):
            far.now = float(second)
            far.peer.send(bytes(10))
            for _ in range(5):
                await asyncio.sleep(0)
            keep_alive.look(12.0, None, late=False)
        far.now = 6.1
        keep_alive.look(12.0, None, late=False)
        assert far.owner.ended
        assert "no answer from the server for" in far.connection.reason


async def test_a_quorum_that_does_not_answer_after_the_frame_is_left() -> None:
    async with line() as far:
        keep_alive = KeepAlive(far.connection, lambda: far.now)
        await far.asked(codec.get_children("/a"))
        far.now = 2.0
        keep_alive.look(12.0, 0.0, late=False)
        size = MAX_FRAME + 1
        far.now = 5.0
        await far.arrived(start_of(size))
        far.peer.send(bytes(size - 16))
        await wait_until(lambda: not far.connection.hindered)
        far.now = 8.9
        keep_alive.look(12.0, 0.0, late=False)
        assert not far.owner.ended
        far.now = 9.2
        keep_alive.look(12.0, 0.0, late=False)
        assert "no answer from a quorum" in far.connection.reason
