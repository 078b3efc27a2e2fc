"""A Django service with several replicas. Each replica polls its share of the targets, and says which they are.

AIOPARTITION_BACKEND_URL=zookeeper://localhost/django python examples/django_service.py 8080

GET /mine answers with the targets of this replica, or with 503 while ownership is unknown. Without the variable,
partitioning is off: the one replica has all targets. Django has no lifespan, so `application` wraps its ASGI
application in one; in a project this stands in asgi.py.
"""

import asyncio
import sys
from typing import Any

import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from aiopartition import OwnershipUnknownError, PartitionCoordinator

TARGETS = [f"target-{number:02}" for number in range(40)]

# This does no I/O, so a module may have it; each worker process of the server imports the module anew.
coordinator = PartitionCoordinator.from_env()


async def poll() -> None:
    while True:
        async for _target in coordinator.my_subset("targets", TARGETS):
            await asyncio.sleep(0)  # a real service would poll the target here
        await asyncio.sleep(1)


async def lifespan(receive: Any, send: Any) -> None:
    """Start with the service, and hand over when it stops."""
    await receive()  # lifespan.startup
    async with coordinator, asyncio.TaskGroup() as tasks:
        await coordinator.join_group("targets")
        polling = tasks.create_task(poll())
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        polling.cancel()
    await send({"type": "lifespan.shutdown.complete"})


async def mine(request: HttpRequest) -> JsonResponse:
    try:
        view = await coordinator.view("targets")
    except OwnershipUnknownError as error:
        return JsonResponse({"error": str(error)}, status=503)
    return JsonResponse(view.mine(TARGETS), safe=False)


settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of the example")
urlpatterns = [path("mine", mine)]
django = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await django(scope, receive, send)


if __name__ == "__main__":
    # uvicorn stops on SIGTERM and SIGINT, and ends the lifespan then.
    uvicorn.run(application, port=int(sys.argv[1]))
