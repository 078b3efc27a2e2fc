"""What a test leaves behind in its process."""

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from typing import Any

# A transport that was told to close gives its socket up in the next turn of the loop, TLS ones a little later.
TURNS_TO_CLOSE = 5


class LeakCheck:
    """Compares tasks and sockets before and after, and keeps the errors that reach nobody but the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._errors: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sockets: dict[str, int] = {}
        self._handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None

    def begin(self) -> None:
        """Note what is there already."""
        self._handler = self._loop.get_exception_handler()
        self._loop.set_exception_handler(lambda _, context: self._errors.append(context))
        self._tasks = tasks_of(self._loop)
        self._sockets = open_sockets()

    async def end(self) -> None:
        """Fail if anything more is there now."""
        for _ in range(TURNS_TO_CLOSE):
            await asyncio.sleep(0)
        gc.collect()  # a task that failed unheard says so when it is collected
        self._loop.set_exception_handler(self._handler)
        leaks = [
            *(f"a task: {task!r}" for task in tasks_of(self._loop) - self._tasks),
            *(
                f"a socket: {describe_socket(descriptor)}"
                for inode, descriptor in open_sockets().items()
                if inode not in self._sockets
            ),
            *(f"an error that nobody looked at: {describe_error(context)}" for context in self._errors),
        ]
        if leaks:
            raise AssertionError("the test left behind " + "\nand ".join(leaks))


def tasks_of(loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[Any]]:
    """All tasks but those in which anyio's runner waits for the step of the test that is being made."""
    return {task for task in asyncio.all_tasks(loop) if not _is_runner(task)}


def _is_runner(task: asyncio.Task[Any]) -> bool:
    return str(getattr(task.get_coro(), "__qualname__", "")).startswith("TestRunner.")


def open_sockets() -> dict[str, int]:
    """This process's sockets: what tells each from every other, and its descriptor."""
    sockets = {}
    for entry in os.scandir("/proc/self/fd"):
        try:
            target = os.readlink(entry.path)
        except FileNotFoundError:  # the descriptor of this very listing
            continue
        if target.startswith("socket:"):
            sockets[target] = int(entry.name)
    return sockets


def describe_socket(descriptor: int) -> str:
    """Both ends of a socket, so that the text of a failure tells whose it is."""
    with socket.socket(fileno=os.dup(descriptor)) as twin:
        try:
            return f"{twin.getsockname()} connected to {twin.getpeername()}"
        except OSError:
            return f"{twin.getsockname()}"


def describe_error(context: dict[str, Any]) -> str:
    """What the event loop was told."""
    return ", ".join(f"{name} {value!r}" for name, value in context.items())
