"""Which servers a session tries, in which order, for how long, and what their errors mean."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import pytest

from aiopartition import AuthenticationError
from aiopartition.backends.zookeeper.codec import ErrorCode, ReplyError
from aiopartition.backends.zookeeper.connection import Address, ConnectionLostError
from aiopartition.backends.zookeeper.dialing import Dialer

HOSTS: Final = [("10.0.0.1", 2181), ("10.0.0.2", 2181), ("10.0.0.3", 2181)]
REFUSED: Final = ReplyError(ErrorCode.AUTH_FAILED)


def dialer(connect: Callable[[Address], Awaitable[None]]) -> Dialer:
    return Dialer(HOSTS, connect, asyncio.get_running_loop().time)


class Servers:
    """The servers of an ensemble, each with an error that it answers with; without one it can be connected to."""

    def __init__(self, errors: dict[str, Exception]) -> None:
        self.errors = errors
        self.tried: list[str] = []

    async def connect(self, address: Address) -> None:
        self.tried.append(address.ip)
        if address.ip in self.errors:
            raise self.errors[address.ip]


async def test_a_round_ends_at_the_first_server_that_answers(anyio_backend: str) -> None:
    servers = Servers({"10.0.0.1": OSError("down"), "10.0.0.3": OSError("down")})
    dialing = dialer(servers.connect)
    assert await dialing.dial(10.0)
    assert servers.tried[-1] == "10.0.0.2"
    await dialing.first_connection()


async def test_the_server_connected_last_is_tried_last(anyio_backend: str) -> None:
    servers = Servers({})
    dialing = dialer(servers.connect)
    for _ in range(20):
        assert await dialing.dial(10.0)
        last = servers.tried[-1]
        dialing.connection_ended("the server closed the connection")
        assert dialing.last_error == "the server closed the connection"
        servers.tried = []
        servers.errors.update((ip, OSError("down")) for ip, _ in HOSTS if ip != last)
        assert await dialing.dial(10.0)
        assert sorted(servers.tried) == [ip for ip, _ in HOSTS]
        servers.errors.clear()


@pytest.mark.parametrize("error", [REFUSED, ReplyError(ErrorCode.AUTH_REQUIRED)])
async def test_refused_by_every_server(anyio_backend: str, error: Exception) -> None:
    """The start must not wait for anything else then. A later connection takes the refusal back."""
    servers = Servers({ip: error for ip, _ in HOSTS})
    dialing = dialer(servers.connect)
    assert not await dialing.dial(10.0)
    with pytest.raises(AuthenticationError, match="refuses the credentials|demands authentication") as raised:
        await dialing.first_connection()
    assert raised.value.__cause__ is error
    servers.errors = {}
    assert await dialing.dial(10.0)
    await dialing.first_connection()


@pytest.mark.parametrize("other", [OSError("down"), ConnectionLostError("closed"), ReplyError(ErrorCode.NO_NODE)])
async def test_refused_by_some_servers_only(anyio_backend: str, other: Exception) -> None:
    """The one that has not answered yet may accept this client."""
    servers = Servers({"10.0.0.1": REFUSED, "10.0.0.2": other, "10.0.0.3": REFUSED})
    dialing = dialer(servers.connect)
    assert not await dialing.dial(10.0)
    with anyio.move_on_after(0) as waiting:
        await dialing.first_connection()
    assert waiting.cancelled_caught


async def test_a_server_that_does_not_answer_is_left_for_the_next(anyio_backend: str) -> None:
    cancelled: list[str] = []

    async def connect(address: Address) -> None:
        if not cancelled:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(str(address))
                raise

    dialing = dialer(connect)
    assert await dialing.dial(1.0)
    assert dialing.last_error.startswith(f"{cancelled[0]}: no answer in time; ")
