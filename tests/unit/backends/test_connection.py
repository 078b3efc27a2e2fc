"""One connection: over a real socket, with a peer that says exactly the bytes that the test tells it to."""

import asyncio
import itertools
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aiopartition.backends.zookeeper import codec, watches
from aiopartition.backends.zookeeper.authentication import authenticate
from aiopartition.backends.zookeeper.codec import Children, ConnectReply, ReplyError, Stat, Xid
from aiopartition.backends.zookeeper.connection import Address, Connection, ConnectionLostError, Reply
from aiopartition.backends.zookeeper.frames import MAX_SKIPPED, ProtocolError
from aiopartition.backends.zookeeper.watches import WatchEvent
from aiopartition.secret import Secret
from tests.support.ports import free_port
from tests.unit.backends.scripted_peer import Peer, PeerServer, connect_reply, event, framed, reply, scripted_peer, stat

PATIENCE: Final = 5.0
"""Seconds after which something that ought to happen at once is taken not to happen."""


class Owner:
    """Keeps what it is told, in order, together with what the test itself notes there."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.replies: list[Reply] = []
        self.on_reply: Callable[[Reply], None] | None = None

    def replied(self, reply: Reply) -> None:
        self.told.append(f"replied {reply.error} at {reply.zxid}")
        self.replies.append(reply)
        if self.on_reply is not None:
            self.on_reply(reply)

    def event_received(self, event: WatchEvent) -> None:
        self.told.append(f"event {event.path}")

    def connection_ended(self, connection: Connection) -> None:
        self.told.append(f"ended: {connection.reason}")


@dataclass
class Line:
    """Both ends of one connection."""

    connection: Connection
    peer: Peer
    owner: Owner

    async def ended(self) -> str:
        """Why the connection ended, which it does."""
        with anyio.fail_after(PATIENCE):
            await self.connection.lost.wait()
        return self.connection.reason


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    """A connection whose clock gives another number at each look."""
    owner = Owner()
    ticks = itertools.count(1)
    async with scripted_peer() as server:
        connection = await Connection.open(address_of(server), None, lambda: next(ticks), owner)
        peer = await server.accept()
        try:
            yield Line(connection, peer, owner)
        finally:
            connection.abort("the test is over")


def address_of(server: PeerServer) -> Address:
    return Address("localhost", "127.0.0.1", server.port)


@asynccontextmanager
async def started(*calls: object) -> AsyncIterator[list[asyncio.Task[object]]]:
    """Tasks for calls that the peer is yet to answer; each has sent what it has to send."""
    tasks: list[asyncio.Task[object]] = [asyncio.ensure_future(call) for call in calls]  # type: ignore[call-overload]
    for _ in range(2):
        await checkpoint()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def outcome(task: asyncio.Task[object]) -> object:
    """What a task returns, or the error that it ends in."""
    with anyio.fail_after(PATIENCE):
        await asyncio.wait([task])
    return task.exception() or task.result()


# ---- opening and the handshake


async def test_server_that_is_not_there() -> None:
    """The operating system's own error, which says why."""
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await Connection.open(Address("localhost", "127.0.0.1", free_port()), None, lambda: 0.0, Owner())


async def test_handshake() -> None:
    """The frame as given, the answer taken apart, and the time when the question was sent, not that of the answer."""
    async with line() as far, started(far.connection.handshake(Secret(framed(b"hello")))) as (task,):
        assert await far.peer.frame() == b"hello"
        asked_at = far.connection.last_sent
        far.peer.send(connect_reply(session_id=-7, timeout=4000))
        assert await outcome(task) == (ConnectReply(-7, 4.0, Secret(16 * b"p")), asked_at)
        assert far.connection.last_received > asked_at
        assert far.owner.told == []


@pytest.mark.parametrize("said", [b"", connect_reply(session_id=5)[:-1], b"\0\0"])
async def test_server_hangs_up_instead_of_an_answer(said: bytes) -> None:
    """As one does that is full, or wants TLS: said at once, also in the middle of the answer."""
    async with line() as far, started(far.connection.handshake(Secret(framed(b"hello")))) as (task,):
        far.peer.send(said)
        far.peer.hang_up()
        error = await outcome(task)
        assert isinstance(error, ConnectionLostError)
        assert str(error).startswith("the server closed the connection before it answered: ")
        assert "TLS" in str(error)
        assert far.owner.told == [f"ended: {error}"]


