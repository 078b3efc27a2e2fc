"""ZooKeeper's wire format, typed.

aiozk's ``protocol`` package knows the layout of all requests and answers (jute). Here each request of the library is an
:class:`Operation`, which makes its bytes and parses its answer. Nothing here does I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from aiozk import exc, protocol  # pyright: ignore[reportMissingTypeStubs]

from aiopartition.backends.zookeeper.frames import ProtocolError, frame
from aiopartition.secret import Secret

__all__ = [
    "Children", "ConnectReply", "ErrorCode", "Node", "Operation", "RawRequest", "ReplyError", "Stat", "Watch", "Xid",
    "ask_quorum", "buffer", "close", "connect_frame", "delete", "delete_all", "exists", "get_children", "get_data",
    "nothing", "parse_connect_reply", "parse_header", "ping", "read_lists", "read_nodes", "set_data", "sync",
]  # fmt: skip

T = TypeVar("T")
U = TypeVar("U")

# aiozk has no type information. A canary test in tests/unit/backends/test_codec.py pins what is used of it.
_protocol: Any = protocol
_known_errors: dict[int, Any] = exc.response_error_xref  # pyright: ignore[reportUnknownMemberType]

MAX_PASSWORD: Final = 1024
"""Bytes. Servers give 16. The next server would refuse a client that offers much more, at each attempt."""

_HEADER: Final = struct.Struct("!iqi")
_INT: Final = struct.Struct("!i")
_CONNECT_REPLY: Final = struct.Struct("!iiqi")
"""The part before the password."""


class Xid(IntEnum):
    """The numbers in answers that do not belong to a numbered request."""

    WATCH = -1
    PING = -2
    AUTH = -4


class ErrorCode(IntEnum):
    """The error codes that the library handles (``KeeperException.Code``)."""

    CONNECTION_LOSS = -4
    UNIMPLEMENTED = -6
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    SESSION_EXPIRED = -112
    AUTH_FAILED = -115
    SESSION_MOVED = -118
    AUTH_REQUIRED = -124
    """The server demands authentication of a kind that was not given. aiozk does not know this code."""


class ReplyError(Exception):
    """A server has refused a request."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        # Not aiozk's factory, which prints a message for an unknown code.
        known: Any = _known_errors.get(self.code)
        return f"ZooKeeper error {self.code}" + (f" ({known.__name__})" if known else "")


@dataclass(frozen=True, slots=True)
class Stat:
    """The part of a znode's stat that the library reads."""

    version: int
    ephemeral_owner: int
    children_zxid: int
    """``pzxid``: the transaction that last created or deleted a child."""
    children: int
    """Their number."""
    data_zxid: int
    """``mzxid``: the transaction that last wrote the data."""
    children_changes: int
    """``cversion``: how many children have ever been created or deleted, in 32 bits."""


class Node(NamedTuple):
    """A znode as :func:`read_nodes` reads it.

    :ivar created: ``czxid``, the transaction that created it.
    """

    stat: Stat
    created: int


@dataclass(frozen=True, slots=True)
class Children:
    names: tuple[str, ...]
    stat: Stat


class Watch(NamedTuple):
    """A watch at the server."""

    path: str
    recursive: bool = False
    """Whether it stays, and tells of the node and of all below it; else it fires once, when the node's data changes."""


