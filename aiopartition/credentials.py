"""The credentials with which a client logs in: the values of the argument ``auth``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

from aiopartition.errors import ConfigurationError
from aiopartition.secret import Secret, hidden

__all__ = ["Auth", "Credentials", "Digest", "Kerberos", "SaslDigest", "require_auth"]


@dataclass(frozen=True, slots=True)
class Digest:
    """A user and a password for ZooKeeper's digest scheme."""

    user: str
    password: Secret[str]

    @property
    def token(self) -> Secret[bytes]:
        """The bytes that the server gets."""
        # surrogatepass: an encoding error would carry the password in its arguments.
        return Secret(f"{self.user}:{self.password.reveal()}".encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True, init=False)
class SaslDigest:
    """A user and a password for SASL's DIGEST-MD5, as the servers' JAAS file has them. A server has to prove that it
    knows the password, too.

    :param user: must not be empty.
    :param password: is not sent. But an eavesdropper can try out passwords, so protect the connection by TLS.
    :raises ConfigurationError: if either is not a ``str``, or the user is empty.
    """

    user: str
    password: Secret[str]

    def __init__(self, user: str, password: str | Secret[str]) -> None:
        password = password if isinstance(password, Secret) else Secret(password)
        object.__setattr__(self, "user", user)  # first: a traceback with variables shows this object too
        object.__setattr__(self, "password", password)
        _require_text("user", user)
        password.read(partial(_require_text, "password", empty=True))


@dataclass(frozen=True, slots=True)
class Kerberos:
    """The Kerberos credentials of this process, for SASL's GSSAPI. Needs the extra ``[kerberos]``.

    Kerberos itself finds them: in a credential cache (``KRB5CCNAME``), which another program renews, or by a client
    keytab (``KRB5_CLIENT_KTNAME``). It looks for them again for each connection.

    :param service: the first part of the servers' principals, ``service/host``. The host is the one in the URL.
    :raises ConfigurationError: if ``service`` is empty, or contains ``/`` or ``@``.
    """

    service: str = "zookeeper"

    def __post_init__(self) -> None:
        _require_text("service", self.service)
        if set(self.service) & set("/@\0"):
            raise ConfigurationError("auth", "the service must be the part of the servers' principals before the '/'")


Credentials: TypeAlias = Digest | SaslDigest | Kerberos
"""Credentials of any kind."""

Auth: TypeAlias = tuple[str, str | Secret[str]] | Credentials
"""The values that users may give: credentials, or a user and a password in place of a :class:`Digest`."""


def _require_text(what: str, value: object, *, empty: bool = False) -> None:
    if not isinstance(value, str) or not (value or empty):
        raise ConfigurationError("auth", f"the {what} must be a str" + ("" if empty else " that is not empty"))


def require_auth(auth: object, part: str = "auth") -> Credentials:
    """Return the credentials that ``auth`` stands for.

    :raises ConfigurationError: if it stands for none. The error names ``part``, and never quotes ``auth``.
    """
    auth = hidden(auth) or Secret(None)
    return auth.read(partial(_parse, part=part))


def _parse(auth: object, part: str) -> Credentials:
    match auth:
        case Digest() | SaslDigest() | Kerberos():
            return auth
        case (str(user), str(text)):
            password = Secret(text)
        case (str(user), Secret()) if isinstance(given := cast("tuple[Any, Secret[Any]]", auth)[1].reveal(), str):
            password = Secret(given)
        case _:
            raise ConfigurationError(
                part, "must be a pair of str, user and password, or SaslDigest(user, password), or Kerberos()"
            )
    if not user or ":" in user:
        raise ConfigurationError(part, "the user must not be empty and must not contain ':'")
    return Digest(user, password)