async def test_answer_to_the_handshake_that_is_none() -> None:
    """The caller learns that this is no ZooKeeper server."""
    async with line() as far, started(far.connection.handshake(Secret(framed(b"hello")))) as (task,):
        far.peer.send(framed(b"220 mail.example.com"))
        assert isinstance(await outcome(task), ProtocolError)


async def test_handshake_that_is_given_up() -> None:
    """Aborted, as when its time is over, it ends at once."""
    async with line() as far, started(far.connection.handshake(Secret(framed(b"hello")))) as (task,):
        far.connection.abort("no patience")
        error = await outcome(task)
        assert isinstance(error, ConnectionLostError)
        assert str(error) == "no patience"


async def test_answer_to_a_cancelled_handshake() -> None:
    """There is nobody any more who could make a session of it."""
    async with line() as far, started(far.connection.handshake(Secret(framed(b"hello")))) as (task,):
        await far.peer.frame()
        task.cancel()
        await checkpoint()
        far.peer.send(connect_reply(session_id=5))
        assert "unexpected answer" in await far.ended()


async def test_handshake_on_a_connection_that_has_ended() -> None:
    """It never gets as far as sending."""
    async with line() as far:
        far.peer.hang_up()
        await far.ended()
        with pytest.raises(ConnectionLostError, match="the server closed the connection"):
            await far.connection.handshake(Secret(framed(b"hello")))


async def test_more_may_follow_on_the_answers_heels() -> None:
    """The connect reply, an event and the answer to a request in one piece."""
    async with line() as far, started(far.connection.handshake(Secret(framed(b"hello")))) as (task,):
        asked_at = far.connection.last_sent
        far.connection.post(Xid.PING, codec.ping())
        far.peer.send(connect_reply(session_id=5) + event("/a") + reply(-2, zxid=9))
        assert await outcome(task) == (ConnectReply(5, 4.0, Secret(16 * b"p")), asked_at)
        assert far.owner.told == ["event /a", "replied 0 at 9"]


async def test_server_that_speaks_first() -> None:
    """Is none of ZooKeeper's."""
    async with line() as far:
        far.peer.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        assert "frame of" in await far.ended()


# ---- requests and answers


async def test_requests_are_numbered() -> None:
    """From one on, each with a number of its own."""
    async with line() as far, started(*[far.connection.request(codec.exists("/a")) for _ in range(3)]):
        for number in (1, 2, 3):
            assert await far.peer.frame() == codec.exists("/a").serialize(number)


async def test_numbers_stay_positive() -> None:
    """After the greatest one that fits they begin anew: negative ones mean something else."""
    async with line() as far:
        far.connection._last_xid = 0x7FFFFFFE
        async with started(*[far.connection.request(codec.exists("/a")) for _ in range(2)]):
            for number in (0x7FFFFFFF, 1):
                assert await far.peer.frame() == codec.exists("/a").serialize(number)


async def test_answer_is_read() -> None:
    """The request's own reading of it, and its facts for the owner."""
    operation = codec.get_children("/a")
    async with line() as far, started(far.connection.request(operation)) as (task,):
        await far.peer.frame()
        asked_at = far.connection.last_sent
        far.peer.send(reply(1, struct.pack("!ii1s", 1, 1, b"x") + stat(pzxid=7), zxid=9))
        assert await outcome(task) == Children(("x",), Stat(0, 0, 7, 8, 2, 5))
        assert far.owner.replies == [Reply(asked_at, 9, 0, operation)]


async def test_refusal_is_raised() -> None:
    """The server's code; and the owner is told it too."""
    async with line() as far, started(far.connection.request(codec.exists("/a"))) as (task,):
        far.peer.send(reply(1, zxid=9, error=-101))
        error = await outcome(task)
        assert isinstance(error, ReplyError)
        assert error.code == -101
        assert far.owner.told == ["replied -101 at 9"]
        assert not far.connection.lost.is_set()


@pytest.mark.parametrize("code", [-102, -5])
@pytest.mark.parametrize("position", [0, 1, 2, 3])
async def test_refusal_of_one_of_several_reads(position: int, code: int) -> None:
    """It is raised to whoever asked for them. It is an answer like any other, and the connection goes on."""
    node, names = struct.pack("!i?ii", 4, False, 0, 0) + stat(), struct.pack("!i?iii1s", 8, False, 0, 1, 1, b"x")
    answers = [node, names, node, names]
    answers[position] = struct.pack("!i?ii", -1, False, code, code)
    operation = codec.read_lists(["/a", "/b"])
    async with line() as far, started(far.connection.request(operation)) as (task,):
        far.peer.send(reply(1, b"".join(answers) + struct.pack("!i?i", -1, True, -1), zxid=9))
        error = await outcome(task)
        assert isinstance(error, ReplyError)
        assert error.code == code
        assert far.owner.told == ["replied 0 at 9"]
        assert not far.connection.lost.is_set()


