"""Decides which ids get rights to the nodes of groups, and finds out which others have some."""

from __future__ import annotations

import logging
from typing import Final

from aiopartition.acl import ALL, CHANGES, CREATOR_ACL, OPEN_ACL, Grant, id_of, without_hash
from aiopartition.backends.base import ForeignRights
from aiopartition.backends.layout import active_path, handoffs_path, members_path
from aiopartition.backends.zookeeper import acls
from aiopartition.backends.zookeeper.codec import ErrorCode, ReplyError
from aiopartition.backends.zookeeper.nodes import Nodes
from aiopartition.credentials import Credentials, Digest, Kerberos
from aiopartition.errors import ForeignRightsError
from aiopartition.settings import Settings

__all__ = ["Access", "acls_of"]

_logger: Final = logging.getLogger("aiopartition.zookeeper")

_HIDDEN: Final = "x"
"""A server shows this in place of a hash."""
_SHA1: Final = 28
"""Characters of a hash in base64. A server may be configured to use another algorithm, which we do not know."""


def acls_of(settings: Settings) -> tuple[tuple[Grant, ...], ...]:
    """Return ACLs for new nodes, the best first. The next one is for a server that knows us by another id."""
    if settings.acl is not None:
        return (settings.acl.grants,)
    if settings.auth is None:
        return (OPEN_ACL,)
    ours = _identity(settings.auth)
    if settings.ssl is None or ours is None:
        return (CREATOR_ACL,)
    # With a certificate we have two ids. "auth" would admit both, so a certificate alone would be enough.
    return (Grant(ours, ALL),), CREATOR_ACL


def _identity(auth: Credentials) -> str | None:
    """Return the id by which a server knows us; ``None`` if only the server can tell."""
    if isinstance(auth, Digest) and not auth.token.reveal().isascii():
        return None  # letters beyond ASCII reach the hash by way of the server's locale
    return id_of(auth)


class Access:
    """Compares the ACLs of a group with those that its members would give it.

    :param settings: must have a URL.
    """

    def __init__(self, nodes: Nodes, settings: Settings) -> None:
        assert settings.url is not None
        self._nodes = nodes
        self._settings = settings
        self._namespace = settings.url.namespace
        self._told: dict[str, str] = {}  # group id -> the last warning

    async def prepare(self) -> None:
        """Find out which ids new nodes have to admit, if only the server can tell. To be called before creating any."""
        settings = self._settings
        if settings.acl is None and settings.ssl is not None and isinstance(settings.auth, Kerberos):
            ours = await self._ours()
            if ours:
                self._nodes.prefer(tuple(Grant(each, ALL) for each in ours))

    async def check(self, group_id: str, group: str) -> None:
        """Warn, once, of clients that may change a group without being members. With ``strict_acl``, refuse it.

        :param group: its path.
        :raises ForeignRightsError: with ``strict_acl``, if there are such clients, or an ACL cannot be read.
        """
        strict = self._settings.strict_acl
        found = await self.foreign_rights(group)
        error = ForeignRightsError(group_id, found.others, found.unreadable if strict else ())
        if strict and (found.others or found.unreadable):
            raise error
        if found.others and self._told.get(group_id) != str(error):
            self._told[group_id] = str(error)
            _logger.warning("%s; with strict_acl=True this is an error", error)

    def forget(self, group_id: str) -> None:
        """The group was left: warn again when it is joined again."""
        self._told.pop(group_id, None)

    async def foreign_rights(self, group: str) -> ForeignRights:
        """Return the ids that may change the nodes of the group at the path ``group``, except those of its members."""
        ours = await self._ours()
        if ours is None:
            return ForeignRights()
        others: dict[str, dict[str, tuple[str, ...]]] = {}
        unreadable: list[str] = []
        for path in (self._namespace, group, members_path(group), handoffs_path(group), active_path(group)):
            try:
                acl = await self._nodes.request(
                    acls.get_acl(path), path, "READ or ADMIN", ErrorCode.NO_NODE, ErrorCode.NO_AUTH
                )
            except ReplyError as error:
                if error.code == ErrorCode.NO_AUTH:
                    unreadable.append(path)
                continue
            found = {
                without_hash(identity): tuple(each.name or "" for each in permissions & CHANGES)
                for identity, permissions in acl.grants
                if permissions & CHANGES and not any(_is(identity, each) for each in ours)
            }
            if found:
                others[path] = found
        return ForeignRights(others, tuple(unreadable))

    async def _ours(self) -> tuple[str, ...] | None:
        """Return the ids of members; ``None`` if nobody is kept out, or the server does not tell ours."""
        settings = self._settings
        if settings.acl is not None:
            return settings.acl.members
        if settings.auth is None and settings.ssl is None:
            return None
        ours = None if settings.auth is None else _identity(settings.auth)
        if ours is not None:
            return (ours,)
        scheme = "x509:" if settings.auth is None else "digest:" if isinstance(settings.auth, Digest) else "sasl:"
        told = tuple(each for each in await self._nodes.our_ids() if each.startswith(scheme))
        if scheme == "digest:":
            told = tuple(f"{each}:{_HIDDEN}" for each in told)
        return told if told or settings.strict_acl else None


def _is(identity: str, ours: str) -> bool:
    """Return whether an id in an ACL is ours."""
    if not identity.startswith("digest:"):
        return identity == ours
    (user, _, digest), (our_user, _, our_digest) = identity.rpartition(":"), ours.rpartition(":")
    # The hash may be hidden from us, or come from an algorithm that we do not know. Then the user alone decides.
    return user == our_user and (digest == our_digest or not len(digest) == len(our_digest) == _SHA1)
