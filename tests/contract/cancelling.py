"""Cancelling a coroutine at each of its suspensions in turn."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def _run(coroutine: Coroutine[Any, Any, T], step: int) -> Generator[Any, Any, T]:
    suspensions = 0
    error: BaseException | None = None
    while True:
        try:
            future = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as finished:
            result: T = finished.value
            return result
        error = None
        suspensions += 1
        if suspensions == step:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            yield future
        except BaseException as thrown:  # whatever the loop throws in is the coroutine's to deal with
            error = thrown


async def cancelled_at(step: int, coroutine: Coroutine[Any, Any, object]) -> bool:
    """Run ``coroutine`` in a task that is cancelled when it suspends for the ``step``-th time.

    Whether it was cancelled; ``False`` means that it came to its end in fewer steps.
    """

    async def run() -> None:
        await _run(coroutine, step)

    task = asyncio.create_task(run())
    await asyncio.wait({task})
    if task.cancelled():
        return True
    task.result()
    return False