async def test_answers_are_matched_by_number() -> None:
    """In whatever order they come."""
    async with line() as far, started(*[far.connection.request(codec.get_data("/a")) for _ in range(100)]) as tasks:
        numbers = list(range(1, 101))
        random.Random(1).shuffle(numbers)
        for number in numbers:
            data = str(number).encode()
            far.peer.send(reply(number, struct.pack("!i", len(data)) + data + stat()))
        for number, task in enumerate(tasks, 1):
            assert await outcome(task) == (str(number).encode(), Stat(0, 0, 0, 8, 2, 5))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 50])
async def test_answers_may_come_in_any_pieces(size: int) -> None:
    """Several in one, or one in many."""
    async with line() as far, started(*[far.connection.request(codec.exists("/a")) for _ in range(3)]) as tasks:
        stream = b"".join(reply(number, stat(version=number)) for number in (1, 2, 3)) + event("/a")
        for start in range(0, len(stream), size):
            far.peer.send(stream[start : start + size])
            await checkpoint()
        assert [await outcome(task) for task in tasks] == [Stat(number, 0, 0, 8, 2, 5) for number in (1, 2, 3)]
        far.peer.hang_up()
        await far.ended()
        assert far.owner.told == [*3 * ["replied 0 at 0"], "event /a", "ended: the server closed the connection"]


async def test_answer_to_a_request_that_was_not_made() -> None:
    """Whatever it answers, what is still due can no longer be trusted to be ours: all that wait are told."""
    async with line() as far, started(far.connection.request(codec.exists("/a"))) as (task,):
        far.peer.send(reply(2))
        reason = await far.ended()
        assert reason == "the server sent an unexpected answer to request 2"
        error = await outcome(task)
        assert isinstance(error, ConnectionLostError)
        assert str(error) == reason
        assert far.owner.told == [f"ended: {reason}"]


async def test_second_answer_to_one_request() -> None:
    """The first one was the answer."""
    async with line() as far, started(far.connection.request(codec.exists("/a"))) as (task,):
        far.peer.send(reply(1, stat()) + reply(1, stat()))
        assert await outcome(task) == Stat(0, 0, 0, 8, 2, 5)
        assert "unexpected answer to request 1" in await far.ended()


async def test_answer_that_cannot_be_read() -> None:
    """It ends the connection, so that another server is asked; the owner is not told, for it proves nothing."""
    async with line() as far, started(*[far.connection.request(codec.exists("/a")) for _ in range(2)]) as tasks:
        far.peer.send(reply(1, b"\0") + reply(2, stat()))
        assert (await far.ended()).startswith("the server sent a malformed ExistsResponse")
        for task in tasks:
            assert isinstance(await outcome(task), ConnectionLostError)
        assert far.owner.told == [f"ended: {far.connection.reason}"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (framed(b"short"), "the server sent a reply of 5 bytes, less than its header"),
        (bytes(4), "the server sent a frame of 0 bytes"),
        (struct.pack("!i", -1), "the server sent a frame of -1 bytes"),
        (struct.pack("!i", MAX_SKIPPED + 1), f"the server sent a frame of {MAX_SKIPPED + 1} bytes"),
        (reply(-1, b"\0"), "the server sent a malformed WatchEvent"),
        (reply(-1, struct.pack("!iii2s", 4, 3, 2, b"\xff\xfe")), "the server sent a malformed WatchEvent"),
    ],
)
async def test_rubbish_ends_the_connection(said: bytes, reason: str) -> None:
    """With a reason that says what it was."""
    async with line() as far, started(far.connection.request(codec.exists("/a"))) as (task,):
        far.peer.send(said)
        assert (await far.ended()).startswith(reason)
        assert isinstance(await outcome(task), ConnectionLostError)


async def test_nothing_is_told_after_rubbish() -> None:
    """What follows in the same piece may be anything."""
    async with line() as far:
        far.peer.send(reply(99) + event("/a"))
        reason = await far.ended()
        assert far.owner.told == [f"ended: {reason}"]


# ---- order


