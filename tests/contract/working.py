"""Workers of run(), and what became of them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

import pytest

RESOURCES = [f"host-{number}" for number in range(40)]


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Floor:
    """Where workers are at work, and what became of them."""

    def __init__(self) -> None:
        self.working: list[str] = []
        self.started: list[str] = []
        self.ended: list[str] = []

    async def worker(self, resource: str) -> None:
        self.started.append(resource)
        self.working.append(resource)
        try:
            await asyncio.Event().wait()
        finally:
            self.working.remove(resource)
            self.ended.append(resource)

    def works_on(self, *resources: str) -> bool:
        return sorted(self.working) == sorted(resources)


@asynccontextmanager
async def running(call: Coroutine[Any, Any, None]) -> AsyncGenerator[asyncio.Task[None]]:
    """Runs meanwhile, and is cancelled then, unless it has ended."""
    task = asyncio.create_task(call)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def messages(caplog: pytest.LogCaptureFixture, part: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if part in record.getMessage()]
