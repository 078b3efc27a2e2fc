"""A member's own process: ``python -m tests.chaos.program --help``.

It takes part, does its workload, and writes everything into its journal. Lines of input tell it what to do: ``leave``
and ``join`` the group, ``report`` what it uses, ``listing`` and how it goes wrong, ``fork`` and how the child ends,
``stop``.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import cast

from aiopartition import MemberSupersededError, NotStartedError, PartitionCoordinator, PartitionError
from aiopartition.backends.zookeeper.backend import ZooKeeperBackend
from aiopartition.clock import now
from tests.chaos.mutations import MUTATIONS
from tests.chaos.workloads import CHILDREN, GROUP, KEYS, NAMESPACE, WORKLOADS, Workload
from tests.support.journal import Journal, JournalHandler
from tests.support.member import LISTENING, words

COMING_AND_GOING = ("aiopartition beat", "aiopartition worker")
"""Begin the names of tasks that last as long as a heartbeat is answered, or a key is worked on."""
AFTERMATH = 1.0
"""Seconds for which work that should have ended is still watched after it has stopped its coordinator."""
CHILDHOOD = 10.0
"""Seconds within which a forked child should have ended."""
ENDS = {"return": 0, "own": 0, "exit": 3, "error": 1, "kernel": 4}
"""How a forked child ends, and its exit code."""


def ended(child: int) -> int | None:
    """The status with which a child has ended; ``None`` if it has not. No blocking, and no thread that would wait."""
    found, status = os.waitpid(child, os.WNOHANG)
    return status if found else None


class Program:
    """What the process is told to do, done."""

    def __init__(
        self, options: argparse.Namespace, coordinator: PartitionCoordinator, workload: Workload, journal: Journal
    ) -> None:
        self._options = options
        self._coordinator = coordinator
        self._workload = workload
        self._journal = journal
        self._work: asyncio.Task[None] | None = None
        self._children: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        await self._coordinator.start()
        await self.join()
        async for word, detail in words():
            if word == "stop":
                break
            if word == "listing":
                self._workload.list_by(detail)
            elif word == "fork":
                child = os.fork()
                if child == 0:
                    self.end_child(detail)
                    return
                watching = asyncio.create_task(self._watch_child(child, detail))
                self._children.add(watching)
                watching.add_done_callback(self._children.discard)
            else:
                await {"leave": self.leave, "join": self.join, "report": self.report}[word]()
        self._journal.write("stopping")
        if self._work is not None and self._workload.ends_first and int(self._options.process) % 2:
            self._work.cancel()
            await asyncio.wait({self._work})
        await self._coordinator.stop()
        self._journal.write("stopped")
        if self._work is not None:
            await asyncio.wait({self._work}, timeout=AFTERMATH)
            self._work.cancel()

    async def join(self) -> None:
        try:
            await self._coordinator.join_group(GROUP, weight=self._options.weight, policy=self._workload.policy)
            self._journal.write("joined")
        except PartitionError as error:
            self._journal.write("error", name=type(error).__name__, text=str(error))
            if not isinstance(error, MemberSupersededError | NotStartedError):
                return
        self._work = asyncio.create_task(self._workload.run(), name="workload")
        self._work.add_done_callback(self._work_ended)

    async def leave(self) -> None:
        if self._work is not None:  # which would join again
            self._work.cancel()
            await asyncio.wait({self._work})
        await self._coordinator.leave_group(GROUP)
        self._journal.write("left")

    async def report(self) -> None:
        gc.collect()
        names = sorted(task.get_name() for task in asyncio.all_tasks())
        names = [name for name in names if not name.startswith(COMING_AND_GOING)]
        watched = len(cast("ZooKeeperBackend", self._coordinator._registry.backend)._session._watched)
        self._journal.write("report", names=names, tasks=len(names), blocks=sys.getallocatedblocks(), watched=watched)

    # ---- forked children

    def end_child(self, way: str) -> None:
        """In the child: end by a return, in another way, or by a return after a life as a member of its own."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, sys.stderr.fileno())
        if way == "exit":
            sys.exit(ENDS[way])
        if way == "kernel":
            os._exit(ENDS[way])
        if way == "error":
            raise RuntimeError("a forked child's own error")
        if way == "own":
            asyncio.run(self._take_part())

    async def _take_part(self) -> None:
        """What it inherited does nothing in a child; a coordinator of its own works like any other."""
        await self._coordinator.stop()
        own = PartitionCoordinator(
            self._options.url.removesuffix(NAMESPACE) + CHILDREN, session_timeout=3.0, connect_timeout=0.5
        )
        with suppress(PartitionError, TimeoutError):  # the network may be down
            async with asyncio.timeout(CHILDHOOD / 2), own:
                await own.extract_my_subset(f"child-{os.getpid()}", KEYS)

    async def _watch_child(self, child: int, way: str) -> None:
        until = now() + CHILDHOOD
        while (status := ended(child)) is None:
            if now() > until:
                os.kill(child, signal.SIGKILL)
            await asyncio.sleep(LISTENING)
        code = os.waitstatus_to_exitcode(status)
        if code != ENDS[way]:
            self._journal.write("error", name="child", text=f"forked to end by {way!r}, ended with {code}")

    def _work_ended(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and (error := work.exception()):
            self._journal.write("error", name=type(error).__name__, text=repr(error))


async def main() -> None:
    """Take part until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--id", required=True)
    parser.add_argument("--process", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--weight", type=int, required=True)
    parser.add_argument("--session-timeout", type=float, required=True)
    parser.add_argument("--heartbeat", type=float, required=True)
    parser.add_argument("--mutation", choices=MUTATIONS)
    options = parser.parse_args()

    if options.mutation:
        MUTATIONS[options.mutation]()
    journal = Journal(options.journal)
    logger = logging.getLogger("aiopartition")
    logger.setLevel(logging.INFO)
    logger.addHandler(JournalHandler(journal))
    coordinator = PartitionCoordinator(
        options.url,
        member_id=options.id,
        session_timeout=options.session_timeout,
        heartbeat=options.heartbeat,
        connect_timeout=0.5,
        metadata={"process": options.process},
    )
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: journal.write("error", name="unheard", text=repr(context)))
    journal.write("running")
    workload = WORKLOADS[options.workload](coordinator, journal)
    await Program(options, coordinator, workload, journal).run()


if __name__ == "__main__":
    asyncio.run(main())
