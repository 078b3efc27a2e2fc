"""The iterators that calls of a coordinator return."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from aiopartition.runner import Runner

__all__ = ["Iteration"]

T = TypeVar("T")


class Iteration(AsyncGenerator[T, None]):
    """An async generator, each step of which is a call to the coordinator: it belongs to the same event loop.

    A step taken elsewhere is refused before the generator hears of it, so it goes on where it belongs. (A generator
    around the other one would cost twice as much an item.)
    """

    def __init__(self, runner: Runner, operation: str, steps: AsyncGenerator[T, None]) -> None:
        self._runner = runner
        self._operation = operation
        self._steps = steps

    def __anext__(self) -> Coroutine[Any, Any, T]:
        self._runner.require_here(self._operation)
        return self._steps.__anext__()

    def asend(self, value: None) -> Coroutine[Any, Any, T]:
        self._runner.require_here(self._operation)
        return self._steps.asend(value)

    def athrow(self, *error: Any) -> Coroutine[Any, Any, T]:
        self._runner.require_here(self._operation)
        return self._steps.athrow(*error)

    def aclose(self) -> Coroutine[Any, Any, None]:
        if not self._runner.inherited:  # there nothing is in flight, and it is closed on the way out
            self._runner.require_here(self._operation)
        return self._steps.aclose()
