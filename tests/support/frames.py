"""ZooKeeper's frames, as far as a network needs to know them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Towards = Literal["server", "client"]

LENGTH = struct.Struct("!i")
WORD = struct.Struct("!i")
WATCH_EVENT = -1

# No ZooKeeper sends a longer frame. The first four bytes of a four letter word, of a TLS handshake and of most other
# things mean a longer one.
LONGEST_FRAME = 1 << 27


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of ZooKeeper's protocol, without its length."""

    towards: Towards
    connection: int
    """The number of the proxy's connection, counted from 1."""
    position: int
    """How many frames went before it on this connection, this way."""
    body: bytes

    @property
    def is_handshake(self) -> bool:
        """The first frame each way opens the session and has no header."""
        return self.position == 0

    @property
    def xid(self) -> int | None:
        """Which request this is or answers; negative: -1 a watch event, -2 a ping, -4 auth, -8 set-watches."""
        return None if self.is_handshake else self._word(0)

    @property
    def opcode(self) -> int | None:
        """What a request asks for (1 create, 2 delete, 3 exists, 11 ping, 12 get-children-2, …); None in a reply."""
        return None if self.is_handshake or self.towards == "client" else self._word(1)

    @property
    def is_watch_event(self) -> bool:
        """Whether the server tells here that a watch has fired."""
        return self.towards == "client" and self.xid == WATCH_EVENT

    def _word(self, index: int) -> int | None:
        end = WORD.size * (index + 1)
        return int(WORD.unpack_from(self.body, end - WORD.size)[0]) if len(self.body) >= end else None


class FrameSplitter:
    """Cuts one direction of a connection into whole frames, however the bytes arrive.

    What is not ZooKeeper's protocol is passed on as it comes.
    """

    def __init__(self) -> None:
        self.rest = b""
        """What has arrived of an unfinished frame."""
        self._framed = True

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """The pieces that are complete now, and of each whether it is a frame (with its length in front)."""
        self.rest += data
        while self.rest:
            if not self._framed:
                piece, self.rest = self.rest, b""
                yield piece, False
                return
            if len(self.rest) < LENGTH.size:
                return
            length = LENGTH.unpack_from(self.rest)[0]
            if not 0 <= length <= LONGEST_FRAME:
                self._framed = False
                continue
            end = LENGTH.size + length
            if len(self.rest) < end:
                return
            piece, self.rest = self.rest[:end], self.rest[end:]
            yield piece, True
