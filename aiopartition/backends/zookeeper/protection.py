"""Gives existing nodes the ACL that new ones would get."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from aiopartition.acl import Acl
from aiopartition.backends.zookeeper import acls
from aiopartition.backends.zookeeper.acls import LockedOutError, NodeAcl
from aiopartition.backends.zookeeper.codec import ErrorCode, ReplyError
from aiopartition.backends.zookeeper.nodes import ATTEMPTS, Nodes
from aiopartition.errors import AuthenticationError

__all__ = ["Protection", "protect"]

_SET_BEFORE: Final = frozenset({ErrorCode.NO_NODE, ErrorCode.BAD_VERSION})
"""Somebody else was faster: the node is gone, or its ACL was set meanwhile. The next pass shows which."""


@dataclass(slots=True)
class Protection:
    """The result of :func:`protect`.

    :ivar nodes: the number of nodes.
    :ivar open: the paths of nodes that have another ACL.
    :ivar done: the paths of nodes whose ACL was set.
    :ivar refused: for each path of a node whose ACL was not read or not set, the reason.
    """

    nodes: int = 0
    open: list[str] = field(default_factory=list[str])
    done: list[str] = field(default_factory=list[str])
    refused: dict[str, str] = field(default_factory=dict[str, str])


async def protect(nodes: Nodes, namespace: str, acl: Acl, *, change: bool) -> Protection:
    """Set the ACL of the namespace and of all nodes below it.

    Parents come first, so that strangers cannot create anything below a node that is done. Members may go on creating
    and deleting nodes, so all nodes are looked at again until nothing is left to do. No generation changes, so no key
    moves.

    :param change: whether to set ACLs, rather than only compare them.
    :raises AuthenticationError: if the ACL would lock this client out. Nothing is changed then.
    """
    if change:
        await _require_ourselves(nodes, namespace, acl)
    found = Protection()
    for _ in range(ATTEMPTS):
        before = len(found.done)
        found.nodes, found.open, found.refused = 0, [], {}
        await _walk(nodes, namespace, acl, found, change=change)
        if len(found.done) == before:
            break
    return found


async def _require_ourselves(nodes: Nodes, namespace: str, acl: Acl) -> None:
    try:
        await nodes.request(
            acls.prove(namespace, acl.grants), namespace, "CREATE", ErrorCode.NO_NODE, ErrorCode.NODE_EXISTS
        )
    except LockedOutError as error:
        known = await nodes.known_as()
        reason = f"it would lock this client out, and nothing was changed; the server takes it for {known}"
        raise AuthenticationError(reason, namespace) from error
    except ReplyError:
        return  # there is no namespace yet, so nothing to protect


async def _walk(nodes: Nodes, path: str, acl: Acl, found: Protection, *, change: bool) -> None:
    paths = [path]
    while paths:
        path = paths.pop()
        try:
            there = await nodes.request(acls.get_acl(path), path, "READ or ADMIN", ErrorCode.NO_NODE)
            if set(there.grants) != set(acl.grants):
                await _set(nodes, path, there, acl, found, change=change)
            children = await nodes.children(path)
        except ReplyError:
            continue  # it is gone
        except AuthenticationError as error:
            found.nodes += 1
            found.refused[path] = str(error)
            continue
        found.nodes += 1
        paths += [f"{path}/{name}" for name in reversed(children)]


async def _set(nodes: Nodes, path: str, there: NodeAcl, acl: Acl, found: Protection, *, change: bool) -> None:
    found.open.append(path)
    if not change:
        return
    try:
        await nodes.request(acls.set_acl(path, acl.grants, there.version), path, "ADMIN", *_SET_BEFORE)
    except ReplyError:
        return
    found.open.remove(path)
    found.done.append(path)