@dataclass(frozen=True, slots=True)
class ConnectReply:
    session_id: int
    timeout: float
    """Seconds, as negotiated."""
    password: Secret[bytes]


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A request: makes its bytes, and parses its answer."""

    request: Any
    decode: Callable[[Any], T]
    watch: Watch | None = None
    """The watch that the request arms."""
    takes_quorum: bool = False
    """Whether the server needs a quorum to answer it, as for any write."""
    alive: bool = True
    """Whether the server takes it for a sign of life of the session, as anything but authentication."""

    def serialize(self, xid: int) -> bytes:
        """Return the payload of the frame. Raises an error for arguments that cannot be encoded."""
        payload: bytes = self.request.serialize(xid)
        return payload

    def then(self, go_on: Callable[[T], U]) -> Operation[U]:
        """The same request, whose answer goes through ``go_on`` before any frame that follows it is looked at."""
        return Operation(
            self.request, lambda reply: go_on(self.decode(reply)), self.watch, self.takes_quorum, self.alive
        )

    def parse(self, body: bytes) -> T:
        """Return the answer in ``body``.

        :raises ProtocolError: if it is not an answer to this request.
        """
        kind = _protocol.response_xref.get(self.request.opcode, _protocol.SetWatchesResponse)  # which has no body
        return self.decode(_deserialize(kind, body))


class RawRequest:
    """A request that aiozk does not know.

    :param encode: makes the bytes after the header when they are sent, so that nothing shows them before.
    """

    def __init__(self, opcode: int, encode: Callable[[], bytes]) -> None:
        self.opcode = opcode
        self._encode = encode

    def serialize(self, xid: int) -> bytes:
        return _INT.pack(xid) + _INT.pack(self.opcode) + self._encode()


def buffer(data: bytes) -> bytes:
    """Return ``data`` with its length before it, as jute writes buffers and encoded texts."""
    return _INT.pack(len(data)) + data


# ---- requests


def delete(path: str) -> Operation[None]:
    """Delete a node of any version."""
    return Operation(_protocol.DeleteRequest(path=path, version=-1), nothing, takes_quorum=True)


def delete_all(paths: Iterable[str]) -> Operation[bool]:
    """Delete nodes of any version in one transaction: all, or none if one cannot be deleted. Return whether."""
    request: Any = _protocol.TransactionRequest()
    for path in paths:
        request.add(_protocol.DeleteRequest(path=path, version=-1))
    return Operation(request, _carried_out, takes_quorum=True)


def exists(path: str) -> Operation[Stat]:
    return Operation(_protocol.ExistsRequest(path=path, watch=False), _stat)


def get_data(path: str, *, watch: bool = False) -> Operation[tuple[bytes, Stat]]:
    return Operation(
        _protocol.GetDataRequest(path=path, watch=watch),
        lambda reply: (reply.data or b"", _stat(reply)),
        Watch(path) if watch else None,
    )


def set_data(path: str, data: bytes, version: int) -> Operation[Stat]:
    request: Any = _protocol.SetDataRequest(path=path, data=data, version=version)
    return Operation(request, _stat, takes_quorum=True)


def get_children(path: str) -> Operation[Children]:
    return Operation(_protocol.GetChildren2Request(path=path, watch=False), _children)


def read_nodes(paths: Iterable[str]) -> Operation[list[Node | None]]:
    """Read several nodes in one request, which servers know since 3.6. ``None`` stands for a node that is not there."""
    return _read_all([_protocol.GetDataRequest(path=path, watch=False) for path in paths], _node)


def read_lists(paths: Iterable[str]) -> Operation[list[Children | None]]:
    """The same for the nodes below, with the stat of the node above them. The names may be newer than the stat."""
    requests = [
        read(path=path, watch=False)
        for path in paths
        for read in (_protocol.GetDataRequest, _protocol.GetChildrenRequest)  # in this order
    ]
    return _read_all(requests, lambda reply: reply).then(
        lambda replies: [
            None if stat is None or names is None else Children(_names(names), _stat(stat))
            for stat, names in zip(replies[::2], replies[1::2], strict=True)
        ]
    )


def _read_all(requests: Iterable[Any], decode: Callable[[Any], T]) -> Operation[list[T | None]]:
    def decode_each(reply: Any) -> T | None:
        if not isinstance(reply, Exception):
            return decode(reply)
        code: int = cast("Any", reply).error_code
        if code == ErrorCode.NO_NODE:
            return None
        raise ReplyError(code)

    request = _MultiReadRequest()
    for each in requests:
        request.add(each)
    return Operation(request, lambda reply: [decode_each(each) for each in reply.responses])


def sync(path: str) -> Operation[None]:
    """Later reads on this connection return a state at least as new as the leader's at this call."""
    return Operation(_protocol.SyncRequest(path=path), nothing)


