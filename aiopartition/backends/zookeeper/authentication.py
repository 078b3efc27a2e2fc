"""Logging in on a connection, before any other request. Credentials stay hidden until they are sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, assert_never

from aiopartition.backends.zookeeper.codec import ErrorCode, Operation, RawRequest, ReplyError, buffer, nothing
from aiopartition.backends.zookeeper.connection import Connection
from aiopartition.backends.zookeeper.kerberos import Negotiator
from aiopartition.backends.zookeeper.sasl import Exchange, LoginError, advance, digest_md5
from aiopartition.credentials import Credentials, Digest, Kerberos, SaslDigest
from aiopartition.secret import Secret

__all__ = ["REFUSALS", "Login", "authenticate", "negotiate"]

REFUSALS: Final = frozenset({ErrorCode.AUTH_FAILED, ErrorCode.AUTH_REQUIRED})
"""The server refuses this client's credentials, or demands others."""


class Login:
    """Logs in with the same credentials on each connection.

    :raises ConfigurationError: if the package for Kerberos is missing.
    """

    def __init__(self, auth: Credentials | None) -> None:
        self._auth = auth
        self._negotiator = Negotiator(auth.service) if isinstance(auth, Kerberos) else None

    async def perform(self, connection: Connection, host: str) -> None:
        """Log in. Without credentials, do nothing.

        :param host: the name of the server, as the user gave it.
        :raises LoginError: if the server refuses us, or we refuse the server.
        :raises ProtocolError: if the server does not follow the protocol of the exchange.
        """
        match self._auth:
            case None:
                pass
            case Digest() as digest:
                await connection.authenticate(authenticate("digest", digest.token))
            case SaslDigest() as digest:
                await _converse(connection, digest_md5(digest.user, digest.password), _step)
            case Kerberos():
                assert self._negotiator is not None
                await _converse(connection, self._negotiator.exchange(host), self._negotiator.step)
            case _:
                assert_never(self._auth)


def authenticate(scheme: str, credential: Secret[bytes]) -> Operation[None]:
    """Log in by a scheme that takes one request (``AuthPacket``)."""
    body = Secret(bytes(4) + buffer(scheme.encode()) + buffer(credential.reveal()))
    return Operation(RawRequest(100, body.reveal), nothing, alive=False)


def negotiate(token: bytes) -> Operation[bytes]:
    """Take a step of SASL (``GetSASLRequest``). The answer is the server's token."""
    return Operation(RawRequest(102, Secret(buffer(token)).reveal), lambda reply: reply.token or b"", alive=False)


async def _converse(
    connection: Connection, exchange: Exchange, step: Callable[[Exchange, bytes | None], Awaitable[bytes | None]]
) -> None:
    said: bytes | None = None
    while (token := await step(exchange, said)) is not None:
        try:
            said = await connection.request(negotiate(token))
        except ReplyError as error:
            if error.code not in REFUSALS:
                raise
            raise LoginError(f"the server does not accept these credentials: {error}") from error


async def _step(exchange: Exchange, said: bytes | None) -> bytes | None:
    return advance(exchange, said)
