"""What users test their own services with."""

import asyncio
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from importlib.util import find_spec
from inspect import Signature, signature
from pathlib import Path
from typing import Any

import pytest

from aiopartition import GroupPolicy, OwnershipLostError, OwnershipUnknownError, PartitionCoordinator
from aiopartition.testing import PartitionCluster, VirtualTimeLoop, cut_off, expire, reconnect, silence
from tests.support import wait_until
from tests.support.documents import blocks
from tests.support.split import RESOURCES, split_exactly

ROOT = Path(__file__).parents[2]
POLICY = GroupPolicy(slots=64, vnodes=16)


@pytest.mark.parametrize("fault", [cut_off, silence])
async def test_a_service_that_is_cut_off(namespace: str, fault: Callable[[PartitionCoordinator], None]) -> None:
    """It owns nothing before others take over, and has its share again when it is reconnected."""
    url = f"memory://{namespace.strip('/')}"
    async with (
        PartitionCoordinator(url, member_id="a", session_timeout=0.5, on_unknown="raise") as service,
        PartitionCoordinator(url, member_id="b", session_timeout=0.5) as other,
    ):
        await split_exactly(service, other)
        fault(service)

        async def owns_nothing() -> bool:
            try:
                await service.extract_my_subset("g", RESOURCES)
            except OwnershipUnknownError:
                return True
            return False

        await wait_until(owns_nothing)
        await split_exactly(other)
        reconnect(service)
        await split_exactly(service, other)


async def test_a_service_whose_session_expires(namespace: str) -> None:
    """It comes back by itself, at a later generation."""
    async with PartitionCoordinator(f"memory://{namespace.strip('/')}") as service:
        before = await split_exactly(service)
        expire(service)

        async def back() -> bool:
            try:
                return (await service.view("g")).generation > before.generation
            except OwnershipUnknownError:
                return False

        await wait_until(back)


async def test_real_servers_are_broken_by_real_means() -> None:
    """On another backend the functions say that they do not apply."""
    service = PartitionCoordinator("zookeeper://127.0.0.1:1")
    for fault in (cut_off, silence, reconnect, expire):
        with pytest.raises(TypeError, match="not on memory://"):
            fault(service)


# ---- a cluster with other members


Test = Callable[..., Awaitable[None]]


def in_virtual_time(test: Test) -> Callable[..., None]:
    """Runs ``test`` with a cluster and a service on it that has joined group ``g``."""

    async def main(**arguments: Any) -> None:
        async with PartitionCluster(session_timeout=6.0) as cluster:
            service = PartitionCoordinator(cluster.url, member_id="service", session_timeout=6.0, on_unknown="raise")
            async with service:
                await service.join_group("g", policy=POLICY)
                await test(cluster, service, **arguments)

    def run(**arguments: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main(**arguments))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    given = list(signature(test).parameters.values())[2:]
    run.__signature__ = Signature(given)  # type: ignore[attr-defined]  # what pytest is to give it
    return run


def seconds() -> float:
    """How long a test has taken so far, in virtual time."""
    return asyncio.get_running_loop().time()


async def share_of(service: PartitionCoordinator) -> int | None:
    """How many of the resources are its own; ``None`` while that is unknown."""
    try:
        return len(await service.extract_my_subset("g", RESOURCES))
    except OwnershipUnknownError:
        return None


@in_virtual_time
async def test_another_member_joins_and_leaves(cluster: PartitionCluster, service: PartitionCoordinator) -> None:
    """The service shares with it, and has everything at once when it says farewell."""
    other = await cluster.join("other", "g", policy=POLICY, weight=3)
    await cluster.settle("g")
    assert cluster.members("g") == ("other", "service")
    mine = await service.extract_my_subset("g", RESOURCES)
    assert sorted([*mine, *await other.extract_my_subset("g", RESOURCES)]) == sorted(RESOURCES)
    assert len(mine) < len(RESOURCES) / 2
    assert await cluster.join("other", "h") is other
    await cluster.leave("other")
    await cluster.settle("g")
    assert cluster.members("g") == ("service",)
    assert await share_of(service) == len(RESOURCES)
    assert seconds() < 1.0


@in_virtual_time
async def test_the_one_that_is_killed_is_the_cluster_s_own(
    cluster: PartitionCluster, service: PartitionCoordinator
) -> None:
    """A service that was started in its place, under its id, goes on."""
    await cluster.join("twin", "g", policy=POLICY)
    async with PartitionCoordinator(cluster.url, member_id="twin", session_timeout=6.0) as younger:
        await younger.join_group("g", policy=POLICY)
        await cluster.settle("g")
        share = await share_of(younger)
        await cluster.kill("twin")
        for _ in range(10):
            await cluster.step(1.0)
            assert younger.connected
            assert await share_of(younger) == share
            assert await share_of(service) == len(RESOURCES) - (share or 0)
        with pytest.raises(LookupError):
            await cluster.kill("twin")


