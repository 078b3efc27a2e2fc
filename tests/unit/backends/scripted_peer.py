"""A server that says exactly the bytes that a test tells it to, over a real socket."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

import anyio

_PATIENCE = 5.0
"""Seconds after which a test gives up waiting for a peer."""


class Peer:
    """The far end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def frame(self) -> bytes:
        """The payload of the next frame from the client."""
        with anyio.fail_after(_PATIENCE):
            (size,) = struct.unpack("!i", await self._reader.readexactly(4))
            return await self._reader.readexactly(size)

    async def rest(self) -> bytes:
        """What the client sends until it ends the connection."""
        with anyio.fail_after(_PATIENCE):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    def hang_up(self) -> None:
        """FIN, after what was sent. Not by closing: with unread bytes in its buffer a closed socket sends RST."""
        self._writer.write_eof()

    def reset(self) -> None:
        """RST, as a killed machine's successor answers."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        self._writer.transport.abort()
        with anyio.move_on_after(_PATIENCE):
            try:
                await self._writer.wait_closed()
            except ConnectionError:
                return


class PeerServer:
    """Listens on ``port`` of 127.0.0.1."""

    def __init__(self) -> None:
        self._accepted: asyncio.Queue[Peer] = asyncio.Queue()
        self._scripts: list[asyncio.Task[None]] = []
        self.peers: list[Peer] = []
        self.port = 0

    async def accept(self) -> Peer:
        """The far end of the next connection."""
        with anyio.fail_after(_PATIENCE):
            return await self._accepted.get()

    def script(self, steps: Callable[[], Coroutine[object, object, None]]) -> Awaitable[None]:
        """Run ``steps`` beside the test. Its failure is the test's, at the latest when the server closes."""
        task = asyncio.create_task(steps())
        self._scripts.append(task)
        return task

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self._accepted.put_nowait(peer)

    async def finish(self) -> None:
        try:
            with anyio.fail_after(_PATIENCE):
                await asyncio.gather(*self._scripts)
        finally:
            for task in self._scripts:
                task.cancel()
            for peer in self.peers:
                await peer.gone()


@asynccontextmanager
async def scripted_peer() -> AsyncIterator[PeerServer]:
    server = PeerServer()
    listener = await asyncio.start_server(server._connected, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.finish()


# ---- what ZooKeeper would say


def framed(payload: bytes) -> bytes:
    return struct.pack("!i", len(payload)) + payload


def connect_reply(session_id: int, timeout: int = 4000, password: bytes = 16 * b"p") -> bytes:
    """``timeout`` in milliseconds."""
    return framed(struct.pack("!iiqi", 0, timeout, session_id, len(password)) + password + b"\0")


def reply(xid: int, body: bytes = b"", *, zxid: int = 0, error: int = 0) -> bytes:
    return framed(struct.pack("!iqi", xid, zxid, error) + body)


def event(path: str, kind: int = 4) -> bytes:
    return reply(-1, struct.pack("!iii", kind, 3, len(path.encode())) + path.encode(), zxid=-1)


def stat(*, version: int = 0, ephemeral_owner: int = 0, pzxid: int = 0) -> bytes:
    """A znode's stat as it stands in replies."""
    return struct.pack("!qqqqiiiqiiq", 1, 2, 3, 4, version, 5, 6, ephemeral_owner, 7, 8, pzxid)
