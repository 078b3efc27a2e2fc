"""A Litestar service with several replicas. Each replica polls its share of the targets, and says which they are.

AIOPARTITION_BACKEND_URL=zookeeper://localhost/litestar python examples/litestar_service.py 8080

GET /mine answers with the targets of this replica, or with 503 while ownership is unknown. Without the variable,
partitioning is off: the one replica has all targets.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from litestar import Litestar, get
from litestar.datastructures import State
from litestar.exceptions import ServiceUnavailableException

from aiopartition import OwnershipUnknownError, PartitionCoordinator

TARGETS = [f"target-{number:02}" for number in range(40)]


async def poll(coordinator: PartitionCoordinator) -> None:
    while True:
        async for _target in coordinator.my_subset("targets", TARGETS):
            await asyncio.sleep(0)  # a real service would poll the target here
        await asyncio.sleep(1)


@asynccontextmanager
async def partitioning(app: Litestar) -> AsyncIterator[None]:
    """Start with the service, and hand over when it stops."""
    async with PartitionCoordinator.from_env() as coordinator, asyncio.TaskGroup() as tasks:
        app.state.coordinator = coordinator
        await coordinator.join_group("targets")
        polling = tasks.create_task(poll(coordinator))
        yield
        polling.cancel()


@get("/mine")
async def mine(state: State) -> list[str]:
    try:
        view = await state.coordinator.view("targets")
    except OwnershipUnknownError as error:
        raise ServiceUnavailableException(str(error)) from error
    return list(view.mine(TARGETS))


app = Litestar([mine], lifespan=[partitioning])

if __name__ == "__main__":
    # uvicorn stops on SIGTERM and SIGINT, and ends the lifespan then.
    uvicorn.run(app, port=int(sys.argv[1]))
