"""Watches at the server: the requests that arm and remove them, and the events that they send."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

from aiopartition.backends.zookeeper.codec import Operation, RawRequest, Watch, buffer, nothing
from aiopartition.backends.zookeeper.frames import ProtocolError

__all__ = ["EventKind", "WatchEvent", "add", "arm_again", "no_watches", "parse_event", "remove"]

MAX_WATCH_BYTES: Final = 128 << 10
"""Bytes of paths in one request that arms watches. By default a server accepts requests of 1 MB."""

_RECURSIVE: Final = 1  # AddWatchMode.PERSISTENT_RECURSIVE
_ANY: Final = 3  # Watcher.WatcherType.Any

_INT: Final = struct.Struct("!i")
_ZXID: Final = struct.Struct("!q")
_EVENT: Final = struct.Struct("!iii")
"""An event's kind, the state of the session, and the length of the path."""


class EventKind(IntEnum):
    """The kinds of events that matter here (``Watcher.Event.EventType``)."""

    CREATED = 1
    DELETED = 2


class WatchEvent(NamedTuple):
    """A server's report about a watched node.

    :ivar kind: an :class:`EventKind`, or another number.
    :ivar zxid: the transaction that made the change; -1 from servers before 3.9.
    """

    path: str
    kind: int
    zxid: int = -1


def parse_event(body: bytes, zxid: int = -1) -> WatchEvent:
    """Parse an event. Not with aiozk, because there may be very many.

    :param zxid: from the header.
    :raises ProtocolError: if it is malformed.
    """
    try:
        kind, _, length = _EVENT.unpack_from(body)
        path = body[_EVENT.size : _EVENT.size + max(0, length)].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise ProtocolError(f"a malformed WatchEvent: {error}") from error
    if length < -1 or len(body) < _EVENT.size + length:  # -1 stands for a path that is null
        raise ProtocolError(f"a malformed WatchEvent: {length} bytes of path in {len(body)}")
    return WatchEvent(path, kind, zxid)


# ---- requests


def add(path: str) -> Operation[None]:
    """Arm a persistent watch, which reports each creation, write and deletion of a node and of all below it. Servers
    know this request since 3.6."""
    return Operation(
        RawRequest(106, lambda: buffer(path.encode()) + _INT.pack(_RECURSIVE)), nothing, Watch(path, recursive=True)
    )


def remove(path: str) -> Operation[None]:
    """Remove all watches on a node."""
    return Operation(RawRequest(18, lambda: buffer(path.encode()) + _INT.pack(_ANY)), nothing)


def arm_again(watches: Iterable[Watch], zxid: int) -> list[Operation[None]]:
    """Arm watches again on a new connection. Those on data fire at once if the data has changed since ``zxid``; those
    that are recursive never report what they have missed.

    If one operation would be too long for a server, several are returned, as in the Java client.
    """
    pieces: list[list[Watch]] = []
    room = 0
    for watch in sorted(watches):
        length = len(watch.path.encode())
        if length > room:
            pieces.append([])
            room = MAX_WATCH_BYTES
        room -= length
        pieces[-1].append(watch)
    return [_set_watches(piece, zxid) for piece in pieces]


def no_watches() -> Operation[None]:
    """Arm nothing. Unlike ``exists`` since ZooKeeper 3.9, this request requires no rights."""
    return _set_watches([], 0)


def _set_watches(watches: list[Watch], zxid: int) -> Operation[None]:
    data = [watch.path for watch in watches if not watch.recursive]
    recursive = [watch.path for watch in watches if watch.recursive]
    # The lists between these two are of watches for existence, for children, and persistent ones without recursion.
    return Operation(
        RawRequest(105, lambda: _ZXID.pack(zxid) + _texts(data) + 3 * _texts([]) + _texts(recursive)), nothing
    )


def _texts(texts: list[str]) -> bytes:
    return _INT.pack(len(texts)) + b"".join(buffer(text.encode()) for text in texts)
