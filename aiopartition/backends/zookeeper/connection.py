"""One TCP connection to one ZooKeeper server."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import ConnectReply, Operation, ProtocolError, ReplyError, Xid
from aiopartition.clock import Clock
from aiopartition.forks import tell_child

__all__ = ["Address", "Connection", "ConnectionLostError", "ConnectionOwner", "Reply"]

T = TypeVar("T")


class Address(NamedTuple):
    """One resolved address of a server; ``host`` is the name that the user gave, which TLS verifies."""

    host: str
    ip: str
    port: int

    def __str__(self) -> str:
        shown = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{shown}:{self.port}" if self.host == self.ip else f"{self.host} ({shown}:{self.port})"


class ConnectionLostError(Exception):
    """There is no connection, or it ended before the answer came: the request may have been carried out or not.

    ``cause``: the error that ended it, if there was one.
    """

    def __init__(self, reason: str, cause: Exception | None = None) -> None:
        super().__init__(reason)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Reply:
    """The facts of an answer that concern the session, told as soon as it has come."""

    proof: float | None
    """When the request was sent, on the session's clock: the server has heard of the session since. ``None`` for
    authentication, which a server answers without taking it for a sign of life."""
    zxid: int
    error: int
    operation: Operation[Any]


@dataclass(frozen=True, slots=True)
class _Pending:
    sent: float
    operation: Operation[Any]
    future: asyncio.Future[Any] | None


class ConnectionOwner(Protocol):
    """What a connection tells the session, always before any waiting caller learns of it."""

    def replied(self, reply: Reply) -> None: ...
    def event_received(self, path: str) -> None: ...
    def connection_ended(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Frames out, frames in, each answer matched to its request.

    A protocol rather than a pair of streams: frames are handled in the very callback in which they arrive, so there
    is no reader task to own, and an answer, a watch event and the end of the connection are seen in the order in
    which they came.
    """

    def __init__(self, clock: Clock, owner: ConnectionOwner, tcp: socket.socket | None = None) -> None:
        self._clock = clock
        self._owner = owner
        self._tcp = tcp
        self._splitter = codec.FrameSplitter()
        self._transport: asyncio.Transport | None = None
        self._handshake: asyncio.Future[bytes] | None = None
        self._pending: dict[int, _Pending] = {}
        self._last_xid = 0
        self.lost: asyncio.Event = asyncio.Event()
        self.reason: str = "closed"
        """Why the connection ended, once ``lost`` is set."""
        self.last_sent: float = clock()
        self.last_received: float = self.last_sent

    @classmethod
    async def open(cls, address: Address, ssl: SSLContext | None, clock: Clock, owner: ConnectionOwner) -> Connection:
        """:raises OSError: when the server cannot be reached or TLS fails."""
        loop = asyncio.get_running_loop()
        # Our own socket, not one that the loop makes: a forked child has to let go of it at every moment.
        tcp = socket.socket(socket.AF_INET6 if ":" in address.ip else socket.AF_INET)
        tcp.setblocking(False)
        connection = cls(clock, owner, tcp)
        tell_child(connection)
        try:
            await loop.sock_connect(tcp, (address.ip, address.port))
        except BaseException:
            tcp.close()
            raise
        await loop.create_connection(
            lambda: connection, sock=tcp, ssl=ssl, server_hostname=address.host if ssl is not None else None
        )
        return connection

    async def handshake(self, frame: bytes) -> tuple[ConnectReply, float]:
        """Send the connect frame; the answer, and when the frame was sent.

        :raises ConnectionLostError: if the server hangs up instead.
        """
        self._handshake = asyncio.get_running_loop().create_future()
        sent = self._write(frame)
        try:
            payload = await self._handshake
        finally:
            self._handshake = None
        return codec.parse_connect_reply(payload), sent

    async def request(self, operation: Operation[T]) -> T:
        """Send a numbered request and wait for its answer. Cancelled, the answer is dropped when it comes.

        :raises ReplyError: what the server says against it.
        :raises ConnectionLostError: if the connection ends first.
        """
        return await self._submit(self.next_xid(), operation)

    async def authenticate(self, operation: Operation[None]) -> None:
        """As :meth:`request`, for the one request that bears a number of its own."""
        await self._submit(Xid.AUTH, operation)

    def next_xid(self) -> int:
        """The number for a request."""
        self._last_xid = self._last_xid % 0x7FFFFFFF + 1
        return self._last_xid

    def post(self, xid: int, operation: Operation[None]) -> None:
        """Send without waiting; on a connection that is ending, not at all. The answer is told to the owner alone."""
        if self.ending:
            return
        self._pending[xid] = _Pending(self._write(codec.frame(operation.serialize(xid))), operation, None)

    def farewell(self) -> None:
        """End the session, if the connection is up, without waiting for the answer."""
        if not self.ending:
            self._write(codec.frame(codec.close().serialize(0)))

    @property
    def ending(self) -> bool:
        """Whether nothing can be sent any more. A transport knows it some turns of the loop before it tells us."""
        return self._transport is None or self._transport.is_closing()

    def awaits(self, xid: int) -> bool:
        """Whether the answer to a posted request is still due."""
        return xid in self._pending

    def sent_at(self, xid: int) -> float:
        """When a request was sent whose answer is still due; infinity if it has come."""
        pending = self._pending.get(xid)
        return math.inf if pending is None else pending.sent

    def abort(self, reason: str) -> None:
        """End the connection now. Not ``close()``, which lingers when the peer does not read (and on TLS)."""
        if self._transport is not None:
            self.reason = reason
            self._transport.abort()
            self._end()

    def forked(self) -> None:
        """In a child the socket's number leads nowhere from now on. The socket is the parent's, and so are the events
        of the epoll object that both have: to close a transport here would take its events from the parent."""
        number = -1 if self._tcp is None else self._tcp.fileno()
        if number >= 0:
            os.close(number)  # first: there may be no other number left
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number, inheritable=False)
                os.close(nowhere)

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports behave like asyncio's without deriving from them.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._splitter.feed(data):
                self.last_received = self._clock()
                if self._handshake is not None and not self._handshake.done():
                    self._handshake.set_result(payload)
                else:
                    self._dispatch(payload)
                if self._transport is None:
                    return  # ended by what the frame said
        except ProtocolError as error:
            self.abort(f"the server sent {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self.reason = "the server closed the connection" if exc is None else f"the connection broke: {exc}"
            self._end(exc)

    # ---- inside

    async def _submit(self, xid: int, operation: Operation[T]) -> T:
        payload = operation.serialize(xid)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending[xid] = _Pending(self._write(codec.frame(payload)), operation, future)
        return await future

    def _write(self, frame: bytes) -> float:
        if self._transport is None or self.ending:
            raise ConnectionLostError(self.reason)
        # Before the write: a lease counts from the earliest moment at which the server can have heard.
        self.last_sent = self._clock()
        self._transport.write(frame)
        return self.last_sent

    def _dispatch(self, payload: bytes) -> None:
        xid, zxid, error, body = codec.parse_header(payload)
        if xid == Xid.WATCH:
            self._owner.event_received(codec.parse_event(body))
            return
        pending = self._pending.get(xid)
        if pending is None:
            raise ProtocolError(f"an answer to a request that was not made ({xid})")
        future = pending.future
        awaited = future is not None and not future.done()
        # Before the owner is told: an answer that means nothing proves nothing, and its server is left for another.
        answer = pending.operation.parse(body) if awaited and not error else None
        del self._pending[xid]
        self._owner.replied(Reply(None if xid == Xid.AUTH else pending.sent, zxid, error, pending.operation))
        if future is None or not awaited:
            return
        if error:
            future.set_exception(ReplyError(error))
        else:
            future.set_result(answer)

    def _end(self, cause: Exception | None = None) -> None:
        self._transport = None
        self._owner.connection_ended(self)
        waiting = [pending.future for pending in self._pending.values()]
        self._pending.clear()
        for future in [self._handshake, *waiting]:
            if future is not None and not future.done():
                future.set_exception(ConnectionLostError(self.reason, cause))
        self.lost.set()
