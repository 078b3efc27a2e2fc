"""Time that passes otherwise than expected: stopped processes, suspended machines, wall clocks that are set.

A blocked event loop, and a process that is stopped until its session has ended, are in ``test_processes.py``.
"""

import asyncio
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import aiopartition.runner
from aiopartition import OwnershipUnknownError
from aiopartition.backends.opening import open_backend
from aiopartition.clock import now
from tests.faults.conftest import Measure
from tests.support import wait_until
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.watched import packages_split

LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
HOUR = 3600.0


class SuspendedClock:
    """The clock of leases on a machine that can be suspended: it counts that time, and the event loop's does not."""

    def __init__(self) -> None:
        self.suspended = 0.0

    def __call__(self) -> float:
        return now() + self.suspended


class TestSuspendedMachine:
    async def test_hands_out_nothing_when_it_wakes(
        self, fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch, measure: Measure
    ) -> None:
        """After an hour of which no timer has heard, nothing is handed out from the very first look on: neither as a
        list, nor by an iterator that was under way. When a server has answered, the member has its own again."""
        clock = SuspendedClock()
        with monkeypatch.context() as patch:
            patch.setattr(aiopartition.runner, "open_backend", partial(open_backend, clock=clock))
            laptop = await fleet.start(url, "laptop", on_unknown="raise")
        other = await fleet.start(url, "other")
        await fleet.settle()
        mine = await laptop.extract_my_subset(GROUP, KEYS)
        iteration = laptop.my_subset(GROUP, KEYS)
        assert await anext(iteration) == mine[0]
        before = asyncio.get_running_loop().time()

        clock.suspended += HOUR
        with pytest.raises(OwnershipUnknownError):
            await anext(iteration)
        with pytest.raises(OwnershipUnknownError):
            await laptop.extract_my_subset(GROUP, KEYS)
        with pytest.raises(OwnershipUnknownError):
            await laptop.view(GROUP)

        await fleet.settle(laptop, other)
        measure("waking to exact split", asyncio.get_running_loop().time() - before)
        assert await laptop.extract_my_subset(GROUP, KEYS) == mine

    async def test_in_the_middle_of_a_long_list(self, fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was filtered before is not handed out either."""
        clock = SuspendedClock()
        monkeypatch.setattr(aiopartition.runner, "open_backend", partial(open_backend, clock=clock))
        laptop = await fleet.start(url, "laptop", on_unknown="raise")

        def key(item: str) -> str:
            if item == KEYS[-1]:
                clock.suspended += HOUR
            return item

        assert await laptop.extract_my_subset(GROUP, KEYS) == KEYS
        with pytest.raises(OwnershipUnknownError):
            await laptop.extract_my_subset(GROUP, KEYS, key=key)


class TestStoppedProcess:
    async def test_for_longer_than_the_lease(self, fleet: Fleet, url: str, measure: Measure) -> None:
        """A process that was stopped (SIGSTOP) until its lease was over, but not its session, hands out nothing when it
        is continued, until a server has answered; then it goes on, and nobody else has noticed."""
        sleeper = await fleet.process(url, "sleeper", session_timeout=4.0, heartbeat=0.1)
        other = await fleet.process(url, "other")
        await packages_split(sleeper, other)
        before, seen = sleeper.mine, len(sleeper.sightings)
        sleeper.freeze()
        stopped = time.monotonic()
        await wait_until(lambda: time.monotonic() > stopped + 2.9, interval=0.05)
        woken = time.monotonic()
        sleeper.thaw()
        await wait_until(lambda: len(sleeper.sightings) > seen and sleeper.mine == before)
        measure("waking to its own again", sleeper.sightings[-1].first - woken)
        assert not sleeper.sightings[seen].mine
        assert {seen.mine for seen in other.since(stopped)} == {other.mine}


@pytest.mark.skipif(LIBFAKETIME is None, reason="libfaketime is not installed")
class TestWallClock:
    async def test_is_set(self, fleet: Fleet, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set back by an hour or forth by two, for a member's whole process, it changes nothing; and a process that is
        stopped past its session while it is set back does not believe in its lease when it wakes."""
        setting = tmp_path / "setting"
        setting.write_text("+0s\n")
        wrong_clock = {
            "LD_PRELOAD": str(LIBFAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(setting),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with monkeypatch.context() as patch:
            for name, value in wrong_clock.items():
                patch.setenv(name, value)
            member = await fleet.process(url, "member")
        other = await fleet.process(url, "other")
        await packages_split(member, other)
        mine, seen = member.mine, len(member.sightings)

        for hours in (-1, 2):
            setting.write_text(f"{hours:+}h\n")
            assert (wall_clock(wrong_clock) - time.time()) / HOUR == pytest.approx(hours, abs=0.1)
            changed = time.monotonic()
            await wait_until(lambda: time.monotonic() > changed + 2.5, interval=0.05)  # noqa: B023
            assert len(member.sightings) == seen
            assert member.mine == mine
            assert not member.errors

        member.freeze()
        await packages_split(other)
        setting.write_text("-1h\n")
        taken_over = other.sightings[-1].first
        member.thaw()
        await packages_split(member, other)
        assert not member.sightings[seen].mine
        assert member.sightings[seen].first > taken_over


def wall_clock(environment: dict[str, str]) -> float:
    """The time of day, as a process in that environment has it."""
    told = subprocess.check_output(
        [sys.executable, "-c", "import time; print(time.time())"], env={**os.environ, **environment}, text=True
    )
    return float(told)