async def test_owner_is_told_before_the_waiter() -> None:
    """In the order of the wire, and each caller after the owner: who wakes up finds the session's books done."""
    async with line() as far:

        async def ask() -> None:
            with suppress(ReplyError, ConnectionLostError):
                await far.connection.request(codec.exists("/a"))
            far.owner.told.append("waiter")

        async with started(ask(), ask(), ask()) as tasks:
            far.peer.send(reply(1, stat(), zxid=7) + event("/a"))
            await outcome(tasks[0])
            far.peer.send(reply(2, zxid=8, error=-101))
            await outcome(tasks[1])
            far.peer.hang_up()
            await outcome(tasks[2])
        assert far.owner.told == [
            "replied 0 at 7",
            "event /a",
            "waiter",
            "replied -101 at 8",
            "waiter",
            "ended: the server closed the connection",
            "waiter",
        ]


async def test_owner_may_abort_when_told() -> None:
    """What was answered is answered; nothing that follows is told any more, though it may have come already."""
    async with line() as far, started(*[far.connection.request(codec.exists("/a")) for _ in range(2)]) as tasks:
        far.owner.on_reply = lambda _reply: far.connection.abort("enough")
        far.peer.send(reply(1, stat(version=4)) + event("/a") + reply(2, stat()))
        assert await outcome(tasks[0]) == Stat(4, 0, 0, 8, 2, 5)
        assert isinstance(await outcome(tasks[1]), ConnectionLostError)
        assert far.owner.told == ["replied 0 at 0", "ended: enough"]


async def test_time_of_a_request_is_that_before_it_was_sent() -> None:
    """A lease counts from the earliest moment at which the server can have heard."""
    async with line() as far:
        before = far.connection.last_sent
        async with started(*[far.connection.request(codec.exists("/a")) for _ in range(2)]) as tasks:
            far.peer.send(reply(2, stat()) + reply(1, stat()))
            for task in tasks:
                await outcome(task)
            second, first = far.owner.replies
            assert first.proof is not None
            assert second.proof is not None
            assert before < first.proof < second.proof == far.connection.last_sent < far.connection.last_received


async def test_authentication_proves_nothing_of_the_session() -> None:
    """A server answers it without taking it for a sign of life of the session."""
    async with line() as far, started(far.connection.authenticate(authenticate("digest", Secret(b"u:p")))) as (task,):
        far.peer.send(reply(Xid.AUTH))
        await outcome(task)
        assert [each.proof for each in far.owner.replies] == [None]


async def test_clock_is_read_before_anything_is_sent() -> None:
    """Sending takes its time as well, and the server could have heard already: seen where the peer does not read."""
    async with line() as far:
        unsent: list[int] = []

        def clock() -> float:
            assert far.connection._transport is not None
            unsent.append(far.connection._transport.get_write_buffer_size())
            return len(unsent)

        far.connection._clock = clock
        big = codec.set_data("/a", bytes(8_000_000), 0)
        async with started(far.connection.request(big), far.connection.request(big)):
            assert unsent[0] == 0
            assert 0 < unsent[1] <= 8_000_100
            far.connection.abort("enough")


async def test_pieces_of_a_frame_are_no_word_from_the_server() -> None:
    """Only what could be read counts."""
    async with line() as far, started(far.connection.request(codec.exists("/a"))) as (task,):
        before = far.connection.last_received
        far.peer.send(event("/a")[:-1])
        for _ in range(20):
            await checkpoint()
        assert far.connection.last_received == before
        far.peer.send(event("/a")[-1:] + reply(1, stat()))
        await outcome(task)
        assert far.connection.last_received > before


# ---- cancellation


async def test_late_answer_to_a_cancelled_request_is_dropped() -> None:
    """But the owner is told, for it proves the session alive; the connection goes on."""
    async with line() as far, started(*[far.connection.request(codec.exists("/a")) for _ in range(2)]) as tasks:
        tasks[0].cancel()
        await checkpoint()
        far.peer.send(reply(1, stat(version=1), zxid=5) + reply(2, stat(version=2), zxid=6))
        assert await outcome(tasks[1]) == Stat(2, 0, 0, 8, 2, 5)
        assert far.owner.told == ["replied 0 at 5", "replied 0 at 6"]
        assert tasks[0].cancelled()


@pytest.mark.parametrize("body", [b"", b"\0"])
@pytest.mark.parametrize("error", [0, -101])
async def test_late_answer_of_any_kind_does_no_harm(body: bytes, error: int) -> None:
    """Refusals and rubbish are dropped too."""
    async with line() as far, started(*[far.connection.request(codec.exists("/a")) for _ in range(2)]) as tasks:
        tasks[0].cancel()
        await checkpoint()
        far.peer.send(reply(1, body, error=error) + reply(2, stat()))
        assert await outcome(tasks[1]) == Stat(0, 0, 0, 8, 2, 5)


