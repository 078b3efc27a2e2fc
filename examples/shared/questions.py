"""Asks the example of a web service some questions, as its users and a load balancer do."""

import asyncio
import socket

import httpx
import uvicorn
from fastapi import FastAPI

from aiopartition import PartitionCoordinator


async def ask(app: FastAPI, url: str, group: str, targets: list[str]) -> None:
    """Start the service on a free port and query it, first alone and then with a second member."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            tasks.create_task(server.serve([listener]))

            async def get(path: str) -> httpx.Response:
                response = await client.get(path)
                print(f"GET {path}: {response.status_code} {response.text[:80].strip()}")
                return response

            try:
                assert (await get("/status/live")).status_code == 200
                assert (await get("/status/ready")).status_code == 503
                async with PartitionCoordinator(url, member_id="replica-2") as other:
                    await other.join_group(group, min_members=2)
                    while (await get("/status/ready")).status_code == 503:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)  # as a load balancer does it
                    ours = (await get("/mine")).json()
                    theirs = await other.extract_my_subset(group, targets)
                    assert sorted([*ours, *theirs]) == targets
                    print(f"{len(ours)} of {len(targets)} targets are polled here, the other {len(theirs)} elsewhere")
            finally:
                server.should_exit = True
