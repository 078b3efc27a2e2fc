"""One TCP connection to one ZooKeeper server."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import socket
import ssl as tls
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import ConnectReply, Operation, ReplyError, Xid
from aiopartition.backends.zookeeper.frames import MAX_FRAME, FrameSplitter, LongFrame, ProtocolError, frame
from aiopartition.backends.zookeeper.watches import WatchEvent, parse_event
from aiopartition.clock import Clock
from aiopartition.forks import tell_child
from aiopartition.secret import Secret
from aiopartition.showing import printable

__all__ = ["Address", "Connection", "ConnectionLostError", "ConnectionOwner", "LongAnswerError", "Reply"]

T = TypeVar("T")

_PROGRESS: Final = 4 << 10
"""Bytes of an unfinished frame that count as a sign of life. A peer that sends less is as good as silent."""


_NO_ANSWER: Final = (
    "it may still be starting, have too many clients, or need TLS on this port (zookeeper+tls://, or ssl=)"
)
_NO_TLS: Final = "speak no TLS on this port (use zookeeper:// without ssl=, or the port that secureClientPort names)"

_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""OpenSSL's reasons for what cannot be the start of a TLS record."""


class Address(NamedTuple):
    """One resolved address of a server. ``host`` is the name that the user gave, which TLS verifies."""

    host: str
    ip: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there stays on this machine."""
        ip = ipaddress.ip_address(self.ip)
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return (mapped or ip).is_loopback

    def __str__(self) -> str:
        shown = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{shown}:{self.port}" if self.host == self.ip else f"{self.host} ({shown}:{self.port})"


class ConnectionLostError(Exception):
    """There is no connection, or it ended before the answer arrived. The request may have been carried out or not.

    ``cause`` is the error that ended the connection, or ``None``.
    """

    def __init__(self, reason: str, cause: Exception | None = None) -> None:
        super().__init__(reason)
        self.cause = cause


class LongAnswerError(Exception):
    """The answer to a request is longer than we read. The connection goes on.

    ``size`` is its length in bytes; ``zxid`` is the last transaction that the server had carried out when it answered.
    """

    def __init__(self, size: int, zxid: int) -> None:
        super().__init__(f"an answer of {size:,} bytes, and one of more than {MAX_FRAME:,} bytes is not read")
        self.size = size
        self.zxid = zxid


@dataclass(frozen=True, slots=True)
class Reply:
    """The parts of an answer that concern the session."""

    proof: float | None
    """When the request was sent, on the session's clock. ``None`` if that does not keep the session alive at the
    server."""
    zxid: int
    error: int
    operation: Operation[Any]


@dataclass(frozen=True, slots=True)
class _Pending:
    sent: float
    operation: Operation[Any]
    future: asyncio.Future[Any] | None


class ConnectionOwner(Protocol):
    """Receives the events of a connection, before any waiting caller does."""

    def replied(self, reply: Reply) -> None: ...
    def event_received(self, event: WatchEvent) -> None: ...
    def connection_ended(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Sends requests, and matches each answer to its request.

    ``docs/explanation/decisions.md``, "Connection and session", says why it is a protocol and not a pair of streams.
    """

    def __init__(self, clock: Clock, owner: ConnectionOwner, tcp: socket.socket | None = None) -> None:
        self._clock = clock
        self._owner = owner
        self._tcp = tcp
        self._secure = False
        self._splitter = FrameSplitter()
        self._transport: asyncio.Transport | None = None
        self._handshake: asyncio.Future[bytes] | None = None
        self._pending: dict[int, _Pending] = {}
        self._last_xid = 0
        self.lost: asyncio.Event = asyncio.Event()
        self.reason: str = "closed"
        """Why the connection ended, once ``lost`` is set."""
        self.last_sent: float = clock()
        self.last_received: float = self.last_sent
        """When an answer, or a good part of a long frame, arrived last. A server that sends only events is as good as
        silent."""
        self.last_hindered: float = -math.inf
        """When a part of an unfinished frame arrived last. Other answers had to wait behind it."""
        self._progress = 0  # bytes of the unfinished frame since ``last_received``

    @classmethod
    async def open(
        cls, address: Address, ssl: tls.SSLContext | None, clock: Clock, owner: ConnectionOwner
    ) -> Connection:
        """Connect to a server.

        :raises OSError: if the server cannot be reached or TLS fails.
        :raises ConnectionLostError: if the server does not answer in TLS.
        """
        loop = asyncio.get_running_loop()
        # Not a socket that the event loop makes: a forked child must be able to close it at any moment.
        tcp = socket.socket(socket.AF_INET6 if ":" in address.ip else socket.AF_INET)
        tcp.setblocking(False)
        connection = cls(clock, owner, tcp)
        tell_child(connection)
        try:
            await loop.sock_connect(tcp, (address.ip, address.port))
        except BaseException:
            tcp.close()
            raise
        connection._secure = ssl is not None
        try:
            await loop.create_connection(
                lambda: connection, sock=tcp, ssl=ssl, server_hostname=address.host if ssl is not None else None
            )
        except OSError as error:
            reason = None if ssl is None else _why_no_tls(error)
            if reason is None:
                raise
            raise ConnectionLostError(reason, error) from error
        return connection

    async def handshake(self, connect_frame: Secret[bytes]) -> tuple[ConnectReply, float]:
        """Send the connect frame. Return the answer, and when the frame was sent.

        :raises ConnectionLostError: if the connection ends before the answer arrives.
        """
        self._require_open()
        self._handshake = asyncio.get_running_loop().create_future()
        sent = self._write(connect_frame.reveal())
        try:
            payload = await self._handshake
        finally:
            self._handshake = None
        return codec.parse_connect_reply(payload), sent

    async def request(self, operation: Operation[T]) -> T:
        """Send a request and return its answer. If cancelled, the answer is ignored when it arrives.

        :raises ReplyError: if the server refuses the request.
        :raises ConnectionLostError: if the connection ends before the answer arrives.
        """
        return await self._submit(self.next_xid(), operation)

    async def authenticate(self, operation: Operation[None]) -> None:
        """Like :meth:`request`, for authentication, whose number the protocol fixes."""
        await self._submit(Xid.AUTH, operation)

    def next_xid(self) -> int:
        """Return an unused number for a request."""
        self._last_xid = self._last_xid % 0x7FFFFFFF + 1
        return self._last_xid

    def post(self, xid: int, operation: Operation[None]) -> None:
        """Send a request without waiting. Only the owner receives the answer.

        Does nothing if the connection is ending.
        """
        if self.ending:
            return
        self._pending[xid] = _Pending(self._write(frame(operation.serialize(xid))), operation, None)

    def farewell(self) -> None:
        """Ask the server to end the session, without waiting. Does nothing if the connection is ending."""
        if not self.ending:
            self._write(frame(codec.close().serialize(0)))

    @property
    def hindered(self) -> bool:
        """Whether a frame is arriving, so that other answers have to wait behind it."""
        return self._splitter.within_frame

    @property
    def ending(self) -> bool:
        """Whether nothing can be sent any more. The transport knows it before it calls :meth:`connection_lost`."""
        return self._transport is None or self._transport.is_closing()

    def awaits(self, xid: int) -> bool:
        """Return whether a request was sent whose answer has not arrived yet."""
        return xid in self._pending

    def sent_at(self, xid: int) -> float:
        """Return when a request was sent whose answer has not arrived yet, or infinity if there is no such request."""
        pending = self._pending.get(xid)
        return math.inf if pending is None else pending.sent

    def abort(self, reason: str) -> None:
        """End the connection now."""
        if self._transport is not None:
            self.reason = reason
            self._transport.abort()  # close() would wait for a peer that does not read, and for the end of TLS
            self._end()

    def forked(self) -> None:
        """In a child, point the socket's number at the null device. The socket belongs to the parent. Closing the
        transport would remove it from the epoll object that parent and child share, and the parent would get no more
        events."""
        number = -1 if self._tcp is None else self._tcp.fileno()
        if number >= 0:
            os.close(number)  # first: there may be no free number
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number, inheritable=False)
                os.close(nowhere)

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._splitter.feed(data)
            self._note_arrival(len(data), complete=bool(frames))
            for payload in frames:
                if isinstance(payload, LongFrame):
                    self._dispatch_long(payload)
                elif self._handshake is not None and not self._handshake.done():
                    self.last_received = self._clock()
                    self._handshake.set_result(payload)
                else:
                    self._dispatch(payload)
                if self._transport is None:
                    return  # the frame has ended the connection
        except ProtocolError as error:
            self.abort(f"the server sent {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self.reason = (
                "the server closed the connection" if exc is None else printable(f"the connection broke: {exc}")
            )
            if self._handshake is not None and not self._handshake.done() and not self._secure:
                self.reason += f" before it answered: {_NO_ANSWER}"
            self._end(None if exc is None else exc.with_traceback(None))  # its frames hold what was being written

    # ---- inside

    async def _submit(self, xid: int, operation: Operation[T]) -> T:
        self._require_open()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # The bytes have no name here: what waits for the answer, and may raise, must not hold them.
        self._pending[xid] = _Pending(self._write(frame(operation.serialize(xid))), operation, future)
        return await future

    def _require_open(self) -> None:
        if self.ending:
            raise ConnectionLostError(self.reason)

    def _write(self, data: bytes) -> float:
        assert self._transport is not None
        # Before the write: a lease counts from the earliest moment at which the server can have received the request.
        self.last_sent = self._clock()
        self._transport.write(data)
        return self.last_sent

    def _note_arrival(self, size: int, *, complete: bool) -> None:
        self._progress = 0 if complete else self._progress + size
        if complete or self._progress >= _PROGRESS:
            now = self._clock()
            if not complete:
                self._progress, self.last_received = 0, now
            if self.hindered:
                self.last_hindered = now

    def _dispatch(self, payload: bytes) -> None:
        xid, zxid, error, body = codec.parse_header(payload)
        if xid == Xid.WATCH:
            self._owner.event_received(parse_event(body, zxid))
            return
        pending = self._pending_of(xid)
        future = pending.future
        awaited = future is not None and not future.done()
        refusal = ReplyError(error) if error else None
        answer = None
        if awaited and refusal is None:
            # Before the owner learns of it: an answer that cannot be parsed must not renew the lease.
            try:
                answer = pending.operation.parse(body)
            except ReplyError as one_of_several:
                refusal = one_of_several
        self._conclude(xid, pending, zxid, error)
        if future is None or not awaited:
            return
        if refusal is not None:
            future.set_exception(refusal)
        else:
            future.set_result(answer)

    def _dispatch_long(self, long: LongFrame) -> None:
        """Fail the one request that is answered. Its caller need not wait until the rest has been skipped."""
        if self._handshake is not None and not self._handshake.done():
            raise ProtocolError(f"a connect reply of {long.size} bytes")
        xid, zxid, error, _ = codec.parse_header(long.head)
        if xid == Xid.WATCH:
            raise ProtocolError(f"a watch event of {long.size} bytes")
        pending = self._pending_of(xid)
        self._conclude(xid, pending, zxid, error)
        if pending.future is not None and not pending.future.done():
            pending.future.set_exception(LongAnswerError(long.size, zxid))

    def _pending_of(self, xid: int) -> _Pending:
        pending = self._pending.get(xid)
        if pending is None:
            raise ProtocolError(f"an unexpected answer to request {xid}")
        return pending

    def _conclude(self, xid: int, pending: _Pending, zxid: int, error: int) -> None:
        del self._pending[xid]
        self.last_received = self._clock()
        self._owner.replied(Reply(pending.sent if pending.operation.alive else None, zxid, error, pending.operation))

    def _end(self, cause: Exception | None = None) -> None:
        self._transport = None
        self._owner.connection_ended(self)
        waiting = [pending.future for pending in self._pending.values()]
        self._pending.clear()
        for future in [self._handshake, *waiting]:
            if future is not None and not future.done():
                future.set_exception(ConnectionLostError(self.reason, cause))
        self.lost.set()


def _why_no_tls(error: OSError) -> str | None:
    """Explain a TLS handshake that failed because the server may not speak TLS; ``None`` if it failed otherwise."""
    if isinstance(error, tls.SSLError) and error.reason in _NOT_TLS:
        return f"the server seems to {_NO_TLS}: {error.reason}"
    if isinstance(error, (ConnectionError, tls.SSLEOFError)):  # as a plain port of ZooKeeper ends it
        return f"the server closed the connection in the TLS handshake: it may still be starting, or {_NO_TLS}"
    return None
