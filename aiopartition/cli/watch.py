"""``aiopartition watch``: shows a group while it changes, as one screen on a terminal, otherwise in lines."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TextIO

from aiopartition.cli.balance import least_possible
from aiopartition.cli.report import policy_text
from aiopartition.cli.text import Block, Columns, bar, cell, encodable, percent, plain, seconds_text, width_of, write
from aiopartition.coordinator import PartitionCoordinator
from aiopartition.errors import BackendUnavailableError
from aiopartition.group.status import GroupStatus
from aiopartition.placement.view import Change
from aiopartition.settings import Settings
from aiopartition.signals import stop_on_signal

__all__ = ["ChangeLine", "screen", "watch"]

_INTERVAL: Final = 1.0
"""Seconds between two pictures of a group that does not change."""
_CHANGES: Final = 10
_BAR: Final = 30
_NAMES: Final = 5

_ENTER: Final = "\x1b[?1049h\x1b[?25l"
"""The terminal's other screen, without a cursor: what was on it comes back."""
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A change of the group.

    :ivar time: the local time of day.
    :ivar first: whether nothing was known before.
    :ivar moved: the share of slots or partitions that it moved.
    :ivar least: the least that it could have moved.
    """

    time: str
    generation: int | None
    members: int
    first: bool
    joined: tuple[str, ...]
    left: tuple[str, ...]
    moved: float
    least: float

    @classmethod
    def of(cls, change: Change, at: datetime) -> ChangeLine:
        before = {} if change.previous is None else change.previous.shares()
        after = {} if change.view is None else change.view.shares()
        least = least_possible(before, after) if before and after else 0.0
        generation = None if change.view is None else change.view.generation
        first = change.previous is None
        return cls(f"{at:%H:%M:%S}", generation, len(after), first, change.joined, change.left, change.moved, least)

    def __str__(self) -> str:
        if self.generation is None:
            return f"{self.time}  members unknown"
        if self.first:
            return f"{self.time}  generation {self.generation}: {self.members} members"
        who = [*(f"+{name}" for name in _few(self.joined)), *(f"-{name}" for name in _few(self.left))]
        what = " ".join(who) or "other weights"
        moved = f"moved {percent(self.moved)}, at least {percent(self.least)}"
        return f"{self.time}  generation {self.generation}: {what}; {moved}"


def _few(names: tuple[str, ...]) -> list[str]:
    more = [f"{len(names) - _NAMES} more"] if len(names) > _NAMES else []
    return [*map(cell, names[:_NAMES]), *more]


def screen(status: GroupStatus, changes: Iterable[ChangeLine], full: str = "█") -> list[Block]:
    """Return the picture of a group: its state, its members with their shares, its last changes.

    :param full: the character that bars are made of.
    """
    policy = "" if status.policy is None else f", {policy_text(status.policy)}"
    generation = "" if status.generation is None else f" at generation {status.generation}"
    blocks: list[Block] = [
        f"group {cell(status.group_id)}: {len(status.members)} members{generation}{policy}",
        f"{status.state} through {cell(status.server)}" + (f": {cell(status.reason)}" if status.reason else ""),
    ]
    if status.waiting_for:
        waited = f"{seconds_text(status.waiting)}" if status.waiting else "now"
        names = ", ".join(str(each) for each in status.waiting_for[:_NAMES])
        more = " ..." if len(status.waiting_for) > _NAMES else ""
        blocks.append(f"a handoff waits ({waited}) for {names}{more}")
    greatest = max(status.shares.values(), default=0.0)
    rows = tuple(
        (
            cell(member.id),
            str(member.weight) if member.weight else "0 (drained)",
            percent(status.shares.get(member.id, 0.0)),
            bar(status.shares.get(member.id, 0.0), greatest, _BAR, full),
        )
        for member in status.members
    )
    if rows:
        blocks += ["", Columns(("MEMBER", "WEIGHT", "SHARE", ""), rows, frozenset({1, 2}))]
    return [*blocks, "", "last changes:", *(f"  {line}" for line in changes)]


async def watch(settings: Settings, group_id: str, stream: TextIO) -> None:
    """Show a group until cancelled. If the connection is lost later, that is shown, and the command waits.

    :raises BackendUnavailableError: if there is no first connection in time.
    :raises PartitionError: if the group cannot be seen for a reason other than a missing connection.
    """
    coordinator = PartitionCoordinator(
        str(settings.url),
        heartbeat=settings.heartbeat,
        session_timeout=settings.session_timeout,
        connect_timeout=settings.connect_timeout,
        ssl=settings.ssl,
        auth=settings.auth,
    )
    async with stop_on_signal(signal.SIGTERM), coordinator:  # so that the terminal shows its own screen again
        if not coordinator.connected:
            raise BackendUnavailableError(f"no connection to {settings.url} in {settings.connect_timeout:g} s")
        await coordinator.observe(group_id)
        if stream.isatty():
            with _own_screen(stream):
                await _show_pictures(coordinator, group_id, stream)
        else:
            await _follow(coordinator, group_id, lambda line: _print(stream, str(line)))


async def _follow(coordinator: PartitionCoordinator, group_id: str, saw: Callable[[ChangeLine], None]) -> None:
    async for change in coordinator.changes(group_id):
        saw(ChangeLine.of(change, datetime.now()))


async def _show_pictures(coordinator: PartitionCoordinator, group_id: str, stream: TextIO) -> None:
    last: deque[ChangeLine] = deque(maxlen=_CHANGES)
    changed = asyncio.Event()

    def saw(line: ChangeLine) -> None:
        last.appendleft(line)
        changed.set()

    following = asyncio.create_task(_follow(coordinator, group_id, saw), name="changes")
    following.add_done_callback(lambda _: changed.set())
    try:
        while not following.done():
            changed.clear()
            _draw(stream, screen(coordinator.status(group_id), last, _full(stream)))
            try:
                async with asyncio.timeout(_INTERVAL):
                    await changed.wait()
            except TimeoutError:
                continue
        following.result()
    finally:
        following.cancel()
        await asyncio.wait({following})


@contextmanager
def _own_screen(stream: TextIO) -> Generator[None]:
    stream.write(_ENTER)
    try:
        yield
    finally:
        stream.write(_LEAVE)
        stream.flush()


def _draw(stream: TextIO, blocks: list[Block]) -> None:
    height = shutil.get_terminal_size().lines  # lines below this would make the screen scroll
    lines = [f"{encodable(line, stream)}{_REST_OF_LINE}" for line in plain(blocks, width_of(stream))]
    stream.write(_HOME + "\n".join(lines[:height]) + _REST_OF_SCREEN)
    stream.flush()


def _full(stream: TextIO) -> str:
    return "█" if encodable("█", stream) == "█" else "#"


def _print(stream: TextIO, line: str) -> None:
    write([line], stream)
    stream.flush()
