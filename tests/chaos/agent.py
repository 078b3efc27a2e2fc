"""A member's own process: ``python -m tests.chaos.agent --help``.

It takes part, does its workload, and writes everything into its journal. Lines of input tell it what to do: ``leave``
and ``join`` the group, ``report`` what it uses, ``stop``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
from asyncio import StreamReader
from pathlib import Path
from typing import cast

from aiopartition import MemberSupersededError, NotStartedError, PartitionCoordinator, PartitionError
from aiopartition.backends.zookeeper.backend import ZooKeeperBackend
from tests.chaos.journal import Journal
from tests.chaos.mutations import MUTATIONS
from tests.chaos.workloads import GROUP, WORKLOADS, Workload

COMING_AND_GOING = ("aiopartition beat", "aiopartition worker")
"""Begin the names of tasks that last as long as a heartbeat is answered, or a key is worked on."""
AFTERMATH = 0.15
"""Seconds for which it is still watched after it has stopped its coordinator."""


class JournalHandler(logging.Handler):
    """Writes down what the library says."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.INFO)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        self._journal.write("log", level=record.levelname, text=record.getMessage())


class Agent:
    """What the process is told to do, done."""

    def __init__(self, coordinator: PartitionCoordinator, workload: Workload, weight: int, journal: Journal) -> None:
        self._coordinator = coordinator
        self._workload = workload
        self._weight = weight
        self._journal = journal
        self._work: asyncio.Task[None] | None = None

    async def run(self, words: StreamReader) -> None:
        await self._coordinator.start()
        await self.join()
        while (word := (await words.readline()).decode().strip()) != "stop" and word:
            await {"leave": self.leave, "join": self.join, "report": self.report}[word]()
        self._journal.write("stopping")
        await self._coordinator.stop()
        self._journal.write("stopped")
        if self._work is not None:
            await asyncio.wait({self._work}, timeout=AFTERMATH)
            self._work.cancel()

    async def join(self) -> None:
        try:
            await self._coordinator.join_group(GROUP, weight=self._weight, policy=self._workload.policy)
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
    words = StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    await Agent(coordinator, WORKLOADS[options.workload](coordinator, journal), options.weight, journal).run(words)


if __name__ == "__main__":
    asyncio.run(main())
