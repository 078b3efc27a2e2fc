"""A member whose process forks, in a process of its own.

``python -m tests.support.forking URL WAY END`` takes part in a group, forks in some way, lets the child try what it can
with what it inherited and end in some way, and then sees whether it still takes part itself. It prints two lines of
JSON: what the child found, and what the parent found afterwards. The log of both goes to the standard error.
"""

import argparse
import asyncio
import inspect
import json
import logging
import multiprocessing
import os
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvloop

from aiopartition import GroupPolicy, NotStartedError, PartitionCoordinator
from aiopartition.backends.zookeeper.backend import ZooKeeperBackend
from tests.support.joining import enter
from tests.support.split import is_split_among
from tests.support.waiting import wait_until

GROUP = "forked"
KEYS = [f"key-{number}" for number in range(200)]
EXIT_CODE = 7
EXCLUSIVE = GroupPolicy(exclusive=True)
HEARTBEAT = 0.25
ENDS = ("exit", "error", "return")


class ChildError(Exception):
    """The child's own."""


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    child: dict[str, Any]
    parent: dict[str, Any]
    log: str


async def fork(url: str, way: str, end: str, *options: str) -> Outcome:
    """Run the program, and return what it tells."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.forking", url, way, end, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, log = await process.communicate()
    assert process.returncode == 0, log.decode()
    told = {line["who"]: line for line in map(json.loads, output.splitlines())}
    return Outcome(told["child"], told["parent"], log.decode())


# The program


def tell(who: str, **facts: object) -> None:
    """One line, written at once: a child may end without flushing anything."""
    os.write(1, json.dumps({"who": who, "pid": os.getpid(), **facts}).encode() + b"\n")


def outcome(call: Callable[[], object]) -> str:
    """What a call ends with before it ever waits."""
    try:
        begun = call()
        if inspect.isawaitable(begun):
            begun.__await__().send(None)
    except StopIteration:
        return "returned"
    except NotStartedError as refusal:
        return f"refused: {refusal}"
    except BaseException as error:
        return repr(error)
    return "went on"


class Parent:
    """A member with all that can be open when it forks."""

    def __init__(self, url: str, context: ssl.SSLContext | None, busy: float) -> None:
        self.url = url
        self.busy = busy
        self.pid = os.getpid()
        self.context = context
        self.coordinator = self.member("parent")
        self.open: dict[str, Any] = {}
        self.worked: list[int] = []

    def member(self, member_id: str) -> PartitionCoordinator:
        return PartitionCoordinator(
            self.url, member_id=member_id, session_timeout=2.0, heartbeat=HEARTBEAT, ssl=self.context
        )

    async def work(self, key: str) -> None:
        self.worked.append(os.getpid())
        await asyncio.Event().wait()

    @asynccontextmanager
    async def everything_open(self) -> AsyncIterator[None]:
        """Iterators, a hold and a run."""
        coordinator = self.coordinator
        await wait_until(self.all_is_mine)
        running = asyncio.create_task(coordinator.run(GROUP, KEYS, self.work))
        try:
            async with (
                aclosing(coordinator.my_subset(GROUP, KEYS)) as mine,
                aclosing(coordinator.changes(GROUP)) as changes,
                coordinator.hold(GROUP),
            ):
                await anext(mine)
                await anext(changes)
                await wait_until(lambda: len(self.worked) == len(KEYS))
                self.open = {"my_subset iteration": mine, "changes iteration": changes}
                yield
        finally:
            if os.getpid() == self.pid:  # in a child asyncio cannot wait for anything in the loop that it inherited
                running.cancel()
                await asyncio.wait({running})

    def in_child(self, end: str) -> None:
        """All that a child may try with what it inherited; then it ends."""
        calls: dict[str, Callable[[], object]] = {
            "join_group": lambda: self.coordinator.join_group("other"),
            "leave_group": lambda: self.coordinator.leave_group(GROUP),
            "heartbeat": self.coordinator.heartbeat,
            "view": lambda: self.coordinator.view(GROUP),
            "get_members": lambda: self.coordinator.get_members(GROUP),
            "status": lambda: self.coordinator.status(GROUP),
            "extract_my_subset": lambda: self.coordinator.extract_my_subset(GROUP, KEYS),
            "my_subset": lambda: self.coordinator.my_subset(GROUP, KEYS),
            "run": lambda: self.coordinator.run(GROUP, KEYS, self.work),
            "hold": lambda: self.coordinator.hold(GROUP),
            "changes": lambda: self.coordinator.changes(GROUP),
            "start": self.coordinator.start,
            "stop": self.coordinator.stop,
        } | {name: iteration.__anext__ for name, iteration in self.open.items()}
        found = {name: outcome(call) for name, call in calls.items()}
        own = asyncio.run(self.on_its_own()) if arguments.own else []
        workers = len(self.worked)
        time.sleep(self.busy)  # at work, while whatever was due in the event loop that it inherited comes due
        tell(
            "child",
            found=found,
            connected=self.coordinator.connected,
            groups=self.coordinator.groups,
            started=len(self.worked) - workers,
            own=own,
        )
        if end == "exit":
            sys.exit(EXIT_CODE)
        if end == "error":
            raise ChildError("the child's own error")

    async def on_its_own(self) -> list[str]:
        """The members that a coordinator of the child's own finds in a group that it shares with the parent."""
        async with self.member("child") as coordinator:
            await enter(coordinator, GROUP, policy=EXCLUSIVE)  # the parent, which waits for us, hands nothing over
            return list(await coordinator.get_members(GROUP))

    def session(self) -> int:
        backend = self.coordinator._registry.backend
        return backend._session.session_id if isinstance(backend, ZooKeeperBackend) else 0

    async def after(self, code: int, before: int) -> None:
        """Whether the parent lives on, and still reacts."""
        await wait_until(self.all_is_mine)
        until = time.monotonic() + 4 * HEARTBEAT  # nothing is waited for: things have time to go wrong
        whole = True
        while time.monotonic() < until:
            whole = whole and await self.all_is_mine()
            await asyncio.sleep(0.01)
        other = self.member("other")
        async with other:
            await other.join_group(GROUP, policy=EXCLUSIVE)
            # Its hold() is given back only by us, and so are the items of the iteration.
            await wait_until(lambda: self.shared_with(other))
        tell("parent", code=code, whole=whole, same_session=self.session() == before, shared=True)

    async def all_is_mine(self) -> bool:
        return await self.coordinator.extract_my_subset(GROUP, KEYS) == KEYS

    async def shared_with(self, other: PartitionCoordinator) -> bool:
        return await is_split_among([self.coordinator, other], GROUP, KEYS)