@in_virtual_time
async def test_another_member_is_killed(cluster: PartitionCluster, service: PartitionCoordinator) -> None:
    """What it had is nobody's until its session times out; settling takes that long."""
    await cluster.join("other", "g", policy=POLICY)
    await cluster.settle("g")
    before = await share_of(service)
    await cluster.kill("other")
    await cluster.step(3.0)
    assert await share_of(service) == before
    await cluster.settle("g")
    assert await share_of(service) == len(RESOURCES)
    assert 4.0 < seconds() < 7.0


@pytest.mark.parametrize("fault", [PartitionCluster.cut_off, PartitionCluster.silence])
@in_virtual_time
async def test_the_service_is_cut_off(
    cluster: PartitionCluster, service: PartitionCoordinator, fault: Callable[[PartitionCluster, str], None]
) -> None:
    """It goes on for the lease, owns nothing from then on, and gets its share back."""
    other = await cluster.join("other", "g", policy=POLICY)
    await cluster.settle("g")
    before = await share_of(service)
    fault(cluster, "service")
    await cluster.step(1.9)
    assert await share_of(service) == before
    await cluster.step(2.2)
    assert await share_of(service) is None
    await cluster.settle("g")
    assert await share_of(other) == len(RESOURCES)
    cluster.reconnect("service")
    await cluster.step(0.2)
    await cluster.settle("g")
    assert await share_of(service) == before


@in_virtual_time
async def test_the_session_of_the_service_expires(cluster: PartitionCluster, service: PartitionCoordinator) -> None:
    """It joins again by itself, at a later generation."""
    generation = (await service.view("g")).generation
    cluster.expire("service")
    await cluster.step(0.1)
    await cluster.settle("g")
    assert (await service.view("g")).generation > generation
    assert seconds() < 1.0


@in_virtual_time
async def test_news_come_late_or_never(cluster: PartitionCluster, service: PartitionCoordinator) -> None:
    """With lag the service believes in the old members for that long; without watches until its next heartbeat."""
    cluster.lag("service", 0.5)
    await cluster.join("other", "g", policy=POLICY)
    await cluster.step(0.4)
    assert await service.get_members("g") == ("service",)
    await cluster.step(0.2)
    assert await service.get_members("g") == ("other", "service")
    cluster.lag("service", 0.0)
    cluster.lose_watches("g")
    await cluster.leave("other")
    assert await service.get_members("g") == ("other", "service")
    await cluster.step(1.1)
    assert await service.get_members("g") == ("service",)


@in_virtual_time
async def test_everything_stands_still(cluster: PartitionCluster, service: PartitionCoordinator) -> None:
    """A stall longer than the lease: nothing is handed out. One longer than the session: all join anew."""
    generation = (await service.view("g")).generation
    cluster.stall(4.5)
    assert await share_of(service) is None
    await cluster.settle("g")
    assert (await service.view("g")).generation == generation
    cluster.stall(10.0)
    assert await share_of(service) is None
    await cluster.settle("g")
    assert (await service.view("g")).generation > generation


async def test_on_an_ordinary_loop() -> None:
    """A stall is the jump of the leases' clock that a suspended machine sees when it wakes up."""
    async with (
        PartitionCluster() as cluster,
        PartitionCoordinator(cluster.url, member_id="service", heartbeat=0.05, on_unknown="raise") as service,
    ):
        await service.join_group("g", policy=POLICY)
        cluster.stall(8.0)
        assert await share_of(service) is None
        await cluster.settle("g")
        assert await share_of(service) == len(RESOURCES)


async def test_a_machine_that_wakes_without_a_network_lets_go() -> None:
    """The loop's clock stood still while it was suspended and the lease's went on: a batch ends soon after, and not
    only when the loop's clock has come to the end of the lease as well, which takes 6.7 s."""
    async with (
        PartitionCluster() as cluster,
        PartitionCoordinator(cluster.url, member_id="laptop", session_timeout=10.0) as laptop,
    ):
        await laptop.join_group("g", policy=GroupPolicy(exclusive=True))
        await wait_until(lambda: laptop.status("g").state == "steady")
        with pytest.raises(OwnershipLostError):
            async with asyncio.timeout(4.0), laptop.hold("g"):
                cluster.silence("laptop")
                cluster.stall(8.0)
                await asyncio.Event().wait()
        cluster.reconnect("laptop")


