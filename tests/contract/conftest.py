"""The suite's one parameter: the backend."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.cluster import Cluster, ClusterInMemory, ClusterOnServer
from tests.support import OpenProxy, ZooKeeperServer


@pytest.fixture
async def memory_cluster(namespace: str, anyio_backend: str) -> AsyncIterator[Cluster]:
    """A cluster of this process."""
    cluster = ClusterInMemory(namespace.strip("/"))
    yield cluster
    await cluster.close()


@pytest.fixture
async def zookeeper_cluster(zookeeper: ZooKeeperServer, namespace: str, proxy: OpenProxy) -> AsyncIterator[Cluster]:
    """A namespace on a real server."""
    cluster = ClusterOnServer(zookeeper, namespace, proxy)
    yield cluster
    await cluster.close()


@pytest.fixture(params=["memory", pytest.param("zookeeper", marks=pytest.mark.zookeeper)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A cluster with nothing in it."""
    cluster: Cluster = request.getfixturevalue(f"{request.param}_cluster")
    return cluster
