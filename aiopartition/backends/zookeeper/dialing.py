"""Chooses the servers that a session connects to, and tries them in turn."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import ssl as tls
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio

from aiopartition.backends.zookeeper.codec import ErrorCode, ReplyError
from aiopartition.backends.zookeeper.connection import Address, ConnectionLostError
from aiopartition.backends.zookeeper.frames import ProtocolError
from aiopartition.backends.zookeeper.resolver import Resolver
from aiopartition.backends.zookeeper.sasl import LoginError
from aiopartition.clock import Clock
from aiopartition.errors import AuthenticationError
from aiopartition.events import log
from aiopartition.showing import printable

__all__ = ["Dialer"]

_logger: Final = logging.getLogger("aiopartition.zookeeper")

_FIRST_PAUSE: Final = 0.1
"""Seconds; doubled with each failure."""
_LONGEST_PAUSE: Final = 0.8
_FIRST_LIMIT: Final = 1.5
"""Seconds for one attempt. The first TLS handshake of a server that had just started took 0.9."""
_LONGEST_LIMIT: Final = 1.9
"""An attempt at a server that has just fallen silent must not take much longer than its silence."""
_STABLE_AFTER: Final = 1.0
"""Seconds. A connection that ends earlier counts as a failure."""

_RIGHT_PORT: Final = "if the server is up, is this the port for its clients?"

_REFUSING_ALERTS: Final = re.compile(
    "ALERT_(HANDSHAKE_FAILURE|(NO|BAD|UNSUPPORTED)_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN|REQUIRED)"
    "|UNKNOWN_CA|ACCESS_DENIED|PROTOCOL_VERSION|INSUFFICIENT_SECURITY)$"
)
"""OpenSSL's reasons for alerts by which a server refuses what we are or offer, so that the next attempt would fare no
better (RFC 8446, section 6.2). Other alerts tell of trouble: the server is unwell, or a message was garbled."""

_DEMANDS: Final = (
    "demands authentication that was not given, usually SASL: pass auth=SaslDigest(user, password), or auth=Kerberos()"
    "; to the command line, --auth-from-env --sasl, or --kerberos"
)

_ERRORS: Final = (OSError, ConnectionLostError, ProtocolError, ReplyError, LoginError)  # TimeoutError is an OSError


class Dialer:
    """Connects to one server of an ensemble after another, with a random pause after each connection or failed round.

    :param hosts: names or addresses with ports. All addresses of a name are tried.
    :param connect: opens the session's connection to an address. Cancelled if it takes too long.
    """

    def __init__(
        self, hosts: Sequence[tuple[str, int]], connect: Callable[[Address], Awaitable[None]], clock: Clock
    ) -> None:
        self._hosts = tuple(hosts)
        self._connect = connect
        self._clock = clock
        self._resolver = Resolver()
        self._decided = asyncio.Event()  # connected or refused
        self._refusal: AuthenticationError | None = None
        self._failures = 0  # in a row
        self._told = False  # that no server can be reached, since the last connection that lasted
        self._began = 0.0  # the round under way, or the last connection's end
        self._last: Address | None = None
        self.last_error: str = f"no server has answered yet; {_RIGHT_PORT}"
        """Why there is no connection."""

    async def first_connection(self) -> None:
        """Wait until connected.

        :raises AuthenticationError: if every server that can be reached refuses this client.
        """
        await self._decided.wait()
        if self._refusal is not None:
            raise self._refusal

    async def dial(self, session_timeout: float) -> bool:
        """Try each address once, and return whether one is connected now."""
        self._began = self._clock()
        limit = self._attempt_limit(session_timeout)
        refusals: list[AuthenticationError | None] = []
        for address in await self._addresses(limit):
            try:
                with anyio.fail_after(limit):
                    await self._connect(address)
            except _ERRORS as error:
                self._failed(str(address), error)
                refusals.append(_refusal(error, address))
            else:
                self._last, self._began = address, self._clock()
                self._decide(None)
                return True
        self._failures += 1
        if not self._told:
            self._told = True
            log(_logger, "connecting_failed", reason=self.last_error)
        if refusals and all(refusals):
            self._decide(refusals[0])
        return False

    def connection_ended(self, reason: str) -> None:
        """The connection that :meth:`dial` made has ended."""
        now = self._clock()
        if now - self._began > _STABLE_AFTER:
            self._failures, self._told = 0, False
        else:
            self._failures += 1
        self._began, self.last_error = now, reason

    async def pause(self) -> None:
        """Wait before the next round. The time that the last round took counts."""
        # Random between zero and the whole, so that the members of a fleet do not reconnect at the same time.
        seconds = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 9)) * random.random()
        await anyio.sleep(max(0.0, seconds - (self._clock() - self._began)))

    # ---- inside

    def _attempt_limit(self, session_timeout: float) -> float:
        """Seconds for TCP, TLS, the handshake and authentication with one server. They grow with failures: a server
        that has just started, or to which all clients return, is slow and would otherwise fail each time."""
        first = min(max(0.25, session_timeout / max(6, 2 * len(self._hosts))), _FIRST_LIMIT)
        return min(first * 2.0 ** min(self._failures, 9), max(0.5, session_timeout / 2), _LONGEST_LIMIT)

    async def _addresses(self, limit: float) -> list[Address]:
        """All addresses of all hosts in random order; the one connected last comes last."""
        addresses: set[Address] = set()
        deadline = self._clock() + limit
        for host, _ in self._hosts:
            self._resolver.begin(host)
        for host, port in self._hosts:
            try:
                addresses.update(await self._resolver.resolve(host, port, max(0.0, deadline - self._clock())))
            except OSError as error:
                self._failed(f"{host}:{port}", error)
        return sorted(random.sample(sorted(addresses), len(addresses)), key=lambda address: address == self._last)

    def _failed(self, server: str, error: Exception) -> None:
        reason = (
            f"no answer in time; {_RIGHT_PORT}"
            if isinstance(error, TimeoutError)
            else str(error) or type(error).__name__
        )
        self.last_error = printable(f"{server}: {reason}")
        _logger.debug("cannot connect to %s", self.last_error)

    def _decide(self, refusal: AuthenticationError | None) -> None:
        self._refusal = refusal
        self._decided.set()


def _refusal(error: Exception, address: Address) -> AuthenticationError | None:
    """Return ``error`` as a refusal of this client, which will not go away by itself; ``None`` for other errors."""
    if isinstance(error, ConnectionLostError) and error.cause is not None:
        error = error.cause  # TLS 1.3: a server checks our certificate after our handshake is complete
    if isinstance(error, tls.SSLCertVerificationError):
        refusal = AuthenticationError(f"the certificate of {address} is not trusted: {error.verify_message}")
    elif isinstance(error, tls.SSLError) and _REFUSING_ALERTS.search(error.reason or ""):
        refusal = AuthenticationError(
            f"{address} refuses the TLS handshake (does it require a client certificate?): {error.reason}"
        )
    elif isinstance(error, ReplyError) and error.code == ErrorCode.AUTH_REQUIRED:
        refusal = AuthenticationError(f"{address} {_DEMANDS}")
    elif isinstance(error, LoginError) or (isinstance(error, ReplyError) and error.code == ErrorCode.AUTH_FAILED):
        refusal = AuthenticationError(f"{address} refuses the credentials: {error}")
    else:
        return None
    refusal.__cause__ = error
    return refusal
