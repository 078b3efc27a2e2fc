"""Starts, stops and kills the members of an example: tasks of this process, or processes of their own."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from typing import Any, TypeAlias

from aiopartition import ConfigurationError, PartitionCoordinator, PartitionError, stop_on_signal

__all__ = ["Live", "MemberError", "Members", "Report", "run"]

Report: TypeAlias = dict[str, Any]
Live: TypeAlias = Callable[[str, Callable[[Report], None]], Coroutine[Any, Any, None]]
"""What a member does until it is cancelled. It is called with the member's name and a function for its reports."""

log = logging.getLogger("aiopartition.examples")


class MemberError(Exception):
    """A member has ended by itself."""


class Members:
    """The members of an example, by name.

    With ``processes`` each is a process, which runs this program again with ``--member NAME`` and ``arguments``, and
    prints its reports in lines of JSON.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        live: Live,
        receive: Callable[[Report], None],
        *,
        processes: bool,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self._tasks = tasks
        self._live = live
        self._receive = receive
        self._with_processes = processes
        self._arguments = arguments
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    @property
    def names(self) -> set[str]:
        """The members that were started, and neither stopped nor killed."""
        return set(self._lives)

    def start(self, name: str) -> None:
        life = self._attend(name) if self._with_processes else self._live(name, self._receive)
        self._lives[name] = self._tasks.create_task(life)

    def stop(self, name: str) -> None:
        """Stop a member in good order: it leaves its groups, and the others take over at once."""
        self._lives.pop(name).cancel()

    def kill(self, name: str) -> None:
        """Kill a process with SIGKILL. A task can only be stopped."""
        life = self._lives.pop(name)
        if process := self._processes.get(name):
            process.kill()
        else:
            life.cancel()

    async def _attend(self, name: str) -> None:
        """Run a member in a process of its own, and read its reports."""
        process = self._processes[name] = await asyncio.create_subprocess_exec(
            *(sys.executable, *sys.argv, "--member", name, *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**26,  # a report is one line, however long
            start_new_session=True,  # only the parent receives Ctrl-C, and it ends the members
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                if line.startswith(b"{"):
                    self._receive(json.loads(line))
                else:
                    log.warning("%s: %s", name, line.decode(errors="replace").rstrip())
        finally:
            process.stdin.close()
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 5.0)
            finally:
                if process.returncode is None:
                    process.kill()
        if name in self._lives:
            raise MemberError(f"{name} has ended by itself")


async def _be_member(name: str, live: Live) -> None:
    """Be a member in a process of its own, until its input ends. That also happens when the parent dies."""

    def report(facts: Report) -> None:
        print(json.dumps(facts), flush=True)

    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with closing(transport):
        async with stop_on_signal(), asyncio.TaskGroup() as tasks:
            life = tasks.create_task(live(name, report))
            await reader.read()
            life.cancel()


def run(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    live: Live,
    show: Callable[[], Coroutine[Any, Any, bool]],
) -> int:
    """Run the example, or with ``--member`` one member of it. Return the exit code."""
    try:
        PartitionCoordinator(options.url)
    except ConfigurationError as error:
        parser.error(str(error))
    try:
        if options.member:
            asyncio.run(_be_member(options.member, live))
            return 0
        return 0 if asyncio.run(show()) else 1
    except ExceptionGroup as errors:
        expected, others = errors.split((MemberError, PartitionError))
        if others or not expected:
            raise
        first: Exception = expected
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        print(first, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
