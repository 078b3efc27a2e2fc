"""Where the examples run."""

from collections.abc import Iterator

import pytest

from tests.examples.started import processes_with
from tests.support import ZooKeeperServer


@pytest.fixture(params=["memory", pytest.param("zookeeper", marks=pytest.mark.zookeeper)])
def url(request: pytest.FixtureRequest, namespace: str) -> Iterator[str]:
    """A backend of its own for one test, which must not leave behind a process that was given it."""
    if request.param == "memory":
        backend = f"memory:/{namespace}"
    else:
        server: ZooKeeperServer = request.getfixturevalue("zookeeper")
        backend = server.url(namespace)
    yield backend
    left = processes_with(namespace)
    for process in left:
        process.kill()
    assert not left


@pytest.fixture
def on_zookeeper(zookeeper: ZooKeeperServer, namespace: str) -> str:
    """A place on the real server alone."""
    return zookeeper.url(namespace)
