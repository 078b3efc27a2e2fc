"""Members for the benchmarks of rebalancing: in this process, or in processes of their own.

``python -m tests.benchmarks.hosts URL …`` is such a process: it obeys the lines that it reads (``start ID``, ``join
ID``, ``stop ID``) and writes a line of JSON for what it was told to do and for each view that a member of its comes
to. Moments are the monotonic clock's, which all processes of a machine share.
"""

import argparse
import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple, Protocol, Self

from aiopartition import NotStartedError, PartitionCoordinator

GROUP: Final = "switches"


class Sight(NamedTuple):
    """What a member sees from a moment on; no members while ownership is unknown to it."""

    member_id: str
    at: float
    generation: int
    members: int


class Roll:
    """Who sees what."""

    def __init__(self) -> None:
        self._newest: dict[str, Sight] = {}
        self._changed = asyncio.Event()

    def note(self, sight: Sight) -> None:
        self._newest[sight.member_id] = sight
        self._changed.set()

    async def sees(self, member_id: str, members: int, timeout: float = 120.0) -> float:
        """Wait until a member sees so many; since when it does."""
        async with asyncio.timeout(timeout):
            while True:
                self._changed.clear()
                sight = self._newest.get(member_id)
                if sight is not None and sight.members == members:
                    return sight.at
                await self._changed.wait()

    async def agreed(self, member_ids: Iterable[str], timeout: float = 120.0) -> list[float]:
        """Wait until these, and no others, see each other at one generation; since when each of them does."""
        wanted = list(member_ids)
        async with asyncio.timeout(timeout):
            while True:
                self._changed.clear()
                sights = [self._newest[each] for each in wanted if each in self._newest]
                generations = {sight.generation for sight in sights}
                all_see_all = [sight.members for sight in sights] == [len(wanted)] * len(wanted)
                if all_see_all and len(generations) == 1:
                    return [sight.at for sight in sights]
                await self._changed.wait()


class Host(Protocol):
    """Where members live. ``join`` and ``stop`` return the moment before they did anything."""

    async def start(self, member_id: str) -> None: ...
    async def join(self, member_id: str) -> float: ...
    async def stop(self, member_id: str) -> float: ...
    async def close(self) -> None: ...


class LocalHost:
    """In this process, each with a coordinator and a session of its own."""

    def __init__(self, url: str, note: Callable[[Sight], None], *, settle: float, session_timeout: float) -> None:
        self._url = url
        self._note = note
        self._settle = settle
        self._session_timeout = session_timeout
        self._coordinators: dict[str, PartitionCoordinator] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}

    async def start(self, member_id: str) -> None:
        coordinator = PartitionCoordinator(self._url, member_id=member_id, session_timeout=self._session_timeout)
        await coordinator.start()
        self._coordinators[member_id] = coordinator

    async def join(self, member_id: str) -> float:
        coordinator = self._coordinators[member_id]
        began = time.monotonic()
        await coordinator.join_group(GROUP, settle=self._settle)
        self._watches[member_id] = asyncio.create_task(self._watch(coordinator))
        return began

    async def stop(self, member_id: str) -> float:
        began = time.monotonic()
        await self._coordinators.pop(member_id).stop()
        watch = self._watches.pop(member_id, None)
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        return began

    async def close(self) -> None:
        await asyncio.gather(*(self.stop(member_id) for member_id in list(self._coordinators)))

    async def _watch(self, coordinator: PartitionCoordinator) -> None:
        with suppress(NotStartedError):
            async for change in coordinator.changes(GROUP):
                view = change.view
                seen = (view.generation, len(view.members)) if view is not None else (-1, 0)
                self._note(Sight(coordinator.member_id, time.monotonic(), *seen))
                del change, view  # which would keep the table of a past view at hand


class RemoteHost:
    """In another process."""

    def __init__(self, process: Process, note: Callable[[Sight], None]) -> None:
        self._process = process
        self._note = note
        self._answers: asyncio.Queue[float] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def launch(cls, url: str, note: Callable[[Sight], None], *, settle: float, session_timeout: float) -> Self:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *(sys.executable, "-m", "tests.benchmarks.hosts", url),
            *("--settle", str(settle), "--session-timeout", str(session_timeout)),
            stdin=PIPE,
            stdout=PIPE,
        )
        return cls(process, note)

    async def start(self, member_id: str) -> None:
        await self._ask("start", member_id)

    async def join(self, member_id: str) -> float:
        return await self._ask("join", member_id)

    async def stop(self, member_id: str) -> float:
        return await self._ask("stop", member_id)

    async def kill(self) -> float:
        """SIGKILL; the moment before."""
        began = time.monotonic()
        await self.close()
        return began

    async def close(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def _ask(self, *words: str) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words).encode() + b"\n")
        return await self._answers.get()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            match json.loads(line):
                case float(moment):
                    self._answers.put_nowait(moment)
                case sight:
                    self._note(Sight(*sight))


# The other process


async def serve() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--settle", type=float)
    parser.add_argument("--session-timeout", type=float)
    options = parser.parse_args()
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    host = LocalHost(options.url, tell, settle=options.settle, session_timeout=options.session_timeout)
    async for line in words:
        command, member_id = line.decode().split()
        if command == "start":
            await host.start(member_id)
            tell(time.monotonic())
        else:
            tell(await (host.join(member_id) if command == "join" else host.stop(member_id)))


def tell(fact: Sight | float) -> None:
    """One line to the process that started this one."""
    print(json.dumps(fact), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
