"""A network that can be broken on purpose."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Self

from tests.support.frames import LENGTH, Frame, FrameSplitter, Towards
from tests.support.ports import LOOPBACK, free_port
from tests.support.server import ZooKeeperServer
from tests.support.started import Endpoint

__all__ = ["Episode", "Frame", "FrameFilter", "OpenProxy", "Proxy", "Towards"]

BOTH_WAYS: frozenset[Towards] = frozenset(("server", "client"))
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a time of zero: closing sends RST instead of FIN

FrameFilter = Callable[[Frame], "bool | Sequence[bytes] | None"]
"""Sees every frame before it is passed on; False swallows it. The bodies of other frames are passed on in its place."""


class Episode:
    """A trouble that has begun already; leaving it as a context manager, plain or async, ends it."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()


class Proxy(Endpoint):
    """A TCP proxy in front of one server.

    Every trouble is a plain call and lasts until :meth:`pass_through`; those that last also work as
    ``async with network.silent(): …``. Troubles add up.

    :param rewrite: for other protocols than the one between clients and servers: what is passed on to the server
        instead of the bytes that arrive. There are no frames then.
    """

    def __init__(
        self, upstream_host: str, upstream_port: int, *, rewrite: Callable[[bytes], bytes] | None = None
    ) -> None:
        self.upstream_host = upstream_host
        self.upstream_port = upstream_port
        self.host = LOOPBACK
        self.port = free_port()
        self.connections = 0
        """How many connections were ever accepted."""
        self.traffic: Counter[Towards] = Counter()
        """How many bytes have arrived on their way to the server, to the client; also those that were dropped."""
        self.rewrite = rewrite
        self.events_dropped = 0
        """How many watch events :meth:`drop_next_event` has swallowed."""
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._failures: list[BaseException] = []
        self._filters: list[FrameFilter] = []
        self._silent: frozenset[Towards] = frozenset()
        self._audible = asyncio.Event()
        self._flowing: dict[Towards, asyncio.Event] = {"server": asyncio.Event(), "client": asyncio.Event()}
        self._delay = 0.0
        self._events_to_drop = 0
        self._cut_next_frame = False

    def __repr__(self) -> str:
        return f"<Proxy {self.address} to {self.upstream_host}:{self.upstream_port}>"

    @property
    def open_connections(self) -> int:
        """How many connections are open now, on either side."""
        return len(self._links)

    async def start(self) -> None:
        """Listen."""
        self.pass_through()

    async def close(self) -> None:
        """Reset every connection and stop listening. An error in a frame filter is raised here at the latest."""
        self.refuse()
        links = list(self._links)
        self.reset()
        if links:
            await asyncio.wait(links)
        if self._failures:
            failures, self._failures = self._failures, []
            raise failures[0]

    # Troubles that last

    def pass_through(self) -> None:
        """End every trouble."""
        self._hear()
        self._flow()
        self._hurry()
        self._listen()
        self._events_to_drop = 0
        self._cut_next_frame = False

    def silent(self, towards: Towards | None = None) -> Episode:
        """Keep and accept connections, but drop everything that arrives, the end of a connection included.

        TCP never loses the middle of a stream. So a connection that lost something remains silent that way when the
        trouble is over; it can only be closed. One that lost nothing goes on.
        """
        self._silent = BOTH_WAYS if towards is None else frozenset((towards,))
        self._audible.clear()
        return Episode(self._hear)

    def hold(self, towards: Towards | None = None) -> Episode:
        """Keep what arrives and deliver it when the trouble is over, as TCP does after a short interruption."""
        for way, flowing in self._flowing.items():
            if towards in (None, way):
                flowing.clear()
        return Episode(self._flow)

    def delay(self, seconds: float) -> Episode:
        """Deliver everything that long after it arrived, or up to twice as long where more came meanwhile."""
        self._delay = seconds
        return Episode(self._hurry)

    def refuse(self) -> Episode:
        """Stop listening: new connections are refused. Those that are open stay."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        return Episode(self._listen)

    # Troubles of a moment

    def reset(self) -> None:
        """RST on every connection, towards both sides, at once."""
        for task, link in self._links.items():
            link.reset()
            task.cancel()

    def half_close(self, towards: Towards = "client") -> None:
        """FIN on every connection towards one side, whose own words are still passed on."""
        for link in self._links.values():
            link.half_close(towards)

    def cut_mid_frame(self) -> None:
        """Forward half of the next frame that comes from the server, then close its connection."""
        self._cut_next_frame = True

    def drop_next_event(self, count: int = 1) -> None:
        """Swallow the next watch events, and nothing else: lost watches."""
        self._events_to_drop += count

    def on_frame(self, look: FrameFilter) -> Episode:
        """Show every frame to ``look`` before it is passed on; see :data:`FrameFilter`."""
        self._filters.append(look)
        return Episode(lambda: self._filters.remove(look))

    # What a connection asks of its network

    def loses(self, towards: Towards) -> bool:
        """Whether what travels this way is lost now."""
        return towards in self._silent

    async def travel(self, towards: Towards) -> None:
        """Take as long as it takes to cross the network now."""
        await asyncio.sleep(self._delay)
        await self._flowing[towards].wait()

    async def wait_audible(self) -> None:
        """Wait while the network is silent."""
        await self._audible.wait()

    def passed_on(self, frame: Frame) -> Sequence[bytes]:
        """Show a frame to whoever looks at it. Return the bodies of those that are passed on: of this one, mostly."""
        if self._events_to_drop and frame.is_watch_event:
            self._events_to_drop -= 1
            self.events_dropped += 1
            return ()
        verdicts = [look(frame) for look in self._filters]  # each of them sees it, whatever the others say
        if False in verdicts:
            return ()
        return next((verdict for verdict in verdicts if not isinstance(verdict, bool | None)), (frame.body,))

    def cuts(self) -> bool:
        """Whether this frame from the server is the one to be cut."""
        cut, self._cut_next_frame = self._cut_next_frame, False
        return cut

    # The ends of the troubles

    def _hear(self) -> None:
        self._silent = frozenset()
        self._audible.set()

    def _flow(self) -> None:
        for flowing in self._flowing.values():
            flowing.set()

    def _hurry(self) -> None:
        self._delay = 0.0

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((self.host, self.port))
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    # Connections

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # the client has gone already
            return
        self.connections += 1
        link = _Link(self, self.connections, client)
        task = asyncio.get_running_loop().create_task(link.run(), name=f"connection {self.connections} of {self!r}")
        self._links[task] = link
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._links.pop(task).release()
        if not task.cancelled() and (error := task.exception()):
            self._failures.append(error)


class _Link:
    """One client's connection and its continuation to the server."""

    def __init__(self, proxy: Proxy, number: int, client: socket.socket) -> None:
        self._proxy = proxy
        self._number = number
        self._socket = client
        self._writers: dict[Towards, StreamWriter] = {}
        self._dead: set[Towards] = set()  # the ways in which something was lost

    async def run(self) -> None:
        """Carry everything until both sides have ended."""
        self._socket.setblocking(False)
        from_client, self._writers["client"] = await asyncio.open_connection(sock=self._socket)
        try:
            if self._proxy.loses("server"):
                await self._swallow(from_client)
                return
            try:
                from_server, self._writers["server"] = await asyncio.open_connection(
                    self._proxy.upstream_host, self._proxy.upstream_port
                )
            except OSError:  # as near as a proxy can come to a refused connection
                self.reset()
                return
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._carry(from_client, "server"))
                ways.create_task(self._carry(from_server, "client"))
        finally:
            await self._close()

    def reset(self) -> None:
        """RST towards both sides."""
        for writer in self._writers.values():
            if not writer.transport.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                writer.transport.abort()

    def release(self) -> None:
        """Close the client's socket even if :meth:`run` was cancelled before it began."""
        self._socket.close()

    def half_close(self, towards: Towards) -> None:
        """FIN towards one side."""
        self._dead.add(towards)
        if writer := self._writers.get(towards):
            with suppress(OSError):  # the other side was quicker
                writer.write_eof()

    async def _carry(self, source: StreamReader, towards: Towards) -> None:
        sink = self._writers[towards]
        splitter = FrameSplitter()
        position = 0
        try:
            while data := await source.read(1 << 16):
                self._proxy.traffic[towards] += len(data)
                await self._proxy.travel(towards)
                if self._loses(towards):
                    continue
                if self._proxy.rewrite is not None:
                    sink.write(self._proxy.rewrite(data) if towards == "server" else data)
                    await sink.drain()
                    continue
                for piece, framed in splitter.feed(data):
                    if framed:
                        frame = Frame(towards, self._number, position, piece[LENGTH.size :])
                        position += 1
                        bodies = self._proxy.passed_on(frame)
                        if bodies and towards == "client" and self._proxy.cuts():
                            await self._cut(piece)
                            return
                        piece = b"".join(LENGTH.pack(len(body)) + body for body in bodies)
                    sink.write(piece)
                await sink.drain()
        except ConnectionError:
            await self._proxy.wait_audible()
            self.reset()
            return
        if self._loses(towards):
            # One side has gone and the other was not told: it is, once it can be.
            await self._proxy.wait_audible()
            self.reset()
        elif not sink.transport.is_closing():
            sink.write(splitter.rest)
            with suppress(OSError):  # the peer has reset the connection, and asyncio has not noticed yet
                sink.write_eof()

    def _loses(self, towards: Towards) -> bool:
        if self._proxy.loses(towards):
            self._dead.add(towards)
        return towards in self._dead

    async def _swallow(self, source: StreamReader) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                self._proxy.traffic["server"] += len(data)

    async def _cut(self, piece: bytes) -> None:
        client = self._writers["client"]
        client.write(piece[: LENGTH.size + (len(piece) - LENGTH.size) // 2])
        client.close()
        with suppress(OSError):
            await client.wait_closed()
        self.reset()

    async def _close(self) -> None:
        self.reset()
        for writer in self._writers.values():
            with suppress(OSError):
                await writer.wait_closed()


OpenProxy = Callable[[ZooKeeperServer], Awaitable[Proxy]]
"""Puts a network in front of a server; what the fixture ``proxy`` gives."""
