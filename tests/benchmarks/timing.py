"""Timing: candidates run in turns, and a clock in the event loop that notices when it is held up."""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Self

BREATH: Final = 0.005
"""Seconds for the event loop before each candidate: those that block it must not cost others their sessions."""


@dataclass(frozen=True)
class Candidate:
    """Something to be timed: a plain or an async callable without arguments, which handles ``count`` items.

    ``expected``: what it has to return each time. A quick answer that is wrong is worth nothing.
    """

    name: str
    call: Callable[[], object]
    count: int = 1
    expected: object = None


@dataclass
class Sample:
    """Seconds of the processor an item, one for each round."""

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
    """Run all in turns, in another order each round, so that what else happens on the machine befalls all alike.

    The garbage collector stays on: it is a part of what a program pays. Each begins with a clean slate.
    """
    runners = list(candidates)
    samples = {runner.name: Sample() for runner in runners}
    chance = random.Random(1)
    for _ in range(rounds):
        for runner in chance.sample(runners, len(runners)):
            await asyncio.sleep(BREATH)
            seconds, answer = await timed(runner.call)
            if answer != runner.expected:
                raise AssertionError(f"{runner.name} gave a wrong answer: {_shortened(answer)}")
            samples[runner.name].times.append(seconds / runner.count)
    return samples


def _shortened(answer: object) -> str:
    size = f" ({len(answer):,} items)" if isinstance(answer, Sized) else ""
    return f"{answer!s:.80}{size}"


async def timed(call: Callable[[], object]) -> tuple[float, object]:
    """How many seconds of the processor one call takes, and what it returns.

    It is calculation that is timed here. By the clock it would be three times as long whenever others are at work on
    the machine, and not for all candidates alike.
    """
    gc.collect()
    started = time.thread_time()
    outcome = call()
    if inspect.isawaitable(outcome):
        outcome = await outcome
    return time.thread_time() - started, outcome


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
        self.longest_work = 0.0
        """Seconds of the processor that this thread took between two turns of the task, at most. Of these up to a
        millisecond is before it was due; and what other processes took is not in it."""
        self.longest_collection = 0.0
        """Seconds that one run of the garbage collector took, at most."""
        self.seconds = 0.0
        """From entering to leaving."""
        self._collecting_since = 0.0

    async def __aenter__(self) -> Self:
        gc.collect()
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(5 * self.INTERVAL)
        self.longest = self.longest_work = 0.0
        gc.callbacks.append(self._note_collection)
        self._started = time.perf_counter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        gc.callbacks.remove(self._note_collection)
        await asyncio.sleep(3 * self.INTERVAL)  # a stall at the very end has to be noticed too
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _tick(self) -> None:
        while True:
            due, worked = time.perf_counter() + self.INTERVAL, time.thread_time()
            await asyncio.sleep(self.INTERVAL)
            self.longest = max(self.longest, time.perf_counter() - due)
            self.longest_work = max(self.longest_work, time.thread_time() - worked)

    def _note_collection(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.perf_counter()
        else:
            self.longest_collection = max(self.longest_collection, time.perf_counter() - self._collecting_since)
