"""Blocking calls in threads that do not delay the end of the process, as those of ``asyncio.to_thread()`` would."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

__all__ = ["in_daemon"]

T = TypeVar("T")


def in_daemon(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Run ``work`` in a daemon thread. It goes on even if the future is cancelled.

    :param name: the thread's.
    :returns: a future with the work's result or its error, or an ``OSError`` if there can be no more threads.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    # Reading the exception avoids asyncio's warning about an exception that was never retrieved.
    outcome.add_done_callback(lambda done: done.cancelled() or done.exception())

    def run() -> None:
        try:
            deliver = partial(outcome.set_result, work())
        except Exception as error:
            deliver = partial(outcome.set_exception, error)
        with suppress(RuntimeError):  # the loop was closed meanwhile, so nothing waits for the result
            loop.call_soon_threadsafe(deliver)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # the limit of threads is reached; the next attempt may succeed
        outcome.set_exception(OSError(str(error)))
    return outcome
