"""From names to addresses, whatever the system's resolver does."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aiopartition.backends.zookeeper.connection import Address
from aiopartition.backends.zookeeper.resolver import Resolver
from tests.support import wait_until


class Names:
    """A resolver of the system whose answers the test decides. Not aiozk, nor a server: nothing else is replaced."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str] | Exception] = {}
        self.asked: list[str] = []
        self.hanging = threading.Event()
        self.hanging.set()

    def look_up(self, host: str, _port: object, **_options: object) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        self.hanging.wait(10)
        answer = self.answers[host]
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in answer]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.look_up)
    yield names
    names.hanging.set()


@pytest.mark.parametrize("literal", ["127.0.0.1", "::1", "fe80::1%eth0"])
async def test_an_address_is_its_own_answer(names: Names, literal: str) -> None:
    """Nobody is asked."""
    assert await Resolver().resolve(literal, 2181, 1.0) == [Address(literal, literal, 2181)]
    assert names.asked == []


async def test_every_address_of_a_name(names: Names) -> None:
    """Each once, with the name that TLS verifies."""
    names.answers["zk"] = ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
    assert await Resolver().resolve("zk", 2181, 5.0) == [
        Address("zk", "10.0.0.1", 2181),
        Address("zk", "10.0.0.2", 2181),
    ]


@pytest.mark.parametrize("error", [socket.gaierror(8, "unknown name"), UnicodeError("label too long")])
async def test_a_name_without_an_address(names: Names, error: Exception) -> None:
    """Is an OSError, whatever the library underneath says."""
    names.answers["zk"] = error
    with pytest.raises(OSError, match="unknown name|label too long"):
        await Resolver().resolve("zk", 2181, 5.0)


async def test_a_hanging_resolver_is_asked_once(names: Names) -> None:
    """However often one tries meanwhile; and its late answer counts for the next round."""
    names.answers["zk"] = ["10.0.0.1"]
    names.hanging.clear()
    resolver = Resolver()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await resolver.resolve("zk", 2181, 0.02)
    assert names.asked == ["zk"]
    names.hanging.set()
    assert await resolver.resolve("zk", 2181, 5.0) == [Address("zk", "10.0.0.1", 2181)]


async def test_known_addresses_are_used_while_the_resolver_fails_or_hangs(names: Names) -> None:
    """What cuts a connection often cuts the resolver too; the lease must not be spent on waiting for it."""
    names.answers["zk"] = ["10.0.0.1"]
    resolver = Resolver()
    known = await resolver.resolve("zk", 2181, 5.0)
    names.answers["zk"] = socket.gaierror(8, "unknown name")
    assert await resolver.resolve("zk", 2181, 5.0) == known
    names.hanging.clear()
    began = time.monotonic()
    assert await resolver.resolve("zk", 2181, 5.0) == known
    assert time.monotonic() - began < 2.0


async def test_newer_addresses_replace_the_known_ones(names: Names) -> None:
    """Servers move."""
    names.answers["zk"] = ["10.0.0.1"]
    resolver = Resolver()
    await resolver.resolve("zk", 2181, 5.0)
    names.answers["zk"] = ["10.0.0.2"]

    async def moved() -> bool:
        return await resolver.resolve("zk", 2181, 5.0) == [Address("zk", "10.0.0.2", 2181)]

    await wait_until(moved)


async def test_no_thread_to_be_had(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads a look-up fails like any other, and is tried again in the next round."""
    names.answers["zk"] = ["10.0.0.1"]
    resolver = Resolver()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            await resolver.resolve("zk", 2181, 5.0)
    assert await resolver.resolve("zk", 2181, 5.0) == [Address("zk", "10.0.0.1", 2181)]


async def test_waiting_may_be_cancelled(names: Names) -> None:
    """The look-up goes on, and nothing is said of its failure."""
    names.answers["zk"] = socket.gaierror(8, "unknown name")
    names.hanging.clear()
    resolver = Resolver()
    waiting = asyncio.ensure_future(resolver.resolve("zk", 2181, 5.0))
    await wait_until(lambda: names.asked)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    names.hanging.set()
    await wait_until(lambda: not resolver._under_way)
