"""The iterators that calls of a coordinator return."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from aiopartition.home import Home

__all__ = ["Iteration"]

T = TypeVar("T")


class Iteration(AsyncGenerator[T, None]):
    """An async generator that works only in the event loop of its coordinator, like the call that returned it.

    A step in another loop or thread is refused before it reaches the generator, so the iteration can go on in the right
    one.
    """

    def __init__(self, home: Home, operation: str, steps: AsyncGenerator[T, None]) -> None:
        self._home = home
        self._operation = operation
        self._steps = steps
        self._next = steps.__anext__

    def __anext__(self) -> Coroutine[Any, Any, T]:
        try:
            if get_running_loop() is self._home.loop:  # inline: a call of require() would double the cost
                return self._next()
        except RuntimeError:  # no loop is running
            pass
        self._home.require(self._operation)
        return self._next()

    def asend(self, value: None) -> Coroutine[Any, Any, T]:
        self._home.require(self._operation)
        return self._steps.asend(value)

    def athrow(self, *error: Any) -> Coroutine[Any, Any, T]:
        self._home.require(self._operation)
        return self._steps.athrow(*error)

    def aclose(self) -> Coroutine[Any, Any, None]:
        if self._home.loop is not None:  # it is None in a forked child, which closes what it inherited as it exits
            self._home.require(self._operation)
        return self._steps.aclose()
