"""What attacks on the session have found, each of them once a defect."""

import asyncio
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from aiozk import protocol

from aiopartition import BackendError, GroupPolicy, PartitionCoordinator
from aiopartition.backends.base import Progress
from tests.support import Frame, OpenProxy, Proxy, ZooKeeperServer, wait_until
from tests.support.admin import Operator

RESOURCES = range(300)
WRITES = frozenset(
    request.opcode
    for request in (
        protocol.CreateRequest,
        protocol.DeleteRequest,
        protocol.SetDataRequest,
        protocol.TransactionRequest,
    )
)


async def owns_nothing(member: PartitionCoordinator) -> bool:
    return not await member.extract_my_subset("g", RESOURCES)


async def shares(member: PartitionCoordinator) -> bool:
    """Whether it owns some, and others the rest."""
    return len(await member.extract_my_subset("g", RESOURCES)) in range(1, len(RESOURCES))


class TestReconnecting:
    """A short interruption must stay one, whatever else goes on in the process."""

    async def test_needs_no_thread_of_the_service(self, network_url: str, network: Proxy) -> None:
        """A service whose thread pool is busy with blocking work, or with lookups that hang, reconnects as well."""
        loop = asyncio.get_running_loop()
        pool, release = ThreadPoolExecutor(1), Event()
        loop.set_default_executor(pool)
        jobs = [asyncio.ensure_future(asyncio.to_thread(release.wait)) for _ in range(3)]
        try:
            async with PartitionCoordinator(network_url, session_timeout=4) as member:
                await member.join_group("g")
                view = await member.view("g")
                connections = network.connections
                network.reset()
                await wait_until(lambda: network.connections > connections and member.connected, timeout=2)
                assert await member.view("g") is view
        finally:
            release.set()
            await asyncio.gather(*jobs)
            pool.shutdown()
            loop.set_default_executor(ThreadPoolExecutor())

    async def test_with_more_watches_than_a_request_may_hold(self, network_url: str, network: Proxy) -> None:
        """1 MB of watched paths are armed again in pieces; one request of that size ends the connection each time."""
        async with PartitionCoordinator(network_url, session_timeout=10) as member:
            groups = [f"{'ü' * 500}{number}" for number in range(360)]
            await asyncio.gather(*(member.join_group(group_id) for group_id in groups))
            connections = network.connections
            network.reset()
            await wait_until(lambda: network.connections > connections and member.connected, timeout=5)
            async with PartitionCoordinator(network_url, member_id="other") as other:
                await other.join_group(groups[7])

                async def knows_the_other() -> bool:
                    return len(await member.get_members(groups[7])) == 2

                await wait_until(knows_the_other)

    async def test_a_handshake_alone_proves_nothing(self, url: str, network_url: str, network: Proxy) -> None:
        """Where handshakes come through and all else is lost, an old view must not stay in force."""
        async with (
            PartitionCoordinator(network_url, member_id="cut", session_timeout=2) as cut,
            PartitionCoordinator(url, member_id="other", session_timeout=2) as other,
        ):
            await cut.join_group("g")
            # The first frame of a connection is the handshake's, in both directions.
            with network.on_frame(lambda frame: frame.position == 0):
                network.reset()
                await other.join_group("g")
                await wait_until(lambda: owns_nothing(cut), timeout=4)
                began = time.monotonic()
                while time.monotonic() - began < 1.0:
                    assert await owns_nothing(cut)
                    await asyncio.sleep(0.02)
            network.reset()
            await wait_until(lambda: shares(cut))

    async def test_reads_alone_prove_nothing(self, url: str, network_url: str, network: Proxy) -> None:
        """A deposed leader answers handshakes and reads, and no write. A member that finds such a one after it has lost
        its connection lets go of all it has when its lease is over, as if nobody had answered."""
        refused = 0

        def answers_no_write(frame: Frame) -> bool:
            nonlocal refused
            write = frame.towards == "server" and not frame.is_handshake and frame.opcode in WRITES
            refused += write
            return not write

        async with (
            PartitionCoordinator(network_url, member_id="cut", session_timeout=2) as cut,
            PartitionCoordinator(url, member_id="other", session_timeout=2) as other,
        ):
            await cut.join_group("g")

            with network.on_frame(answers_no_write):
                network.reset()
                await wait_until(lambda: owns_nothing(cut), timeout=2)
                await other.join_group("g")
                enough = refused + 3

                async def refused_and_owns_nothing() -> bool:
                    assert await owns_nothing(cut)
                    return refused >= enough

                await wait_until(refused_and_owns_nothing)
            await wait_until(lambda: shares(cut))


