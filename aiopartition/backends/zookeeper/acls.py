"""The operations of ZooKeeper's protocol that carry ACLs: they create nodes, and read and set ACLs. One more asks for
the ids by which the server knows this client.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from aiozk import protocol  # pyright: ignore[reportMissingTypeStubs]
from aiozk.protocol import acl as acl_parts  # pyright: ignore[reportMissingTypeStubs]

from aiopartition.acl import ALL, OPEN_ACL, Grant, Permission
from aiopartition.backends.zookeeper.codec import ErrorCode, Operation, RawRequest, ReplyError, nothing
from aiopartition.backends.zookeeper.frames import ProtocolError

__all__ = ["LockedOutError", "NodeAcl", "create", "create_for", "get_acl", "prove", "replace", "set_acl", "who_am_i"]

# Neither is typed, like all of aiozk: see codec.
_protocol: Any = protocol
_parts: Any = acl_parts


class LockedOutError(ReplyError):
    """A node was not created, since its ACL would not let its creator read it."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.NO_AUTH)


class NodeAcl(NamedTuple):
    """The ACL of a node.

    :ivar version: the version of the ACL, which :func:`set_acl` takes.
    """

    grants: tuple[Grant, ...]
    version: int


def create(path: str, data: bytes, acl: Iterable[Grant] = OPEN_ACL, *, ephemeral: bool = False) -> Operation[None]:
    return Operation(_create(path, data, acl, ephemeral=ephemeral), nothing, takes_quorum=True)


def create_for(path: str, data: bytes, acl: Iterable[Grant], *, ephemeral: bool = False) -> Operation[None]:
    """Create a node, unless its ACL would lock us out. Only the server can tell, as it decides which ids we have.

    If it would, parsing the answer raises :class:`LockedOutError`.
    """
    request: Any = _protocol.TransactionRequest()
    request.add(_create(path, data, acl, ephemeral=ephemeral))
    request.add(_protocol.CheckVersionRequest(path=path, version=-1))  # requires the right to read
    return Operation(request, _created, takes_quorum=True)


def prove(parent: str, acl: Iterable[Grant]) -> Operation[None]:
    """Ask whether we could read a node with this ACL. This changes nothing, but requires the right to create below
    ``parent``.

    If we could not, parsing the answer raises :class:`LockedOutError`.
    """
    request: Any = _protocol.TransactionRequest()
    path = f"{parent}/proof"
    request.add(_create(path, b"", acl))
    request.add(_protocol.CheckVersionRequest(path=path, version=-1))
    request.add(_protocol.CheckVersionRequest(path=path, version=1))  # it has version 0, so nothing is carried out
    return Operation(request, _proven, takes_quorum=True)


def replace(old: str, new: str, data: bytes, acl: Iterable[Grant] = OPEN_ACL) -> Operation[None]:
    """Delete a node and create an ephemeral one in one transaction: both, or neither if one of the two is refused."""
    request: Any = _protocol.TransactionRequest()
    request.add(_protocol.DeleteRequest(path=old, version=-1))
    request.add(_create(new, data, acl, ephemeral=True))
    return Operation(request, _all_carried_out, takes_quorum=True)


def get_acl(path: str) -> Operation[NodeAcl]:
    """Read the ACL of a node. This requires the right to read it, or to administer it; only the latter shows hashes."""
    return Operation(_parts.GetACLRequest(path=path), _node_acl)


def set_acl(path: str, acl: Iterable[Grant], version: int) -> Operation[None]:
    request: Any = _parts.SetACLRequest(path=path, acl=_acl(acl), version=version)
    return Operation(request, nothing, takes_quorum=True)


def who_am_i() -> Operation[tuple[str, ...]]:
    """Return the ids by which the server knows this connection. Those of the scheme digest come without their hashes.

    Servers know the request since 3.7. Older ones answer ``UNIMPLEMENTED``.
    """
    return Operation(RawRequest(107, bytes), _ids)  # nothing follows its header


class _WhoAmIResponse(_parts.Response):  # type: ignore[misc]
    opcode = 107  # under which aiozk finds this class
    parts = (("clients", _parts.Vector.of(_parts.ID)),)  # a client is a scheme and a user, like an id


def _create(path: str, data: bytes, acl: Iterable[Grant], *, ephemeral: bool = False) -> Any:
    request: Any = _protocol.CreateRequest(path=path, data=data, acl=_acl(acl))
    request.set_flags(ephemeral=ephemeral)
    return request


def _acl(grants: Iterable[Grant]) -> list[Any]:
    parts: list[Any] = []
    for identity, permissions in grants:
        scheme, _, rest = identity.partition(":")
        parts.append(_parts.ACL(perms=int(permissions), id=_parts.ID(scheme=scheme, id=rest)))
    return parts


def _created(reply: Any) -> None:
    codes = [getattr(answer, "error_code", 0) for answer in reply.responses]
    if codes[:2] == [0, ErrorCode.NO_AUTH]:
        raise LockedOutError
    if any(codes):
        raise ReplyError(next(filter(None, codes)))
    if len(codes) != 2:
        raise ProtocolError(f"{len(codes)} answers to a transaction of 2 parts")


def _proven(reply: Any) -> None:
    try:
        _created(reply)
    except ReplyError as error:
        if error.code != ErrorCode.BAD_VERSION:
            raise


def _all_carried_out(reply: Any) -> None:
    if codes := [answer.error_code for answer in reply.responses if hasattr(answer, "error_code")]:
        raise ReplyError(min(codes))  # of the refused part: the others have 0 or -2


def _node_acl(reply: Any) -> NodeAcl:
    grants = (Grant(_id(each.id), Permission(each.perms & ALL)) for each in reply.acl)
    return NodeAcl(tuple(grants), reply.stat.acl_version)


def _ids(reply: Any) -> tuple[str, ...]:
    return tuple(map(_id, reply.clients))


def _id(part: Any) -> str:
    if part.scheme is None or part.id is None:  # jute allows it
        raise ProtocolError("an id without a scheme or a name")
    return f"{part.scheme}:{part.id}"
