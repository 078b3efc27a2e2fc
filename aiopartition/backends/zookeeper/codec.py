"""ZooKeeper's wire format, typed: the only importer of aiozk.

aiozk's ``protocol`` package knows how every request and reply is laid out (jute). Here each request that the library
makes becomes an :class:`Operation`: its bytes, and how to read the answer. Nothing here does I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Generic, NamedTuple, TypeVar

from aiozk import exc, protocol  # pyright: ignore[reportMissingTypeStubs]

__all__ = [
    "MAX_FRAME",
    "REFUSALS",
    "Children",
    "ConnectReply",
    "ErrorCode",
    "FrameSplitter",
    "Operation",
    "ProtocolError",
    "ReplyError",
    "Stat",
    "Watch",
    "Xid",
    "ask_quorum",
    "authenticate",
    "close",
    "connect_frame",
    "create",
    "delete",
    "exists",
    "frame",
    "get_children",
    "get_data",
    "no_watches",
    "parse_connect_reply",
    "parse_event",
    "parse_header",
    "ping",
    "set_data",
    "set_watches",
    "sync",
]

T = TypeVar("T")

# aiozk has no type information: from here on it is taken on trust, and a canary test pins what is leaned on.
_protocol: Any = protocol
_known_errors: dict[int, Any] = exc.response_error_xref  # pyright: ignore[reportUnknownMemberType]

MAX_FRAME: Final = 16 << 20
"""Bytes. Some 200,000 entries in one reply; a longer frame is rubbish, and not to be waited for."""

MAX_WATCH_BYTES: Final = 128 << 10
"""Of paths in one request to watch them again; a server takes 1 MB by default."""

_HEADER: Final = struct.Struct("!iqi")
_LENGTH: Final = struct.Struct("!i")
_CONNECT_REPLY: Final = struct.Struct("!iiqi")
"""What comes before the password."""


class ProtocolError(Exception):
    """What came from the server is not ZooKeeper's protocol."""


class Xid(IntEnum):
    """Numbers that mark replies which answer no numbered request."""

    WATCH = -1
    PING = -2
    AUTH = -4


class ErrorCode(IntEnum):
    """The codes in replies that the library acts on (``KeeperException.Code``)."""

    CONNECTION_LOSS = -4
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    SESSION_EXPIRED = -112
    AUTH_FAILED = -115
    SESSION_MOVED = -118
    AUTH_REQUIRED = -124
    """Unknown to aiozk: the server demands authentication of a kind that was not given."""


REFUSALS: Final = frozenset({ErrorCode.AUTH_FAILED, ErrorCode.AUTH_REQUIRED})
"""The server refuses this client's credentials, or demands some."""


class ReplyError(Exception):
    """A server's refusal of one request."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        # aiozk's table, not its factory: that prints when it meets a code it does not know.
        known: Any = _known_errors.get(self.code)
        return f"ZooKeeper error {self.code}" + (f" ({known.__name__})" if known else "")


@dataclass(frozen=True, slots=True)
class Stat:
    """The part of a znode's stat that the library reads."""

    version: int
    ephemeral_owner: int
    children_zxid: int
    """``pzxid``: the transaction that last changed the set of children."""
    children: int
    """How many there are."""
    data_zxid: int
    """``mzxid``: the transaction that last wrote the data."""


@dataclass(frozen=True, slots=True)
class Children:
    names: tuple[str, ...]
    stat: Stat


class Watch(NamedTuple):
    """What a server watches for us, until it has fired once."""

    path: str
    data: bool = False
    """Its data; else its children."""


@dataclass(frozen=True, slots=True)
class ConnectReply:
    session_id: int
    timeout: float
    """Seconds, as negotiated."""
    password: bytes


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One request: how its bytes are made and its answer read."""

    request: Any
    decode: Callable[[Any], T]
    watch: Watch | None = None
    """What the server watches for us once it has answered."""
    takes_quorum: bool = False
    """Whether it is a write, which is done only when a quorum has agreed to it."""

    def serialize(self, xid: int) -> bytes:
        """The payload of the frame. Raises on arguments that cannot be encoded, before anything is sent."""
        payload: bytes = self.request.serialize(xid)
        return payload

    def parse(self, body: bytes) -> T:
        """:raises ProtocolError: when ``body`` is not an answer to this request."""
        return self.decode(_deserialize(_protocol.response_xref[self.request.opcode], body))


# ---- requests


def create(path: str, data: bytes, *, ephemeral: bool = False, creator_only: bool = False) -> Operation[None]:
    """``creator_only``: all rights to whoever this session has authenticated as, none to others; else open to all."""
    acl = _protocol.AUTHED_UNRESTRICTED if creator_only else _protocol.UNRESTRICTED_ACCESS
    request: Any = _protocol.CreateRequest(path=path, data=data, acl=[acl])
    request.set_flags(ephemeral=ephemeral)
    return Operation(request, _nothing, takes_quorum=True)


def delete(path: str) -> Operation[None]:
    """Whatever the node's version."""
    return Operation(_protocol.DeleteRequest(path=path, version=-1), _nothing, takes_quorum=True)


def exists(path: str) -> Operation[Stat]:
    return Operation(_protocol.ExistsRequest(path=path, watch=False), _stat)


def get_data(path: str, *, watch: bool = False) -> Operation[tuple[bytes, Stat]]:
    return Operation(
        _protocol.GetDataRequest(path=path, watch=watch),
        lambda reply: (reply.data or b"", _stat(reply)),
        Watch(path, data=True) if watch else None,
    )


