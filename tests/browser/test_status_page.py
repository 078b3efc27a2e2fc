"""The status page in a real browser, while the group changes. Pictures of it are left in ``build/browser``."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.async_api import Page, async_playwright, expect

from aiopartition import GroupPolicy, PartitionCoordinator
from aiopartition.testing import PartitionCluster, cut_off, reconnect
from aiopartition.web import status_app

PICTURES = Path(__file__).parents[2] / "build" / "browser"
CHROMIUM = shutil.which("chromium")
INSTALL = "apt-get install -y --no-install-recommends chromium"
HOSTILE = '<img src=x onerror="document.title=1">\u202e\n'
PATIENCE = 20_000  # milliseconds


@asynccontextmanager
async def served(coordinator: PartitionCoordinator) -> AsyncIterator[str]:
    """The page behind a server, mounted under a prefix; its address."""
    app = FastAPI()
    app.mount("/ops/status", status_app(coordinator))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/ops/status/"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def opened(url: str, trouble: list[str]) -> AsyncIterator[Page]:
    """The page in Chromium. All that the browser complains of, and each request to elsewhere, is in ``trouble``."""
    if CHROMIUM is None:
        raise RuntimeError(f"no chromium on the path; install it with: {INSTALL}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(url) else trouble.append(request.url))
        await page.goto(url)
        yield page
        await browser.close()


@pytest.fixture
async def fleet(anyio_backend: str) -> AsyncIterator[PartitionCluster]:
    """A cluster in memory."""
    async with PartitionCluster(session_timeout=3, heartbeat=0.2) as cluster:
        yield cluster


async def picture(page: Page, name: str) -> None:
    """Take one, and check that nothing sticks out sideways."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{name}: {wide} pixels too wide"


async def test_page_follows_the_group(fleet: PartitionCluster) -> None:
    """Members come and go, a handoff waits, the connection is lost and comes back, all while the page is open."""
    weights = {"poller-1": 2, "poller-2": 1, "poller-3": 1, "poller-4": 1, "poller-5": 0}
    where = {"zone": "eu-1", "address": "10.0.0.1:8080"}
    own = PartitionCoordinator(fleet.url, member_id="poller-1", session_timeout=3, heartbeat=0.2, metadata=where)
    trouble: list[str] = []
    async with own, served(own) as url, opened(url, trouble) as page:
        await own.join_group("devices", weight=2)
        switches = page.locator("article[data-group='devices']")
        await expect(switches.locator("tbody tr")).to_have_count(1, timeout=PATIENCE)
        for member, weight in list(weights.items())[1:]:
            await fleet.join(member, "devices", weight=weight)
        await expect(switches.locator("tbody tr")).to_have_count(5, timeout=PATIENCE)
        await expect(switches.locator("tr.own .name")).to_contain_text("poller-1", timeout=PATIENCE)
        await expect(switches.locator("tr.own .metadata")).to_have_text("zone: eu-1, address: 10.0.0.1:8080")
        share = (await own.view("devices")).shares()["poller-1"]
        await expect(switches.locator("tr.own td.number").first).to_have_text(f"{100 * share:.1f}\u00a0%")
        await expect(switches.locator("[role=meter]")).to_contain_text("lease left")
        await expect(page.locator("#changes")).to_contain_text("poller-5 joined")

        exclusive = GroupPolicy(exclusive=True)
        await own.join_group("agents", policy=exclusive)
        agents = page.locator("article[data-group='agents']")
        async with own.hold("agents", drain_timeout=60):
            joining = asyncio.create_task(fleet.join("poller-2", "agents", policy=exclusive))
            await expect(agents.locator(".handoff")).to_contain_text("waiting", timeout=PATIENCE)
            await expect(agents.locator(".handoff")).to_contain_text("poller-1: ")
            await picture(page, "status-1280")
            await page.set_viewport_size({"width": 390, "height": 844})
            await picture(page, "status-390")
            await page.emulate_media(color_scheme="dark")
            await picture(page, "status-390-dark")
            await page.set_viewport_size({"width": 1280, "height": 900})
            await picture(page, "status-1280-dark")
        await joining
        await expect(agents.locator(".handoff")).to_have_count(0, timeout=PATIENCE)
        await expect(agents.locator(".pill")).to_have_text("steady")

        await fleet.leave("poller-4")
        await expect(switches.locator("tbody tr")).to_have_count(4, timeout=PATIENCE)
        await expect(page.locator("#changes")).to_contain_text("poller-4 left")
        cut_off(own)
        await expect(switches.locator(".pill")).to_have_text("unknown", timeout=PATIENCE)
        await expect(page.locator("#summary")).to_contain_text("not connected")
        reconnect(own)
        await expect(switches.locator(".pill")).to_have_text("steady", timeout=PATIENCE)
    assert trouble == []


async def test_hostile_names_stay_text(fleet: PartitionCluster) -> None:
    """Ids, metadata and hosts cannot become markup, nor turn the direction of the text beside them."""
    trouble: list[str] = []
    own = PartitionCoordinator(fleet.url, member_id=HOSTILE, metadata={HOSTILE: HOSTILE})
    async with own, served(own) as url, opened(url, trouble) as page:
        await own.join_group(HOSTILE)
        card = page.locator("article")
        await expect(card.locator("tbody tr")).to_have_count(1, timeout=PATIENCE)
        shown = '<img src=x onerror="document.title=1">\\u{202e}\\u{a}'
        await expect(card.locator("h2")).to_have_text(shown)
        await expect(card.locator(".name")).to_contain_text(shown)
        await expect(card.locator(".metadata")).to_have_text(f"{shown}: {shown}")
        assert await page.locator("img").count() == 0
        assert await page.title() != "1"
    assert trouble == []


async def test_page_says_when_nobody_answers(fleet: PartitionCluster) -> None:
    """What was shown last stays, with a warning."""
    trouble: list[str] = []
    own = await fleet.join("a", "g")
    async with served(own) as url, opened(url, trouble) as page:
        await expect(page.locator("tbody tr")).to_have_count(1, timeout=PATIENCE)
        await page.context.set_offline(True)
        await expect(page.locator("#trouble")).to_contain_text("out of date", timeout=PATIENCE)
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.context.set_offline(False)
        await expect(page.locator("#trouble")).to_be_hidden(timeout=PATIENCE)
