"""Requests by which a connection says who the client is. They keep their credentials hidden until they are sent."""

from __future__ import annotations

import struct
from typing import Final

from aiopartition.backends.zookeeper.codec import Operation
from aiopartition.secret import Secret

__all__ = ["authenticate"]

_AUTH: Final = struct.Struct("!iii")


def authenticate(scheme: str, credential: Secret[bytes]) -> Operation[None]:
    """Log in by a scheme that takes one request (``AuthPacket``)."""
    return Operation(_AuthRequest(scheme, credential), lambda _reply: None)


class _AuthRequest:
    opcode: Final = 100

    def __init__(self, scheme: str, credential: Secret[bytes]) -> None:
        self._scheme = scheme
        self._credential = credential

    def serialize(self, xid: int) -> bytes:
        return _AUTH.pack(xid, self.opcode, 0) + _buffer(self._scheme.encode()) + _buffer(self._credential.reveal())


def _buffer(data: bytes) -> bytes:
    return struct.pack("!i", len(data)) + data
