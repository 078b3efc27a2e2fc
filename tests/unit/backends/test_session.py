"""A session and the servers that it is resumed at, each of which says exactly what the test tells it to."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from aiopartition.backends.lease import Lease
from aiopartition.backends.zookeeper.session import Session
from tests.support import wait_until
from tests.unit.backends.scripted_peer import Peer, PeerServer, connect_reply, reply, scripted_peer

TRANSACTION, PING = 14, 11
HIGHEST = (1 << 63) - 1


class Heard:
    """Keeps what a session reports."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.needs = False

    def session_opened(self, *, fresh: bool) -> None:
        self.told.append("opened" if fresh else "resumed")

    def session_suspended(self, reason: str) -> None:
        self.told.append(f"suspended: {reason}")

    def session_expired(self) -> None:
        self.told.append("expired")

    def lease_renewed(self, *, quorum: bool) -> None:
        self.told.append(f"renewed by {'a quorum' if quorum else 'any'}")

    def lease_shortened(self) -> None:
        self.told.append("shortened")

    def needs_quorum(self) -> bool:
        return self.needs

    def may_end(self) -> bool:
        return False

    def group_changed(self, group_id: str) -> None: ...
    def group_activated(self, group_id: str) -> None: ...


@asynccontextmanager
async def started(
    server: PeerServer, timeout: float, grants: float | None = None
) -> AsyncIterator[tuple[Session, Heard, Peer]]:
    """A session with its first connection, at which ``timeout`` was asked for and, unless ``grants`` is another,
    granted."""
    heard = Heard()
    hosts = [("127.0.0.1", server.port)]
    session = Session(hosts, timeout, heard, lambda path: None, clock=asyncio.get_running_loop().time)
    task = asyncio.create_task(session.run())
    try:
        peer = await server.accept()
        await peer.frame()
        peer.send(connect_reply(7, round((grants or timeout) * 1000)))
        await first_answer(peer)
        await wait_until(lambda: session.connected)
        yield session, heard, peer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def shake_hands(server: PeerServer, grants: float) -> tuple[Peer, bytes]:
    """The next connection, and the handshake that was asked for there; ``grants`` in seconds."""
    peer = await server.accept()
    asked = await peer.frame()
    peer.send(connect_reply(7, round(grants * 1000)))
    return peer, asked


async def first_answer(peer: Peer) -> None:
    """Let a new session in, which asks something to hear whether it may stay."""
    xid, _ = await request(peer)
    peer.send(reply(xid))


async def request(peer: Peer) -> tuple[int, int]:
    """Number and code of the next request."""
    xid, code = struct.unpack_from("!ii", await peer.frame())
    return xid, code


@pytest.mark.parametrize(
    ("grants", "least"), [([4.0], 4.0), ([60.0], 30.0), ([8.0, 4.0], 4.0), ([4.0, 30.0], 4.0), ([30.0, 4.0, 8.0], 4.0)]
)
async def test_a_handshake_shortens_the_leases_at_once(anyio_backend: str, grants: list[float], least: float) -> None:
    """Also when the connection ends before anything else was answered; and never does one lengthen them."""
    async with scripted_peer() as server, started(server, 30.0) as (session, heard, peer):
        sent = session.lease.sent
        peer.reset()
        for granted in grants:
            peer, _ = await shake_hands(server, granted)
            await request(peer)  # so the handshake's answer was read
            peer.reset()
        assert session.timeout == least
        assert session.lease == session.quorum_lease == Lease.starting(sent, least)
        assert ("shortened" in heard.told) == (least < 30.0)


HOUR, LONGEST = 3_600.0, (2**31 - 1) / 1000
"""Seconds."""


