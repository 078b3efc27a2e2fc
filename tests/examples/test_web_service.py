"""The web service when something is wrong."""

import re
import signal

import pytest

from aiopartition import PartitionCoordinator
from tests.examples.started import read_until, run, start
from tests.support.ports import free_port


def test_workers_with_one_id() -> None:
    """Said at the start, not by a fight of two processes for one id."""
    output = run("web_service", "zookeeper://127.0.0.1:1", "--workers", 2, "--member-id", "a", code=2)
    assert "2 workers cannot all be member 'a'" in output
    assert "several workers need zookeeper://" in run("web_service", "--workers", 2, code=2)


async def test_a_dead_coordinator_ends_the_process(on_zookeeper: str) -> None:
    """Instead of an answer of 500 to each request: here another process has taken the id."""
    with start("web_service", on_zookeeper, "--port", free_port(), "--member-id", "a") as process:
        read_until(process, "Uvicorn running")
        async with PartitionCoordinator(on_zookeeper, member_id="a") as successor:
            await successor.join_group("targets")
            rest, _ = process.communicate(timeout=20)
    assert "polling has ended, and so does the service" in rest
    assert process.returncode != 0


@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGINT])
async def test_workers_are_members(on_zookeeper: str, received: signal.Signals) -> None:
    """Each under an id of its own, until the signal."""
    with start("web_service", on_zookeeper, "--port", free_port(), "--workers", 2, "--replicas", 2) as process:
        output = read_until(process, "startup complete")
        output += read_until(process, "startup complete")
        async with PartitionCoordinator(on_zookeeper) as observer:
            await observer.observe("targets")
            assert len(await observer.get_members("targets")) == 2
        process.send_signal(received)
        rest, _ = process.communicate(timeout=20)
    assert not re.search("Traceback|polling has ended", output + rest)
