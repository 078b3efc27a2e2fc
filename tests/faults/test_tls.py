"""TLS, and what it looks like when it fails."""

import logging
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from aiopartition import AuthenticationError, PartitionCoordinator, TlsFiles
from tests.faults.conftest import Measure
from tests.support import Proxy, wait_until
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.ports import LOOPBACK
from tests.support.tls import Certificates, SecureServer, secure_server


@pytest.fixture(scope="module")
async def shared_secure(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecureServer]:
    """A server that demands a certificate of its clients."""
    async with secure_server(tmp_path_factory.mktemp("certificates")) as secure:
        yield secure


@pytest.fixture
async def secure(shared_secure: SecureServer) -> SecureServer:
    await shared_secure.server.heal()
    return shared_secure


class TestTrusted:
    async def test_members_share_their_work(
        self, fleet: Fleet, secure: SecureServer, namespace: str, measure: Measure
    ) -> None:
        """With certificates on both sides everything works as without, a broken connection included."""
        begun = time.monotonic()
        first = await fleet.start(secure.url(namespace), "a", ssl=secure.certificates.client_context(name="a"))
        measure("first TLS connection to a new server", time.monotonic() - begun)
        await fleet.start(secure.url(namespace), "b", ssl=secure.certificates.client_context(name="b"))
        await fleet.settle()
        view = await first.view(GROUP)
        async with Proxy("localhost", secure.port) as network:
            third = await fleet.start(
                f"zookeeper://localhost:{network.port}{namespace}",
                "c",
                ssl=secure.certificates.client_context(name="c"),
            )
            await fleet.settle()
            network.reset()
            broken = time.monotonic()
            await wait_until(lambda: network.connections == 2 and third.connected, interval=0.001)
            measure("TLS, reset to connected", time.monotonic() - broken)
            await fleet.settle()
            await third.stop()
            await fleet.settle(*fleet.members[:2])
        assert (await first.view(GROUP)).members == view.members

    async def test_killed_and_restarted_server(self, fleet: Fleet, secure: SecureServer, namespace: str) -> None:
        """The end of a TLS connection is noticed at once, and a JVM that has just started is waited for."""
        member = await fleet.start(secure.url(namespace), "a", ssl=secure.certificates.client_context(name="a"))
        await secure.server.kill()
        await wait_until(lambda: not member.connected, timeout=1.0)
        await secure.server.start()
        await wait_until(lambda: member.connected)
        await fleet.settle()

    async def test_stop_with_a_frozen_server(
        self, fleet: Fleet, secure: SecureServer, namespace: str, measure: Measure
    ) -> None:
        """Closing does not wait for TLS to say good-bye."""
        member = await fleet.start(secure.url(namespace), "a", ssl=secure.certificates.client_context(name="a"))
        await secure.server.freeze()
        begun = time.monotonic()
        await member.stop()
        measure("stop, TLS server frozen", time.monotonic() - begun)
        assert time.monotonic() - begun < 1.5


