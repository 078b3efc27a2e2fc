"""A hardened ZooKeeper session: one task that keeps one connection to some server of the ensemble.

The rules it follows, each of which some client in use breaks:

* Requests are never sent again. After a lost connection only the caller knows what is idempotent.
* The lease counts from the moment when the last *answered* request was *sent*, and ends after two thirds of the
  negotiated timeout. The whole timeout is not safe: followers tell the leader about their sessions only with the
  leader's pings, so when the follower that answered dies first, the leader expires the session early.
* There are two leases: one that any answer renews, and one that only answers renew which took a quorum, as those to
  writes do. A follower goes on answering everything else for a while after it has lost its leader.
* A lease is read from the clock when it is used. No timer has to fire for it to end.
* A session goes by the shortest timeout that it was ever granted: servers may differ, and the leader hears from all.
* On a new connection the first answer that counts is one that takes a quorum: a leader that was deposed while it
  stood still answers everything else, for a moment.
* After a silence longer than the timeout the session may be gone or not. The next connection offers the same
  session again (else its entries would linger for another timeout), but offers no history: an ensemble that was
  wiped must not refuse us for having seen its future.
* Watches that the server held are armed again on a new connection, with the last transaction that was seen, so
  only those fire whose nodes have changed meanwhile (ZooKeeper Programmer's Guide, "ZooKeeper Watches").
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl as tls
from collections.abc import Sequence
from contextlib import suppress
from ssl import SSLContext
from typing import Any, Final, Protocol, TypeVar

import anyio

from aiopartition.backends.lease import NO_LEASE, Lease
from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import ErrorCode, Operation, ProtocolError, ReplyError, Watch
from aiopartition.backends.zookeeper.connection import Address, Connection, ConnectionLostError, Reply
from aiopartition.backends.zookeeper.keep_alive import KeepAlive
from aiopartition.backends.zookeeper.resolver import Resolver
from aiopartition.clock import Clock
from aiopartition.errors import AuthenticationError
from aiopartition.forks import tell_child

__all__ = ["Lease", "Session", "SessionListener"]

T = TypeVar("T")

_logger: Final = logging.getLogger("aiopartition.zookeeper")

_NO_PASSWORD: Final[bytes] = bytes(16)
_FIRST_BACKOFF: Final = 0.1  # seconds, doubled with each failed round
_LONGEST_BACKOFF: Final = 0.8
_FIRST_LIMIT: Final = 1.5  # seconds for an attempt to connect; a cold server's first TLS handshake took 0.9
_LONGEST_LIMIT: Final = 1.9  # one that began in a silence must not outlast it by much
_STABLE_AFTER: Final = 1.0  # seconds that a connection must live to count as a success
_CLOSE_TIMEOUT: Final = 1.0

_CONNECT_ERRORS: Final = (OSError, ConnectionLostError, ProtocolError, ReplyError)  # TimeoutError is an OSError
_REFUSED: Final = frozenset({ErrorCode.AUTH_FAILED, ErrorCode.AUTH_REQUIRED})
_SESSION_OVER: Final = frozenset({ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_MOVED})


class _SessionExpiredError(ConnectionLostError):
    """The server does not know the session any more."""


class SessionListener(Protocol):
    """What a session reports; called in the event loop, must neither block nor raise."""

    def session_opened(self, *, fresh: bool) -> None: ...
    def session_suspended(self, reason: str) -> None: ...
    def session_expired(self) -> None: ...
    def lease_renewed(self, *, quorum: bool) -> None: ...
    def lease_shortened(self) -> None: ...
    def needs_quorum(self) -> bool: ...
    def watch_fired(self, path: str) -> None: ...
    def may_end(self) -> bool: ...


class Session:
    """Keeps a session alive over connections that come and go. Give :meth:`run` a task of its own.

    :param hosts: names or addresses with ports; each name's every address is tried.
    :param timeout: seconds asked of the server, which may grant another (2 to 20 of its ticks).
    :param auth: digest user and password, sent again on each connection.
    """

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]],
        timeout: float,
        listener: SessionListener,
        *,
        clock: Clock,
        ssl: SSLContext | None = None,
        auth: tuple[str, str] | None = None,
    ) -> None:
        self._hosts = tuple(hosts)
        self._requested_timeout = timeout
        self._listener = listener
        self._clock = clock
        self._ssl = ssl
        # surrogatepass: an encoding error would carry the password in its arguments.
        self._credential = None if auth is None else ":".join(auth).encode("utf-8", "surrogatepass")
        self._resolver = Resolver()
        self._connection: Connection | None = None
        self._closing = False
        self._answered = asyncio.Event()  # connected or refused: the outcome that a start waits for
        self._refusal: AuthenticationError | None = None
        self._watched: set[Watch] = set()  # by the server, for us
        self._last_zxid = 0
        self._password: bytes = _NO_PASSWORD
        self.session_id: int = 0
        self.timeout: float = timeout
        """Seconds, as negotiated: the least that a server has granted to this session."""
        self.lease: Lease = NO_LEASE
        """By any answer."""
        self.quorum_lease: Lease = NO_LEASE
        """By answers that took a quorum. It never outlasts the other one."""
        self.peer: Address | None = None
        """The server that we are connected to."""
        self.error: str = "no server has answered yet"
        """Why we are not connected."""

    @property
    def connected(self) -> bool:
        return self._connection is not None

    # ---- for callers

    async def first_connection(self) -> None:
        """Wait until connected.

        :raises AuthenticationError: when each server that can be reached refuses this client.
        """
        await self._answered.wait()
        if self._refusal is not None and not self.connected:
            raise self._refusal

    async def send(self, operation: Operation[T]) -> T:
        """One request and its answer. Never sent twice.

        :raises ConnectionLostError: at once when disconnected, or when the connection ends before the answer.
        :raises ReplyError: the server's refusal.
        """
        if self._connection is None:
            raise ConnectionLostError(self.error)
        return await self._connection.request(operation)

    async def ping(self) -> None:
        """One round trip that also renews the lease."""
        # A ping proper has no number of its own and may be under way already.
        await self.send(codec.no_watches())

    def forget_watches(self, path: str) -> None:
        """Do not arm the watches on ``path`` again on the next connection."""
        self._watched -= {Watch(path), Watch(path, data=True)}

    async def close(self) -> None:
        """End the session at the server, which deletes its ephemeral nodes at once. Waits at most a second.

        Idempotent. Disconnected, there is nobody to tell: the session ends with its timeout.
        """
        self._closing = True
        connection = self._connection
        if connection is None:
            return
        with anyio.move_on_after(_CLOSE_TIMEOUT):
            try:
                await connection.request(codec.close())
            except (ConnectionLostError, ReplyError) as error:
                _logger.debug("closing the session: %s", error)
        connection.abort("closed")

    def forked(self) -> None:
        """In a child nothing is connected, and no connection is made: it would take the session from the parent."""
        self._closing = True
        self._connection = self.peer = None
        self.error = "the session belongs to the parent process"
        self.lease = self.quorum_lease = NO_LEASE

    # ---- the task

    async def run(self) -> None:
        """Connect, serve, reconnect; for ever, until cancelled or closed."""
        tell_child(self)
        failures = 0
        last: Address | None = None
        while not self._closing:
            started = self._clock()
            limit = self._attempt_limit(failures)
            address = await self._connect_to_any(await self._addresses(limit, last), limit)
            if address is None:
                failures += 1
            else:
                opened = self._clock()
                await self._serve()
                last = address
                failures = 0 if self._clock() - opened > _STABLE_AFTER else failures + 1
                started = self._clock()
            if not self._closing:
                # Full jitter, so that a fleet does not come back in step. What an attempt took counts as waited.
                backoff = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** min(failures, 9)) * random.random()
                await anyio.sleep(max(0.0, backoff - (self._clock() - started)))

    def _attempt_limit(self, failures: int) -> float:
        """Seconds for TCP, TLS, the handshake and authentication with one server. It grows with failures: a server
        that has just started, or one that everybody returns to, is slow, yet must not be given up each time."""
        first = min(max(0.25, self.timeout / max(6, 2 * len(self._hosts))), _FIRST_LIMIT)
        return min(first * 2.0 ** min(failures, 9), max(0.5, self.timeout / 2), _LONGEST_LIMIT)

    async def _addresses(self, limit: float, last: Address | None) -> list[Address]:
        """Every address of every host, shuffled, the one just lost at the end."""
        addresses: set[Address] = set()
        deadline = self._clock() + limit
        for host, _ in self._hosts:
            self._resolver.begin(host)
        for host, port in self._hosts:
            try:
                addresses.update(await self._resolver.resolve(host, port, max(0.0, deadline - self._clock())))
            except OSError as error:
                self._failed(f"{host}:{port}", error)
        return sorted(random.sample(sorted(addresses), len(addresses)), key=lambda address: address == last)

    async def _connect_to_any(self, addresses: list[Address], limit: float) -> Address | None:
        """Try each in turn; the one that we are connected to now."""
        refusals: list[AuthenticationError] = []
        unanswered = 0
        for address in addresses:
            try:
                with anyio.fail_after(limit):
                    await self._connect(address)
            except _CONNECT_ERRORS as error:
                self._failed(str(address), error)
                refusal = _refusal(error, address)
                if refusal is None:
                    unanswered += 1
                else:
                    refusals.append(refusal)
            else:
                self._refusal = None
                self._answered.set()
                return address
        if refusals and not unanswered:
            self._refusal = refusals[0]
            self._answered.set()
        return None

    async def _connect(self, address: Address) -> None:
        try:
            await self._establish(address)
        except _SessionExpiredError:
            await self._establish(address)  # which opens a new one; the server is fine

    async def _establish(self, address: Address) -> None:
        if self._closing:
            raise ConnectionLostError("the session is closed")
        connection = await Connection.open(address, self._ssl, self._clock, self)
        try:
            fresh = await self._attach(connection)
            if self._credential is not None:
                await connection.authenticate(codec.authenticate("digest", self._credential))
            if not fresh:
                await self._resume(connection)
            if connection.lost.is_set():
                raise ConnectionLostError(connection.reason)
        except BaseException:
            connection.abort("given up")
            raise
        self._connection, self.peer, self.error = connection, address, ""
        _logger.info(
            "%s session 0x%x with %s, timeout %.1f s",
            "new" if fresh else "resumed", self.session_id & (1 << 64) - 1, address, self.timeout,
        )  # fmt: skip
        self._listener.session_opened(fresh=fresh)

    async def _attach(self, connection: Connection) -> bool:
        """The handshake. Whether the session is another than at the last connection."""
        offered = self.session_id
        if self._clock() >= self.lease.lost_at:
            self._last_zxid = 0
        # Of a session that goes on, no more than it has: then a server that would grant more agrees with us.
        timeout = self.timeout if offered else self._requested_timeout
        frame = codec.connect_frame(offered, self._password, timeout, self._last_zxid)
        reply, sent = await connection.handshake(frame)
        if not reply.session_id:
            if not offered:
                raise ConnectionLostError("the server gives no session")
            self._expired()
            raise _SessionExpiredError("the session has expired")
        self.session_id, self._password = reply.session_id, reply.password
        fresh = reply.session_id != offered
        if fresh:
            self.timeout = reply.timeout
            self._renew(sent, quorum=True)
        elif reply.timeout < self.timeout:
            self._shorten(reply.timeout)
        return fresh

    async def _resume(self, connection: Connection) -> None:
        """Arm the watches again, and ask a quorum. Its answer follows all the news; no answer before renews the lease.

        A handshake must not: where handshakes come through and connections die soon after, what we believe would stay
        in force for ever. Nor must what a server says by itself: a leader that stood still while another was elected
        goes on answering for a moment when it wakes, and the other may end the session, of which it hears nothing.
        """
        for operation in codec.set_watches(self._watched, self._last_zxid):
            await connection.request(operation)
        sent = self._clock()
        await connection.request(codec.ask_quorum())
        self._renew(sent, quorum=True)

    async def _serve(self) -> None:
        """Keep the connection alive until it ends."""
        connection = self._connection
        assert connection is not None
        keep_alive = KeepAlive(connection, self._clock)
        try:
            pause = self._keep_alive(keep_alive, late=False)
            while not connection.lost.is_set():
                due = self._clock() + pause
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await connection.lost.wait()
                if not connection.lost.is_set():
                    pause = self._keep_alive(keep_alive, late=self._clock() - due > self.timeout / 10)
        finally:
            if not self._closing and self._listener.may_end():
                # The loop is being closed around us, before anybody could say farewell. What is written now still
                # reaches the server, which then need not wait for the session's timeout.
                connection.farewell()
            connection.abort("cancelled")

    def _keep_alive(self, keep_alive: KeepAlive, *, late: bool) -> float:
        asked = self.quorum_lease.sent if self._listener.needs_quorum() else None
        return keep_alive.look(self.timeout, asked, late=late)

    # ---- what a connection tells

    def connection_ended(self, connection: Connection) -> None:
        if connection is not self._connection:
            return  # it ended before the session had come to lean on it
        self._connection = self.peer = None
        self.error = connection.reason
        if not self._closing:
            _logger.info("connection lost: %s", connection.reason)
        self._listener.session_suspended(connection.reason)

    def replied(self, reply: Reply) -> None:
        if reply.error in _SESSION_OVER:
            # Reconnecting tells which of the two it is. An answer of this kind renews nothing.
            connection = self._connection
            if connection is not None:
                asyncio.get_running_loop().call_soon(connection.abort, "the session expired or moved")
            return
        self._last_zxid = max(self._last_zxid, reply.zxid)
        if reply.operation.watch is not None and not reply.error:
            self._watched.add(reply.operation.watch)
        if reply.proof is not None and self.connected:
            self._renew(reply.proof, quorum=reply.operation.takes_quorum and not reply.error)

    def event_received(self, path: str) -> None:
        self.forget_watches(path)
        self._listener.watch_fired(path)

    def _renew(self, sent: float, *, quorum: bool) -> None:
        now = self._clock()
        lapsed, quorum_lapsed = self.lease.lapsed(now), quorum and self.quorum_lease.lapsed(now)
        self.lease = self.lease.renewed(sent, self.timeout)
        if quorum:
            self.quorum_lease = self.quorum_lease.renewed(sent, self.timeout)
        if lapsed:
            self._listener.lease_renewed(quorum=False)
        if quorum_lapsed:
            self._listener.lease_renewed(quorum=True)

    def _shorten(self, timeout: float) -> None:
        """A server has granted less than the session had; that holds whatever becomes of the connection."""
        _logger.warning("the session timeout is %g s from now on, no longer %g s", timeout, self.timeout)
        self.timeout = timeout
        self.lease, self.quorum_lease = self.lease.cut(timeout), self.quorum_lease.cut(timeout)
        self._listener.lease_shortened()

    def _expired(self) -> None:
        _logger.warning("session 0x%x has expired", self.session_id & (1 << 64) - 1)
        self.session_id, self._password, self._last_zxid = 0, _NO_PASSWORD, 0
        self.lease = self.quorum_lease = NO_LEASE
        self._watched.clear()
        self._listener.session_expired()

    def _failed(self, server: str, error: Exception) -> None:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        self.error = f"{server}: {reason}"
        _logger.debug("cannot connect to %s", self.error)


def _refusal(error: Exception, address: Address) -> AuthenticationError | None:
    """``error`` as a refusal of this client, which no waiting heals; ``None`` when it is something else."""
    reason: Any = None
    if isinstance(error, ConnectionLostError) and error.cause is not None:
        error = error.cause  # in TLS 1.3 a server looks at our certificate when we take the handshake for done
    if isinstance(error, tls.SSLCertVerificationError):
        reason = f"the certificate of {address} is not trusted: {error.verify_message}"
    elif isinstance(error, tls.SSLError) and "ALERT" in (error.reason or ""):
        reason = f"{address} refuses the TLS handshake (is a client certificate wanted?): {error.reason}"
    elif isinstance(error, ReplyError) and error.code in _REFUSED:
        reason = f"{address} refuses the credentials: {error}"
    if reason is None:
        return None
    refusal = AuthenticationError(reason)
    refusal.__cause__ = error
    return refusal
