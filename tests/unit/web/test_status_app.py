"""The status application, asked as a browser, a probe and a framework ask it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastapi
import httpx
import pytest
import starlette.applications
import starlette.routing

from aiopartition import GroupPolicy, PartitionCoordinator
from aiopartition.testing import PartitionCluster, cut_off, reconnect
from aiopartition.web import status_app
from tests.support import wait_until

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\u202eb\x00\n", "💥 é", "</b>&amp;"]


@pytest.fixture
async def fleet(anyio_backend: str) -> AsyncIterator[PartitionCluster]:
    """A cluster in memory whose sessions are short."""
    async with PartitionCluster(session_timeout=0.6, heartbeat=0.1) as cluster:
        yield cluster


def client(app: Any, base: str = "http://test") -> httpx.AsyncClient:
    """A client of an ASGI application."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base)


def strict(text: str) -> Any:
    """JSON as the standard has it, without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


async def test_page_is_self_contained(fleet: PartitionCluster) -> None:
    """Every address in it is its own, and its policy allows nothing else, no inline script either."""
    app = status_app(await fleet.join("a", "g"))
    async with client(app) as browser:
        page = await browser.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "http:" not in page.text
        assert "https:" not in page.text
        for name, kind in (("status.js", "text/javascript"), ("status.css", "text/css")):
            assert f'"{name}"' in page.text
            part = await browser.get(f"/{name}")
            assert part.headers["content-type"] == f"{kind}; charset=utf-8"
            assert "innerHTML" not in part.text
            assert "://" not in part.text


async def test_document_has_what_the_page_shows(fleet: PartitionCluster) -> None:
    """Members with their shares and weights, this one marked; the last changes first."""
    a = await fleet.join("a", "g")
    app = status_app(a)
    await fleet.join("b", "g", weight=3)
    await fleet.settle("g")
    async with client(app) as browser:
        data = strict((await browser.get("/status.json")).text)
    (group,) = data["groups"]
    assert (data["member_id"], data["live"], data["ready"], data["connected"]) == ("a", True, True, True)
    view = await a.view("g")
    assert group["generation"] == view.generation
    assert {each["id"]: each["share"] for each in group["members"]} == view.shares()
    assert [(each["id"], each["weight"], each["self"]) for each in group["members"]] == [
        ("a", 1, True),
        ("b", 3, False),
    ]
    assert all(each["host"] and each["pid"] and 0 <= each["age"] < 60 for each in group["members"])
    assert 0 < group["lease_left"] <= data["lease_length"] == pytest.approx(0.4)
    assert data["changes"][0]["event"] == "membership_changed"
    assert data["changes"][0]["joined"] == ["b"]


async def test_document_has_every_documented_field(fleet: PartitionCluster) -> None:
    """And no other, so that the page that documents it stays true."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "status-page.md").read_text()
    a = await fleet.join("a", "g", policy=GroupPolicy(exclusive=True))
    app = status_app(a)
    await fleet.join("b", "g", policy=GroupPolicy(exclusive=True))
    await fleet.settle("g")
    async with client(app) as browser:
        data = (await browser.get("/status.json")).json()
    group = data["groups"][0]
    for part in (data, group, group["members"][0], group["last_rebalance"]):
        assert [field for field in part if f"| `{field}` |" not in page] == []


async def test_probes_tell_apart_what_restarts_mend(fleet: PartitionCluster) -> None:
    """A lost connection is no reason to restart; a coordinator that has ended is."""
    coordinator = PartitionCoordinator(fleet.url, member_id="a", session_timeout=0.6, heartbeat=0.1)
    async with client(status_app(coordinator)) as probe:

        async def codes() -> tuple[int, int]:
            return (await probe.get("/live")).status_code, (await probe.get("/ready")).status_code

        assert await codes() == (503, 503)  # never started
        await coordinator.start()
        assert await codes() == (200, 503)  # no group
        await coordinator.join_group("g")
        assert await codes() == (200, 200)
        cut_off(coordinator)
        await wait_until(lambda: coordinator.status("g").state == "unknown")
        assert await codes() == (200, 503)
        reason = (await probe.get("/ready")).json()["reason"]
        assert "no connection" in reason
        reconnect(coordinator)
        await wait_until(lambda: coordinator.status("g").state == "steady")
        assert await codes() == (200, 200)
        await coordinator.stop()
        assert await codes() == (503, 503)
        assert (await probe.get("/live")).json() == {"live": False, "reason": "the coordinator was stopped"}


async def test_dead_coordinator_is_not_live(fleet: PartitionCluster) -> None:
    """Whatever ended its tasks."""
    coordinator = PartitionCoordinator(fleet.url)
    await coordinator.start()

    async def fail() -> None:
        raise ZeroDivisionError("a bug")

    begin = coordinator._registry._begin
    assert begin is not None
    begin(fail, "a task of the runner")
    async with client(status_app(coordinator)) as probe:
        await wait_until(lambda: "failed" in repr(coordinator))
        assert (await probe.get("/live")).status_code == 503
        assert (await probe.get("/status.json")).json()["state"] == "failed"
    await coordinator.stop()


