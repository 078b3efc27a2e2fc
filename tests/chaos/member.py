"""A member's process and its own network, as the rest of the run sees them."""

import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.chaos.conditions import Conditions
from tests.chaos.pieces import Presence
from tests.chaos.sightings import Sighting
from tests.chaos.workloads import NAMESPACE
from tests.support import Proxy
from tests.support.member import MemberProcess


class WorkingMember(MemberProcess):
    """One process, in a seat."""

    def __init__(self, member_id: str, name: str, seat: int, network: list[Proxy], path: Path) -> None:
        super().__init__(member_id, path)
        self._networks = AsyncExitStack()
        self.name = name
        self.seat = seat
        self.network = network
        """One proxy for each server, in the servers' order."""
        self.sightings: list[Sighting] = []
        """What it handed out, as far as it is not judged yet, and the last one of each way before."""
        self.digests: dict[int, str] = {}
        """What it took for the owners of the slots, by generation."""
        self.work = Presence(name)
        """What it was at work on, where that is exclusive."""
        self.errors: list[str] = []
        self.superseded = False  # and has not taken part again since
        self._superseded_at = 0.0
        self.log: list[str] = []
        self.told: dict[str, int] = {}
        """How often it told of what else happens: ``joined``, ``left``, ``stopping``, ``stopped``."""
        self.reports: list[dict[str, int]] = []
        """What it said that it uses, each time it was asked."""
        self.tasks: list[str] = []
        """The names of its tasks, as it said last."""
        self.out_of_group = False
        """Whether it was told to leave the group."""
        self._newest: dict[str, Sighting] = {}

    def __repr__(self) -> str:
        newest = self.newest
        seen = f"generation {newest.generation or 0:#x}, {newest.mine.bit_count()} keys" if newest else "nothing yet"
        return f"<{self.member_id} in process {self.name}: {seen}; {self.told}; {self.errors[-3:]} {self.log[-3:]}>"

    async def start(self, conditions: Conditions) -> None:
        """Start its network and the process, and wait for nothing."""
        async with AsyncExitStack() as networks:
            for proxy in self.network:
                await networks.enter_async_context(proxy)
            hosts = ",".join(proxy.address for proxy in self.network)
            await self.launch(
                *("tests.chaos.program", f"zookeeper://{hosts}{NAMESPACE}"),
                *("--id", self.member_id, "--process", self.name, "--journal", self.path),
                *("--workload", conditions.workload, "--weight", 1 + self.seat % 2),
                *("--session-timeout", conditions.session_timeout, "--heartbeat", conditions.heartbeat),
                *(("--mutation", conditions.mutation) if conditions.mutation else ()),
            )
            self._networks = networks.pop_all()

    @property
    def newest(self) -> Sighting | None:
        """The last whole share that it was seen to hand out, or to be at work on."""
        return self._newest.get("list") or self._newest.get("work")

    def join_again(self) -> None:
        """Have it join the group that it was told to leave."""
        if self.alive and self.out_of_group:
            self.say("join")
            self.out_of_group = False

    async def close(self) -> None:
        """Kill the process if need be, read what it has left, and forget it."""
        await self.kill()
        self.read()
        self.path.unlink()
        await self._networks.aclose()

    def descriptors(self) -> int:
        """How many files and sockets it has open, counted from outside."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self) -> int:
        """Its memory in bytes, counted from outside."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _note(self, kind: str, at: float, **facts: Any) -> None:
        self.work.note(kind, at, facts.get("key", -1))
        if kind == "saw":
            sighting = Sighting(**{**facts, "mine": int(facts["mine"], 16)})
            self._note_sighting(sighting)
            if sighting.generation is not None and sighting.first > self._superseded_at:
                self.superseded = False  # its successor has gone
        elif kind == "view":
            self.digests[facts["generation"]] = facts["digest"]
        elif kind == "error" and facts["name"] == "MemberSupersededError":
            self.superseded, self._superseded_at = True, at
        elif kind == "error":
            self.errors.append(f"{facts['name']}: {facts['text']}")
        elif kind == "log":
            self.log.append(f"{facts['level']} {facts['text']}")
            del self.log[:-20]
        elif kind == "report":
            self.tasks = facts.pop("names")
            self.reports.append(facts)
        elif kind not in ("began", "ended"):
            self.told[kind] = self.told.get(kind, 0) + 1

    def _note_sighting(self, sighting: Sighting) -> None:
        newest = self._newest.get(sighting.way)
        if newest is not None and newest.first == sighting.first:
            newest.mine, newest.last, newest.times = sighting.mine, sighting.last, sighting.times
            return
        self._newest[sighting.way] = sighting
        self.sightings.append(sighting)

    def forget_judged(self) -> None:
        """Keep what goes on: the newest sightings."""
        self.sightings = [sighting for sighting in self.sightings if sighting is self._newest[sighting.way]]
        for sighting in self.sightings:
            sighting.judged = sighting.times
        self.digests.clear()
        self.errors.clear()
        self.work.forget_done()