@pytest.mark.parametrize("ahead", [1000, 1 << 62, (1 << 63) - 1])
async def test_a_generation_that_cannot_be_is_refused(url: str, ahead: int) -> None:
    """One that is later than the transaction which names it as active is believed by nobody. It must not be written
    over and over: that is an error, after which a handoff waits for the next heartbeat."""
    async with PartitionCoordinator(url) as member:
        await member.join_group("g", policy=GroupPolicy(exclusive=True))
        backend = member._registry.backend
        generation = await backend.generation("g")
        assert generation is not None
        with pytest.raises(BackendError, match="later than the transaction"):
            await backend.activate("g", min(generation + ahead, (1 << 63) - 1))
        assert await backend.progress("g") == Progress()
        await backend.activate("g", generation)
        assert await backend.progress("g") == Progress(generation, generation)


EXITING = """
import asyncio, sys
from aiopartition import PartitionCoordinator

async def service(joined):
    async with PartitionCoordinator(sys.argv[1], member_id="exiting", session_timeout=4) as member:
        await member.join_group("g")
        joined.set()
        await asyncio.sleep(100)

async def main():
    joined = asyncio.Event()
    task = asyncio.create_task(service(joined))
    await joined.wait()

asyncio.run(main())
"""


async def test_a_process_that_ends_without_a_stop_hands_over_at_once(url: str) -> None:
    """asyncio.run() cancels everything at once, the session's task included; a farewell is said all the same."""
    async with PartitionCoordinator(url, member_id="staying", session_timeout=4) as staying:
        await staying.join_group("g")
        run = [sys.executable, "-W", "error", "-c", EXITING, url]
        process = await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True, timeout=20, check=False)
        assert (process.returncode, process.stderr) == (0, "")

        async def alone() -> bool:
            return await staying.get_members("g") == ("staying",)

        await wait_until(alone, timeout=2)


FORKING = """
import asyncio, os, sys
from aiopartition import PartitionCoordinator

coordinator = PartitionCoordinator(sys.argv[1], session_timeout=4)
before = coordinator.member_id
pid = os.fork()

async def main():
    async with coordinator:
        await coordinator.join_group("g", min_members=2)
        async for change in coordinator.changes("g"):
            if change.view is not None:
                break
        await asyncio.sleep(0.3)  # a farewell of the other's must not come before both have seen each other
    sys.stdout.write(f" {(coordinator.member_id == before) == (pid != 0)} ")
    sys.stdout.flush()

asyncio.run(main())
if pid:
    os.waitpid(pid, 0)
"""


async def test_a_coordinator_made_before_a_fork_is_two_members_after_it(url: str) -> None:
    """Servers that load a service once for all workers must not give all of them one member id."""
    run = [sys.executable, "-W", "error", "-c", FORKING, url]
    process = await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True, timeout=20, check=False)
    assert (process.returncode, sorted(process.stdout.split()), process.stderr) == (0, ["True", "True"], "")


async def test_nodes_above_the_namespace_are_nobodys_own(zookeeper: ZooKeeperServer, namespace: str) -> None:
    """With credentials the namespace and what is in it admits one user; what lies above it is shared with others."""
    for user in ("alice", "bob"):
        url = zookeeper.url(f"{namespace}/{user}")
        async with PartitionCoordinator(url, auth=(user, "secret")) as member:
            await member.join_group("g")
            async with Operator(zookeeper.address, auth=(user, "secret")) as operator:
                assert [acl.id.scheme for acl in await operator.get_acl(namespace)] == ["world"]
                for path in (f"{namespace}/{user}", f"{namespace}/{user}/g", f"{namespace}/{user}/g/members"):
                    (acl,) = await operator.get_acl(path)
                    assert acl.id.id.startswith(f"{user}:")


async def test_one_silent_server_does_not_hold_up_the_start(
    zookeeper: ZooKeeperServer, proxy: OpenProxy, namespace: str
) -> None:
    """However long the session timeout, another server is tried soon."""
    silent = await proxy(zookeeper)
    with silent.silent():
        for _ in range(3):  # servers are tried in a random order
            hosts = f"{silent.address},{zookeeper.address}"
            began = time.monotonic()
            async with PartitionCoordinator(f"zookeeper://{hosts}{namespace}", session_timeout=3600) as member:
                assert member.connected
            assert time.monotonic() - began < 5.0