async def test_end_after_a_cancelled_request() -> None:
    """Nobody is left to be told."""
    async with line() as far, started(far.connection.request(codec.exists("/a"))) as (task,):
        task.cancel()
        await checkpoint()
        far.peer.hang_up()
        assert await far.ended() == "the server closed the connection"


# ---- the end


@pytest.mark.parametrize("said", [b"", b"\0", event("/a")[:4], event("/a")[:-1]])
async def test_server_closes(said: bytes) -> None:
    """Also in the middle of a frame: all that wait are told at once."""
    async with line() as far, started(*[far.connection.request(codec.exists("/a")) for _ in range(3)]) as tasks:
        far.peer.send(said)
        far.peer.hang_up()
        for task in tasks:
            error = await outcome(task)
            assert isinstance(error, ConnectionLostError)
            assert str(error) == "the server closed the connection"
        assert far.owner.told == ["ended: the server closed the connection"]
        assert far.connection.lost.is_set()


async def test_server_resets() -> None:
    """The system's reason is kept."""
    async with line() as far, started(far.connection.request(codec.exists("/a"))) as (task,):
        await far.peer.frame()
        far.peer.reset()
        error = await outcome(task)
        assert isinstance(error, ConnectionLostError)
        assert str(error).startswith("the connection broke: ")
        assert len(far.owner.told) == 1


async def test_abort_is_immediate() -> None:
    """When the call returns the owner has been told and all who wait are on their way, whatever the peer does."""
    async with line() as far, started(*[far.connection.request(codec.exists("/a")) for _ in range(3)]) as tasks:
        far.connection.abort("no word for 2.3 s")
        assert far.owner.told == ["ended: no word for 2.3 s"]
        assert far.connection.lost.is_set()
        for _ in range(2):
            await checkpoint()
        for task in tasks:
            assert task.done()
            error = await outcome(task)
            assert isinstance(error, ConnectionLostError)
            assert str(error) == "no word for 2.3 s"
        await far.peer.rest()  # which ends: the peer has seen the end as well


async def test_abort_does_not_wait_for_a_peer_that_does_not_read() -> None:
    """However much is still to be sent to it."""
    async with line() as far:
        big = codec.set_data("/a", bytes(8_000_000), 0)
        async with started(far.connection.request(big), far.connection.request(big)) as tasks:
            far.connection.abort("away")
            for task in tasks:
                assert isinstance(await outcome(task), ConnectionLostError)
            # Nor does it linger to send the rest when the peer comes to it at last.
            assert len(await far.peer.rest()) < 16_000_000


async def test_first_reason_is_the_reason() -> None:
    """Further ends are none: the owner is told once."""
    async with line() as far:
        far.connection.abort("one")
        far.connection.abort("two")
        far.peer.hang_up()
        for _ in range(5):
            await checkpoint()
        assert far.connection.reason == "one"
        assert far.owner.told == ["ended: one"]


async def test_nothing_is_told_after_the_end() -> None:
    """What the server still had to say was said to a connection that is over."""
    async with line() as far, started(far.connection.request(codec.exists("/a"))):
        await far.peer.frame()
        far.peer.send(event("/a") + reply(1, stat()))
        far.connection.abort("over")
        for _ in range(20):
            await checkpoint()
        assert far.owner.told == ["ended: over"]


async def test_request_after_the_end() -> None:
    """Fails at once, and says why the connection ended."""
    async with line() as far:
        far.connection.abort("over")
        for call in (
            lambda: far.connection.request(codec.exists("/a")),
            lambda: far.connection.authenticate(authenticate("digest", Secret(b"a:b"))),
        ):
            with pytest.raises(ConnectionLostError, match="over"):
                await call()
        far.connection.post(Xid.PING, codec.ping())  # nobody waits for it, so nobody is told
        assert not far.connection.awaits(Xid.PING)
        assert far.connection._pending == {}


async def test_request_that_cannot_be_encoded() -> None:
    """Nothing is sent and nothing awaited: the connection is as it was, and what comes next is answered."""
    async with line() as far:
        with pytest.raises(UnicodeEncodeError):
            await far.connection.request(codec.exists("/\ud800"))
        with pytest.raises(struct.error):
            far.connection.post(Xid.PING, watches.arm_again([codec.Watch("/a")], 1 << 64)[0])
        assert far.connection._pending == {}
        async with started(far.connection.request(codec.exists("/a"))) as (task,):
            sent = await far.peer.frame()
            far.peer.send(reply(struct.unpack_from("!i", sent)[0], stat()))
            assert await outcome(task) == Stat(0, 0, 0, 8, 2, 5)


