"""A ZooKeeper session that outlives its connections: one task keeps a connection to some server of the ensemble.

Each of these rules is broken by some client in use:

* A request is never sent twice, see ``docs/explanation/decisions.md``.
* The leases follow P4 in ``docs/explanation/guarantees.md``, which also says why. There are two: any answer
  renews one; only an answer that took a quorum, as to a write, renews the other. After a reconnection, neither is
  renewed before a quorum has answered.
* Leases and silence go by the shortest timeout of all that a server has granted and the one that was asked for. Servers
  may differ, and the leader hears from all. A server that grants an hour must not keep us believing for an hour.
* After a silence longer than the timeout, the session may or may not have expired. The next connection offers it again,
  because otherwise its entries would stay for another timeout. But it offers no last transaction: an ensemble that was
  wiped would refuse a client that has seen a later one.
* The server's watches are armed again on a new connection, with the last transaction that was seen, so only those fire
  whose nodes have changed since (ZooKeeper Programmer's Guide, "ZooKeeper Watches"). Those that stay tell nothing of
  what they have missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from ssl import SSLContext
from typing import Final, TypeVar

import anyio

from aiopartition.backends.base import Listener
from aiopartition.backends.ephemerals import Ephemerals
from aiopartition.backends.lease import NO_LEASE, Lease
from aiopartition.backends.zookeeper import codec, watches
from aiopartition.backends.zookeeper.authentication import Login
from aiopartition.backends.zookeeper.codec import ErrorCode, Operation, ReplyError, Watch
from aiopartition.backends.zookeeper.connection import Address, Connection, ConnectionLostError, Reply
from aiopartition.backends.zookeeper.dialing import Dialer
from aiopartition.backends.zookeeper.keep_alive import KeepAlive
from aiopartition.backends.zookeeper.watches import WatchEvent
from aiopartition.clock import Clock
from aiopartition.credentials import Credentials, Digest
from aiopartition.errors import ConfigurationError
from aiopartition.forks import tell_child
from aiopartition.secret import Secret
from aiopartition.tls import Tls, TlsFiles

__all__ = ["Lease", "Session"]

T = TypeVar("T")

_logger: Final = logging.getLogger("aiopartition.zookeeper")

_NO_PASSWORD: Final = Secret(bytes(16))
_CLOSE_TIMEOUT: Final = 1.0  # seconds

_SESSION_OVER: Final = frozenset({ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_MOVED})


class _SessionExpiredError(ConnectionLostError):
    """The server does not know the session any more."""


class Session:
    """Keeps a session alive while connections come and go. :meth:`run` needs a task of its own.

    :param hosts: names or addresses with ports. All addresses of a name are tried.
    :param timeout: the session timeout to ask for, in seconds. A server grants 2 to 20 of its ticks.
    :param listener: receives the events of the session and its leases, but not those of groups.
    :param watch_fired: called with each event of a watch. Must neither block nor raise.
    :param auth: sent again on each connection.
    """

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]],
        timeout: float,
        listener: Listener,
        watch_fired: Callable[[WatchEvent], None],
        *,
        clock: Clock,
        ssl: SSLContext | TlsFiles | None = None,
        auth: Credentials | None = None,
    ) -> None:
        self._requested_timeout = timeout
        self._known_grants = {round(timeout, 3)}  # the timeouts that need no warning any more
        self._listener = listener
        self._watch_fired = watch_fired
        self._clock = clock
        self._tls = Tls(ssl)
        self._login = Login(auth)
        self._warned_of_plain_text = not isinstance(auth, Digest)  # the others send no password
        self._dialer = Dialer(hosts, self._connect, clock)
        self._connection: Connection | None = None
        self._closing = False
        self._watched: set[Watch] = set()  # the watches that the server holds
        self._last_zxid = 0
        self._password: Secret[bytes] = _NO_PASSWORD
        self.session_id: int = 0
        self.connections: int = 0
        """How many connections there have been."""
        self.ephemerals: Ephemerals = Ephemerals()
        """The ephemeral nodes of this session."""
        self.timeout: float = timeout
        """Seconds: the one by which leases and silence go."""
        self.granted: float = timeout
        """Seconds: the shortest timeout that a server has granted to this session."""
        self.lease: Lease = NO_LEASE
        """Renewed by any answer."""
        self.quorum_lease: Lease = NO_LEASE
        """Renewed by answers that took a quorum. It never outlasts the other lease."""
        self.peer: Address | None = None
        """The server to which the session is connected."""

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def last_error(self) -> str:
        """Why the session is not connected. Meaningless while it is."""
        return self._dialer.last_error

    # ---- for callers

    async def first_connection(self) -> None:
        """Wait until connected.

        :raises AuthenticationError: if every server that can be reached refuses this client.
        """
        await self._dialer.first_connection()

    async def send(self, operation: Operation[T]) -> T:
        """Send a request, once, and return its answer. If cancelled, the server may still carry it out.

        :raises ConnectionLostError: if there is no connection, or it ends before the answer arrives.
        :raises ReplyError: if the server refuses the request.
        """
        if self._connection is None:
            raise ConnectionLostError(self.last_error)
        return await self._connection.request(operation)

    def is_armed(self, watch: Watch) -> bool:
        """Whether the server holds a watch."""
        return watch in self._watched

    def forget_watch(self, watch: Watch) -> None:
        """Take a watch back, if it stays; in any case do not arm it again on the next connection."""
        if watch in self._watched:
            self._watched.remove(watch)
            if watch.recursive and self._connection is not None:
                self._connection.post(self._connection.next_xid(), watches.remove(watch.path))

    async def close(self) -> None:
        """End the session at the server, which then deletes its ephemeral nodes. Waits at most a second.

        Idempotent. Without a connection the server cannot be told, and the session ends with its timeout.
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
        """In a child, stay disconnected: a connection made there would take over the parent's session."""
        self._closing = True
        self._connection = self.peer = None
        self._dialer.connection_ended("the session belongs to the parent process")
        self.lease = self.quorum_lease = NO_LEASE

    # ---- the task

    async def run(self) -> None:
        """Connect, keep the connection alive and reconnect, until cancelled or closed."""
        tell_child(self)
        while not self._closing:
            if await self._dialer.dial(self.timeout):
                await self._serve()
            if not self._closing:
                await self._dialer.pause()

    async def _connect(self, address: Address) -> None:
        try:
            await self._establish(address)
        except _SessionExpiredError:
            await self._establish(address)  # opens a new session

    async def _establish(self, address: Address) -> None:
        if self._closing:
            raise ConnectionLostError("the session is closed")
        try:
            context = self._tls.context()
        except ConfigurationError as error:  # perhaps in the midst of a rotation; the next attempt reads them again
            raise ConnectionLostError(str(error), error) from error
        connection = await Connection.open(address, context, self._clock, self)
        try:
            fresh = await self._attach(connection)
            if context is None and not address.is_loopback:
                self._warn_of_plain_text(address)
            await self._login.perform(connection, address.host)
            if fresh:
                await connection.request(watches.no_watches())  # to hear whether the server demands another login
            else:
                await self._resume(connection)
            if connection.lost.is_set():
                raise ConnectionLostError(connection.reason)
        except BaseException:
            connection.abort("the attempt to connect failed")
            raise
        self._connection, self.peer = connection, address
        self.connections += 1
        _logger.info(
            "%s session 0x%x with %s, timeout %.1f s",
            "new" if fresh else "resumed", self.session_id & (1 << 64) - 1, address, self.granted,
        )  # fmt: skip
        self._listener.session_opened(fresh=fresh)

    async def _attach(self, connection: Connection) -> bool:
        """Shake hands. Return whether the session is a new one."""
        offered = self.session_id
        if self._clock() >= self.lease.lost_at:
            self._last_zxid = 0
        # A session that goes on asks for the timeout by which it goes. A server that would grant more then grants that.
        timeout = self.timeout if offered else self._requested_timeout
        frame = codec.connect_frame(offered, self._password, timeout, self._last_zxid)
        reply, sent = await connection.handshake(frame)
        if not reply.session_id:
            if not offered:
                raise ConnectionLostError("the server did not open a session")
            self._expired()
            raise _SessionExpiredError("the session has expired")
        fresh = reply.session_id != offered
        if fresh and offered:
            self._expired()  # only a broken server opens another session; it has none of our entries
        self.session_id, self._password = reply.session_id, reply.password
        self.granted = reply.timeout if fresh else min(self.granted, reply.timeout)
        if fresh:
            self._compare_with_request(reply.timeout)
            self.timeout = min(self._requested_timeout, reply.timeout)
            self._renew(sent, quorum=True)
        elif reply.timeout < self.timeout:
            self._shorten(reply.timeout)
        return fresh

    async def _resume(self, connection: Connection) -> None:
        """Arm the watches again, and ask a quorum. Its answer, which follows all events, is the first to renew a lease.

        A handshake must not renew it: if connections keep breaking right after their handshakes, an outdated view would
        stay in use without end.
        """
        for operation in watches.arm_again(self._watched, self._last_zxid):
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
                # The event loop is being closed without a call of close(). What is written now still reaches the
                # server, so the session does not have to time out.
                connection.farewell()
            connection.abort("cancelled")

    def _keep_alive(self, keep_alive: KeepAlive, *, late: bool) -> float:
        asked = self.quorum_lease.sent if self._listener.needs_quorum() else None
        return keep_alive.look(self.timeout, asked, late=late)

    # ---- events of the connection

    def connection_ended(self, connection: Connection) -> None:
        if connection is not self._connection:
            return  # an attempt that has failed
        self._connection = self.peer = None
        self._dialer.connection_ended(connection.reason)
        if not self._closing:
            _logger.info("connection lost: %s", connection.reason)
        self._listener.session_suspended(connection.reason)

    def replied(self, reply: Reply) -> None:
        if reply.error in _SESSION_OVER:
            # Reconnecting shows which of the two is the case. Such an answer does not renew the lease.
            connection = self._connection
            if connection is not None:
                asyncio.get_running_loop().call_soon(connection.abort, "the session expired or moved")
            return
        self._last_zxid = max(self._last_zxid, reply.zxid)
        if reply.operation.watch is not None and not reply.error:
            self._watched.add(reply.operation.watch)
        if reply.proof is not None and self.connected:
            self._renew(reply.proof, quorum=reply.operation.takes_quorum and not reply.error)

    def event_received(self, event: WatchEvent) -> None:
        self._watched.discard(Watch(event.path))
        self._watch_fired(event)

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

    def _compare_with_request(self, granted: float) -> None:
        """Warn of a session timeout that is not the one asked for, once for each that is granted."""
        if granted not in self._known_grants:
            self._known_grants.add(granted)
            _logger.warning(
                "the server granted a session timeout of %g s, not the %g s asked for; it grants 2 to 20 of its ticks, "
                "unless minSessionTimeout and maxSessionTimeout say otherwise; the lease goes by the shorter one",
                granted, self._requested_timeout,
            )  # fmt: skip

    def _warn_of_plain_text(self, address: Address) -> None:
        """Warn once of a password that anybody on the way can read."""
        if not self._warned_of_plain_text:
            self._warned_of_plain_text = True
            _logger.warning("the credentials go to %s unencrypted; use zookeeper+tls://, or ssl=", address)

    def _shorten(self, timeout: float) -> None:
        """A server has granted a shorter timeout. It counts even if the connection breaks now."""
        _logger.warning("the server shortened the session timeout from %g s to %g s", self.timeout, timeout)
        self.timeout = timeout
        self.lease, self.quorum_lease = self.lease.cut(timeout), self.quorum_lease.cut(timeout)
        self._listener.lease_shortened()

    def _expired(self) -> None:
        _logger.warning("session 0x%x has expired", self.session_id & (1 << 64) - 1)
        self.session_id, self._password, self._last_zxid = 0, _NO_PASSWORD, 0
        self.lease = self.quorum_lease = NO_LEASE
        self._watched.clear()
        self.ephemerals.clear()
        self._listener.session_expired()
