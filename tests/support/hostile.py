"""A server that lies: it stands before a real one, and changes what that answers."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from tests.support.ports import LOOPBACK
from tests.support.server import ZooKeeperServer
from tests.support.started import Endpoint

HEADER = struct.Struct("!iqi")


class Answer(NamedTuple):
    """What the real server says.

    :ivar opcode: of the request that it answers; ``None`` for the handshake and for what answers nothing.
    :ivar payload: the frame, without its length.
    """

    handshake: bool
    opcode: int | None
    payload: bytes


Lie = Callable[[Answer], Iterable[bytes]]
"""Returns what to say instead, with the lengths of frames."""


def framed(payload: bytes) -> bytes:
    return struct.pack("!i", len(payload)) + payload


class Hostile(Endpoint):
    """``lie`` changes what ``server`` answers. As long as there is none, all is as the server says."""

    def __init__(self, server: ZooKeeperServer) -> None:
        self.host = LOOPBACK
        self.lie: Lie | None = None
        self.connections = 0
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._accepted, self.host, 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self.end_connections()

    async def end_connections(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        # Both ends share an event loop: what one end has written and the other has not read is little.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with suppress(OSError, EOFError):
                await self._between(reader, writer)
        except asyncio.CancelledError:
            pass  # the end of the connection, which asyncio would report as an error
        finally:
            writer.transport.abort()

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served, to_server = await asyncio.open_connection(self._server.host, self._server.port)
        asked: dict[int, int] = {}
        answering = asyncio.create_task(self._answer(served, writer, asked))
        try:
            first = True
            while True:
                payload = await _frame(reader)
                if not first:
                    number, opcode = struct.unpack_from("!ii", payload)
                    asked[number] = opcode
                first = False
                to_server.write(framed(payload))
        finally:
            answering.cancel()
            to_server.transport.abort()
            await asyncio.wait({answering})

    async def _answer(self, served: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int]) -> None:
        with suppress(OSError, EOFError):
            handshake = True
            while True:
                payload = await _frame(served)
                opcode = None if handshake else asked.get(struct.unpack_from("!i", payload)[0])
                lie = self.lie
                for said in [framed(payload)] if lie is None else lie(Answer(handshake, opcode, payload)):
                    writer.write(said)
                    await writer.drain()
                handshake = False
        writer.transport.abort()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack("!i", await reader.readexactly(4))
    return await reader.readexactly(size)