@pytest.mark.parametrize("granted", [HOUR, LONGEST])
async def test_more_than_was_asked_for_lengthens_no_lease(anyio_backend: str, granted: float) -> None:
    """Neither in a new session nor in one that is resumed, wherever that is."""
    async with scripted_peer() as server, started(server, 4.0, granted) as (session, heard, peer):
        assert (session.granted, session.timeout) == (granted, 4.0)
        assert session.lease == session.quorum_lease == Lease.starting(session.lease.sent, 4.0)
        first = session.lease
        peer.reset()
        peer, asked = await shake_hands(server, HOUR)
        assert struct.unpack_from("!iqi", asked)[2] == 4_000
        xid, _ = await request(peer)
        peer.send(reply(xid, struct.pack("!i?i", -1, True, -1)))  # a transaction without results
        await wait_until(lambda: session.connected)
        assert session.lease == Lease.starting(session.lease.sent, 4.0) != first
        assert session.granted == HOUR
        assert "shortened" not in heard.told


@pytest.mark.parametrize("granted", [HOUR, LONGEST])
async def test_a_frozen_server_that_granted_much_is_left_as_soon_as_any(anyio_backend: str, granted: float) -> None:
    async with scripted_peer() as server, started(server, 0.6, granted) as (session, heard, _):
        await wait_until(lambda: not session.connected)
        assert heard.told[-1].startswith("suspended: no answer from the server")
        await wait_until(lambda: session.lease.lapsed(asyncio.get_running_loop().time()))


async def test_a_session_asks_for_what_it_has(anyio_backend: str) -> None:
    """Then a server that would grant more agrees with it. A new session begins anew."""
    async with scripted_peer() as server, started(server, 30.0) as (session, _, peer):
        asked: list[int] = []
        for granted in (4.0, 4.0, 0.0):
            peer.reset()
            peer = await server.accept()
            asked.append(struct.unpack_from("!iqi", await peer.frame())[2])
            if granted:
                peer.send(connect_reply(7, round(granted * 1000)))
                await request(peer)
            else:
                peer.send(connect_reply(0, 0))
        peer = await server.accept()
        asked.append(struct.unpack_from("!iqi", await peer.frame())[2])
        peer.send(connect_reply(8, 30_000))
        await first_answer(peer)
        await wait_until(lambda: session.connected)
        assert asked == [30_000, 4_000, 4_000, 30_000]
        assert session.timeout == 30.0


async def test_only_a_quorum_renews_the_other_lease(anyio_backend: str) -> None:
    """A ping renews one of them. The answer to a question, asked within T/6, renews both."""
    async with scripted_peer() as server, started(server, 1.2) as (session, heard, peer):
        first = session.quorum_lease
        assert await request(peer) == (-2, PING)  # a quorum is of no interest yet
        peer.send(reply(-2))
        await wait_until(lambda: session.lease.sent > first.sent)
        assert session.quorum_lease == first
        heard.needs = True
        xid, code = await request(peer)
        assert code == TRANSACTION
        peer.send(reply(xid, error=-102))  # a refusal proves nothing
        xid, code = await request(peer)
        assert code == TRANSACTION
        assert session.quorum_lease == first
        peer.send(reply(xid))
        await wait_until(lambda: session.quorum_lease.sent > first.sent)
        assert session.lease.sent >= session.quorum_lease.sent


async def test_a_server_that_answers_pings_but_no_quorum_is_left(anyio_backend: str) -> None:
    """T/3 after the question, while the session is connected all the time."""
    async with scripted_peer() as server, started(server, 1.2) as (session, heard, peer):
        heard.needs = True
        asked = False
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                xid, code = await request(peer)
                asked |= code == TRANSACTION
                if code == PING:
                    peer.send(reply(xid))
                if asked:  # words of any kind
                    peer.send(reply(-1, struct.pack("!iii", 4, 3, 1) + b"/", zxid=-1))
        assert asked
        await wait_until(lambda: any(each.startswith("suspended: no answer from a quorum") for each in heard.told))
        assert not session.lease.lapsed(asyncio.get_running_loop().time())


async def test_another_session_is_an_expiry(anyio_backend: str) -> None:
    """Told before anything else is asked on that connection, which may break: until then, work would go on, and each
    such handshake would renew the lease of what is not ours any more."""
    async with scripted_peer() as server, started(server, 4.0) as (session, heard, peer):
        peer.reset()
        peer = await server.accept()
        await peer.frame()
        peer.send(connect_reply(8, 4_000))
        await request(peer)  # so the handshake's answer was read
        assert heard.told[-1] == "expired"
        assert session.session_id == 8
        assert not session.connected
