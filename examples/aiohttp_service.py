"""An aiohttp service with several replicas. Each replica polls its share of the targets, and says which they are.

AIOPARTITION_BACKEND_URL=zookeeper://localhost/aiohttp python examples/aiohttp_service.py 8080

GET /mine answers with the targets of this replica, or with 503 while ownership is unknown. Without the variable,
partitioning is off: the one replica has all targets.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

from aiohttp import web

from aiopartition import OwnershipUnknownError, PartitionCoordinator

TARGETS = [f"target-{number:02}" for number in range(40)]
COORDINATOR = web.AppKey("coordinator", PartitionCoordinator)


async def poll(coordinator: PartitionCoordinator) -> None:
    while True:
        async for _target in coordinator.my_subset("targets", TARGETS):
            await asyncio.sleep(0)  # a real service would poll the target here
        await asyncio.sleep(1)


async def partitioning(app: web.Application) -> AsyncIterator[None]:
    """Start with the service, and hand over when it stops."""
    # If polling fails, the task group cancels the task of run_app(), so the service ends and is restarted.
    async with PartitionCoordinator.from_env() as coordinator, asyncio.TaskGroup() as tasks:
        app[COORDINATOR] = coordinator
        await coordinator.join_group("targets")
        polling = tasks.create_task(poll(coordinator))
        yield
        polling.cancel()


async def mine(request: web.Request) -> web.Response:
    try:
        view = await request.app[COORDINATOR].view("targets")
    except OwnershipUnknownError as error:
        return web.json_response({"error": str(error)}, status=503)
    return web.json_response(view.mine(TARGETS))


app = web.Application()
app.cleanup_ctx.append(partitioning)
app.router.add_get("/mine", mine)

if __name__ == "__main__":
    # It stops on SIGTERM and SIGINT by itself, and ends `partitioning` then.
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
