"""One run: processes, their networks, servers, and what befalls them by chance."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from tests.intervals.agent import RESOURCES
from tests.intervals.checker import Checker, overlaps
from tests.support import Ensemble, Proxy, ZooKeeperServer, wait_until

__all__ = ["Outcome", "Trial", "servers_for_trial"]

REPOSITORY = Path(__file__).parents[2]
FEWEST, MOST = 3, 7
CONVERGES_WITHIN = 30.0


@asynccontextmanager
async def servers_for_trial(count: int) -> AsyncGenerator[Sequence[ZooKeeperServer]]:
    """One server by itself, or several that form an ensemble."""
    if count == 1:
        async with ZooKeeperServer() as server:
            yield [server]
    else:
        async with Ensemble(count) as ensemble:
            yield ensemble.servers


@dataclass
class Member:
    """One process behind its own proxies."""

    name: str
    member_id: str
    process: Process
    proxies: list[Proxy]
    networks: AsyncExitStack
    cut: bool = False
    gone: asyncio.Task[None] | None = None
    """Ends when the process has."""


@dataclass
class Outcome:
    """What a run has come to."""

    faults: Counter[str]
    intervals: int
    violations: list[str]
    gaps: list[float] = field(default_factory=list[float])
    """Seconds for which a resource had no owner, each time."""
    converged: float = 0.0
    """Seconds from the end of the last fault until all resources ran again."""


class Trial:
    """:param servers: running ones of one ensemble, or a single one.
    :param mutation: what is wrong with the library in the members' processes.
    """

    def __init__(self, servers: Sequence[ZooKeeperServer], folder: Path, seed: int, *, mutation: str = "") -> None:
        self._mutation = mutation
        self._servers = servers
        self._folder = folder
        self._chance = random.Random(seed)
        self._checker = Checker()
        self._members: list[Member] = []
        self._count = 0
        self._faults: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()  # of processes that ought not to have ended
        self._unsettled: list[str] = []
        self._healing: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float) -> Outcome:
        """Make trouble for so long; then heal everything, and wait until all resources run again."""
        loop = asyncio.get_running_loop()
        async with self._members_at_work():
            end = loop.time() + seconds
            while loop.time() < end:
                await self._trouble()
                await asyncio.sleep(self._chance.uniform(0.2, 1.5))
            if self._healing:
                await asyncio.wait(self._healing)
            healed = loop.time()
            try:
                await self._settled()
            except AssertionError as error:
                self._unsettled.append(str(error))
            return replace(self._outcome(), converged=loop.time() - healed)

    async def roll(self) -> Outcome:
        """Replace each member by a new one, in good order."""
        async with self._members_at_work():
            for member in list(self._members):
                await self._join()
                await wait_until(self._all_at_work, timeout=CONVERGES_WITHIN)
                await self._leave(member)
                if self._healing:
                    await asyncio.wait(self._healing)
            return self._outcome()

    @asynccontextmanager
    async def _members_at_work(self) -> AsyncGenerator[None]:
        try:
            for _ in range(4):
                await self._join()
            await self._settled()
            yield
        finally:
            for member in list(self._members):
                await self._kill(member)
            if self._healing:
                await asyncio.wait(self._healing)

    async def _trouble(self) -> None:
        kinds: list[Callable[[], Coroutine[Any, Any, None]]] = [
            *(self._join, self._join_again, self._leave, self._crash),
            *(self._silence, self._silence, self._half_silence, self._reset, self._kill_server),
        ]
        await self._chance.choice(kinds)()
        self._checker.read()

    # ---- what may happen

    async def _join(self, member_id: str | None = None) -> None:
        if len(self._members) >= MOST:
            return
        self._faults["join"] += 1
        self._count += 1
        name = f"p{self._count}"
        networks = AsyncExitStack()
        proxies = [await networks.enter_async_context(Proxy("127.0.0.1", server.port)) for server in self._servers]
        hosts = ",".join(proxy.address for proxy in proxies)
        path = self._folder / name
        with (self._folder / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "tests.intervals.agent"),
                *(f"zookeeper://{hosts}/intervals", member_id or f"m{self._count}", str(path)),
                *([self._mutation] if self._mutation else []),
                cwd=REPOSITORY,
                stderr=log,
            )
        self._checker.add(name, path)
        member = Member(name, member_id or f"m{self._count}", process, proxies, networks)
        self._members.append(member)
        member.gone = asyncio.create_task(self._see_off(member))

    async def _join_again(self) -> None:
        """As the double of somebody who is at work: it supersedes them."""
        if len(self._members) < MOST:
            await self._join(self._chance.choice(self._members).member_id)
            self._faults["supersede"] += 1

    async def _leave(self, member: Member | None = None) -> None:
        if len(self._members) > FEWEST:
            self._faults["leave"] += 1
            member = member or self._chance.choice(self._members)
            self._members.remove(member)
            if member.process.returncode is None:
                member.process.terminate()
            assert member.gone is not None
            self._healing.add(member.gone)

    async def _crash(self) -> None:
        if len(self._members) > FEWEST:
            self._faults["kill -9"] += 1
            member = self._chance.choice(self._members)
            await self._kill(member)
            if self._chance.random() < 0.5:
                await self._join(member.member_id)

    async def _silence(self) -> None:
        await self._cut("silence", lambda proxy: proxy.silent())

    async def _half_silence(self) -> None:
        ways: list[Literal["client", "server"]] = ["client", "server"]
        towards = self._chance.choice(ways)
        await self._cut("half silence", lambda proxy: proxy.silent(towards))

    async def _cut(self, kind: str, way: Callable[[Proxy], Any]) -> None:
        audible = [member for member in self._members if not member.cut]
        if not audible:
            return
        self._faults[kind] += 1
        member = self._chance.choice(audible)
        member.cut = True
        for proxy in member.proxies:
            way(proxy)
        self._later(self._restore(member, self._chance.uniform(0.3, 6.0)))

    async def _reset(self) -> None:
        self._faults["reset"] += 1
        for proxy in self._chance.choice(self._members).proxies:
            proxy.reset()

    async def _kill_server(self) -> None:
        running = [server for server in self._servers if server.running]
        if len(running) < len(self._servers):
            return  # one at a time, so that there is a quorum; a single server may go as well
        self._faults["server killed"] += 1
        server = self._chance.choice(running)
        await server.kill()
        self._later(self._start_again(server, self._chance.uniform(0.2, 3.0)))

    # ---- and how it ends

    async def _restore(self, member: Member, after: float) -> None:
        await asyncio.sleep(after)
        if member.process.returncode is None:  # else its network is gone too, and must not listen again
            for proxy in member.proxies:
                proxy.pass_through()
        member.cut = False

    async def _start_again(self, server: ZooKeeperServer, after: float) -> None:
        await asyncio.sleep(after)
        await server.start(wait=False)

    async def _see_off(self, member: Member) -> None:
        code = await member.process.wait()
        if code not in (0, -signal.SIGKILL, -signal.SIGTERM):  # told to stop before it had begun to listen
            self._ends[f"{member.name} ended with {code}: {self._last_words(member)}"] += 1
        self._checker.killed(member.name)
        await member.networks.aclose()
        if member in self._members:
            self._members.remove(member)  # it was superseded

    async def _kill(self, member: Member) -> None:
        if member.process.returncode is None:
            member.process.kill()
        assert member.gone is not None
        await asyncio.wait({member.gone})

    def _last_words(self, member: Member) -> str:
        return (self._folder / f"{member.name}.log").read_text()[-300:]

    def _later(self, healing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(healing)
        self._healing.add(task)
        task.add_done_callback(self._healing.discard)

    # ---- verdict

    async def _settled(self) -> None:
        await wait_until(lambda: not self._idle(), timeout=CONVERGES_WITHIN, what=self._idle_and_members)

    def _idle(self) -> list[str]:
        working = self._checker.working()
        return [resource for resource in RESOURCES if resource not in working]

    def _idle_and_members(self) -> str:
        members = [f"{member.name} as {member.member_id}" for member in self._members]
        return f"somebody at work on {', '.join(self._idle())}, of {', '.join(members)}"

    def _all_at_work(self) -> bool:
        working = self._checker.working()
        busy = {process for processes in working.values() for process in processes}
        return len(working) == len(RESOURCES) and busy == {member.name for member in self._members}

    def _outcome(self) -> Outcome:
        self._checker.read()
        intervals = self._checker.intervals
        gaps: list[float] = []
        for resource in RESOURCES:
            ours = sorted((each for each in intervals if each.resource == resource), key=lambda each: each.began)
            gaps += [(after.began - (before.ended or after.began)) / 1e9 for before, after in pairwise(ours)]
        return Outcome(self._faults, len(intervals), [*overlaps(intervals), *self._ends, *self._unsettled], gaps)
