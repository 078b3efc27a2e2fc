"""Timing: candidates run in turns, and a clock in the event loop that notices when it is held up."""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from types import TracebackType
from typing import Self

__all__ = ["Candidate", "Sample", "Ticker", "percentile", "race", "timed"]


@dataclass(frozen=True)
class Candidate:
    """Something to be timed: a plain or an async callable without arguments, which handles ``count`` items."""

    name: str
    call: Callable[[], object]
    count: int = 1


@dataclass
class Sample:
    """Seconds an item, one for each round."""

    times: list[float] = field(default_factory=list[float])

    @property
    def median(self) -> float:
        return median(self.times)

    @property
    def nanoseconds(self) -> float:
        return self.median * 1e9

    @property
    def milliseconds(self) -> float:
        return self.median * 1e3

    def over(self, other: Sample) -> float:
        """How many times as long as ``other`` this took: the median over rounds, whose halves ran close together."""
        return median(mine / theirs for mine, theirs in zip(self.times, other.times, strict=True))


async def race(candidates: Iterable[Candidate], rounds: int) -> dict[str, Sample]:
    """Run all in turns, so that what else happens on the machine befalls all alike.

    The garbage collector stays on: it is a part of what a program pays. Each begins with a clean slate.
    """
    runners = list(candidates)
    samples = {runner.name: Sample() for runner in runners}
    for _ in range(rounds):
        for runner in runners:
            samples[runner.name].times.append(await timed(runner.call) / runner.count)
    return samples


async def timed(call: Callable[[], object]) -> float:
    """How many seconds one call takes."""
    gc.collect()
    started = time.perf_counter()
    outcome = call()
    if inspect.isawaitable(outcome):
        await outcome
    return time.perf_counter() - started


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that at least so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class Ticker:
    """A task that wants to run each millisecond. How much too late it ran is how long the event loop was held up.

    Pauses of the garbage collector are a part of that, and are noted by themselves as well.
    """

    INTERVAL = 0.001

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds that the task ran late, at most."""
        self.longest_collection = 0.0
        """Seconds that one run of the garbage collector took, at most."""
        self.seconds = 0.0
        """From entering to leaving."""
        self._collecting_since = 0.0

    async def __aenter__(self) -> Self:
        gc.collect()
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(5 * self.INTERVAL)
        self.longest = 0.0
        gc.callbacks.append(self._note_collection)
        self._started = time.perf_counter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._started
        gc.callbacks.remove(self._note_collection)
        await asyncio.sleep(3 * self.INTERVAL)  # a stall at the very end has to be noticed too
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + self.INTERVAL
            await asyncio.sleep(self.INTERVAL)
            self.longest = max(self.longest, time.perf_counter() - due)

    def _note_collection(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.perf_counter()
        else:
            self.longest_collection = max(self.longest_collection, time.perf_counter() - self._collecting_since)
