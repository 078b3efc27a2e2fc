"""Servers that lie. Whatever one says, its member believes nothing, and costs little; and it recovers as soon as the
server says what is true."""

import asyncio
import itertools
import os
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

import pytest

from aiopartition import AuthenticationError, GroupPolicy, PartitionCoordinator, PartitionError, SaslDigest
from tests.faults.conftest import Measure
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import session_of
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.hostile import HEADER, Answer, Hostile, Lie, framed
from tests.support.sasl import PROVIDER, digest_properties
from tests.support.work import Work

LOOK = 0.5
"""Seconds, twice, in which a member is lied to."""
MOST_MEMORY = 64 << 20
"""Bytes: several of the longest frames that are read, of 16 MB."""
MOST_CONNECTIONS = 20
"""In the second that a member is lied to. Pauses are drawn at random; the mean is a third of it."""
MOST_PROCESSOR = 2.0
"""Seconds of it, without a break, that the event loop is busy with what one server says. Both ends are in here, and the
tracing of memory, which makes everything several times slower."""

NULL, MOST, LEAST = struct.pack("!i", -1), struct.pack("!i", 0x7FFFFFFF), struct.pack("!i", -(1 << 31))
GET_DATA, GET_CHILDREN, EXISTS, TRANSACTION, SET_WATCHES, SASL = 4, 12, 3, 14, 101, 102
ZEROS = itertools.repeat(bytes(1 << 16))
CHALLENGE = b'nonce="n",algorithm=md5-sess,charset=utf-8'
AGENT = SaslDigest("agent", "s3cret")


def instead_of_the_handshake(*said: bytes, then: Iterable[bytes] = ()) -> Lie:
    """And nothing else."""
    return lambda answer: itertools.chain(said, then) if answer.handshake else ()


def handshake(*, timeout: int = 4000, session: int = 7, password: bytes = bytes(16), tail: bytes = b"\0") -> bytes:
    return framed(struct.pack("!iiqi", 0, timeout, session, len(password)) + password + tail)


def answers(*opcodes: int, body: bytes | None = None, error: int | None = None, zxid: int | None = None) -> Lie:
    """Other bodies, errors or transactions in answers to these requests, or to all."""

    def lie(answer: Answer) -> Iterable[bytes]:
        if answer.handshake or answer.opcode is None or (opcodes and answer.opcode not in opcodes):
            return [framed(answer.payload)]
        number, real_zxid, real_error = HEADER.unpack_from(answer.payload)
        rest = answer.payload[HEADER.size :] if body is None else body
        header = HEADER.pack(number, real_zxid if zxid is None else zxid, real_error if error is None else error)
        return [framed(header + rest)]

    return lie


def after(*said: bytes, opcodes: Sequence[int] = (), then: Iterable[bytes] = (), instead: bool = False) -> Lie:
    """More after each answer to these requests, or to all; or something instead of it."""

    def lie(answer: Answer) -> Iterable[bytes]:
        told = [framed(answer.payload)]
        if answer.handshake or answer.opcode is None or (opcodes and answer.opcode not in opcodes):
            return told
        return itertools.chain([] if instead else told, said, then)

    return lie


def header(number: int, *, error: int = 0, zxid: int = 0) -> bytes:
    return HEADER.pack(number, zxid, error)


def event(path: str, kind: int = 4) -> bytes:
    return framed(header(-1) + struct.pack("!iii", kind, 3, len(path)) + path.encode())


def names(count: int, *, claimed: int | None = None) -> bytes:
    listed = b"".join(struct.pack("!i", 64) + b"%064d" % number for number in range(count))
    return struct.pack("!i", count if claimed is None else claimed) + listed


STAT = struct.Struct("!qqqqiiiqiiq")
WATCHED = f"/hostile/{GROUP}/members"

