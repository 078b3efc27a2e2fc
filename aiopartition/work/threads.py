"""Work in threads, which cannot be cancelled and so has to be waited for."""

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
    """Call ``function`` in a thread, as :func:`asyncio.to_thread` does, but do not return before the function has.

    No library can stop a thread. When a task that awaits :func:`asyncio.to_thread` is cancelled, only the waiting ends:
    the thread goes on, while another member may begin with the same resource. This call waits for the thread, and only
    then is cancelled. So the worker of ``run()``, the body of ``hold()`` or the item of ``my_subset()`` that awaits it
    is in flight until the thread has finished, and in an exclusive group no other member begins before that.

    A long function should check from time to time whether it is to end, for example a :class:`threading.Event` that you
    set when the call is cancelled: ``drain_timeout`` applies to such functions as well, but cannot end them.

    :param function: called with the other arguments, in the default executor of the event loop, with a copy of the
        current :mod:`contextvars` context. If the call is cancelled before a thread is free, it is not called.
    :returns: what ``function`` returns.
    :raises asyncio.CancelledError: if cancelled, however often, once the thread has finished. What ``function``
        returned is then lost, and what it raised is logged as an error.
    :raises BaseException: what ``function`` raises.
    """
    call = _Call(partial(contextvars.copy_context().run, partial(function, *args, **kwargs)))
    thread = asyncio.get_running_loop().run_in_executor(None, call.run)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):  # anyio cancels in each turn of the loop, so this loop would spin
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
    """A call that is made in a thread, unless it is given up before the thread begins it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._taken = threading.Lock()  # acquired by the thread, or by whoever gives up; never released
        self._results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        if self._taken.acquire(blocking=False):
            try:
                self._results.append(self._function())
            except BaseException as error:  # a future would refuse StopIteration
                self.error = error

    def give_up(self) -> bool:
        """Give the call up, unless the thread has begun it. Return whether it was given up."""
        return self._taken.acquire(blocking=False)

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self._results[0]
