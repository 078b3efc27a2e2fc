"""The iterators that calls of a coordinator return."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from aiopartition.home import Home

__all__ = ["Iteration"]

T = TypeVar("T")


class Iteration(AsyncGenerator[T, None]):
    """An async generator that belongs to the event loop of a coordinator, as the call does that returned it.

    A step that is taken elsewhere is refused before the generator hears of it, so the iteration goes on where it
    belongs.
    """

    def __init__(self, home: Home, operation: str, steps: AsyncGenerator[T, None]) -> None:
        self._home = home
        self._operation = operation
        self._steps = steps
        self._next = steps.__anext__

    def __anext__(self) -> Coroutine[Any, Any, T]:
        try:
            if get_running_loop() is self._home.loop:  # here rather than by a call, which costs as much again
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
        if self._home.loop is not None:  # a child closes what it inherited on its way out
            self._home.require(self._operation)
        return self._steps.aclose()
