"""A process that works under ``run()`` in an exclusive group and writes a journal: ``python -m tests.intervals.agent``.

Each line of the journal is ``start``, ``stop`` or ``beat``, the time, and for the first two the resource. SIGTERM ends
it in good order; so does being superseded. What the library says, and what it knows, goes to the standard error.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from aiopartition import ConfigurationError, GroupPolicy, MemberSupersededError, NotStartedError, PartitionCoordinator
from aiopartition.group.handoff import Handoff
from aiopartition.group.in_flight import InFlight
from aiopartition.group.state import Group
from aiopartition.group.step import Step

logger = logging.getLogger(__name__)

GROUP = "devices"
POLICY = GroupPolicy(slots=1024, vnodes=40, exclusive=True)
RESOURCES = [f"device-{number}" for number in range(60)]

BEAT = 0.02
"""Seconds between signs of life."""

REPORT = 1.0
"""Seconds between two reports of what it knows, in its log."""

FAREWELL = 0.5
"""Seconds that a worker takes to end: it has a connection to close, say."""


class Journal:
    """Lines that are in the file once they are written, whatever befalls the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, kind: str, resource: str = "-") -> None:
        os.write(self._file, f"{kind} {time.monotonic_ns()} {resource}\n".encode())


def _acknowledge_before_letting_go() -> None:
    """A mutation of the library, which the checker has to catch."""
    wait_for_nothing = Handoff.next_step

    def next_step(self: Handoff) -> Step:
        self.in_the_way.clear()
        return wait_for_nothing(self)

    Handoff.next_step = next_step  # type: ignore[method-assign]


def _leave_before_letting_go() -> None:
    """Another: the entry goes while work is still in flight."""
    for keeper in (Group, InFlight):
        keeper.idle = property(lambda self: True)  # type: ignore[assignment, method-assign]


MUTATIONS = {"acknowledge": _acknowledge_before_letting_go, "leave": _leave_before_letting_go}


async def main(url: str, member_id: str, path: Path, mutation: str = "") -> None:
    if mutation:
        MUTATIONS[mutation]()
    journal = Journal(path)

    async def work(resource: str) -> None:
        journal.write("start", resource)
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await asyncio.sleep(FAREWELL)
            finally:
                journal.write("stop", resource)

    async def beat() -> None:
        while True:
            journal.write("beat")
            await asyncio.sleep(BEAT)

    async def report() -> None:
        while True:
            await asyncio.sleep(REPORT)
            with suppress(ConfigurationError, NotStartedError):  # before it has joined, and when it is stopping
                logger.info("%r", replace(coordinator.status(GROUP), members=()))

    told_to_stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_stop.set)
    coordinator = PartitionCoordinator(
        url, member_id=member_id, session_timeout=3.0, heartbeat=0.5, connect_timeout=0.5
    )
    async with coordinator:
        beating, reporting = asyncio.create_task(beat()), asyncio.create_task(report())
        working = asyncio.create_task(supervise(coordinator, work))
        stopping = asyncio.create_task(told_to_stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if int(path.name[1:]) % 2:  # either way has to do
            working.cancel()
        else:
            await coordinator.stop()
        await asyncio.wait({working})
        for task in (beating, reporting, stopping):
            task.cancel()


async def supervise(coordinator: PartitionCoordinator, work: Callable[[str], Awaitable[None]]) -> None:
    try:
        await coordinator.join_group(GROUP, policy=POLICY)
        await coordinator.run(GROUP, RESOURCES, work)
    except (MemberSupersededError, NotStartedError):
        return  # somebody has taken our place, or we were told to stop before it began


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:]))
