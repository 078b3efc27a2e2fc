"""Draws who holds which files: in place on a terminal, else one line for each change."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic

from shared.members import MemberError, Report

__all__ = ["Fleet", "Row", "Screen"]

PATIENCE = 30.0  # seconds until each file must have a holder again


@dataclass
class Row:
    """What is known of one member."""

    number: int
    state: str = "joining"
    generation: int | None = None
    files: Sequence[str] = ()
    checksums: int = 0
    session_timeout: float = 0.0
    expires: float = 0.0  # the latest time at which the session of a killed member ends

    @property
    def name(self) -> str:
        return f"member-{self.number}"


class Fleet:
    """What the members report: who holds which files, and who has checksummed them."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files
        self.rows: dict[str, Row] = {}
        self.checked: dict[str, set[str]] = {}
        """The members that have checksummed each file at the newest generation."""
        self._holders: dict[str, list[int]] | None = None
        self._newest = -1
        self._before: dict[str, list[int]] = {}
        self._changed = asyncio.Event()

    def add(self) -> Row:
        row = Row(len(self.rows) + 1)
        self.rows[row.name] = row
        return row

    def killed(self, row: Row, *, expires: bool) -> None:
        if expires:
            row.expires = monotonic() + row.session_timeout
        row.state, row.generation, row.files = "killed", None, ()
        self._holders = None

    def receive(self, report: Report) -> None:
        row = self.rows[report["member"]]
        generation = report["generation"]
        if "checksum" in report:
            row.checksums += 1
            if generation == self._newest:
                self.checked.setdefault(report["file"], set()).add(row.name)
        elif row.state != "killed":  # reports of a killed member may be read only now
            row.state = "unsure" if generation is None else "alive"
            row.generation, row.files, row.session_timeout = generation, report["files"], report["session_timeout"]
            if generation is not None and generation > self._newest:
                self._newest, self.checked = generation, {}
            self._holders = None
        self._changed.set()

    async def whole(self) -> str:
        """Wait until each file has one holder again, and tell what has moved since the last time."""
        began = monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._until(self.is_whole)
        except TimeoutError:
            raise MemberError(f"the picture is not whole after {PATIENCE:g} s") from None
        moved = sum(self._before.get(file) != holder for file, holder in self.holders.items())
        self._before = self.holders
        return f"all files held after {monotonic() - began:.2f} s, {moved:,} moved"

    async def checked_by_all(self) -> None:
        """Wait until the present members have checksummed all their files."""
        while not self.is_checked():
            await self.whole()
            await self._until(lambda: self.is_checked() or not self.is_whole())

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    @property
    def holders(self) -> dict[str, list[int]]:
        """The numbers of the members that report to hold each file."""
        if self._holders is None:
            self._holders = {}
            for row in self.rows.values():
                for file in row.files:
                    self._holders.setdefault(file, []).append(row.number)
        return self._holders

    @property
    def missing(self) -> int:
        """How many files no member holds."""
        return len(self.files) - len(self.holders)

    @property
    def doubled(self) -> int:
        """How many files several members hold."""
        return sum(len(numbers) > 1 for numbers in self.holders.values())

    def is_agreed(self) -> bool:
        """Return whether every live member knows of the last change."""
        return {row.generation for row in self.rows.values() if row.state != "killed"} == {self._newest}

    def is_whole(self) -> bool:
        return self.is_agreed() and self.missing == self.doubled == 0

    def is_checked(self) -> bool:
        return len(self.checked) == len(self.files)

    def result(self) -> tuple[bool, str]:
        """Return whether all is well, and what has been done."""
        once = sum(len(names) == 1 for names in self.checked.values())
        total = sum(row.checksums for row in self.rows.values())
        text = f"of the last fleet: {once:,} of {len(self.files):,} files by exactly one member"
        return self.is_whole() and once == len(self.files), f"{total:,} checksums; {text}"


