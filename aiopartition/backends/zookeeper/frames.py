"""Frames: each message in either direction is its length in 4 bytes, and then its payload."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_FRAME", "MAX_SKIPPED", "FrameSplitter", "LongFrame", "ProtocolError", "frame"]

MAX_FRAME: Final = 16 << 20
"""Bytes: some 200,000 entries in one answer. The rest of a longer frame is skipped."""

MAX_SKIPPED: Final = 256 << 20
"""Bytes. No server sends a longer frame: the peer does not speak the protocol."""

_LENGTH: Final = struct.Struct("!i")

_HEAD: Final = 16
"""Bytes at the start of a payload that tell which request it answers."""

_FOREIGN: Final = {
    b"HTTP": "HTTP, so this is the port of a web server, not the client port of ZooKeeper",
    b"\x15\x03": "TLS, so this port needs a TLS connection: use zookeeper+tls://, or ssl=",
}
"""How other protocols begin. Read as a length, each would be more than ``MAX_SKIPPED``."""


class ProtocolError(Exception):
    """The server sent something that is not ZooKeeper's protocol. Completes the sentence "the server sent …"."""


@dataclass(frozen=True, slots=True)
class LongFrame:
    """The start of a frame that is longer than ``MAX_FRAME``. The rest of it is skipped as it arrives."""

    head: bytes
    """The first 16 bytes of the payload."""
    size: int
    """Bytes of the whole payload."""


def frame(payload: bytes) -> bytes:
    """Return a payload as a frame."""
    return _LENGTH.pack(len(payload)) + payload


class FrameSplitter:
    """Splits the bytes from a server into frames. Keeps at most one frame of ``MAX_FRAME`` bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._to_skip = 0

    @property
    def within_frame(self) -> bool:
        """Whether a frame has begun to arrive, and its end has not arrived yet."""
        return bool(self._buffer) or self._to_skip > 0

    def feed(self, data: bytes) -> list[bytes | LongFrame]:
        """Return the payloads of the frames that ``data`` completes, and the starts of those that are too long.

        :raises ProtocolError: for a length that no server sends.
        """
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        self._buffer += memoryview(data)[skipped:]
        frames: list[bytes | LongFrame] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer, start)
            if not 0 < size <= MAX_SKIPPED:
                raise ProtocolError(_not_a_frame(size, bytes(self._buffer[start : start + _LENGTH.size])))
            payload = start + _LENGTH.size
            end = payload + size
            if size > MAX_FRAME and len(self._buffer) >= payload + _HEAD:
                frames.append(LongFrame(bytes(self._buffer[payload : payload + _HEAD]), size))
                self._to_skip = max(0, end - len(self._buffer))
            elif len(self._buffer) >= end:
                frames.append(bytes(self._buffer[payload:end]))
            else:
                break
            start = end
        del self._buffer[:start]
        return frames


def _not_a_frame(size: int, start: bytes) -> str:
    foreign = [protocol for opening, protocol in _FOREIGN.items() if start.startswith(opening)]
    return foreign[0] if foreign else f"a frame of {size} bytes"
