"""What the fault tests share."""

import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.faults.rights import SUPER_USER
from tests.support import ZooKeeperServer
from tests.support.admin import Operator, super_user_properties
from tests.support.fleet import Fleet

Measure = Callable[[str, float], None]


@pytest.fixture
async def fleet(anyio_backend: str) -> AsyncIterator[Fleet]:
    """Members that are stopped when the test is over."""
    async with Fleet() as fleet:
        yield fleet


@pytest.fixture
async def operator(zookeeper: ZooKeeperServer) -> AsyncIterator[Operator]:
    """Somebody at the shell of ``zookeeper``."""
    async with Operator(zookeeper.address) as operator:
        yield operator


@pytest.fixture(scope="module")
async def guarded_server(anyio_backend: str) -> AsyncIterator[ZooKeeperServer]:
    """A server on which one user may do everything."""
    async with ZooKeeperServer(properties=super_user_properties(*SUPER_USER)) as server:
        yield server


@pytest.fixture
async def administrator(guarded_server: ZooKeeperServer) -> AsyncIterator[Operator]:
    async with Operator(guarded_server.address, auth=SUPER_USER) as operator:
        yield operator


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    """Reports a figure: into the JUnit report, and to whoever runs pytest with ``-s``."""
    node: pytest.Item = request.node

    def report(what: str, seconds: float) -> None:
        # Not record_property, which warns of JUnit's stricter schema.
        node.user_properties.append((what, f"{seconds:.4f}"))
        print(f"\n    {what}: {seconds:.3f} s", end="")

    return report


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the DNS knows of names that end with ``.example``: nothing but what is put in here."""
    known: dict[str, str] = {}
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **keywords: Any) -> Any:
        if str(host).endswith(".example"):
            if host not in known:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = known[host]
        return resolve(host, *arguments, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known
