"""A member in a process of its own, and the test's end of it.

``python -m tests.support.agent URL --id ID`` takes part in a group and writes a line of JSON for whatever happens: what
it is seen to hand out, its errors, its log. Told to ``stop`` by a line of input, it stops its coordinator and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiopartition import PartitionCoordinator, PartitionError
from tests.support.lookout import Lookout, Sighting
from tests.support.split import is_exact
from tests.support.waiting import wait_until

__all__ = ["Agent", "packages", "packages_are_split_among"]

REPOSITORY = Path(__file__).parents[2]
GROUP = "packages"
LONGEST_LINE = 1 << 20


def packages() -> list[str]:
    """A real list of work: the packages of this machine; elsewhere the modules of Python's library."""
    try:
        listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package}\n"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return sorted(sys.stdlib_module_names)
    return sorted(set(listed.stdout.split()))


class Agent:
    """A member's process, as the test sees it."""

    def __init__(self, process: Process, member_id: str) -> None:
        self.member_id = member_id
        self.sightings: list[Sighting] = []
        """What it was seen to hand out. The time of the last look of the newest one is not known yet."""
        self.errors: list[tuple[str, str]] = []
        """Name and text of each error."""
        self.log: list[str] = []
        self.told: dict[str, float] = {}
        """When other things happened: ``started``, ``joined``, ``stopping``, ``stopped``."""
        self._process = process
        self._reader = asyncio.create_task(self._read(), name=f"reader of agent {member_id}")

    @classmethod
    async def start(
        cls, url: str, member_id: str, *, session_timeout: float = 2.0, heartbeat: float = 0.5, interval: float = 0.005
    ) -> Agent:
        """Start the process, and wait for nothing."""
        process = await asyncio.create_subprocess_exec(
            # As with the servers: the kernel kills it when the process that started it ends.
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *(sys.executable, "-m", "tests.support.agent", url, "--id", member_id),
            *("--session-timeout", str(session_timeout), "--heartbeat", str(heartbeat), "--interval", str(interval)),
            stdin=PIPE,
            stdout=PIPE,
            limit=LONGEST_LINE,
            cwd=REPOSITORY,
        )
        return cls(process, member_id)

    def __repr__(self) -> str:
        newest = self.sightings[-1] if self.sightings else None
        seen = f"{len(newest.mine)} at generation {newest.generation}" if newest else "nothing yet"
        return f"<Agent {self.member_id}: {seen}, {self.told}, errors {self.errors}, log {self.log[-5:]}>"

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
        assert self._process.stdin is not None
        self._process.stdin.write(b"stop\n")
        await self.hears("stopped")
        return self.told["stopping"]

    def freeze(self) -> None:
        """SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> float:
        """SIGKILL; when it was sent."""
        moment = time.monotonic()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        return moment

    async def close(self) -> None:
        """Kill the process and forget it."""
        await self.kill()
        await self._reader
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            try:
                told = json.loads(line)
            except ValueError:  # cut off by a SIGKILL
                continue
            self._note(**told)

    def _note(self, event: str, at: float, **facts: Any) -> None:
        if event == "sees":
            if self.sightings:
                self.sightings[-1].last = facts["until"]
            self.sightings.append(Sighting(frozenset(facts["mine"]), facts["generation"], at, at))
        elif event == "error":
            self.errors.append((facts["kind"], facts["text"]))
        elif event == "log":
            self.log.append(facts["text"])
        else:
            self.told[event] = at


def packages_are_split_among(agents: Iterable[Agent]) -> bool:
    """Whether these agents, at one generation, share the packages among them exactly, leaving none out."""
    known = list(agents)
    generations = {agent.generation for agent in known}
    return len(generations) == 1 and None not in generations and is_exact(PACKAGES, [agent.mine for agent in known])


PACKAGES = packages()


# The agent's own process


def tell(event: str, **facts: object) -> None:
    """One line for the test. Facts may say when it was; otherwise it is now."""
    print(json.dumps({"event": event, "at": time.monotonic(), **facts}), flush=True)


def tell_sighting(before: Sighting | None, sighting: Sighting) -> None:
    """What is handed out from now on, and until when what was handed out before was."""
    tell(
        "sees",
        at=sighting.first,
        until=before.last if before else None,
        generation=sighting.generation,
        mine=sorted(sighting.mine),
    )


class TellingHandler(logging.Handler):
    """Sends the log to the test."""

    def emit(self, record: logging.LogRecord) -> None:
        tell("log", text=f"{record.levelname} {record.getMessage()}")


async def commands() -> StreamReader:
    """The test's words."""
    reader = StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def main() -> None:
    """Take part until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--id", required=True)
    parser.add_argument("--session-timeout", type=float)
    parser.add_argument("--heartbeat", type=float)
    parser.add_argument("--interval", type=float)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, handlers=[TellingHandler()])

    coordinator = PartitionCoordinator(
        options.url, member_id=options.id, session_timeout=options.session_timeout, heartbeat=options.heartbeat
    )
    words = await commands()
    await coordinator.start()
    tell("started", pid=os.getpid())
    try:
        await coordinator.join_group(GROUP)
        tell("joined")
    except PartitionError as error:
        tell("error", kind=type(error).__name__, text=str(error))
    lookout = Lookout(coordinator, GROUP, PACKAGES, interval=options.interval, on_change=tell_sighting)
    async with lookout:
        watch = asyncio.create_task(tell_errors(lookout))
        while await words.readline() not in (b"stop\n", b""):
            pass
        tell("stopping")
        await coordinator.stop()
        tell("stopped")
        await lookout.look()
        watch.cancel()


async def tell_errors(lookout: Lookout) -> None:
    """Tell of each error that a look has met."""
    told = 0
    while True:
        for error in lookout.errors[told:]:
            tell("error", kind=type(error).__name__, text=str(error))
        told = len(lookout.errors)
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
