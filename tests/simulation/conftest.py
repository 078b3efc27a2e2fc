"""What the simulations share."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def quiet_library() -> Iterator[None]:
    """Simulated misfortunes fill no log."""
    logger = logging.getLogger("aiopartition")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)
