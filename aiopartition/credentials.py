"""How a client says who it is: the values of the argument ``auth``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

from aiopartition.errors import ConfigurationError
from aiopartition.secret import Secret, hidden

__all__ = ["Auth", "Credentials", "Digest", "require_auth"]


@dataclass(frozen=True, slots=True)
class Digest:
    """A user and a password for ZooKeeper's digest scheme."""

    user: str
    password: Secret[str]

    @property
    def token(self) -> Secret[bytes]:
        """What the server gets."""
        # surrogatepass: an encoding error would carry the password in its arguments.
        return Secret(f"{self.user}:{self.password.reveal()}".encode("utf-8", "surrogatepass"))


Credentials: TypeAlias = Digest
"""All kinds."""

Auth: TypeAlias = tuple[str, str | Secret[str]] | Credentials
"""What users may give: credentials, or a pair in place of a :class:`Digest`."""


def require_auth(auth: object, part: str = "auth") -> Credentials:
    """Return the credentials that ``auth`` stands for.

    :raises ConfigurationError: naming ``part``, and never quoting ``auth``.
    """
    auth = hidden(auth) or Secret(None)
    return auth.read(partial(_parse, part=part))


def _parse(auth: object, part: str) -> Credentials:
    match auth:
        case Digest():
            return auth
        case (str(user), str(text)):
            password = Secret(text)
        case (str(user), Secret()) if isinstance(given := cast("tuple[Any, Secret[Any]]", auth)[1].reveal(), str):
            password = Secret(given)
        case _:
            raise ConfigurationError(part, "must be a pair of str: user and password")
    if not user or ":" in user:
        raise ConfigurationError(part, "the user must not be empty and must not contain ':'")
    return Digest(user, password)
