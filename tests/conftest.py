"""What every test can ask for: real servers, a network in front of them, a place of its own, and a check for leaks."""

import asyncio
import functools
import gc
import inspect
import os
import re
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.support import Ensemble, OpenProxy, Proxy, ZooKeeperServer
from tests.support.leaks import LeakCheck

SERVERS = frozenset(("shared_zookeeper", "shared_ensemble"))
TESTS = Path(__file__).parent
REPETITIVE = {TESTS / name for name in ("simulation", "exploration", "chaos", "fuzz", "benchmarks")} | {
    TESTS / "unit" / "group" / name for name in ("test_group_model.py", "test_handoff_model.py")
}
"""What does thousands of times what other tests do once, and takes three times as long under coverage."""
PROCESSES_MEASURED = "COVERAGE_PROCESS_CONFIG"
"""By this processes know that their coverage is measured."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop for the whole run, so that fixtures can outlive a test."""
    return "asyncio"


# Servers. Those of the whole run hold no socket and no task here, so they disturb neither the loop nor the leak check.
# Where several processes share the tests, each has its own.


@pytest.fixture(scope="session")
async def shared_zookeeper(anyio_backend: str) -> AsyncIterator[ZooKeeperServer]:
    """The one server of the whole run. Tests ask for ``zookeeper``."""
    async with ZooKeeperServer() as server:
        yield server


@pytest.fixture(scope="session")
async def shared_ensemble(anyio_backend: str) -> AsyncIterator[Ensemble]:
    """The one ensemble of the whole run. Tests ask for ``ensemble``."""
    async with Ensemble() as ensemble:
        yield ensemble


@pytest.fixture
async def zookeeper(shared_zookeeper: ZooKeeperServer) -> ZooKeeperServer:
    """A healthy server, whatever the tests before have done to it. It may be killed, frozen and restarted."""
    await shared_zookeeper.heal()
    return shared_zookeeper


@pytest.fixture
async def ensemble(shared_ensemble: Ensemble) -> Ensemble:
    """Three healthy servers with a leader, whatever the tests before have done to them."""
    await shared_ensemble.heal()
    return shared_ensemble


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks the tests that cannot run without Java."""
    if not SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
        item.add_marker("zookeeper")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measures coverage where it can tell something new."""
    repetitive = not REPETITIVE.isdisjoint((item.path, *item.path.parents)) or item.get_closest_marker("hypothesis")
    if PROCESSES_MEASURED not in os.environ or not repetitive:
        return (yield)
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    with patch.dict(os.environ):
        del os.environ[PROCESSES_MEASURED]
        try:
            return (yield)
        finally:
            sys.settrace(here)
            threading.settrace(in_threads)


# The network


@pytest.fixture
async def proxy(anyio_backend: str) -> AsyncIterator[OpenProxy]:
    """Puts a network in front of a server: ``network = await proxy(server)``."""
    async with AsyncExitStack() as networks:

        async def open_proxy(server: ZooKeeperServer) -> Proxy:
            return await networks.enter_async_context(Proxy(server.host, server.port))

        yield open_proxy


@pytest.fixture
async def network(zookeeper: ZooKeeperServer, proxy: OpenProxy) -> Proxy:
    """The network in front of ``zookeeper``."""
    return await proxy(zookeeper)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """A path that no other test uses, to be appended to a URL."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")
    return f"/{name[:80]}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def url(zookeeper: ZooKeeperServer, namespace: str) -> str:
    """A coordinator's URL: that place on ``zookeeper``."""
    return zookeeper.url(namespace)


@pytest.fixture
def network_url(network: Proxy, namespace: str) -> str:
    """The same place, through ``network``."""
    return network.url(namespace)


# Nothing may stay behind


def pytest_collection_finish() -> None:
    """Everything imported so far lives on: leave it out of the leak check's collections, which makes them quick."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def leak_check(anyio_backend: str) -> AsyncIterator[None]:
    """Fails a test that leaves a task, a socket or an error that nobody looked at."""
    check = LeakCheck(asyncio.get_running_loop())
    check.begin()
    yield
    await check.end()


@pytest.fixture(autouse=True)
def nothing_stays_behind(request: pytest.FixtureRequest) -> None:
    """Applies the leak check to the tests that use the event loop, before their own fixtures and so around them."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("leak_check")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Cancel an async test that is abandoned midway.

    When the time of a test is up pytest-timeout raises out of the event loop, and the test remains suspended in
    there. The teardown of its fixtures, which runs in the same task, would wait for it for ever.
    """
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return (yield)
    running: asyncio.Task[object] | None = None
    abandoned = False

    @functools.wraps(test)
    async def cancellable(**arguments: object) -> None:
        nonlocal running
        running = asyncio.current_task()
        assert running is not None
        try:
            await test(**arguments)
        except asyncio.CancelledError:
            if not abandoned:
                raise
            running.uncancel()
        finally:
            running = None

    pyfuncitem.obj = cancellable
    try:
        return (yield)
    finally:
        pyfuncitem.obj = test
        if running is not None:
            abandoned = True
            running.cancel()
