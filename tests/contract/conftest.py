"""The suite's one parameter: the backend."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.cluster import Cluster, MemoryWorld, ZooKeeperWorld
from tests.support import OpenProxy, ZooKeeperServer


@pytest.fixture
async def memory_world(namespace: str, anyio_backend: str) -> AsyncIterator[Cluster]:
    """A cluster of this process."""
    world = MemoryWorld(namespace.strip("/"))
    yield world
    await world.close()


@pytest.fixture
async def zookeeper_world(zookeeper: ZooKeeperServer, namespace: str, proxy: OpenProxy) -> AsyncIterator[Cluster]:
    """A namespace on a real server."""
    world = ZooKeeperWorld(zookeeper, namespace, proxy)
    yield world
    await world.close()


@pytest.fixture(params=["memory", pytest.param("zookeeper", marks=pytest.mark.zookeeper)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A cluster with nothing in it."""
    world: Cluster = request.getfixturevalue(f"{request.param}_world")
    return world
