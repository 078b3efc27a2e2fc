"""A web service with several replicas. Each replica is a member, polls its share of the targets and reports on it.

pip install aiopartition fastapi uvicorn httpx

python examples/web_service.py zookeeper://localhost/web --port 8000    one replica; start another on port 8001
python examples/web_service.py --check                                  start it, ask it some questions, end

GET /mine       the targets that this replica polls, with the number of polls
GET /members    all members with their shares
GET /healthz    200, or 503 while ownership is unknown

With --replicas 2, work starts only when two replicas run, so that the first one is not overloaded.
"""

import argparse
import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from aiopartition import OwnershipUnknownError, PartitionCoordinator

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

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with coordinator, asyncio.TaskGroup() as tasks:
            # Like start(), this returns even if the backend is down, so the service starts in any case.
            await coordinator.join_group(GROUP, min_members=replicas)
            poller = tasks.create_task(poll())
            yield
            poller.cancel()

    app = FastAPI(title="pollers", lifespan=lifespan)

    # A client must be able to tell "nothing" from "unknown", so use view(), which raises.
    @app.exception_handler(OwnershipUnknownError)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"status": "unknown", "reason": str(error)}, status_code=503)

    @app.get("/mine")
    async def mine() -> dict[str, int]:
        view = await coordinator.view(GROUP)
        return {target: polls[target] for target in view.mine(TARGETS)}

    @app.get("/members")
    async def members() -> dict[str, float]:
        view = await coordinator.view(GROUP)
        return view.shares()

    @app.get("/healthz")
    async def healthz() -> dict[str, str | int]:
        view = await coordinator.view(GROUP)
        return {"status": "ok", "member": coordinator.member_id, "generation": view.generation}

    return app


async def check(url: str) -> None:
    """Start the service on a free port and query it, first alone and then with a second member."""
    service = PartitionCoordinator(url, member_id="replica-1")
    server = uvicorn.Server(uvicorn.Config(create_app(service, replicas=2), log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            tasks.create_task(server.serve([listener]))

            async def get(path: str) -> httpx.Response:
                response = await client.get(path)
                print(f"GET {path}: {response.status_code} {response.text[:80]}")
                return response

            try:
                assert (await get("/healthz")).status_code == 503
                async with PartitionCoordinator(url, member_id="replica-2") as other:
                    await other.join_group(GROUP, min_members=2)
                    while (await get("/healthz")).status_code == 503:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)  # as a load balancer does it
                    assert list((await get("/members")).json()) == ["replica-1", "replica-2"]
                    ours = (await get("/mine")).json()
                    theirs = await other.extract_my_subset(GROUP, TARGETS)
                    assert sorted([*ours, *theirs]) == TARGETS
                    print(f"{len(ours)} of {len(TARGETS)} targets are polled here, the other {len(theirs)} elsewhere")
            finally:
                server.should_exit = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--replicas", type=int, default=1, metavar="N", help="at least so many (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="only show that it works")
    options = parser.parse_args()
    try:
        if options.check:
            asyncio.run(check(options.url))
        else:
            # uvicorn stops on SIGTERM and SIGINT, and ends the lifespan with the coordinator in it.
            uvicorn.run(create_app(PartitionCoordinator(options.url), options.replicas), port=options.port)
    except KeyboardInterrupt:
        print("interrupted")


if __name__ == "__main__":
    main()
