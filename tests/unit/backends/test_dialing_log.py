"""An ensemble that cannot be reached is reported early, and not over and over."""

import asyncio
import logging

import pytest

from aiopartition.backends.zookeeper.connection import Address
from aiopartition.backends.zookeeper.dialing import Dialer
from aiopartition.testing import VirtualTimeLoop


async def dial_for(dialer: Dialer, seconds: float) -> None:
    """Go on as a session does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        if await dialer.dial(10.0):
            return
        await dialer.pause()


def test_an_hour_without_servers(caplog: pytest.LogCaptureFixture) -> None:
    """One warning, at the first failed round; another only after a connection that has lasted."""
    caplog.set_level(logging.INFO, "aiopartition")
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(an_hour(caplog))


async def an_hour(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    up, attempts = False, 0

    async def connect(address: Address) -> None:
        nonlocal attempts
        attempts += 1
        if not up:
            raise ConnectionRefusedError("nobody listens")

    dialer = Dialer([("127.0.0.1", 1), ("127.0.0.1", 2)], connect, loop.time)
    assert not await dialer.dial(10.0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "nobody listens" in caplog.text
    await dial_for(dialer, 3600.0)
    assert attempts > 1000
    assert len(caplog.records) == 1

    for lasts, lines in ((0.5, 1), (5.0, 2)):
        up = True
        assert await dialer.dial(10.0)
        await asyncio.sleep(lasts)
        up = False
        dialer.connection_ended("reset")
        await dial_for(dialer, 60.0)
        assert len(caplog.records) == lines
