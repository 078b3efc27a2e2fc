"""Connects a command to the backend, as a client that only reads, and creates nothing but its session."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from aiopartition.backends.base import Backend
from aiopartition.backends.opening import open_backend
from aiopartition.credentials import Credentials
from aiopartition.errors import BackendUnavailableError, ConfigurationError
from aiopartition.secret import Secret
from aiopartition.settings import Settings, arguments_from_environment
from aiopartition.url import parse_url

__all__ = ["AUTH_VARIABLE", "Access", "connected", "settings_of"]

_PREFIX: Final = "AIOPARTITION_"
AUTH_VARIABLE: Final = f"{_PREFIX}AUTH"


class Access(Protocol):
    """The arguments that all commands have."""

    url: Secret[str]
    ca: str | None
    cert: str | None
    key: str | None
    auth_from_env: bool
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
    return Settings.resolve(
        access.url,
        connect_timeout=access.timeout,
        ssl=_tls(access.ca, access.cert, access.key),
        auth=_auth() if access.auth_from_env else None,
    )


def _auth() -> Credentials:
    given = arguments_from_environment(_PREFIX, {AUTH_VARIABLE: os.environ.get(AUTH_VARIABLE, "")})
    if "auth" not in given:
        raise ConfigurationError(AUTH_VARIABLE, "is not set, and --auth-from-env was given")
    credentials: Credentials = given["auth"]
    return credentials


def _tls(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return the TLS settings, if any of the files is given."""
    if key is not None and cert is None:
        raise ConfigurationError("--key", "needs --cert, the certificate that belongs to it")
    if ca is None and cert is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ConfigurationError("--ca", f"{_kind(ca)}: {error}") from error
    if cert is not None:
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                "--cert" if key is None else "--cert, --key", f"{_kind(cert, key)}: {error}"
            ) from error
    return context


def _kind(*files: str | None) -> str:
    """Say which of the files does not exist, because OpenSSL does not say it."""
    missing = [file for file in files if file is not None and not Path(file).is_file()]
    return f"{missing[0]!r} is no file" if missing else "cannot be used"


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is asked for its password")


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
