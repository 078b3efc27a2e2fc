"""Readers of what comes from outside, each with what must hold whatever it reads.

A target is called with any bytes. It raises when the library does: when an error is not one of the library's own, is
longer than anybody would read, when more is kept than was received, or when an answer is waited for in vain.
"""

import asyncio
import atexit
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from aiopartition.acl import CREATOR_ACL
from aiopartition.backends.zookeeper import acls, codec, watches
from aiopartition.backends.zookeeper.authentication import authenticate
from aiopartition.backends.zookeeper.codec import Operation, ReplyError, Xid
from aiopartition.backends.zookeeper.connection import Connection, ConnectionLostError
from aiopartition.backends.zookeeper.frames import ProtocolError, frame
from aiopartition.backends.zookeeper.sasl import LoginError, advance, digest_md5
from aiopartition.backends.zookeeper.session import Session
from aiopartition.checks import MAX_WEIGHT
from aiopartition.credentials import Digest
from aiopartition.errors import ConfigurationError, PolicyMismatchError
from aiopartition.group.document import check_document
from aiopartition.group.entry import MAX_INCARNATION, Entry
from aiopartition.placement.policy import GroupPolicy
from aiopartition.secret import Secret
from aiopartition.tls import TlsFiles
from aiopartition.url import URL_OPTIONS, parse_url

LONGEST_TEXT: Final = 1_000
"""Characters of an error."""


def entry_name(data: bytes) -> None:
    """A child of a group's node, whoever made it."""
    name = data.decode("utf-8", "surrogateescape")
    entry = Entry.parse(name)
    if entry is None:
        return
    assert entry.name == name, "one entry has two names"
    assert 0 <= entry.weight <= MAX_WEIGHT
    assert 0 <= entry.incarnation <= MAX_INCARNATION
    assert Entry.parse(entry.name) == entry
    assert isinstance(hash(entry), int)


def url(data: bytes) -> None:
    """What a user gives for a URL."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        parsed = parse_url(text)
    except ConfigurationError as error:
        assert error.part.startswith("backend_url")
        _assert_short(error)
        assert error.__cause__ is None
        assert error.__context__ is None, "the cause may quote a secret"
        return
    assert set(parsed.options) <= set(URL_OPTIONS)
    assert parse_url(str(parsed)) == replace(parsed, auth=None, options={}, tls=parsed.tls and TlsFiles())
    if isinstance(parsed.auth, Digest) and len(password := parsed.auth.password.reveal()) > len("zookeeper"):
        assert password not in repr(replace(parsed, hosts=(), namespace="/", options={}))


def document(data: bytes) -> None:
    """A group's document, which may be of another program, or of a version to come."""
    try:
        check_document(data, "g", GroupPolicy())
    except PolicyMismatchError as error:
        assert error.differences
        _assert_short(error)


def frames(data: bytes) -> None:
    """What a server sends, instead of answers to a session's handshake and to one request of each kind.

    The first byte says whether frames are made of the rest, where :data:`FRAME_BORDER` stands, or lie in there already;
    the second in how small pieces they arrive.
    """
    mode, step, said = data[:1], 1 + int.from_bytes(data[1:2], "big"), data[2:]
    stream = b"".join(map(frame, said.split(FRAME_BORDER))) if mode < b"\x80" else said
    _LOOP.run_until_complete(_hear([stream[place : place + step] for place in range(0, len(stream), step)]))


FRAME_BORDER: Final = b"\xfe\xed"


def challenge(data: bytes) -> None:
    """What a server says to a client that logs in by SASL's DIGEST-MD5."""
    exchange = digest_md5("user", Secret("password"))
    assert advance(exchange, None) == b""
    try:
        answer = advance(exchange, data)
        assert answer is not None
        assert len(answer) < 2 * len(data) + LONGEST_TEXT
        advance(exchange, data)
    except (LoginError, ProtocolError) as error:
        _assert_short(error)
    else:
        raise AssertionError("a challenge passes for a proof")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target for target in (entry_name, url, document, frames, challenge)
}


# ---- a session with nothing behind it


_LOOP: Final = asyncio.new_event_loop()  # one for all executions: to make one takes longer than most of them
atexit.register(_LOOP.close)
_ALLOWED: Final = (ConnectionLostError, ProtocolError, ReplyError)


class _Wire(asyncio.Transport):
    """The transport of a connection whose peer has said all that it will. What is written goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: object) -> None:
        assert not self.closed

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class _Heard:
    """Listens to a session, and does nothing about it."""

    def session_opened(self, *, fresh: bool) -> None: ...
    def session_suspended(self, reason: str) -> None:
        assert len(reason) < LONGEST_TEXT

    def session_expired(self) -> None: ...
    def lease_renewed(self, *, quorum: bool) -> None: ...
    def lease_shortened(self) -> None: ...
    def needs_quorum(self) -> bool:
        return True

    def may_end(self) -> bool:
        return True

    def group_changed(self, group_id: str) -> None: ...
    def group_activated(self, group_id: str) -> None: ...


async def _hear(pieces: Sequence[bytes]) -> None:
    clock = iter(range(1 << 30)).__next__
    session = Session([("h", 1)], 4.0, _Heard(), lambda path: None, clock=clock)
    connection, wire = Connection(clock, session), _Wire()
    connection.connection_made(wire)
    handshake = asyncio.create_task(session._attach(connection))
    await asyncio.sleep(0)
    session._connection = connection
    requests = [asyncio.create_task(connection.request(operation)) for operation in _operations()]
    requests.append(asyncio.create_task(connection.authenticate(authenticate("digest", Secret(b"a:b")))))
    await asyncio.sleep(0)
    connection.post(Xid.PING, codec.ping())
    received = 0
    for piece in pieces:
        if wire.closed:
            break
        connection.data_received(piece)
        received += len(piece)
        assert len(connection._splitter._buffer) <= received
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)  # for what was to be said soon
    connection.connection_lost(None)
    # All at once and at the end: nobody may wait for a connection that is gone.
    outcomes = await asyncio.wait_for(asyncio.gather(handshake, *requests, return_exceptions=True), 1.0)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, _ALLOWED), repr(outcome)
            _assert_short(outcome)
    assert session._connection is None
    assert session.lease.safe_until <= session.lease.lost_at


def _operations() -> list[Operation[Any]]:
    return [
        codec.exists("/"),
        codec.get_children("/g"),
        codec.get_data("/g"),
        acls.create("/g", b"", ephemeral=True),
        codec.set_data("/g", b"", 0),
        codec.delete("/g"),
        codec.sync("/g"),
        watches.add("/g"),
        *watches.arm_again([codec.Watch("/g")], 7),
        codec.ask_quorum(),
        acls.create_for("/g", b"", CREATOR_ACL),
        acls.get_acl("/g"),
        acls.set_acl("/g", CREATOR_ACL, 3),
        acls.who_am_i(),
        acls.prove("/g", CREATOR_ACL),
        codec.close(),
    ]


def _assert_short(error: BaseException) -> None:
    assert len(str(error)) < LONGEST_TEXT, f"an error of {len(str(error))} characters"
