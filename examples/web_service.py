"""A web service with several replicas. Each replica is a member, polls its share of the targets and reports on it.

pip install aiopartition fastapi uvicorn httpx

python examples/web_service.py zookeeper://localhost/web --port 8000    one replica; start another on port 8001
python examples/web_service.py --check                                  start it, ask it some questions, end

GET /mine           the targets that this replica polls, with the number of polls
GET /status/        a page about the group
GET /status/ready   200, or 503 while ownership is unknown: no requests, please
GET /status/live    200, or 503 once the coordinator has ended: restart, please

With --replicas 2, work starts only when two replicas run, so that the first one is not overloaded.
With --workers 2, two processes serve one port, and each is a member.
"""

import argparse
import asyncio
import logging
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from aiopartition import OwnershipUnknownError, PartitionCoordinator
from aiopartition.web import status_app

GROUP = "targets"
TARGETS = [f"target-{number:03}" for number in range(100)]
INTERVAL = 0.1  # seconds from one round of polls to the next


def create_app(coordinator: PartitionCoordinator, replicas: int) -> FastAPI:
    polls = Counter[str]()

    async def poll() -> None:
        while True:
            # While ownership is unknown, this list is empty, which suits a poller.
            for target in await coordinator.extract_my_subset(GROUP, TARGETS):
                polls[target] += 1  # a real service would poll the target here
            await asyncio.sleep(INTERVAL)

    def end_with_poller(poller: asyncio.Task[None]) -> None:
        """The coordinator has ended, or another process has our id: the supervisor of this process starts another."""
        if not poller.cancelled():
            logging.getLogger("uvicorn.error").error(
                "polling has ended, and so does the service: %s", poller.exception()
            )
            signal.raise_signal(signal.SIGTERM)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with coordinator:
            # Like start(), this returns even if the backend is down, so the service starts in any case.
            await coordinator.join_group(GROUP, min_members=replicas)
            poller = asyncio.create_task(poll())
            poller.add_done_callback(end_with_poller)
            yield
            poller.cancel()

    app = FastAPI(title="pollers", lifespan=lifespan)
    app.mount("/status", status_app(coordinator))

    # A client must be able to tell "nothing" from "unknown", so use view(), which raises.
    @app.exception_handler(OwnershipUnknownError)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"status": "unknown", "reason": str(error)}, status_code=503)

    @app.get("/mine")
    async def mine() -> dict[str, int]:
        view = await coordinator.view(GROUP)
        return {target: polls[target] for target in view.mine(TARGETS)}

    return app


def service() -> FastAPI:
    """For ``uvicorn web_service:service --factory``, and for each of our own workers."""
    return create_app(PartitionCoordinator.from_env(), int(os.environ.get("REPLICAS", "1")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--member-id", default=os.environ.get("AIOPARTITION_MEMBER_ID"), help="default: a new one")
    parser.add_argument("--replicas", type=int, default=1, metavar="N", help="at least so many (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="only show that it works")
    options = parser.parse_args()
    if options.workers > 1 and options.member_id:
        parser.error(f"{options.workers} workers cannot all be member {options.member_id!r}: leave the member id out")
    if options.workers > 1 and options.url.startswith("memory:"):
        parser.error("memory:// ends at the border of a process: several workers need zookeeper://")
    if options.check:
        from shared.questions import ask  # only here, as the service itself is this one file

        app = create_app(PartitionCoordinator(options.url, member_id="replica-1"), replicas=2)
        asyncio.run(ask(app, options.url, GROUP, TARGETS))
        return
    os.environ |= {"AIOPARTITION_BACKEND_URL": options.url, "REPLICAS": str(options.replicas)}
    os.environ["AIOPARTITION_MEMBER_ID"] = options.member_id or ""  # empty: each process makes one
    # uvicorn stops on SIGTERM and SIGINT, and ends the lifespan with the coordinator in it.
    where = {"app_dir": str(Path(__file__).parent), "port": options.port}
    uvicorn.run("web_service:service", factory=True, workers=options.workers, **where)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted")