class Screen(logging.Handler):
    """Draws a fleet. Log messages appear above the picture."""

    WIDTH = 78
    BAR = 18
    MAP_LINES = 4
    COLORS = (36, 33, 35, 32, 34)
    RED = 31

    def __init__(self, fleet: Fleet, size: int) -> None:
        super().__init__()
        self._fleet = fleet
        self._started = monotonic()
        self._full_bar = 1.3 / (size - 1)  # the share that a full bar stands for
        # As many files as there is room for, spread evenly over the list.
        signs = min(len(fleet.files), self.WIDTH * self.MAP_LINES)
        self._sample = [fleet.files[index * len(fleet.files) // signs] for index in range(signs)]
        terminal = shutil.get_terminal_size()
        fits = terminal.columns > self.WIDTH and terminal.lines > size + self.MAP_LINES + 10
        self._live = sys.stdout.isatty() and fits
        self._height = 0
        self._last_sum = ""

    async def keep_current(self) -> None:
        while True:
            self.draw()
            await asyncio.sleep(0.05)

    def emit(self, record: logging.LogRecord) -> None:
        self.draw(record.getMessage())

    def draw(self, event: str = "") -> None:
        """Draw the present state. ``event`` is a line that stays above the picture."""
        time = f"{monotonic() - self._started:6.2f} s  "
        lines = [time + event] if event else []
        if self._live:
            # Overwrite the old picture in one write: erasing it first would flicker.
            picture = ["", *self._table(), "", *self._map(), "", self._sum(), self._note()]
            back = f"\x1b[{self._height}A" if self._height else ""
            sys.stdout.write(back + "".join(f"{line}\x1b[K\n" for line in lines + picture))
            self._height = len(picture)
        else:
            if (total := self._sum()) != self._last_sum:
                self._last_sum = total
                lines.append(f"{time}{total} {self._note()}".rstrip())
                lines += self._table() if self._fleet.is_whole() else ()
            sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()

    def _table(self) -> Iterator[str]:
        bar = f"{'share':<{self.BAR + 8}}"
        yield f"{'member':<10}{'state':<9}{'generation':>12}{'files':>8}   {bar}{'checksums':>10}"
        for row in self._fleet.rows.values():
            share = len(row.files) / len(self._fleet.files)
            name = self._paint(f"{row.name:<10}", self._color(row.number))
            state = self._paint(f"{row.state:<9}", self.RED if row.state == "killed" else 0)
            generation = "-" if row.generation is None else str(row.generation)
            bar = self._paint(self._bar(share / self._full_bar), self._color(row.number))
            yield f"{name}{state}{generation:>12}{len(row.files):>8,}   {bar}{share:>7.1%} {row.checksums:>10,}"

    def _bar(self, length: float) -> str:
        eighths = round(min(1.0, length) * self.BAR * 8)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8] if self._live else "#" * (eighths // 8)
        return f"{bar:<{self.BAR}.{self.BAR}}"

    def _map(self) -> Iterator[str]:
        signs = [self._sign(self._fleet.holders.get(file, [])) for file in self._sample]
        for start in range(0, len(signs), self.WIDTH):
            yield "".join(signs[start : start + self.WIDTH])

    def _sign(self, holders: list[int]) -> str:
        """Return the character that shows which member holds a file."""
        if len(holders) != 1:
            return self._paint("+" if holders else "·", self.RED)
        return self._paint("0123456789abcdefghijklmnopqrstuvwxyz"[holders[0] % 36], self._color(holders[0]))

    def _sum(self) -> str:
        fleet = self._fleet
        total = f"{len(fleet.holders):,} of {len(fleet.files):,} files held"
        text = f"{total}, {fleet.doubled:,} held twice, {fleet.missing:,} held by nobody"
        return self._paint(text, 32 if fleet.is_whole() else self.RED)

    def _note(self) -> str:
        """Return why the picture is incomplete."""
        for row in self._fleet.rows.values():
            if self._fleet.missing and (left := row.expires - monotonic()) > 0:
                return f"(session of {row.name} expires within {left:.1f} s)"
            if row.state == "joining":
                return f"({row.name} is joining)"
        return "" if self._fleet.is_agreed() else "(members are at different generations)"

    def _color(self, number: int) -> int:
        return self.COLORS[number % len(self.COLORS)]

    def _paint(self, text: str, color: int) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._live else text
