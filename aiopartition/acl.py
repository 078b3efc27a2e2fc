"""ZooKeeper's access control lists (ACLs), by role: the rights of members and readers to the library's nodes."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag
from hashlib import sha1
from typing import Final, NamedTuple, cast

from aiopartition.credentials import Credentials, Digest, Kerberos, SaslDigest, require_auth
from aiopartition.errors import ConfigurationError
from aiopartition.secret import Secret
from aiopartition.showing import shown, shown_name

__all__ = [
    "ALL",
    "CHANGES",
    "CREATOR_ACL",
    "OPEN_ACL",
    "Acl",
    "Grant",
    "Permission",
    "id_of",
    "require_acl",
    "shown_id",
    "without_hash",
]

_SCHEMES: Final = ("digest", "sasl", "x509", "ip", "world")
_DIGEST: Final = re.compile(r"[^:]+:[A-Za-z0-9+/]{27}=")
"""A user, and 20 bytes in base64."""


class Permission(IntFlag):
    """The rights that an ACL can grant, as ZooKeeper numbers them (``ZooDefs.Perms``)."""

    READ = 1
    WRITE = 2
    CREATE = 4
    DELETE = 8
    ADMIN = 16


ALL: Final = Permission.READ | Permission.WRITE | Permission.CREATE | Permission.DELETE | Permission.ADMIN
CHANGES: Final = ALL & ~Permission.READ
"""A client with one of these rights can take work, or keep it from others."""


class Grant(NamedTuple):
    """One line of an ACL: an id with its scheme, and its rights."""

    id: str
    permissions: Permission


OPEN_ACL: Final = (Grant("world:anyone", ALL),)
CREATOR_ACL: Final = (Grant("auth:", ALL),)
"""All rights for each id of the client that creates the node. The server fills in these ids."""


@dataclass(frozen=True, slots=True, repr=False)
class Acl:
    """The rights of members and readers to the nodes that a coordinator creates.

    >>> Acl(members=(Acl.digest_id("poller", "password"),), readers=("sasl:monitor",))

    An id is a scheme and the name by which ZooKeeper knows a client there: ``"digest:user:hash"``, which
    :meth:`digest_id` calculates; ``"sasl:user"``, with Kerberos ``"sasl:user@REALM"`` or what the server makes of it;
    ``"x509:CN=poller,O=example"``, the subject of a TLS certificate as RFC 2253 writes it; ``"ip:10.0.0.0/8"``;
    ``"world:anyone"``.

    :param members: the ids of members, which get all rights.
    :param readers: the ids of those that only look, as observers and the command line do. They get the right to read.
    :raises ConfigurationError: if no server would accept an id, there is no member, or an id is given twice.
    """

    members: tuple[str, ...]
    readers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = {role: getattr(self, role) for role in ("members", "readers")}
        for role in given:
            object.__setattr__(self, role, ())  # until they are checked: a traceback with variables shows this object
        for role, ids in given.items():
            object.__setattr__(self, role, _require_ids(f"acl {role}", ids))
        if not self.members:
            raise ConfigurationError("acl members", "must not be empty: nobody could take part")
        all_ids = [*self.members, *self.readers]
        for each in all_ids:
            if all_ids.count(each) > 1:
                raise ConfigurationError("acl", f"has {shown_id(each)} twice; members may read anyway")

    def __repr__(self) -> str:
        """Show no hashes, because a weak password can be guessed from its hash."""
        members, readers = (tuple(map(without_hash, ids)) for ids in (self.members, self.readers))
        return f"Acl(members={members!r}, readers={readers!r})"

    @staticmethod
    def digest_id(user: str, password: str | Secret[str]) -> str:
        """Return the id of a user of ZooKeeper's digest scheme (``DigestAuthenticationProvider.generateDigest``).

        :param user: must not be empty, and must not contain ``:``.
        :param password: the id has a hash of it.
        :raises ConfigurationError: if the user is not such a name, or either is not a ``str``.
        """
        password = password if isinstance(password, Secret) else Secret(password)
        credentials = require_auth((user, password))
        assert isinstance(credentials, Digest)
        digest = sha1(credentials.token.reveal(), usedforsecurity=False).digest()
        return f"digest:{user}:{b64encode(digest).decode()}"

    @property
    def grants(self) -> tuple[Grant, ...]:
        """The lines of each node's ACL."""
        return (
            *(Grant(each, ALL) for each in self.members),
            *(Grant(each, Permission.READ) for each in self.readers),
        )


def id_of(auth: Credentials) -> str | None:
    """Return the id of a client that logs in with these credentials; ``None`` if only the server knows it."""
    match auth:
        case Digest():
            return Acl.digest_id(auth.user, auth.password)
        case SaslDigest():
            return f"sasl:{auth.user}"
        case Kerberos():
            return None


def require_acl(value: object) -> Acl | None:
    """Return ``value`` if it is an ACL, or ``None``.

    :raises ConfigurationError: if it is neither.
    """
    if value is None or isinstance(value, Acl):
        return value
    raise ConfigurationError("acl", f"must be an Acl, not {type(value).__name__}")


def shown_id(identity: str) -> str:
    """Format an id for a message."""
    return shown_name(without_hash(identity))


def without_hash(identity: str) -> str:
    """Return an id without its hash, from which a weak password could be guessed."""
    scheme, _, rest = identity.partition(":")
    return f"digest:{rest.partition(':')[0]}" if scheme == "digest" else identity


def _require_ids(part: str, ids: object) -> tuple[str, ...]:
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise ConfigurationError(part, f"must be a tuple of ids, not {type(ids).__name__}")
    return tuple(_require_id(part, each) for each in cast("Iterable[object]", ids))


def _require_id(part: str, identity: object) -> str:
    if not isinstance(identity, str):
        raise ConfigurationError(part, f"must have ids as str, not {type(identity).__name__}")
    scheme, _, rest = identity.partition(":")
    if scheme not in _SCHEMES:  # not quoted: it may be a user and a password
        raise ConfigurationError(part, f"has an id that does not begin with {':, '.join(_SCHEMES[:-1])}: or world:")
    problem = _problem_of(scheme, rest)
    if problem:
        raise ConfigurationError(part, f"has an id of the scheme {scheme} that {problem}")
    return identity


def _problem_of(scheme: str, rest: str) -> str:
    """Return what is wrong with an id; empty if nothing is. A text that may be a password is not quoted."""
    match scheme:
        case "digest" if _DIGEST.fullmatch(rest) is None:
            return "is not a user and the hash that Acl.digest_id(user, password) calculates"
        case "sasl" if not rest:
            return "names nobody"
        case "x509" if not re.fullmatch(r"[A-Za-z0-9.]+=.+", rest):
            return f"is not a subject like CN=poller,O=example: {shown(rest)}"
        case "ip" if not _is_network(rest):
            return f"is neither an address nor a network like 10.0.0.0/8: {shown(rest)}"
        case "world" if rest != "anyone":
            return "is not world:anyone"
        case _:
            return ""


def _is_network(text: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_network(text, strict=False)
        return "/" not in text or text.partition("/")[2].isdigit()
    return False