class TestFiles:
    """Certificates that a URL, the environment or an argument names."""

    def url(self, secure: SecureServer, files: TlsFiles, port: int, namespace: str) -> str:
        return f"zookeeper+tls://localhost:{port}{namespace}?ca={files.ca}&cert={files.cert}&key={files.key}"

    async def test_a_url_is_enough(
        self, fleet: Fleet, secure: SecureServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So are variables; and both find each other."""
        files = secure.certificates.write_client(tmp_path, "a")
        await fleet.start(self.url(secure, files, secure.port, namespace), "a")
        monkeypatch.setenv("T_BACKEND_URL", f"zookeeper+tls://localhost:{secure.port}{namespace}")
        monkeypatch.setenv("T_TLS_CA", str(files.ca))
        monkeypatch.setenv("T_TLS_CERT", str(files.cert))
        monkeypatch.setenv("T_TLS_KEY", str(files.key))
        async with PartitionCoordinator.from_env("T_", member_id="b", heartbeat=0.25) as other:
            await other.join_group(GROUP)
            await fleet.settle(*fleet.members, other)

    async def test_certificates_are_rotated(
        self,
        fleet: Fleet,
        secure: SecureServer,
        namespace: str,
        tmp_path: Path,
        measure: Measure,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The next connection has the new ones. Files that do not belong together, and certificates that the server
        refuses, are trouble: it is logged, and tried on until they are good."""
        files = secure.certificates.write_client(tmp_path, "a")
        async with Proxy("localhost", secure.port) as network:
            member = await fleet.start(self.url(secure, files, network.port, namespace), "a", session_timeout=4.0)
            dialer = member._registry.backend._session._dialer  # type: ignore[attr-defined]
            for issuer, key, reason in (
                (None, b"-----BEGIN", "TLS cert and key: cannot be used"),
                (trustme.CA(), None, "CERTIFICATE"),
            ):
                secure.certificates.write_client(tmp_path, "b", issuer=issuer)
                if key is not None:
                    Path(str(files.key)).write_bytes(key)
                network.reset()
                await wait_until(lambda: reason in dialer.last_error and dialer._failures >= 2)  # noqa: B023
                assert not member.connected
                secure.certificates.write_client(tmp_path, "c")
                renewed = time.monotonic()
                await wait_until(lambda: member.connected)
                measure(f"{reason}: from good files to connected", time.monotonic() - renewed)
            await fleet.settle()
        [logged, *_] = [record for record in caplog.records if hasattr(record, "aiopartition_reason")]
        assert "TLS cert and key: cannot be used" in logged.getMessage()

    async def test_files_that_come_later(
        self, fleet: Fleet, secure: SecureServer, namespace: str, tmp_path: Path
    ) -> None:
        """A start without them is no refusal either."""
        files = secure.certificates.write_client(tmp_path, "a")
        content = Path(str(files.cert)).read_bytes()
        Path(str(files.cert)).unlink()
        member = await fleet.start(
            self.url(secure, files, secure.port, namespace), "a", connect_timeout=0.3, join=False
        )
        assert not member.connected
        Path(str(files.cert)).write_bytes(content)
        await wait_until(lambda: member.connected)


class TestRefused:
    async def refusal(self, url: str, context: ssl.SSLContext, measure: Measure) -> AuthenticationError:
        """The error with which start() ends."""
        coordinator = PartitionCoordinator(url, ssl=context, connect_timeout=8.0)
        begun = time.monotonic()
        try:
            with pytest.raises(AuthenticationError) as refused:
                await coordinator.start()
        finally:
            await coordinator.stop()
        measure("refused", time.monotonic() - begun)
        return refused.value

    async def test_untrusted_server(self, secure: SecureServer, namespace: str, measure: Measure) -> None:
        """A server whose authority we do not trust is an error at the start that says so and names the server."""
        error = await self.refusal(secure.url(namespace), ssl.create_default_context(), measure)
        assert "certificate" in str(error)
        assert "not trusted" in str(error)
        assert f"localhost (127.0.0.1:{secure.port})" in str(error)
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)

    async def test_server_of_another_name(
        self, secure: SecureServer, namespace: str, names: dict[str, str], measure: Measure
    ) -> None:
        """So is one whose certificate is for another name."""
        names["zk.example"] = LOOPBACK
        context = secure.certificates.client_context(name="a")
        error = await self.refusal(f"zookeeper://zk.example:{secure.port}{namespace}", context, measure)
        assert "zk.example" in str(error)
        assert "not trusted" in str(error)

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
    @pytest.mark.parametrize("certificate", ["missing", "of another authority"])
    async def test_client_certificate(
        self, secure: SecureServer, namespace: str, version: ssl.TLSVersion, certificate: str, measure: Measure
    ) -> None:
        """A server that wants a certificate of us, and does not get one that it trusts, refuses us; the error says so.
        With TLS 1.3 the refusal comes only after the handshake."""
        context = secure.certificates.client_context()
        if certificate != "missing":
            other = Certificates(secure.certificates.directory)
            other.authority.issue_cert("a").configure_cert(context)
        context.minimum_version = context.maximum_version = version
        error = await self.refusal(secure.url(namespace), context, measure)
        assert "certificate" in str(error)
        assert str(secure.port) in str(error)


class TestMixedUp:
    async def test_plain_client_at_a_tls_port(
        self, fleet: Fleet, secure: SecureServer, namespace: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing hangs; the log says that there is no connection, and what the server did."""
        begun = time.monotonic()
        member = await fleet.start(secure.url(namespace), "a", connect_timeout=0.5)
        assert time.monotonic() - begun < 1.5
        assert await member.extract_my_subset(GROUP, KEYS) == []
        [message] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert f"localhost:{secure.port}" in message
        assert "closed the connection" in message

    async def test_tls_client_at_a_plain_port(self, fleet: Fleet, url: str, secure: SecureServer) -> None:
        """Likewise the other way round."""
        begun = time.monotonic()
        member = await fleet.start(url, "a", connect_timeout=0.5, ssl=secure.certificates.client_context(name="a"))
        assert time.monotonic() - begun < 1.5
        assert await member.extract_my_subset(GROUP, KEYS) == []
        assert not member.connected
