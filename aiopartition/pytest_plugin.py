"""The pytest plugin that provides the fixture ``partition_cluster``.

Every run of pytest loads it if the library is installed, so it imports the library only when a test uses the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aiopartition.testing import PartitionCluster


@pytest.fixture
def partition_cluster() -> Iterator[PartitionCluster]:
    """Provide an empty :class:`aiopartition.testing.PartitionCluster` for one test.

    The fixture is synchronous so that it works with any plugin that runs the test's coroutine.
    """
    from aiopartition.testing import PartitionCluster

    cluster = PartitionCluster()
    yield cluster
    cluster.close_outside()
