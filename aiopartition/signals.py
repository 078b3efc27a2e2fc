"""``stop_on_signal()``: lets a signal stop a service in good order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from contextlib import AbstractAsyncContextManager
from types import FrameType, TracebackType
from typing import Any, Final

from aiopartition.errors import ConfigurationError
from aiopartition.showing import shown

__all__ = ["stop_on_signal"]

_logger: Final = logging.getLogger("aiopartition")

_EXIT_STATUS: Final = 128
"""A process that a signal ended has this exit status plus the signal's number, as shells show it."""


def stop_on_signal(*signals: int) -> AbstractAsyncContextManager[None]:
    """``async with stop_on_signal(): …``: a signal cancels the body, so that whatever is open in it is closed.

    >>> async def main() -> None:
    ...     async with stop_on_signal(), PartitionCoordinator(url) as coordinator:
    ...         await coordinator.run("devices", list_devices, attend)

    Services are stopped by SIGTERM, which by default ends a process at once: other members would take over only when
    its session has timed out. Here the first signal cancels the body, once. When the body has ended, in whatever way,
    an exception ends the process: :class:`SystemExit` with status 128 plus the number of the signal, which is 143 for
    SIGTERM, or :class:`KeyboardInterrupt` after SIGINT. From the first signal until the body has ended, all ``signals``
    have their default effect, so a second one ends the process at once.

    A cancellation from elsewhere passes through as usual. Contexts may be nested: a signal reaches the innermost, and
    the others end with the exception that it raises. In a forked process signals have their default effect.

    :param signals: SIGTERM and SIGINT if none are given.
    :returns: a context manager that can be entered once. Enter it in the main thread, and best in the task that
        :func:`asyncio.run` runs: if another task exits, asyncio prints a traceback. Enter it before a task group of
        anyio, which would hide the exit in an exception group. It restores the handlers that it found.
    :raises ConfigurationError: if something given is not a signal; on entering, if a signal cannot be handled.
    :raises RuntimeError: on entering it outside of the main thread, or a second time.
    """
    try:
        chosen = [_signal(number) for number in signals or (signal.SIGTERM, signal.SIGINT)]
    except ValueError as error:
        raise ConfigurationError("signals", f"must be signals, not {', '.join(map(shown, signals))}") from error
    return _StopOnSignal(dict.fromkeys(chosen))


def _signal(number: object) -> signal.Signals:
    """Return the signal with a number.

    :raises ValueError: if it is not a signal. Python would take ``True`` and ``2.0`` for signals.
    """
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError
    return signal.Signals(number)


class _StopOnSignal:
    """Handles signals by :func:`signal.signal`, which works on all platforms and event loops, and whose handlers can be
    restored."""

    def __init__(self, signals: dict[signal.Signals, None]) -> None:
        self._signals = signals
        self._previous: dict[signal.Signals, Any] = {}  # the handlers that we found
        self._received: signal.Signals | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None  # the one that runs the body
        self._cancelled = False  # whether we have cancelled it
        self._pid = 0

    async def __aenter__(self) -> None:
        if self._loop is not None:
            raise RuntimeError("it can be entered once; call stop_on_signal() again")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("stop_on_signal() must be entered in the main thread: Python handles signals only there")
        self._loop, self._task, self._pid = asyncio.get_running_loop(), asyncio.current_task(), os.getpid()
        for each in self._signals:
            try:
                self._previous[each] = signal.signal(each, self._handle)
            except (OSError, ValueError) as error:
                self._restore()
                raise ConfigurationError("signals", f"{each.name} cannot be handled") from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()
        task, self._task = self._task, None
        if self._received is None:
            return
        if self._cancelled and task is not None:
            if not isinstance(error, asyncio.CancelledError):
                await _take_cancellation()
            task.uncancel()
        if isinstance(error, asyncio.CancelledError):
            error = None
        elif isinstance(error, (KeyboardInterrupt, SystemExit)):
            return
        elif error is not None:
            _logger.error("stopping on %s, the service has failed", self._received.name, exc_info=error)
        if self._received is signal.SIGINT:
            raise KeyboardInterrupt from error
        raise SystemExit(_EXIT_STATUS + self._received) from error

    # ---- inside

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        """Called between any two steps of the main thread."""
        if os.getpid() != self._pid:  # a forked child does not run the body
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            signal.raise_signal(number)
            return
        self._received = signal.Signals(number)
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._received is None or self._task is None:
            return  # the body has ended meanwhile
        name = self._received.name
        _logger.info("%s was received: stopping; another one ends the process at once", name)
        self._cancelled = self._task.cancel(f"{name} was received")

    def _restore(self) -> None:
        for each, handler in self._previous.items():
            later = _context_of(signal.getsignal(each))
            while later is not None and later is not self:
                earlier = _context_of(later._previous.get(each))
                if earlier is self:  # it was entered later, in another task, and goes on: it restores what we found
                    later._previous[each] = handler
                    break
                later = earlier
            else:
                # An outer context that is about to end with our exception must not take a second signal for a first.
                ending = self._received is not None and _context_of(handler) is not None
                signal.signal(each, signal.SIG_DFL if ending or handler is None else handler)
        self._previous.clear()


def _context_of(handler: object) -> _StopOnSignal | None:
    """Return the context that a handler belongs to, or ``None``."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, _StopOnSignal) else None


async def _take_cancellation() -> None:
    """Let the event loop deliver a cancellation that came too late for the body."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return