async def test_readiness_of_chosen_groups(fleet: PartitionCluster) -> None:
    """What was chosen is what counts, and what is shown."""
    a = await fleet.join("a", "g1")
    await fleet.join("a", "g2")
    async with client(status_app(a, groups=["g2"])) as probe:
        assert (await probe.get("/ready")).status_code == 200
        assert [each["group_id"] for each in (await probe.get("/status.json")).json()["groups"]] == ["g2"]
    async with client(status_app(a, groups=["g1", "g3"])) as probe:
        assert (await probe.get("/ready")).status_code == 503
        assert "'g3'" in (await probe.get("/ready")).json()["reason"]
    with pytest.raises(TypeError, match="groups"):
        status_app(a, groups="g1")


async def test_partitioning_off() -> None:
    """Everything is ours, always."""
    async with PartitionCoordinator() as coordinator, client(status_app(coordinator)) as probe:
        assert (await probe.get("/ready")).status_code == 200
        await coordinator.join_group("g")
        data = strict((await probe.get("/status.json")).text)
        assert data["active"] is False
        assert [group["lease_left"] for group in data["groups"]] == [None]
        assert data["lease_length"] is None


async def test_observer(fleet: PartitionCluster) -> None:
    """It sees the members, and is none, even if one of them has its id."""
    await fleet.join("a", "g")
    async with PartitionCoordinator(fleet.url, member_id="a") as observer, client(status_app(observer)) as browser:
        await observer.observe("g")
        data = strict((await browser.get("/status.json")).text)
        assert data["groups"][0]["state"] == "observing"
        assert [each["self"] for each in data["groups"][0]["members"]] == [False]
        assert (await browser.get("/ready")).status_code == 200


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_names(fleet: PartitionCluster, hostile: str) -> None:
    """They arrive as data, whole, in ASCII."""
    async with PartitionCoordinator(fleet.url, member_id=hostile, metadata={"note": hostile}) as a:
        await a.join_group(hostile)
        async with client(status_app(a)) as browser:
            answer = await browser.get("/status.json")
            assert answer.content.isascii()
            assert answer.headers["content-type"] == "application/json"
            group = strict(answer.text)["groups"][0]
            assert group["group_id"] == group["members"][0]["id"] == group["members"][0]["metadata"]["note"] == hostile
            assert hostile not in (await browser.get("/")).text


@pytest.mark.parametrize("path", ["/", "/status.js", "/status.css", "/status.json", "/live", "/ready"])
async def test_methods(fleet: PartitionCluster, path: str) -> None:
    """HEAD is GET without a body; nothing else is allowed."""
    async with client(status_app(await fleet.join("a", "g"))) as browser:
        head = await browser.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            refused = await browser.request(method, path)
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/nothing", "/status.json/", "/../etc/passwd", "/STATUS.JSON", "/status.html"])
async def test_other_paths(fleet: PartitionCluster, path: str) -> None:
    """There is nothing else, whatever the method."""
    async with client(status_app(await fleet.join("a", "g"))) as browser:
        assert (await browser.get(path)).status_code == 404
        assert (await browser.post(path)).status_code == 404


@pytest.mark.parametrize("framework", [fastapi.FastAPI, starlette.applications.Starlette])
@pytest.mark.parametrize("prefix", ["/status", "/ops/é status"])
async def test_mounted(fleet: PartitionCluster, framework: type[Any], prefix: str) -> None:
    """Under any prefix; the address without the slash leads to the one that relative addresses need."""
    status = status_app(await fleet.join("a", "g"))
    app = framework(routes=[starlette.routing.Mount(prefix, status)])
    async with client(app) as browser:
        for name in ("/", "/status.js", "/status.json", "/live"):
            assert (await browser.get(prefix + name)).status_code == 200
        assert (await browser.get(f"{prefix}/nothing")).status_code == 404
        assert (await browser.get(prefix, follow_redirects=True)).text.startswith("<!doctype html>")


async def test_prefix_of_a_server(fleet: PartitionCluster) -> None:
    """A server that is told its ``root_path`` has it in the path, or has cut it."""
    status = status_app(await fleet.join("a", "g"))
    transport = httpx.ASGITransport(status, root_path="/ops/status")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
        for path in ("/live", "/ops/status/live"):
            assert (await browser.get(path)).status_code == 200
        moved = await browser.get("/ops/status")
        assert (moved.status_code, str(moved.next_request.url if moved.next_request else "")) == (
            307,
            "http://test/ops/status/",
        )


async def test_other_scopes(fleet: PartitionCluster) -> None:
    """A lifespan is answered; a websocket is refused; what ASGI does not know is an error."""
    status = status_app(await fleet.join("a", "g"))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    @asynccontextmanager
    async def messages(*kinds: str) -> AsyncIterator[Any]:
        waiting = list(kinds)

        async def receive() -> Any:
            return {"type": waiting.pop(0)}

        yield receive
        assert waiting == []

    async with messages("lifespan.startup", "lifespan.shutdown") as receive:
        await status({"type": "lifespan"}, receive, send)
    assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    sent.clear()
    async with messages("websocket.connect") as receive:
        await status({"type": "websocket", "path": "/"}, receive, send)
    assert [each["type"] for each in sent] == ["websocket.close"]
    async with messages() as receive:
        with pytest.raises(ValueError, match="smtp"):
            await status({"type": "smtp"}, receive, send)
