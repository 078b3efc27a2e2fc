"""Every example runs to its end as it stands, on the embedded backend and on a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import ZooKeeperServer

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=[example.stem for example in EXAMPLES])


def run(example: Path, backend_url: str) -> None:
    """Run one as a user would, and show what it said if it fails."""
    environment = {**os.environ, "AIOPARTITION_BACKEND_URL": backend_url}
    command = [sys.executable, "-W", "error", str(example)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@every_example
def test_in_memory(example: Path, namespace: str) -> None:
    run(example, f"memory:/{namespace}")


@every_example
def test_on_zookeeper(example: Path, zookeeper: ZooKeeperServer, namespace: str) -> None:
    run(example, zookeeper.url(namespace))