@in_virtual_time
async def test_what_does_not_settle_is_named(cluster: PartitionCluster, service: PartitionCoordinator) -> None:
    """A member that never joins again is waited for; the error says where everybody stands."""
    await cluster.join("other", "g", policy=POLICY)
    cluster.cut_off("other")
    with pytest.raises(TimeoutError, match=r"'g' has not settled within 0.5 s: \{'service': \d+\}"):
        await cluster.settle("g", timeout=0.5)
    assert repr(cluster) == f"<PartitionCluster {cluster.url}: ['service', 'other']>"


@in_virtual_time
async def test_members_may_come_and_go_at_once(cluster: PartitionCluster, service: PartitionCoordinator) -> None:
    """In several groups, or with a join that is given up."""
    given_up = asyncio.create_task(cluster.join("other", "g", policy=POLICY))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait({given_up})
    one, two = await asyncio.gather(cluster.join("other", "g", policy=POLICY), cluster.join("other", "h"))
    assert one is two
    await cluster.settle("g")
    await asyncio.gather(cluster.leave("other"), cluster.leave("other"))
    assert cluster.members("g") == ("service",)


@in_virtual_time
async def test_unknown_members_are_an_error(cluster: PartitionCluster, service: PartitionCoordinator) -> None:
    """Nothing is done to nobody."""
    assert cluster.members("no group") == ()
    for fault in (cluster.cut_off, cluster.silence, cluster.reconnect, cluster.expire):
        with pytest.raises(LookupError, match="'nobody'"):
            fault("nobody")
    for end in (cluster.leave, cluster.kill):
        with pytest.raises(LookupError, match=r"join\(\) has started no member 'service'"):
            await end("service")


# ---- the plugin for pytest


def run_pytest(directory: Path, *arguments: str) -> str:
    """Run pytest on its own in a directory; its output."""
    installed = any(each.value == "aiopartition.pytest_plugin" for each in entry_points(group="pytest11"))
    plugin = () if installed else ("-p", "aiopartition.pytest_plugin")
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugin, *arguments],
        cwd=directory, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def example() -> str:
    """The test of a service in "Test your service"."""
    return next(blocks(ROOT / "docs" / "how-to" / "testing.md")).text


def test_the_example_works_with_anyio(tmp_path: Path) -> None:
    """As it stands on the page."""
    (tmp_path / "test_poller.py").write_text(example())
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    assert "1 passed" in run_pytest(tmp_path, "-p", "no:asyncio")


@pytest.mark.skipif(find_spec("pytest_asyncio") is None, reason="pytest-asyncio is not installed")
def test_the_example_works_with_pytest_asyncio(tmp_path: Path) -> None:
    """With the other plugin's mark, and its way to choose the event loop."""
    (tmp_path / "test_poller.py").write_text(example().replace("@pytest.mark.anyio", "@pytest.mark.asyncio"))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    (tmp_path / "conftest.py").write_text(
        "from aiopartition.testing import VirtualTimeLoop\n\n\n"
        "def pytest_asyncio_loop_factories(config, item):\n    return {'virtual': VirtualTimeLoop}\n"
    )
    assert "1 passed" in run_pytest(tmp_path)


def test_the_fixture_ends_what_it_started(tmp_path: Path) -> None:
    """Members that a test leaves behind are stopped, on a loop that is closed with the test, and on one that is not."""
    (tmp_path / "test_leftovers.py").write_text(
        "import pytest\n"
        "kept = []\n\n\n"
        "@pytest.mark.anyio\n"
        "async def test_joins(partition_cluster):\n"
        "    kept.append(await partition_cluster.join('other', 'g'))\n\n\n"
        "def test_after():\n"
        "    assert 'was stopped' in repr(kept.pop())\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    assert "2 passed" in run_pytest(tmp_path, "-p", "no:asyncio")
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n\n"
        "@pytest.fixture(scope='session')\ndef anyio_backend():\n    return 'asyncio'\n\n\n"
        "@pytest.fixture(scope='session', autouse=True)\nasync def keeps_the_loop(anyio_backend):\n    yield\n"
    )
    assert "2 passed" in run_pytest(tmp_path, "-p", "no:asyncio")


def test_plugin_and_library_keep_apart() -> None:
    """Every run of pytest loads the plugin, so it loads nothing unused; and the library does without pytest."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {"aiopartition": "aiopartition.pytest_plugin"}
    for module, unwanted in (
        ("aiopartition.pytest_plugin", ["aiopartition.testing", "aiopartition.backends.memory.backend", "aiozk"]),
        ("aiopartition.testing", ["pytest", "_pytest", "aiozk"]),
    ):
        code = f"import sys, {module}; print(set({unwanted}) & set(sys.modules))"
        assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "set()\n"
