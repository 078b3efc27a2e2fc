"""A service that SIGTERM stops hands over at once, on a real server; one that is killed does not."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator

SERVICE = """
import asyncio, sys
from aiopartition import GroupPolicy, PartitionCoordinator, stop_on_signal

async def main(url, exclusive, how):
    async with stop_on_signal(), PartitionCoordinator(url, member_id="service", session_timeout=4) as coordinator:
        await coordinator.join_group("g", policy=GroupPolicy(exclusive=exclusive), settle=0)
        running = asyncio.create_task(coordinator.run("g", [f"key-{number}" for number in range(50)], worker))
        try:
            await running
        finally:
            print("stops", flush=True)
            if how == "restart":
                await coordinator.stop(hand_over=False)

async def worker(key):
    print("works", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        print("has ended", flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2] == "exclusive", sys.argv[3]))
"""


class Service:
    """A member in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.output = ""

    @classmethod
    async def start(cls, url: str, kind: str, how: str = "stop") -> Service:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--"), *(sys.executable, "-c", SERVICE, url, kind, how),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        service = cls(process)
        assert process.stdout is not None
        while "works" not in service.output:
            line = await process.stdout.readline()
            assert line, service.output
            service.output += line.decode()
        return service

    async def end(self, number: int) -> int:
        """Send it a signal; the status with which it ends."""
        self._process.send_signal(number)
        output, _ = await asyncio.wait_for(self._process.communicate(), 20)
        self.output += output.decode()
        assert self._process.returncode is not None
        return self._process.returncode


async def entries(operator: Operator, namespace: str) -> list[str]:
    return sorted(name.split(";")[0] for name in await operator.children(f"{namespace}/g/members"))


@pytest.mark.parametrize("kind", ["ordinary", "exclusive"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
async def test_a_signal_hands_over(
    zookeeper: ZooKeeperServer, operator: Operator, namespace: str, kind: str, number: int, status: int
) -> None:
    """When the process has ended, its entry is gone: the others need not wait for its session to time out. Its
    workers have ended before."""
    url, policy = zookeeper.url(namespace), GroupPolicy(exclusive=kind == "exclusive")
    service = await Service.start(url, kind)
    async with PartitionCoordinator(url, member_id="other", session_timeout=4) as other:
        await other.join_group("g", policy=policy, settle=0)
        await wait_until(lambda: len(other.status("g").members) == 2)
        assert await entries(operator, namespace) == ["other", "service"]
        assert await service.end(number) == status
        assert await entries(operator, namespace) == ["other"]
        assert service.output.count("works") == service.output.count("has ended") > 0

        keys = [f"key-{number}" for number in range(50)]

        async def taken_over() -> bool:
            return await other.extract_my_subset("g", keys) == keys

        await wait_until(taken_over)


async def test_a_killed_process_does_not(zookeeper: ZooKeeperServer, operator: Operator, namespace: str) -> None:
    """Nor does one that is to be restarted, though its workers have ended."""
    for how, number, status in (("stop", signal.SIGKILL, -signal.SIGKILL), ("restart", signal.SIGTERM, 143)):
        place = f"{namespace}/{how}"
        service = await Service.start(zookeeper.url(place), "ordinary", how)
        assert await service.end(number) == status
        assert await entries(operator, place) == ["service"]
        assert (service.output.count("has ended") == service.output.count("works")) == (how == "restart")
