"""A member in a process of its own that is seen to hand out a real list of work, and the test's end of it.

``python -m tests.support.watched --help`` takes part in a group and writes down whatever happens: what it is seen to
hand out, its errors, its log. Told to ``stop`` by a line of input, it stops its coordinator and ends.
"""

import argparse
import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from aiopartition import PartitionCoordinator, PartitionError
from tests.support.journal import Journal, JournalHandler
from tests.support.lookout import Lookout, Sighting
from tests.support.member import MemberProcess, words
from tests.support.split import is_exact
from tests.support.waiting import wait_until

GROUP = "packages"
READING = 0.005
"""Seconds from one look into the journal to the next."""


def packages() -> list[str]:
    """A real list of work: the packages of this machine; elsewhere the modules of Python's library."""
    try:
        listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package}\n"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return sorted(sys.stdlib_module_names)
    return sorted(set(listed.stdout.split()))


class WatchedMember(MemberProcess):
    """Its process, as the test sees it. Times are those of :func:`time.monotonic`, as in a :class:`Lookout`."""

    def __init__(self, member_id: str, path: Path) -> None:
        super().__init__(member_id, path)
        self.sightings: list[Sighting] = []
        """What it was seen to hand out. The time of the last look of the newest one is not known yet."""
        self.errors: list[tuple[str, str]] = []
        """Name and text of each error."""
        self.log: list[str] = []
        self.told: dict[str, float] = {}
        """When other things happened: ``started``, ``joined``, ``stopping``, ``stopped``."""
        self._following: asyncio.Task[None] | None = None

    async def start(self, url: str, *, session_timeout: float = 2.0, heartbeat: float = 0.5) -> None:
        """Start the process, and wait for nothing."""
        await self.launch(
            *("tests.support.watched", url, "--id", self.member_id, "--journal", self.path),
            *("--session-timeout", session_timeout, "--heartbeat", heartbeat),
        )
        self._following = asyncio.create_task(self._follow(), name=f"reader of {self.member_id}")

    def __repr__(self) -> str:
        newest = self.sightings[-1] if self.sightings else None
        seen = f"{len(newest.mine)} at generation {newest.generation}" if newest else "nothing yet"
        return f"<{self.member_id}: {seen}, {self.told}, errors {self.errors}, log {self.log[-5:]}>"

    @property
    def mine(self) -> frozenset[str]:
        """What it hands out now."""
        return self.sightings[-1].mine if self.sightings else frozenset()

    @property
    def generation(self) -> int | None:
        """By which view."""
        return self.sightings[-1].generation if self.sightings else None

    def since(self, moment: float) -> list[Sighting]:
        """What it was seen to hand out at some time after ``moment``."""
        return [sighting for sighting in self.sightings if sighting.last >= moment or sighting is self.sightings[-1]]

    async def hears(self, event: str) -> float:
        """Wait until it has told of an event; when that was."""
        await wait_until(lambda: event in self.told, what=lambda: f"{event!r} of {self!r}")
        return self.told[event]

    async def stop(self) -> float:
        """Have it stop its coordinator and end; when it was about to."""
        self.say("stop")
        await self.hears("stopped")
        return self.told["stopping"]

    async def close(self) -> None:
        """Kill the process and forget it."""
        await self.kill()
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        self.read()

    async def _follow(self) -> None:
        while True:
            self.read()
            await asyncio.sleep(READING)

    def _note(self, kind: str, at: float, **facts: Any) -> None:
        if kind == "sees":
            if self.sightings:
                self.sightings[-1].last = facts["until"]
            self.sightings.append(Sighting(frozenset(facts["mine"]), facts["generation"], at, at))
        elif kind == "error":
            self.errors.append((facts["name"], facts["text"]))
        elif kind == "log":
            self.log.append(f"{facts['level']} {facts['text']}")
        else:
            self.told[kind] = at


async def packages_split(*members: WatchedMember, timeout: float = 30.0) -> float:
    """Wait until these, at one generation, share the packages exactly, leaving none out; since when they have."""

    def split() -> bool:
        generations = {member.generation for member in members}
        return len(generations - {None}) == len(generations) == 1 and is_exact(
            PACKAGES, [each.mine for each in members]
        )

    await wait_until(split, timeout=timeout, what=lambda: f"a split: {members}")
    return max(member.sightings[-1].first for member in members)


PACKAGES = packages()


# In the process itself


async def main() -> None:
    """Take part until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--id", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--session-timeout", type=float, required=True)
    parser.add_argument("--heartbeat", type=float, required=True)
    options = parser.parse_args()
    journal = Journal(options.journal, time.monotonic)
    logging.basicConfig(level=logging.INFO, handlers=[JournalHandler(journal)])

    def note(before: Sighting | None, sighting: Sighting) -> None:
        """What is handed out from now on, and until when what was handed out before was."""
        until = before.last if before else None
        mine = sorted(sighting.mine)
        journal.write("sees", at=sighting.first, until=until, generation=sighting.generation, mine=mine)

    def note_error(error: PartitionError) -> None:
        journal.write("error", name=type(error).__name__, text=str(error))

    coordinator = PartitionCoordinator(
        options.url, member_id=options.id, session_timeout=options.session_timeout, heartbeat=options.heartbeat
    )
    await coordinator.start()
    journal.write("started")
    try:
        await coordinator.join_group(GROUP)
        journal.write("joined")
    except PartitionError as error:
        note_error(error)
    async with Lookout(coordinator, GROUP, PACKAGES, interval=0.005, on_change=note, on_error=note_error) as lookout:
        async for word, _ in words():
            if word == "stop":
                break
        journal.write("stopping")
        await coordinator.stop()
        journal.write("stopped")
        await lookout.look()


if __name__ == "__main__":
    asyncio.run(main())
