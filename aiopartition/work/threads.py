"""Work in threads, which cannot be cancelled, and so has to be waited for."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, ParamSpec, TypeVar

import anyio

__all__ = ["finish_in_thread"]

P = ParamSpec("P")
T = TypeVar("T")

_logger: Final = logging.getLogger("aiopartition")


async def finish_in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``function`` in a thread, as :func:`asyncio.to_thread` does, and never leave before it has returned.

    No library can stop a thread. When a task that awaits :func:`asyncio.to_thread` is cancelled, only the waiting ends:
    the thread goes on, while another member may begin with the same resource. This waits for the thread and is
    cancelled then, so the worker of ``run()``, the body of ``hold()`` or the item of ``my_subset()`` that awaits it is
    in flight until the thread is back: in an exclusive group no other member begins before.

    Have long functions look at something like a :class:`threading.Event` from time to time, that is set when the call
    is cancelled: ``drain_timeout`` applies to them as well, and cannot end them.

    :param function: called with the other arguments, in the default executor of the event loop, with a copy of the
        present :mod:`contextvars` context. If it is cancelled before a thread was free to begin, it is not called.
    :returns: what ``function`` returns.
    :raises asyncio.CancelledError: if cancelled, however often, once the thread is back. What ``function`` returned is
        lost then, and what it raised is logged as an error.
    :raises BaseException: what ``function`` raises.
    """
    call = _Call(partial(contextvars.copy_context().run, partial(function, *args, **kwargs)))
    thread = asyncio.get_running_loop().run_in_executor(None, call.run)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):  # anyio cancels in each turn of the loop: this would turn with it
        while not thread.done():
            try:
                await asyncio.wait({thread})
            except asyncio.CancelledError as error:
                if call.give_up():
                    raise
                cancelled = error
    if cancelled is None:
        thread.result()  # raises if the executor was shut down before the call began
        return call.result()
    if call.error is not None:
        _logger.error("a call in a thread has failed after it was cancelled", exc_info=call.error)
    raise cancelled


class _Call(Generic[T]):
    """A call that is made in a thread, unless it is given up before that has begun."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._taken = threading.Lock()  # by the thread, or by the one who gives up; never released
        self._results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        if self._taken.acquire(blocking=False):
            try:
                self._results.append(self._function())
            except BaseException as error:  # a future would refuse StopIteration
                self.error = error

    def give_up(self) -> bool:
        """Whether the thread had not begun; then it never will."""
        return self._taken.acquire(blocking=False)

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self._results[0]