async def test_farewell_is_sent_without_waiting() -> None:
    """The server ends the session, whether or not anybody is there to read its answer."""
    async with line() as far:
        far.connection.farewell()
        far.connection.abort("closed")
        assert await far.peer.frame() == struct.pack("!ii", 0, -11)


async def test_farewell_after_the_end() -> None:
    """There is nobody to say it to."""
    async with line() as far:
        far.connection.abort("over")
        far.connection.farewell()
        assert far.owner.told == ["ended: over"]


# ---- what has numbers of its own


async def test_posted_request_is_not_waited_for() -> None:
    """Until its answer has come, which the owner is told, it counts as awaited."""
    async with line() as far:
        assert not far.connection.awaits(Xid.PING)
        far.connection.post(Xid.PING, codec.ping())
        assert far.connection.awaits(Xid.PING)
        assert not far.connection.awaits(Xid.AUTH)
        assert await far.peer.frame() == struct.pack("!ii", -2, 11)
        asked_at = far.connection.last_sent
        async with started(far.connection.request(codec.exists("/a"))) as (task,):
            far.peer.send(reply(-2, zxid=3) + reply(1, stat()))
            await outcome(task)
        assert not far.connection.awaits(Xid.PING)
        assert [(each.proof, each.zxid) for each in far.owner.replies][:1] == [(asked_at, 3)]


async def test_nothing_is_sent_on_a_connection_that_is_ending() -> None:
    """The transport knows of the end some turns of the loop before it tells: a ping due meanwhile is no error."""
    async with line() as far:
        transport = far.connection._transport
        assert transport is not None
        transport.close()
        assert not far.connection.lost.is_set()
        far.connection.post(Xid.PING, codec.ping())
        assert not far.connection.awaits(Xid.PING)
        with pytest.raises(ConnectionLostError):
            await far.connection.request(codec.exists("/a"))
        far.connection.farewell()
        await far.ended()


async def test_posted_request_may_be_refused() -> None:
    """That is the owner's to know."""
    async with line() as far, started(far.connection.request(codec.exists("/a"))) as (task,):
        far.connection.post(Xid.PING, codec.ping())
        far.peer.send(reply(-2, error=-4) + reply(1, stat()))
        assert await outcome(task) == Stat(0, 0, 0, 8, 2, 5)
        assert far.owner.told == ["replied -4 at 0", "replied 0 at 0"]


async def test_end_before_the_answer_to_a_posted_request() -> None:
    """Nobody waits for it, so nobody is told but the owner."""
    async with line() as far:
        far.connection.post(Xid.PING, codec.ping())
        far.peer.hang_up()
        await far.ended()
        assert not far.connection.awaits(Xid.PING)


async def test_authentication_is_accepted() -> None:
    """It bears its own number, and is waited for."""
    operation = authenticate("digest", Secret(b"user:password"))
    async with line() as far, started(far.connection.authenticate(operation)) as (task,):
        assert await far.peer.frame() == operation.serialize(-4)
        far.peer.send(reply(-4, zxid=9))
        assert await outcome(task) is None
        # A server answers it without taking it for a sign of life of the session: no lease can count from it.
        assert far.owner.replies == [Reply(None, 9, 0, operation)]


async def test_authentication_is_refused() -> None:
    """Servers answer, and then hang up; the answer counts."""
    async with line() as far, started(far.connection.authenticate(authenticate("digest", Secret(b"a:b")))) as (task,):
        far.peer.send(reply(-4, error=-115))
        far.peer.hang_up()
        error = await outcome(task)
        assert isinstance(error, ReplyError)
        assert error.code == -115


# ---- addresses


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (Address("zk1", "10.0.0.1", 2181), "zk1 (10.0.0.1:2181)"),
        (Address("10.0.0.1", "10.0.0.1", 2181), "10.0.0.1:2181"),
        (Address("::1", "::1", 5), "[::1]:5"),
        (Address("zk1", "fe80::1", 5), "zk1 ([fe80::1]:5)"),
    ],
)
def test_address_shows_name_and_number(address: Address, shown: str) -> None:
    """An operator needs both: what was configured, and where it led."""
    assert str(address) == shown