def ask_quorum() -> Operation[None]:
    """A write that changes nothing. It takes a quorum and no rights: P4 in ``docs/explanation/guarantees.md``."""
    request: Any = _protocol.TransactionRequest()
    request.add(_protocol.CheckVersionRequest(path="/", version=-1))
    return Operation(request, nothing, takes_quorum=True)


def ping() -> Operation[None]:
    return Operation(_protocol.PingRequest(), nothing)


def close() -> Operation[None]:
    return Operation(_protocol.CloseRequest(), nothing)


# ---- connecting, and answers


def connect_frame(session_id: int, password: Secret[bytes], timeout: float, last_zxid: int) -> Secret[bytes]:
    """Return the first frame of a connection.

    :param session_id: 0 for a new session.
    :param timeout: in seconds.
    """
    request: Any = _protocol.ConnectRequest(
        protocol_version=0,
        last_seen_zxid=last_zxid,
        timeout=min(round(timeout * 1000), 0x7FFFFFFF),
        session_id=session_id,
        password=password.reveal(),
        read_only=False,
    )
    return Secret(frame(request.serialize()))


def parse_connect_reply(payload: bytes) -> ConnectReply:
    """Parse the answer to :func:`connect_frame`. A ``session_id`` of 0 means that the session has expired.

    :raises ProtocolError: if it is not such an answer, or the server is read-only.
    """
    reply = _deserialize(_protocol.ConnectResponse, payload)
    if reply.session_id and (reply.timeout <= 0 or reply.password is None):
        raise ProtocolError("a connect reply without a timeout or a password")
    if reply.session_id and len(reply.password) > MAX_PASSWORD:
        raise ProtocolError(f"a connect reply with a password of {len(reply.password)} bytes")
    # Since 3.4 servers append whether they are read-only, which aiozk ignores. A read-only server has no quorum, so it
    # creates no entries and may return an old state. We never ask for such a session.
    if reply.session_id and payload[_CONNECT_REPLY.size + len(reply.password) :][:1] not in (b"", b"\0"):
        raise ProtocolError("a connect reply of a server that is read-only")
    return ConnectReply(reply.session_id, reply.timeout / 1000, Secret(reply.password or b""))


def parse_header(payload: bytes) -> tuple[int, int, int, bytes]:
    """Return the number, transaction, error code and body of an answer.

    :raises ProtocolError: if it is too short.
    """
    if len(payload) < _HEADER.size:
        raise ProtocolError(f"a reply of {len(payload)} bytes, less than its header")
    xid, zxid, error = _HEADER.unpack_from(payload)
    return xid, zxid, error, payload[_HEADER.size :]


# ---- inside


class _MultiReadRequest(_protocol.TransactionRequest):  # type: ignore[misc]
    """Several reads with one answer, which aiozk does not know."""

    opcode = 22


class _MultiReadResponse(_protocol.TransactionResponse):  # type: ignore[misc]
    opcode = 22  # under which aiozk finds this class


class _SaslResponse(_protocol.response.Response):  # type: ignore[misc]
    opcode = 102  # of a class of aiozk that reads nothing
    parts = (("token", _protocol.primitives.Buffer),)


def _deserialize(kind: Any, body: bytes) -> Any:
    try:
        return kind.deserialize(body)
    except (struct.error, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise ProtocolError(f"a malformed {kind.__name__}: {error}") from error


def nothing(_reply: Any) -> None:
    """For an answer without a body."""


def _carried_out(reply: Any) -> bool:
    return not any(isinstance(answer, exc.ZKError) for answer in reply.responses)


def _children(reply: Any) -> Children:
    return Children(_names(reply), _stat(reply))


def _names(reply: Any) -> tuple[str, ...]:
    if None in reply.children:  # jute allows it in a vector of strings
        raise ProtocolError("a list of children with a null in it")
    return tuple(reply.children)


def _node(reply: Any) -> Node:
    return Node(_stat(reply), reply.stat.created_zxid)


def _stat(reply: Any) -> Stat:
    stat = reply.stat
    return Stat(
        stat.version,
        stat.ephemeral_owner,
        stat.last_modified_children,
        stat.num_children,
        stat.last_modified_zxid,
        stat.child_version,
    )
