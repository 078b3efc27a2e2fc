"""A member in a process of its own: how it is started, told what to do, and ended, and what it has written down."""

import asyncio
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.journal import JournalReader

REPOSITORY = Path(__file__).parents[2]
LISTENING = 0.01
"""Seconds from one look at the input to the next."""


class MemberProcess(ABC):
    """One process, from its start to its end. It is never started again: that is another process.

    :param path: of its journal.
    """

    def __init__(self, member_id: str, path: Path) -> None:
        self.member_id = member_id
        self.path = path
        self.frozen = False
        """Whether :meth:`freeze` stopped it."""
        self._reader = JournalReader(path)
        self._process: Process | None = None

    async def launch(self, program: str, *arguments: object) -> None:
        """Start a module as a program, and wait for nothing."""
        self._process = await asyncio.create_subprocess_exec(
            # As with the servers: the kernel kills it when the process that started it ends.
            *("setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", program, *map(str, arguments)),
            stdin=PIPE,
            cwd=REPOSITORY,
        )

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def say(self, word: str) -> None:
        """One line of input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        if self.alive:
            self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    async def kill(self) -> float:
        """SIGKILL, if it is alive; when, by :func:`time.monotonic`."""
        moment = time.monotonic()
        if self.alive:
            self.process.kill()
        await self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        return moment

    def read(self) -> None:
        """Take in what it has written."""
        for line in self._reader.lines():
            self._note(**line)

    @abstractmethod
    def _note(self, kind: str, at: float, **facts: Any) -> None:
        """One line of its journal."""


# In the process itself


async def words() -> AsyncIterator[tuple[str, str]]:
    """Each line of input, as a word and what follows it; ``stop`` at its end.

    Looked for, not waited for: what a forked child inherits of an event loop that reads could end the reading here too.
    """
    os.set_blocking(0, False)
    rest = ""
    while True:
        try:
            read = os.read(0, 4096).decode() or "stop\n"
        except BlockingIOError:
            await asyncio.sleep(LISTENING)
            continue
        *lines, rest = (rest + read).split("\n")
        for line in lines:
            word, _, detail = line.partition(" ")
            yield word, detail
            await asyncio.sleep(LISTENING)  # what is told in one go must not keep the work from its turn