async def ended(pid: int) -> int:
    """Wait for a child; its exit code."""

    def code() -> list[int]:
        found, status = os.waitpid(pid, os.WNOHANG)
        return [os.waitstatus_to_exitcode(status)] if found else []

    return (await wait_until(code, timeout=20.0))[0]


async def main(parent: Parent, way: str, end: str) -> None:
    async with parent.coordinator:
        await parent.coordinator.join_group(GROUP, policy=EXCLUSIVE)
        before = parent.session()
        async with parent.everything_open():
            pid = await FORKS[way](parent, end)
            if not pid:
                return
            code = await ended(pid)
        await parent.after(code, before)


async def fork_in_coroutine(parent: Parent, end: str) -> int:
    pid = os.fork()
    if not pid:
        parent.in_child(end)
    return pid


async def fork_in_callback(parent: Parent, end: str) -> int:
    loop = asyncio.get_running_loop()
    forked: asyncio.Future[int] = loop.create_future()

    def callback() -> None:
        pid = os.fork()
        if not pid:
            parent.in_child(end)
        forked.set_result(pid)

    loop.call_soon(callback)
    return await forked


async def fork_in_thread(parent: Parent, end: str) -> int:
    pids: list[int] = []

    def thread() -> None:
        pid = os.fork()
        if not pid:
            parent.in_child(end)  # the only thread of the child, which ends with it
        else:
            pids.append(pid)

    threading.Thread(target=thread).start()
    await wait_until(lambda: pids)
    return pids[0]


async def fork_on_change(parent: Parent, end: str) -> int:
    """At the moment at which much else has been woken too."""
    async with parent.member("passer-by") as other:
        joining = asyncio.create_task(other.join_group(GROUP, policy=EXCLUSIVE))
        pid = 0
        async for change in parent.coordinator.changes(GROUP):
            if change.joined == ("passer-by",):
                pid = await fork_in_coroutine(parent, end)
                break
        if pid:
            joining.cancel()  # it would wait for what we hold
            await asyncio.wait({joining})
    return pid


async def fork_by_multiprocessing(parent: Parent, end: str) -> int:
    process = multiprocessing.get_context("fork").Process(target=parent.in_child, args=(end,))
    process.start()
    assert process.pid is not None
    return process.pid


FORKS = {
    "coroutine": fork_in_coroutine,
    "callback": fork_in_callback,
    "thread": fork_in_thread,
    "change": fork_on_change,
    "multiprocessing": fork_by_multiprocessing,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("way", choices=FORKS)
    parser.add_argument("end", choices=ENDS)
    parser.add_argument("--authority")
    parser.add_argument("--certificate")
    parser.add_argument("--busy", type=float, default=0.6)
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(name)s %(message)s")
    context = None
    if arguments.authority:
        context = ssl.create_default_context(cafile=arguments.authority)
        context.load_cert_chain(arguments.certificate)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if arguments.uvloop else None) as runner:
        runner.run(main(Parent(arguments.url, context, arguments.busy), arguments.way, arguments.end))
