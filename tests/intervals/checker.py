"""What the journals say: who worked on what from when to when, and whether anybody else did meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Checker", "Interval", "overlaps"]


@dataclass(slots=True)
class Interval:
    """One piece of work, in nanoseconds of the machine's monotonic clock. ``ended`` is ``None`` while it goes on."""

    resource: str
    process: str
    began: int
    ended: int | None = None


@dataclass
class _Journal:
    path: Path
    offset: int = 0
    beat: int = 0
    dead: bool = False
    open: dict[str, Interval] = field(default_factory=dict[str, Interval])


class Checker:
    """Reads the journals of all processes."""

    def __init__(self) -> None:
        self.intervals: list[Interval] = []
        self._journals: dict[str, _Journal] = {}

    def add(self, process: str, path: Path) -> None:
        self._journals[process] = _Journal(path)

    def killed(self, process: str) -> None:
        """It has been killed: what it had open ended with its last sign of life."""
        self.read()
        journal = self._journals[process]
        for interval in journal.open.values():
            interval.ended = max(journal.beat, interval.began)
        journal.open.clear()
        journal.dead = True

    def read(self) -> None:
        """Take in what was written since."""
        for process, journal in self._journals.items():
            if not journal.dead and journal.path.exists():
                self._read(process, journal)

    def working(self) -> dict[str, list[str]]:
        """By resource, the processes that work on it now."""
        self.read()
        working: dict[str, list[str]] = {}
        for process, journal in self._journals.items():
            for resource in journal.open:
                working.setdefault(resource, []).append(process)
        return working

    def _read(self, process: str, journal: _Journal) -> None:
        with journal.path.open("rb") as file:
            file.seek(journal.offset)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        journal.offset += len(text)
        for line in text.decode().splitlines():
            kind, at, resource = line.split()
            journal.beat = int(at)
            if kind == "start":
                assert resource not in journal.open, f"{process} works twice on {resource}"
                interval = journal.open[resource] = Interval(resource, process, int(at))
                self.intervals.append(interval)
            elif kind == "stop":
                journal.open.pop(resource).ended = int(at)


def overlaps(intervals: list[Interval]) -> list[str]:
    """Each pair of intervals of one resource that overlap, in words."""
    found: list[str] = []
    by_resource: dict[str, list[Interval]] = {}
    for interval in intervals:
        by_resource.setdefault(interval.resource, []).append(interval)
    for resource, ours in by_resource.items():
        ours.sort(key=lambda interval: interval.began)
        latest = ours[0]
        for interval in ours[1:]:
            end = time.monotonic_ns() if latest.ended is None else latest.ended
            if interval.began < end:
                found.append(
                    f"{resource}: {interval.process} began {(end - interval.began) / 1e6:.1f} ms "
                    f"before {latest.process} ended"
                )
            if interval.ended is None or interval.ended > end:
                latest = interval
    return found
