"""TLS with certificates in files, which may be replaced while the process runs."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from aiopartition.errors import ConfigurationError

__all__ = ["Tls", "TlsFiles", "merge_tls"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificates as files (PEM), for the argument ``ssl``. A file that has changed is read again for the next
    connection, so certificates can be rotated.

    Versions of the protocol and checks of the server, its host name included, are those of
    :func:`ssl.create_default_context`.

    :param ca: the authorities that vouch for the servers; by default those that the system trusts.
    :param cert: this client's certificate, if the servers ask for one, with the chain up to its authority.
    :param key: the key of ``cert``, not encrypted, if it is not in the same file.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files, and return a context with what they contain.

        :raises ConfigurationError: if one cannot be read, or they do not belong together.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise ConfigurationError("TLS ca", _why(error, self.ca)) from error
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key, password=_no_password)
            except (OSError, ValueError) as error:
                raise ConfigurationError("TLS cert and key", _why(error, self.cert, self.key)) from error
        return context


class Tls:
    """Provides the context for each new connection.

    :param given: a context, which stays the same, or the files for one; ``None`` for connections without TLS.
    """

    def __init__(self, given: ssl.SSLContext | TlsFiles | None) -> None:
        self._given = given
        self._read: tuple[object, ssl.SSLContext] | None = None  # the state of the files, and what was in them

    def context(self) -> ssl.SSLContext | None:
        """Return the context for a connection that is made now.

        :raises ConfigurationError: as :meth:`TlsFiles.context` does, perhaps because the files are being replaced.
        """
        if not isinstance(self._given, TlsFiles):
            return self._given
        # The state is noted before the files are read. If they change meanwhile, they are read again next time.
        state = [_state(file) for file in (self._given.ca, self._given.cert, self._given.key) if file is not None]
        if self._read is None or self._read[0] != state:
            self._read = state, self._given.context()
        return self._read[1]


def merge_tls(given: ssl.SSLContext | TlsFiles | None, url: TlsFiles | None) -> ssl.SSLContext | TlsFiles | None:
    """Combine the argument ``ssl`` with the files that a URL names. The argument takes precedence, file by file.

    :raises ConfigurationError: for a key without a certificate.
    """
    if given is None or isinstance(given, TlsFiles):
        first, second = given or TlsFiles(), url or TlsFiles()
        merged = TlsFiles(first.ca or second.ca, first.cert or second.cert, first.key or second.key)
        if merged.key is not None and merged.cert is None:
            raise ConfigurationError("TLS key", "needs cert, the certificate that belongs to it")
        return None if given is None and url is None else merged
    return given


def _state(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None  # reading the file raises an error that tells why
    return found.st_ino, found.st_size, found.st_mtime_ns


def _why(error: Exception, *files: str | None) -> str:
    """Return the reason, with the name of a file that does not exist, which OpenSSL does not tell."""
    missing = [file for file in files if file is not None and not Path(file).is_file()]
    return f"{missing[0]!r} is no file: {error}" if missing else f"cannot be used: {error}"


def _no_password() -> NoReturn:
    raise ValueError("the key is encrypted, and nobody is asked for its password")
