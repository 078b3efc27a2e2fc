"""Metrics: what each counts, where they are documented, and that an exporter's endpoint has them."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import start_http_server

from aiopartition import GroupPolicy, PartitionCoordinator
from aiopartition.opentelemetry import GROUP, MEMBER, METRICS, instrument
from aiopartition.testing import PartitionCluster, cut_off, expire, reconnect
from tests.support import wait_until

DOCS = Path(__file__).parents[2] / "docs" / "reference"
HEARTBEAT = 0.1


@pytest.fixture
async def fleet(anyio_backend: str) -> AsyncIterator[PartitionCluster]:
    """A cluster in memory."""
    async with PartitionCluster(session_timeout=2, heartbeat=HEARTBEAT) as cluster:
        yield cluster


class Measured:
    """What an exporter would have of one provider."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        scopes = [scope for each in ([] if data is None else data.resource_metrics) for scope in each.scope_metrics]
        metrics = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        return [point for metric in metrics for point in metric.data.data_points]

    def value(self, name: str, member: str = "a", group: str | None = None) -> Any:
        """The value of one series, or how often a histogram was told; ``None`` if there is none."""
        wanted = {MEMBER: member} if group is None else {MEMBER: member, GROUP: group}
        for point in self.points(name):
            if dict(point.attributes) == wanted:
                return getattr(point, "value", None) if hasattr(point, "value") else point.count
        return None


@pytest.fixture
def measured() -> Measured:
    """A provider with nothing in it."""
    return Measured()


async def test_gauges(fleet: PartitionCluster, measured: Measured) -> None:
    """They follow the view, and those that need one are gone without."""
    a = await fleet.join("a", "g")
    instrumentation = instrument(a, measured.provider)
    await fleet.join("b", "g")
    await fleet.settle("g")
    view = await a.view("g")
    assert measured.value("aiopartition.members", group="g") == 2
    assert measured.value("aiopartition.share", group="g") == view.shares()["a"]
    assert measured.value("aiopartition.generation", group="g") == view.generation
    assert measured.value("aiopartition.connected") == 1
    assert 0 < measured.value("aiopartition.lease.remaining", group="g") <= 2 * 2 / 3
    assert measured.value("aiopartition.handoff.age", group="g") == 0
    assert measured.value("aiopartition.work.in_flight", group="g") == 0
    cut_off(a)
    await wait_until(lambda: a.status("g").state == "unknown")
    assert measured.value("aiopartition.connected") == 0
    assert measured.value("aiopartition.lease.remaining", group="g") == 0
    assert measured.points("aiopartition.share") == []
    reconnect(a)
    await a.leave_group("g")
    assert measured.points("aiopartition.lease.remaining") == []
    instrumentation.close()
    assert measured.points("aiopartition.connected") == []


async def test_membership_and_sessions(fleet: PartitionCluster, measured: Measured) -> None:
    """Changes with what they moved; a lost connection, and a lost session."""
    a = await fleet.join("a", "g")
    instrument(a, measured.provider)
    await fleet.join("b", "g")
    await fleet.settle("g")
    assert measured.value("aiopartition.view.changes", group="g") == 1
    moved = measured.value("aiopartition.view.moved", group="g")
    assert moved == pytest.approx(1 - (await a.view("g")).shares()["a"])
    assert measured.value("aiopartition.rebalance.duration", group="g") == 1
    cut_off(a)
    reconnect(a)
    await wait_until(lambda: measured.value("aiopartition.session.reconnections") == 1)
    assert measured.value("aiopartition.session.expirations") is None
    expire(a)
    await wait_until(lambda: measured.value("aiopartition.session.expirations") == 1)
    await wait_until(lambda: measured.value("aiopartition.session.reconnections") == 2)


async def test_first_connection_is_no_reconnection(fleet: PartitionCluster, measured: Measured) -> None:
    """Instrumented before its start."""
    coordinator = PartitionCoordinator(fleet.url, member_id="a")
    instrument(coordinator, measured.provider)
    async with coordinator:
        assert measured.value("aiopartition.connected") == 1
        assert measured.value("aiopartition.session.reconnections") is None


async def test_handoff(fleet: PartitionCluster, measured: Measured) -> None:
    """It has an age while it waits, and a duration when it is complete."""
    policy = GroupPolicy(exclusive=True)
    a = await fleet.join("a", "g", policy=policy)
    instrument(a, measured.provider)
    before = measured.value("aiopartition.handoff.duration", group="g") or 0
    async with a.hold("g"):
        joining = asyncio.create_task(fleet.join("b", "g", policy=policy))
        await wait_until(lambda: measured.value("aiopartition.handoff.age", group="g") > 0)
        assert measured.value("aiopartition.work.in_flight", group="g") == 1
    await joining
    await wait_until(lambda: measured.value("aiopartition.handoff.age", group="g") == 0)
    assert measured.value("aiopartition.handoff.duration", group="g") == before + 1