LIES: dict[str, Lie] = {
    # ---- no handshake
    "silence": instead_of_the_handshake(),
    "length 0": instead_of_the_handshake(bytes(4)),
    "length -1": instead_of_the_handshake(NULL),
    "least length": instead_of_the_handshake(LEAST),
    "greatest length": instead_of_the_handshake(MOST),
    "length of 256 MB and 1": instead_of_the_handshake(struct.pack("!i", (256 << 20) + 1), then=ZEROS),
    "a frame of 256 MB": instead_of_the_handshake(struct.pack("!i", 256 << 20), then=ZEROS),
    "a frame of 16 MB": instead_of_the_handshake(struct.pack("!i", 16 << 20), then=ZEROS),
    "noise": instead_of_the_handshake(os.urandom(4096)),
    "zeros": instead_of_the_handshake(bytes(4096)),
    "HTTP": instead_of_the_handshake(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "a TLS alert": instead_of_the_handshake(b"\x15\x03\x01\x00\x02\x02\x28"),
    "half a handshake": instead_of_the_handshake(handshake()[:-9]),
    "a short handshake": instead_of_the_handshake(framed(b"\0\0\0\0")),
    "an event": instead_of_the_handshake(event("/")),
    "an answer": instead_of_the_handshake(framed(header(1))),
    # ---- a handshake
    "no timeout": instead_of_the_handshake(handshake(timeout=0)),
    "timeout of -1 ms": instead_of_the_handshake(handshake(timeout=-1)),
    "timeout of 1 ms": instead_of_the_handshake(handshake(timeout=1)),
    "longest timeout": instead_of_the_handshake(handshake(timeout=0x7FFFFFFF)),
    "no session": instead_of_the_handshake(handshake(session=0)),
    "session -1": instead_of_the_handshake(handshake(session=-1)),
    "no password": instead_of_the_handshake(handshake()[:20] + NULL),
    "greatest password": instead_of_the_handshake(framed(struct.pack("!iiqi", 0, 4000, 7, 0x7FFFFFFF))),
    "negative password": instead_of_the_handshake(framed(struct.pack("!iiqi", 0, 4000, 7, -2) + bytes(16))),
    "password of 1 MB": instead_of_the_handshake(handshake(password=bytes(1 << 20))),
    "read-only": instead_of_the_handshake(handshake(tail=b"\1")),
    "two handshakes": instead_of_the_handshake(handshake(), handshake(session=8)),
    "a handshake and events": instead_of_the_handshake(handshake(), then=itertools.repeat(event(WATCHED) * 1000)),
    "a handshake and noise": instead_of_the_handshake(handshake(), then=itertools.repeat(os.urandom(1 << 16))),
    # ---- answers
    "no answers": after(instead=True),
    "answers to what was not asked": after(framed(header(0x7FFFFFFF))),
    "answers to pings that were not sent": after(framed(header(-2))),
    "answers to logins that were not tried": after(framed(header(-4))),
    "each answer twice": lambda answer: [framed(answer.payload)] * (1 if answer.handshake else 2),
    "answers without a body": answers(body=b""),
    "answers of noise": answers(body=os.urandom(4096)),
    "answers of ones": answers(body=b"\xff" * 4096),
    "short headers": after(framed(b"\0\0\0"), instead=True),
    "an unknown error": answers(error=-12345),
    "a positive error": answers(error=12345),
    "no rights": answers(GET_DATA, GET_CHILDREN, EXISTS, TRANSACTION, error=-102),
    "the session has expired": answers(error=-112),
    "the session has moved": answers(error=-118),
    "the greatest transaction": answers(zxid=(1 << 63) - 1),
    "the least transaction": answers(zxid=-(1 << 63)),
    "null names": answers(GET_CHILDREN, body=struct.pack("!i", 2) + NULL + NULL + bytes(STAT.size)),
    "a null list": answers(GET_CHILDREN, body=NULL + bytes(STAT.size)),
    "the greatest list": answers(GET_CHILDREN, body=MOST),
    "fewer names than it says": answers(GET_CHILDREN, body=names(10, claimed=11)),
    "a list of 100,000 names": answers(GET_CHILDREN, body=names(100_000) + bytes(STAT.size)),
    "names that are no text": answers(GET_CHILDREN, body=struct.pack("!ii", 1, 4) + b"\xff\xfe\xfd\xfc" + bytes(80)),
    "null data": answers(GET_DATA, body=NULL + bytes(STAT.size)),
    "data of 8 MB": answers(GET_DATA, body=struct.pack("!i", 8 << 20) + bytes(8 << 20) + bytes(STAT.size)),
    # ---- what nobody asked for
    "events of the members": after(then=itertools.repeat(event(WATCHED) * 1000)),
    "events of everything": after(then=itertools.repeat(b"".join(event(f"/{n}") for n in range(1000)))),
    "events with long paths": after(then=itertools.repeat(event("/" + "x" * (1 << 20)))),
    "events of unknown kinds": after(event(WATCHED, -1), event("", 77), framed(header(-1))),
    "a frame that never ends": after(struct.pack("!i", 16 << 20), then=itertools.repeat(bytes(1 << 16), 255)),
    "frames that are skipped": after(then=itertools.repeat(struct.pack("!i", 17 << 20) + bytes(17 << 20))),
}  # fmt: skip

SASL_LIES: dict[str, Lie] = {
    "silence": after(opcodes=[SASL], instead=True),
    "a challenge of the greatest length": answers(SASL, body=MOST),
    "a challenge of negative length": answers(SASL, body=LEAST),
    "a challenge of 1 MB": answers(SASL, body=struct.pack("!i", 1 << 20) + b'"' * (1 << 20)),
    "noise": answers(SASL, body=struct.pack("!i", 512) + os.urandom(512)),
    "backslashes": answers(SASL, body=struct.pack("!i", 2000) + b'x="' + b"\\" * 1997),
    "directives": answers(SASL, body=struct.pack("!i", 2000) + b"a=b," * 500),
    "an unknown error": answers(SASL, error=-12345),
}  # fmt: skip
REFUSALS: dict[str, Lie] = {
    "nothing": answers(SASL, body=NULL),
    "an empty challenge": answers(SASL, body=bytes(4)),
    "the same challenge for ever": answers(SASL, body=struct.pack("!i", len(CHALLENGE)) + CHALLENGE, error=0),
    "a refusal": answers(error=-115),
    "a demand": answers(error=-124),
}
"""By these a server says, truly or not, that this client has no business there."""


@pytest.fixture(scope="module")
async def knowing(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ZooKeeperServer]:
    """A server that knows its clients by SASL."""
    properties = digest_properties(tmp_path_factory.mktemp("hostile"), {"agent": "s3cret"})
    async with ZooKeeperServer(settings=PROVIDER, properties=properties) as server:
        yield server


class Cost(NamedTuple):
    connections: int
    memory: int
    processor: float


async def cost_of(member: PartitionCoordinator, hostile: Hostile) -> Cost:
    """What the lies cost while the member starts and joins. It must not hand out anything."""
    busiest, owned = 0.0, list[object]()

    async def look() -> None:
        nonlocal busiest
        while True:
            begun = time.process_time()
            await asyncio.sleep(0)
            busiest = max(busiest, time.process_time() - begun)
            with suppress(PartitionError):
                owned.extend(await member.extract_my_subset(GROUP, KEYS) if GROUP in member.groups else ())
            await asyncio.sleep(0.01)

    tracemalloc.start()
    looking = asyncio.create_task(look())
    try:
        await member.start()
        with suppress(PartitionError):
            await member.join_group(GROUP)
    finally:
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        looking.cancel()
        await asyncio.wait({looking})
    assert owned == []
    return Cost(hostile.connections, memory, busiest)


async def lied_to(
    fleet: Fleet, server: ZooKeeperServer, namespace: str, lie: Lie, auth: SaslDigest | None, measure: Measure
) -> None:
    async with Hostile(server) as hostile:
        hostile.lie = lie
        member = PartitionCoordinator(
            hostile.url(namespace), member_id="a", auth=auth, session_timeout=1.5, connect_timeout=LOOK, heartbeat=0.1
        )
        async with asyncio.timeout(45):
            try:
                cost = await cost_of(member, hostile)
                measure("connections", cost.connections)
                measure("MB", cost.memory / 1e6)
                measure("busy without a break", cost.processor)
                assert cost.connections <= MOST_CONNECTIONS
                assert cost.memory <= MOST_MEMORY
                assert cost.processor <= MOST_PROCESSOR
                hostile.lie = None
                await hostile.end_connections()
                fleet.members.append(member)

                async def joined() -> bool:
                    with suppress(PartitionError):
                        await member.join_group(GROUP)
                        return await fleet.exact(member)
                    return False

                await wait_until(joined, timeout=15)
            finally:
                await member.stop()


@pytest.mark.parametrize("lie", LIES)
async def test_nothing_is_believed_and_it_costs_little(
    fleet: Fleet, zookeeper: ZooKeeperServer, namespace: str, lie: str, measure: Measure
) -> None:
    await lied_to(fleet, zookeeper, namespace, LIES[lie], None, measure)


@pytest.mark.parametrize("lie", SASL_LIES)
async def test_nor_while_logging_in(
    fleet: Fleet, knowing: ZooKeeperServer, namespace: str, lie: str, measure: Measure
) -> None:
    await lied_to(fleet, knowing, namespace, SASL_LIES[lie], AGENT, measure)


@pytest.mark.parametrize("lie", REFUSALS)
async def test_refusals_end_the_start(knowing: ZooKeeperServer, namespace: str, lie: str) -> None:
    async with Hostile(knowing) as hostile, asyncio.timeout(20):
        hostile.lie = REFUSALS[lie]
        member = PartitionCoordinator(hostile.url(namespace), auth=AGENT, connect_timeout=10)
        with pytest.raises(AuthenticationError):
            await member.start()
        await member.stop()
        assert hostile.connections <= 3  # one more may be under way when the first is judged


async def test_a_server_that_floods_and_answers_nothing_is_left(
    fleet: Fleet, zookeeper: ZooKeeperServer, namespace: str
) -> None:
    """For another, although it is anything but silent."""
    async with Hostile(zookeeper) as hostile:
        url = f"zookeeper://{hostile.address},{zookeeper.address}{namespace}"
        session = session_of(await fleet.start(url, "a", session_timeout=4.0))

        def connected_to(port: int) -> bool:
            return session.peer is not None and session.peer.port == port

        while not connected_to(hostile.port):
            assert session._connection is not None
            session._connection.abort("by the test")
            await wait_until(lambda: session.connected)
        hostile.lie = after(then=itertools.repeat(event(WATCHED) * 1000), instead=True)
        await wait_until(lambda: connected_to(zookeeper.port), timeout=30)
        await fleet.settle()


async def test_another_session_is_an_expiry(fleet: Fleet, zookeeper: ZooKeeperServer, namespace: str) -> None:
    """Whoever knows nothing of our session knows nothing of our entries. So what is in flight is revoked."""
    async with Hostile(zookeeper) as hostile:
        member = await fleet.start(hostile.url(namespace), "a", policy=GroupPolicy(exclusive=True), session_timeout=4.0)
        async with Work(member, GROUP, KEYS) as work:
            await wait_until(lambda: all(work.under_way(way) == set(KEYS) for way in ("run", "hold")))
            hostile.lie = instead_of_the_handshake(handshake(session=77))
            await hostile.end_connections()
            await wait_until(lambda: session_of(member).session_id == 77)
            await wait_until(lambda: not work.under_way("run") and not work.under_way("hold"))
            hostile.lie = None
            await hostile.end_connections()
            await wait_until(lambda: work.under_way("run") == set(KEYS), timeout=20)