def set_data(path: str, data: bytes, version: int) -> Operation[Stat]:
    request: Any = _protocol.SetDataRequest(path=path, data=data, version=version)
    return Operation(request, _stat, takes_quorum=True)


def get_children(path: str, *, watch: bool) -> Operation[Children]:
    return Operation(
        _protocol.GetChildren2Request(path=path, watch=watch),
        _children,
        Watch(path) if watch else None,
    )


def sync(path: str) -> Operation[None]:
    """What is read on this connection afterwards is at least as new as the leader's state at this call."""
    return Operation(_protocol.SyncRequest(path=path), _nothing)


def ask_quorum() -> Operation[None]:
    """A write that changes nothing: a server answers it when a quorum has agreed to it, whatever the rights.

    A leader that has been deposed and does not know it cannot answer. To ``sync`` it can, which takes no quorum.
    """
    request: Any = _protocol.TransactionRequest()
    request.add(_protocol.CheckVersionRequest(path="/", version=-1))
    return Operation(request, _nothing, takes_quorum=True)


def ping() -> Operation[None]:
    return Operation(_protocol.PingRequest(), _nothing)


def close() -> Operation[None]:
    return Operation(_protocol.CloseRequest(), _nothing)


def authenticate(scheme: str, credential: bytes) -> Operation[None]:
    return Operation(_protocol.AuthRequest(type=0, scheme=scheme, auth=credential), _nothing)


def set_watches(watches: Iterable[Watch], zxid: int) -> list[Operation[None]]:
    """Watch all of ``watches`` again on a new connection. What changed since ``zxid`` fires at once.

    Several operations where one would be too long for a server, as in the Java client.
    """
    pieces: list[list[Watch]] = []
    room = 0
    for watch in sorted(watches):
        length = len(watch.path.encode())
        if length > room:
            pieces.append([])
            room = MAX_WATCH_BYTES
        room -= length
        pieces[-1].append(watch)
    return [_set_watches(piece, zxid) for piece in pieces]


def no_watches() -> Operation[None]:
    """A question that every server answers everybody, whatever the rights: since 3.9 ``exists`` may be refused."""
    return _set_watches([], 0)


def _set_watches(watches: list[Watch], zxid: int) -> Operation[None]:
    request: Any = _protocol.SetWatchesRequest(
        relative_zxid=zxid,
        data_watches=[watch.path for watch in watches if watch.data],
        exist_watches=[],
        child_watches=[watch.path for watch in watches if not watch.data],
    )
    return Operation(request, _nothing)


# ---- frames


def frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


def connect_frame(session_id: int, password: bytes, timeout: float, last_zxid: int) -> bytes:
    """The first frame of a connection. ``timeout`` in seconds, ``session_id`` 0 for a new session."""
    request: Any = _protocol.ConnectRequest(
        protocol_version=0,
        last_seen_zxid=last_zxid,
        timeout=min(round(timeout * 1000), 0x7FFFFFFF),
        session_id=session_id,
        password=password,
        read_only=False,
    )
    return frame(request.serialize())


def parse_connect_reply(payload: bytes) -> ConnectReply:
    """:raises ProtocolError: if it is none. A ``session_id`` of 0 in it says that the session has expired."""
    reply = _deserialize(_protocol.ConnectResponse, payload)
    if reply.session_id and (reply.timeout <= 0 or reply.password is None):
        raise ProtocolError("a connect reply without a timeout or a password")
    # What servers since 3.4 append, and aiozk does not read: whether they serve without a quorum. There no entry can be
    # made, and what is read may be old. We never ask for such a session.
    if reply.session_id and payload[_CONNECT_REPLY.size + len(reply.password) :][:1] not in (b"", b"\0"):
        raise ProtocolError("a connect reply of a server that is read-only")
    return ConnectReply(reply.session_id, reply.timeout / 1000, reply.password or b"")


def parse_header(payload: bytes) -> tuple[int, int, int, bytes]:
    """``(xid, zxid, error code, body)`` of a reply."""
    if len(payload) < _HEADER.size:
        raise ProtocolError(f"a reply of {len(payload)} bytes, less than its header")
    xid, zxid, error = _HEADER.unpack_from(payload)
    return xid, zxid, error, payload[_HEADER.size :]


def parse_event(body: bytes) -> str:
    """The path of a watch event. Its type does not matter: whatever happened there, it has to be read again."""
    path: str | None = _deserialize(_protocol.WatchEvent, body).path
    return path or ""


class FrameSplitter:
    """Cuts the stream of bytes from a server into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads completed by ``data``.

        :raises ProtocolError: on a length that no server sends.
        """
        self._buffer += data
        payloads: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer, start)
            if not 0 < size <= MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes")
            end = start + _LENGTH.size + size
            if len(self._buffer) < end:
                break
            payloads.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return payloads


# ---- inside


def _deserialize(kind: Any, body: bytes) -> Any:
    try:
        return kind.deserialize(body)
    except (struct.error, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise ProtocolError(f"a malformed {kind.__name__}: {error}") from error


def _nothing(_reply: Any) -> None:
    return None


def _children(reply: Any) -> Children:
    if None in reply.children:  # which jute allows in a vector of strings
        raise ProtocolError("a list of children with a null in it")
    return Children(tuple(reply.children), _stat(reply))


def _stat(reply: Any) -> Stat:
    stat = reply.stat
    return Stat(
        stat.version, stat.ephemeral_owner, stat.last_modified_children, stat.num_children, stat.last_modified_zxid
    )
