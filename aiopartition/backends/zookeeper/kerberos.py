"""SASL's GSSAPI (RFC 4752): Kerberos, by the package ``gssapi`` of the extra ``[kerberos]``.

Each connection makes a new context from the credentials that Kerberos finds at that time: a credential cache, which
another program renews, or a client keytab, from which Kerberos gets new tickets itself. So an expired ticket does no
harm to a connection that exists, but the next connection needs a new one.
"""

from __future__ import annotations

import asyncio
from functools import partial
from importlib import import_module
from typing import Any, Final

from aiopartition.backends.zookeeper.daemons import in_daemon
from aiopartition.backends.zookeeper.frames import ProtocolError
from aiopartition.backends.zookeeper.sasl import Exchange, LoginError, advance
from aiopartition.errors import ConfigurationError
from aiopartition.showing import printable

__all__ = ["Negotiator"]

_NO_LAYER: Final = b"\1\0\0\0"
"""The choice of no security layer: from now on both sides send plain text, and nothing wrapped by Kerberos."""

_REFUSED: Final = {
    -1765328378: "client unknown", -1765328377: "service unknown", -1765328366: "client revoked",
    -1765328360: "preauthentication failed", -1765328352: "ticket expired", -1765328347: "clocks differ",
    -1765328243: "no credentials", -1765328203: "no keytab", -1765328189: "no credential cache",
}  # fmt: skip
"""Minor codes of errors that do not pass by themselves (``krb5_err.et``). Any other may pass, as when a KDC does not
answer."""
_REFUSED_MAJOR: Final = {6: "bad signature", 7: "no credentials", 9: "defective token", 11: "credentials expired"}
"""The same for the upper half of major codes (RFC 2744)."""


class Negotiator:
    """Makes the client's part of exchanges. Each step may wait for a KDC, so it runs in a thread, one at a time.

    :param service: the first part of the servers' principals.
    :raises ConfigurationError: if ``gssapi`` is missing.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._gssapi = _load()
        self._under_way: asyncio.Future[bytes | None] | None = None

    def exchange(self, host: str) -> Exchange:
        """Authenticate this client and a server to each other.

        :param host: the server's name, which Kerberos makes canonical.
        :raises LoginError: if either refuses the other, or this client has no credentials.
        :raises OSError: if Kerberos has trouble that may pass.
        :raises ProtocolError: if the server does not follow the protocol.
        """
        gssapi = self._gssapi
        flags = [gssapi.RequirementFlag.mutual_authentication]
        said: bytes | None = None
        try:
            name = gssapi.Name(f"{self._service}@{host}", gssapi.NameType.hostbased_service)
            context = gssapi.SecurityContext(name=name, mech=gssapi.MechType.kerberos, flags=flags, usage="initiate")
            while not context.complete:
                said = yield context.step(said) or b""
                if not said:
                    raise LoginError("the server is not set up for SASL with Kerberos")
            if not context.actual_flags & gssapi.RequirementFlag.mutual_authentication:
                raise LoginError("the server has not proved who it is")
            offer = context.unwrap(said).message
            if len(offer) != len(_NO_LAYER) or not offer[0] & _NO_LAYER[0]:
                raise ProtocolError("an offer of security layers that leaves no choice")
            yield context.wrap(_NO_LAYER, False).message
        except gssapi.exceptions.GSSError as error:
            raise _understood(error) from error

    async def step(self, exchange: Exchange, said: bytes | None) -> bytes | None:
        """Take a step, like :func:`advance`. If cancelled, the thread goes on; the next exchange finds its ticket."""
        if self._under_way is not None:
            await asyncio.wait({self._under_way})
        self._under_way = in_daemon(partial(advance, exchange, said), "aiopartition asks Kerberos")
        await asyncio.wait({self._under_way})
        return self._under_way.result()


def _load() -> Any:
    try:
        return import_module("gssapi")
    except (ImportError, OSError) as error:
        raise ConfigurationError("auth", f"Kerberos needs the extra aiopartition[kerberos]: {error}") from error


def _understood(error: Any) -> Exception:
    """Return a :class:`LoginError` for a refusal, and an ``OSError`` for trouble that may pass."""
    minor = error.min_code - (1 << 32 if error.min_code >= 1 << 31 else 0)
    said = printable(f"Kerberos: {error}")
    if minor in _REFUSED or error.maj_code >> 16 & 0xFF in _REFUSED_MAJOR:
        return LoginError(said)
    return OSError(said)
