"""Connects a command to the backend, as a client that creates nothing but its session."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from aiopartition.backends.base import Backend
from aiopartition.backends.opening import open_backend
from aiopartition.backends.zookeeper.authentication import Login
from aiopartition.credentials import Credentials, Digest, Kerberos, SaslDigest
from aiopartition.errors import BackendUnavailableError, ConfigurationError
from aiopartition.secret import Secret
from aiopartition.settings import Settings, arguments_from_environment
from aiopartition.tls import Tls, TlsFiles
from aiopartition.url import parse_url

__all__ = ["AUTH_VARIABLE", "Access", "connected", "settings_of"]

_PREFIX: Final = "AIOPARTITION_"
AUTH_VARIABLE: Final = f"{_PREFIX}AUTH"
_SCHEME_VARIABLE: Final = f"{_PREFIX}AUTH_SCHEME"


class Access(Protocol):
    """The arguments that all commands have."""

    url: Secret[str]
    ca: str | None
    cert: str | None
    key: str | None
    auth_from_env: bool
    sasl: bool
    kerberos: bool
    timeout: float | None


def settings_of(access: Access) -> Settings:
    """Return the settings of a client.

    :raises ConfigurationError: for an argument that is invalid, or not for a command line.
    """
    url = parse_url(access.url)
    if url.auth is not None:
        raise ConfigurationError(
            "backend_url credentials",
            f"arguments are shown to all who list processes; put user:password into the variable {AUTH_VARIABLE}, "
            "and give --auth-from-env",
        )
    if url.scheme == "memory":
        raise ConfigurationError("backend_url", "the groups of memory:// are inside one process; no other can look")
    files = TlsFiles(access.ca, access.cert, access.key)
    settings = Settings.resolve(
        access.url,
        connect_timeout=access.timeout,
        ssl=None if files == TlsFiles() else files,
        auth=_auth(access),
    )
    Tls(settings.ssl).context()  # what is wrong with the files is said before anything else is tried,
    Login(settings.auth)  # and so is that a package is missing
    return settings


def _auth(access: Access) -> Credentials | None:
    if access.sasl and not access.auth_from_env:
        raise ConfigurationError("--sasl", f"goes with --auth-from-env, and user:password in {AUTH_VARIABLE}")
    if access.kerberos:
        return Kerberos()
    if not access.auth_from_env:
        return None
    variables = (AUTH_VARIABLE,) if access.sasl else (AUTH_VARIABLE, _SCHEME_VARIABLE)
    given = arguments_from_environment(_PREFIX, {name: os.environ.get(name, "") for name in variables})
    if "auth" not in given:
        raise ConfigurationError(AUTH_VARIABLE, "is not set, and --auth-from-env was given")
    auth: Credentials = given["auth"]
    return SaslDigest(auth.user, auth.password) if access.sasl and isinstance(auth, Digest) else auth


@asynccontextmanager
async def connected(settings: Settings) -> AsyncGenerator[Backend]:
    """Hold a session with the backend. It is closed at the end.

    :raises AuthenticationError: if every server refuses this client.
    :raises BackendUnavailableError: if none answers within ``connect_timeout``.
    """
    backend = open_backend(settings, _Quiet())
    session = asyncio.create_task(backend.run(), name="session")
    try:
        try:
            async with asyncio.timeout(settings.connect_timeout):
                await backend.first_connection()
        except TimeoutError:
            reason = backend.last_error or "no answer"
            raise BackendUnavailableError(f"no connection to {settings.url}: {reason}") from None
        yield backend
        await backend.close()
    finally:
        session.cancel()
        await asyncio.wait({session})


class _Quiet:
    """Ignores events of the session: the next request will notice."""

    def session_opened(self, *, fresh: bool) -> None: ...

    def session_suspended(self, reason: str) -> None: ...

    def session_expired(self) -> None: ...

    def lease_renewed(self, *, quorum: bool) -> None: ...

    def lease_shortened(self) -> None: ...

    def needs_quorum(self) -> bool:
        return False

    def group_changed(self, group_id: str) -> None: ...

    def may_end(self) -> bool:
        return True

    def group_activated(self, group_id: str) -> None: ...
