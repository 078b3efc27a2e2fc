"""A port that is not what the URL takes it for: the error names what is there, and what to change."""

import asyncio
import http.server
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiopartition import OwnershipUnknownError, PartitionCoordinator
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import end_session
from tests.support.ports import LOOPBACK, free_port
from tests.support.tls import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """Writes nothing to the terminal."""

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def web() -> Iterator[int]:
    """The port of Python's own web server, which waits for the end of a line."""
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), QuietHandler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@asynccontextmanager
async def answering(said: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that answers anything with these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(8)
            writer.write(said)
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def complaint(
    port: int, caplog: pytest.LogCaptureFixture, context: ssl.SSLContext | None = None, timeout: float = 1.0
) -> str:
    """What start() logs, and what a call raises after that."""
    member = PartitionCoordinator(
        f"zookeeper://localhost:{port}/n", ssl=context, connect_timeout=timeout, on_unknown="raise"
    )
    with caplog.at_level(logging.ERROR, "aiopartition"):
        await member.start()
    try:
        (logged,) = [record.getMessage() for record in caplog.records if "no connection" in record.getMessage()]
        with pytest.raises(OwnershipUnknownError) as unknown:
            await member.extract_my_subset("g", ["key"])
    finally:
        await member.stop()
    raised = str(unknown.value)
    for text in (logged, raised):
        assert f"localhost ({LOOPBACK}:{port})" in text
    return f"{logged}\n{raised}"


async def test_a_web_server(caplog: pytest.LogCaptureFixture, anyio_backend: str) -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as port:
        assert (await complaint(port, caplog)).count("HTTP, so this is the port of a web server") == 2


async def test_the_admin_server(caplog: pytest.LogCaptureFixture, anyio_backend: str) -> None:
    """ZooKeeper's own web server needs jars that not every installation has: Debian's answers like any other."""
    async with answering(b"HTTP/1.1 505 Unknown Version\r\n\r\n") as port:
        assert (await complaint(port, caplog)).count("not the client port of ZooKeeper") == 2


async def test_a_web_server_that_waits(web: int, caplog: pytest.LogCaptureFixture, anyio_backend: str) -> None:
    assert (await complaint(web, caplog, timeout=3.0)).count(
        "no answer in time; if the server is up, is this the port for"
    ) == 2


async def test_zookeeper_with_tls(
    certificates: Certificates, caplog: pytest.LogCaptureFixture, anyio_backend: str
) -> None:
    """It closes the connection and says nothing."""
    port = free_port()
    async with ZooKeeperServer(settings=certificates.server_settings(port)):
        assert (await complaint(port, caplog)).count("need TLS on this port (zookeeper+tls://, or ssl=)") == 2


async def test_other_servers_with_tls(
    certificates: Certificates, caplog: pytest.LogCaptureFixture, anyio_backend: str, tmp_path: Path
) -> None:
    """OpenSSL says in TLS what it thinks of our request."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificates.authority.issue_cert("localhost").configure_cert(context)
    async with answering(b"", context) as port:
        text = await complaint(port, caplog)
    assert text.count("zookeeper+tls://, or ssl=") == 2
    assert "TLS" in text


async def test_zookeeper_without_tls(
    zookeeper: ZooKeeperServer, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    text = await complaint(zookeeper.port, caplog, certificates.client_context())
    assert text.count("speak no TLS on this port (use zookeeper:// without ssl=") == 2


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(40)])
async def test_other_servers_without_tls(
    certificates: Certificates, said: bytes, caplog: pytest.LogCaptureFixture, anyio_backend: str
) -> None:
    async with answering(said) as port:
        text = await complaint(port, caplog, certificates.client_context())
    assert text.count("speak no TLS on this port (use zookeeper:// without ssl=") == 2


class TestGrantedTimeout:
    """A server grants 2 to 20 of its ticks, here 0.4 to 4 s."""

    def warnings(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        return [message for message in messages if "granted" in message]

    @pytest.mark.parametrize(("asked", "granted"), [(10_000.0, 4.0), (0.3, 0.4)])
    async def test_another_than_was_asked_for(
        self, url: str, zookeeper: ZooKeeperServer, caplog: pytest.LogCaptureFixture, asked: float, granted: float
    ) -> None:
        """One warning with both, however often the session is replaced or resumed."""
        async with PartitionCoordinator(url, session_timeout=asked) as member:
            assert member.session_timeout == granted
            session = member._registry.backend._session  # type: ignore[attr-defined]
            for _ in range(2):
                session._connection.abort("by the test")
                await wait_until(lambda: member.connected)
            ended = session.session_id
            await end_session(zookeeper.address, session)
            await wait_until(lambda: member.connected and session.session_id != ended)
            (warning,) = self.warnings(caplog)
        assert f"a session timeout of {granted:g} s" in warning
        assert f"{asked:g} s asked for" in warning
        assert "the lease goes by the shorter one" in warning

    async def test_the_one_that_was_asked_for(self, url: str, caplog: pytest.LogCaptureFixture) -> None:
        async with PartitionCoordinator(url, session_timeout=2.0123) as member:
            assert member.session_timeout == 2.012
        assert self.warnings(caplog) == []
