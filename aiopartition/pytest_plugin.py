"""The fixture ``partition_cluster``, wherever the library and pytest are installed.

It is loaded at the start of every run of pytest, so it imports nothing before a test asks for something.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aiopartition.testing import PartitionCluster


@pytest.fixture
def partition_cluster() -> Iterator[PartitionCluster]:
    """An empty :class:`aiopartition.testing.PartitionCluster` for this test alone.

    A plain fixture, so that it serves whichever plugin runs the test's coroutine.
    """
    from aiopartition.testing import PartitionCluster

    cluster = PartitionCluster()
    yield cluster
    cluster.close_outside()
