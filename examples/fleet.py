"""A fleet of members shares the files below a folder. One member is killed, and later another one joins.

python examples/fleet.py                                    members are tasks of this process
python examples/fleet.py zookeeper://localhost/fleet        members are processes, and one dies by kill -9
python examples/fleet.py --agents 8 --path ~ --files 5000

Each member repeatedly checksums the files that it holds, and no others. In the picture, each digit stands for a file
and is the number of the member that holds it. Once all members know of the last change, exactly one member holds each
file, and only the files that had to move have moved.

A killed process cannot leave the group. No member holds its files until its session expires, after two seconds here,
and the picture shows this. On memory:// there is no process to kill: the example cancels the member's task, its
coordinator leaves the group, and the other members take over at once.

The exit code is 0 if in the end exactly one member held and checksummed each file.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import logging
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import TypeAlias

from aiopartition import (
    ConfigurationError,
    GroupPolicy,
    PartitionCoordinator,
    PartitionError,
    finish_in_thread,
    stop_on_signal,
)

GROUP = "files"
SESSION_TIMEOUT = 2.0
REST = 1.0  # seconds that a member pauses after it has checksummed its files
PATIENCE = 30.0  # seconds until the picture must be whole again

log = logging.getLogger("aiopartition.fleet")

# ---- a member: all the code that uses the library


@dataclass(frozen=True)
class Holding:
    """A member holds these files at this generation. None: its ownership is unknown, so it holds nothing."""

    agent: str
    generation: int | None
    files: list[str]
    session_timeout: float


@dataclass(frozen=True)
class Checksum:
    """A member has checksummed a file that it held at this generation."""

    agent: str
    generation: int | None
    file: str
    digest: str


Report: TypeAlias = Holding | Checksum


async def agent(name: str, url: str, folder: Path, files: Sequence[str], report: Callable[[Report], None]) -> None:
    """Be a member of the fleet until cancelled. Every member is given all files and selects its own."""
    generation: int | None = None

    async def work() -> None:
        while True:
            async for file in coordinator.my_subset(GROUP, files):
                held_at = generation
                # In a thread: a member whose event loop is blocked cannot renew its lease.
                digest = await finish_in_thread(checksum, folder / file)
                report(Checksum(name, held_at, file, digest))
            await asyncio.sleep(REST)

    async with (
        PartitionCoordinator(url, member_id=name, session_timeout=SESSION_TIMEOUT) as coordinator,
        asyncio.TaskGroup() as tasks,
    ):
        # Whoever gives no policy takes that of the group. These files are to have one owner each, or the agent fails.
        await coordinator.join_group(GROUP, policy=GroupPolicy())
        tasks.create_task(work())
        async for change in coordinator.changes(GROUP):
            generation = change.view.generation if change.view else None
            mine = change.view.mine(files) if change.view else []
            report(Holding(name, generation, mine, coordinator.session_timeout))


def checksum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"


def list_files(folder: Path, limit: int) -> list[str]:
    """The names of files below ``folder``. They are keys, so they must not depend on where it is mounted."""

    def walk() -> Iterator[str]:
        for place, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
            paths = (Path(place, name) for name in sorted(names))
            yield from (path.relative_to(folder).as_posix() for path in paths if path.is_file())

    return list(itertools.islice(walk(), limit))


# ---- a member in a process of its own


async def agent_process(name: str, url: str, folder: Path, files: Sequence[str]) -> None:
    """Report in lines of JSON until the input ends, which also happens when the parent dies."""

    def report(report: Report) -> None:
        print(json.dumps([type(report).__name__, asdict(report)]), flush=True)

    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with closing(transport):
        async with stop_on_signal(), asyncio.TaskGroup() as tasks:
            life = tasks.create_task(agent(name, url, folder, files, report))
            await reader.read()
            life.cancel()


def decode(line: bytes) -> Report:
    kind, facts = json.loads(line)
    return Holding(**facts) if kind == Holding.__name__ else Checksum(**facts)


# ---- the fleet


@dataclass
class Row:
    """The known state of one member."""

    number: int
    state: str = "joining"
    generation: int | None = None
    files: Sequence[str] = ()
    checksums: int = 0
    session_timeout: float = SESSION_TIMEOUT
    expires: float = 0.0  # the latest time at which the session of a killed member ends

    @property
    def name(self) -> str:
        return f"agent-{self.number}"


class FleetError(Exception):
    """The example cannot continue."""


class Fleet:
    """Runs the members and combines their reports."""

    def __init__(self, url: str, folder: Path, files: Sequence[str], tasks: asyncio.TaskGroup) -> None:
        self.url = url
        self.folder = folder
        self.files = files
        self.rows: dict[str, Row] = {}
        self.checked: dict[str, set[str]] = {}
        """The members that have checksummed each file at the newest generation."""
        self._holders: dict[str, list[int]] | None = None
        self._newest = -1
        self._tasks = tasks
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._changed = asyncio.Event()

    def launch(self) -> Row:
        row = Row(len(self.rows) + 1)
        self.rows[row.name] = row
        if self.url.startswith("memory:"):
            life = agent(row.name, self.url, self.folder, self.files, self.receive)
        else:
            life = self._attend(row)
        self._lives[row.name] = self._tasks.create_task(life)
        return row

    def kill(self, row: Row) -> None:
        if process := self._processes.get(row.name):
            process.kill()
            row.expires = monotonic() + row.session_timeout
        else:
            self._lives[row.name].cancel()
        row.state, row.generation, row.files = "killed", None, ()
        self._holders = None

    def disband(self) -> None:
        """Stop all members cleanly."""
        for life in self._lives.values():
            life.cancel()

    def receive(self, report: Report) -> None:
        row = self.rows[report.agent]
        if isinstance(report, Checksum):
            row.checksums += 1
            if report.generation == self._newest:
                self.checked.setdefault(report.file, set()).add(report.agent)
        elif row.state != "killed":  # a killed member may have sent reports that are read only now
            row.state = "unsure" if report.generation is None else "alive"
            row.generation, row.files, row.session_timeout = report.generation, report.files, report.session_timeout
            if report.generation is not None and report.generation > self._newest:
                self._newest = report.generation
                self.checked = {}
            self._holders = None
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    # ---- the facts in the picture

    @property
    def holders(self) -> dict[str, list[int]]:
        """Return the numbers of the members that report to hold each file."""
        if self._holders is None:
            self._holders = {}
            for row in self.rows.values():
                for file in row.files:
                    self._holders.setdefault(file, []).append(row.number)
        return self._holders

    @property
    def missing(self) -> int:
        """Return the number of files that no member holds."""
        return len(self.files) - len(self.holders)

    @property
    def doubled(self) -> int:
        """Return the number of files that several members hold."""
        return sum(len(numbers) > 1 for numbers in self.holders.values())

    def is_agreed(self) -> bool:
        """Return whether every live member knows of the last change."""
        return {row.generation for row in self.rows.values() if row.state != "killed"} == {self._newest}

    def is_whole(self) -> bool:
        return self.is_agreed() and self.missing == self.doubled == 0

    def is_checked(self) -> bool:
        """Return whether the present members have checksummed all their files."""
        return len(self.checked) == len(self.files)

    # ---- inside

    async def _attend(self, row: Row) -> None:
        """Run a member in a process of its own, and read its reports."""
        process = self._processes[row.name] = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, self.url, "--agent", row.name),
            *("--path", str(self.folder), "--files", str(len(self.files))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**26,  # one line holds the names of all its files
            start_new_session=True,  # only the parent receives Ctrl-C, and it ends the members
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                if line.startswith(b"["):
                    self.receive(decode(line))
                else:
                    log.warning("%s: %s", row.name, line.decode(errors="replace").rstrip())
        finally:
            process.stdin.close()
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 5.0)
            finally:
                if process.returncode is None:
                    process.kill()
        if row.state != "killed":
            raise FleetError(f"{row.name} has ended by itself")


# ---- the picture


class Screen(logging.Handler):
    """Draws the fleet: in place on a terminal, else one line per change. Log messages appear above the picture."""

    WIDTH = 78
    BAR = 18
    MAP_LINES = 4
    COLORS = (36, 33, 35, 32, 34)
    RED = 31

    def __init__(self, fleet: Fleet, agents: int) -> None:
        super().__init__()
        self._fleet = fleet
        self._started = monotonic()
        self._full_bar = 1.3 / (agents - 1)  # the share that a full bar stands for
        # As many files as there is room for, spread evenly over the list.
        signs = min(len(fleet.files), self.WIDTH * self.MAP_LINES)
        self._sample = [fleet.files[index * len(fleet.files) // signs] for index in range(signs)]
        terminal = shutil.get_terminal_size()
        fits = terminal.columns > self.WIDTH and terminal.lines > agents + self.MAP_LINES + 10
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
        yield f"{'agent':<10}{'state':<9}{'generation':>12}{'files':>8}   {bar}{'checksums':>10}"
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
        return "" if self._fleet.is_agreed() else "(agents are at different generations)"

    def _color(self, number: int) -> int:
        return self.COLORS[number % len(self.COLORS)]

    def _paint(self, text: str, color: int) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._live else text


# ---- what happens


async def show(url: str, folder: Path, files: Sequence[str], agents: int, pause: float) -> bool:
    """Return whether exactly one member held and checksummed each file in the end."""
    summary: list[str] = []
    before: dict[str, list[int]] = {}

    async def whole() -> str:
        nonlocal before
        began = monotonic()
        try:
            await asyncio.wait_for(fleet.until(fleet.is_whole), PATIENCE)
        except TimeoutError:
            raise FleetError(f"the picture is not whole after {PATIENCE:g} s") from None
        took = monotonic() - began
        moved = sum(before.get(file) != holder for file, holder in fleet.holders.items())
        before = fleet.holders
        screen.draw()
        return f"all files held after {took:.2f} s, {moved:,} moved"

    async with stop_on_signal(), asyncio.TaskGroup() as tasks:
        fleet = Fleet(url, folder, files, tasks)
        screen = Screen(fleet, agents)
        logging.getLogger("aiopartition").addHandler(screen)
        drawing = tasks.create_task(screen.keep_current())

        for _ in range(agents):
            fleet.launch()
        screen.draw(f"{agents} agents start")
        summary.append(f"{agents} agents started: {await whole()}")
        await asyncio.sleep(pause)

        victim = fleet.rows["agent-2"]
        held = len(victim.files)
        screen.draw(f"{victim.name} is killed")
        fleet.kill(victim)
        screen.draw()
        summary.append(f"{victim.name} killed:   {await whole()} (it had {held:,})")
        await asyncio.sleep(pause)

        joiner = fleet.launch()
        screen.draw(f"{joiner.name} starts")
        summary.append(f"{joiner.name} started:  {await whole()} (it has {len(joiner.files):,})")
        await asyncio.sleep(pause)

        while not fleet.is_checked():
            await whole()
            await fleet.until(lambda: fleet.is_checked() or not fleet.is_whole())
        went_well = fleet.is_whole()
        drawing.cancel()
        screen.draw()
        fleet.disband()

    once = sum(len(names) == 1 for names in fleet.checked.values())
    total = sum(row.checksums for row in fleet.rows.values())
    print("", *summary, sep="\n")
    print(f"{total:,} checksums; of the last fleet: {once:,} of {len(files):,} files by exactly one agent")
    return went_well and once == len(files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    parser.add_argument("--agents", type=int, default=4, metavar="N", help="at least 2 (default: %(default)s)")
    parser.add_argument("--files", type=int, default=2000, metavar="N", help="at most so many (default: %(default)s)")
    parser.add_argument("--path", type=Path, default=sysconfig.get_path("stdlib"), help="default: Python's library")
    parser.add_argument("--seconds", type=float, default=3.0, help="pause between events (default: %(default)g)")
    parser.add_argument("--agent", help=argparse.SUPPRESS)  # run a single member of this name
    options = parser.parse_args()
    try:
        PartitionCoordinator(options.url)
    except ConfigurationError as error:
        parser.error(str(error))
    files = list_files(options.path, options.files)
    if options.agents < 2 or not files:
        parser.error("at least 2 agents are needed" if files else f"no files below {options.path}")
    try:
        if options.agent:
            asyncio.run(agent_process(options.agent, options.url, options.path, files))
            return 0
        return 0 if asyncio.run(show(options.url, options.path, files, options.agents, options.seconds)) else 1
    except ExceptionGroup as errors:
        expected, others = errors.split((FleetError, PartitionError))
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


if __name__ == "__main__":
    sys.exit(main())
