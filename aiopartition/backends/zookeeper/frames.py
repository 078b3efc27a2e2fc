"""Frames: each message in either direction is its length in 4 bytes, and then its payload."""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["MAX_FRAME", "FrameSplitter", "ProtocolError", "frame"]

MAX_FRAME: Final = 16 << 20
"""Bytes: some 200,000 entries in one answer. A longer frame is an error."""

_LENGTH: Final = struct.Struct("!i")


class ProtocolError(Exception):
    """The server sent something that is not ZooKeeper's protocol. Completes the sentence "the server sent …"."""


def frame(payload: bytes) -> bytes:
    """Return a payload as a frame."""
    return _LENGTH.pack(len(payload)) + payload


class FrameSplitter:
    """Splits the bytes from a server into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads of the frames that ``data`` completes.

        :raises ProtocolError: for a length that no server sends.
        """
        self._buffer += data
        payloads: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer, start)
            if not 0 < size <= MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes")
            end = start + _LENGTH.size + size
            if len(self._buffer) < end:
                break
            payloads.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return payloads
