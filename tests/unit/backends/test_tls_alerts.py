"""Alerts of TLS: those that refuse this client end start(), and those that tell of trouble do not."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from aiopartition import AuthenticationError, PartitionCoordinator
from tests.support import wait_until

# RFC 8446, section 6, with those of older versions.
REFUSALS: Final = {
    "handshake_failure": 40,
    "no_certificate": 41,
    "bad_certificate": 42,
    "unsupported_certificate": 43,
    "certificate_revoked": 44,
    "certificate_expired": 45,
    "certificate_unknown": 46,
    "unknown_ca": 48,
    "access_denied": 49,
    "protocol_version": 70,
    "insufficient_security": 71,
    "certificate_required": 116,
}
TROUBLES: Final = {
    "close_notify": 0,
    "unexpected_message": 10,
    "bad_record_mac": 20,
    "decryption_failed": 21,
    "record_overflow": 22,
    "decompression_failure": 30,
    "illegal_parameter": 47,
    "decode_error": 50,
    "decrypt_error": 51,
    "internal_error": 80,
    "inappropriate_fallback": 86,
    "user_canceled": 90,
    "no_renegotiation": 100,
    "missing_extension": 109,
    "unsupported_extension": 110,
    "unrecognized_name": 112,
    "bad_certificate_status_response": 113,
    "unknown_psk_identity": 115,
    "no_application_protocol": 120,
    "one that nobody knows": 200,
}
WARNINGS: Final = {"close_notify", "user_canceled", "no_renegotiation"}


class Balancer:
    """Answers whatever comes with an alert in plain text, and hangs up."""

    def __init__(self, alert: str) -> None:
        level = 1 if alert in WARNINGS else 2
        self._record = b"\x15\x03\x03\0\2" + bytes([level, {**REFUSALS, **TROUBLES}[alert]])
        self.connections = 0
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await reader.read(65_536)
            writer.write(self._record)
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def balancer(alert: str) -> AsyncIterator[Balancer]:
    made = Balancer(alert)
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("alert", REFUSALS)
async def test_a_refusal_ends_the_start(alert: str, anyio_backend: str) -> None:
    """The error names the server and the alert."""
    async with balancer(alert) as server:
        coordinator = PartitionCoordinator(f"zookeeper+tls://127.0.0.1:{server.port}", connect_timeout=30.0)
        with pytest.raises(AuthenticationError) as refused:
            await coordinator.start()
        await coordinator.stop()
    assert f"127.0.0.1:{server.port} refuses the TLS handshake" in str(refused.value)
    assert alert.upper() in str(refused.value)
    assert isinstance(refused.value.__cause__, ssl.SSLError)


@pytest.mark.parametrize("alert", TROUBLES)
async def test_trouble_is_tried_again(alert: str, caplog: pytest.LogCaptureFixture, anyio_backend: str) -> None:
    """A balancer that is unwell for a moment must not end a service that starts then."""
    async with balancer(alert) as server:
        url = f"zookeeper+tls://127.0.0.1:{server.port}"
        async with PartitionCoordinator(url, connect_timeout=0.2) as coordinator:
            assert not coordinator.connected
            await wait_until(lambda: server.connections >= 3)
    [error] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert f"127.0.0.1:{server.port}" in error


async def test_one_that_refuses_among_others(anyio_backend: str) -> None:
    """As long as another may take us, we try on."""
    async with balancer("bad_certificate") as refusing, balancer("internal_error") as unwell:
        url = f"zookeeper+tls://127.0.0.1:{refusing.port},127.0.0.1:{unwell.port}"
        async with PartitionCoordinator(url, connect_timeout=0.2) as coordinator:
            await wait_until(lambda: refusing.connections >= 2 and unwell.connections >= 2)
            assert not coordinator.connected