async def test_workers(fleet: PartitionCluster, measured: Measured) -> None:
    """Starts, failures, restarts and revocations; a listing that fails."""
    a = await fleet.join("a", "g")
    instrument(a, measured.provider)
    failures = iter([True])
    listings = iter([["k1", "k2", "k3"]])

    async def worker(key: str) -> None:
        if next(failures, False):
            raise ValueError(key)
        await asyncio.Event().wait()

    def resources() -> list[str]:
        return next(listings)

    async def listing() -> list[str]:
        try:
            return resources()
        except StopIteration:
            raise OSError("the database is away") from None

    running = asyncio.create_task(a.run("g", listing, worker, refresh=0.05))
    await wait_until(lambda: measured.value("aiopartition.worker.restarts", group="g") == 1)
    assert measured.value("aiopartition.worker.starts", group="g") == 3
    assert measured.value("aiopartition.worker.failures", group="g") == 1
    await wait_until(lambda: (measured.value("aiopartition.listing.failures", group="g") or 0) >= 2)
    running.cancel()
    await asyncio.wait({running})
    assert measured.value("aiopartition.worker.revocation.duration", group="g") == 3


async def test_attributes_are_bounded(fleet: PartitionCluster, measured: Measured) -> None:
    """Group and member, whatever happens; never a key."""
    await test_workers(fleet, measured)
    for metric in METRICS:
        for point in measured.points(metric.name):
            assert set(point.attributes) <= {MEMBER, GROUP}


async def test_two_coordinators_with_one_provider(fleet: PartitionCluster, measured: Measured) -> None:
    """Each has its series."""
    for member in ("a", "b"):
        instrument(await fleet.join(member, "g"), measured.provider)
    await fleet.settle("g")
    assert [measured.value("aiopartition.members", member, "g") for member in ("a", "b")] == [2, 2]
    assert [measured.value("aiopartition.connected", member) for member in ("a", "b")] == [1, 1]


async def scrape(fleet: PartitionCluster) -> str:
    """The text of a Prometheus endpoint, over HTTP, after all kinds of things have happened to two members."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    from prometheus_client import REGISTRY

    server, thread = start_http_server(0, "127.0.0.1", registry=registry)
    try:
        registry.register(reader._collector)
        a = await fleet.join("a", "g", policy=GroupPolicy(exclusive=True))
        instrument(a, provider)
        instrument(await fleet.join("b", "g"), provider)
        await fleet.settle("g")
        failures = iter([True])
        listings = iter([["k1", "k2", "k3", "k4", "k5"]])

        async def worker(key: str) -> None:
            if next(failures, False):
                raise ValueError(key)
            await asyncio.Event().wait()

        async def resources() -> list[str]:
            listed = next(listings, None)
            if listed is None:
                raise OSError("the database is away")
            return listed

        running = asyncio.create_task(a.run("g", resources, worker, refresh=0.5))

        def read() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
                return str(answer.read().decode())

        async def shows(*names: str) -> str:
            while True:
                text = await asyncio.to_thread(read)
                if all(name in text for name in names):
                    return text

        async with asyncio.timeout(20):
            await shows("aiopartition_worker_restarts_total{", "aiopartition_listing_failures_total{")
            expire(a)
            await shows("aiopartition_session_reconnections_total{", "aiopartition_session_expirations_total{")
            await fleet.settle("g")
        running.cancel()
        await asyncio.wait({running})
        return await asyncio.to_thread(read)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        REGISTRY.unregister(reader._collector)


async def test_prometheus_has_every_metric_and_the_dashboard_asks_for_no_other(fleet: PartitionCluster) -> None:
    """By the names that the exporter makes of ours."""
    text = await scrape(fleet)
    names = set(re.findall(r"^(aiopartition_\w+)\{", text, re.MULTILINE))
    for metric in METRICS:
        assert any(name.startswith(metric.name.replace(".", "_")) for name in names), metric.name
    assert re.search(
        r'^aiopartition_members\{[^}]*aiopartition_group="g"[^}]*aiopartition_member="b"', text, re.MULTILINE
    )
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    labels = {"aiopartition_group", "aiopartition_member"}
    asked = {name for query in queries for name in re.findall(r"aiopartition_\w+", query)} - labels
    assert asked <= names
    for metric in METRICS:
        assert any(name.startswith(metric.name.replace(".", "_")) for name in asked), f"no panel has {metric.name}"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_metric_is_documented() -> None:
    """With kind, unit and meaning; and no other."""
    rows = re.findall(
        r"^\| `(aiopartition\.[\w.]+)` \| (\w+) \| `(.+?)` \| (.+) \|$", (DOCS / "metrics.md").read_text(), re.MULTILINE
    )
    assert rows == [(metric.name, metric.kind, metric.unit, metric.description) for metric in METRICS]


def test_library_needs_no_opentelemetry() -> None:
    """Only who imports this module does."""
    code = "import sys; sys.modules['opentelemetry'] = None; import aiopartition, aiopartition.web"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_not_instrumented_counts_nothing(fleet: PartitionCluster) -> None:
    """Nobody has subscribed."""
    a = await fleet.join("a", "g")
    assert not a._registry.events.told
    instrument(a, Measured().provider).close()
    assert not a._registry.events.told
