"""What a process writes down of its own doings, and how it is read elsewhere.

A file of JSON lines: writing never waits for a reader, and what was written outlives a SIGKILL. Times are those of
:data:`aiopartition.clock.now`, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiopartition.clock import now

__all__ = ["STILL", "Journal", "JournalReader", "Sighting", "Track"]

STILL = 0.05
"""Seconds after which it is written down that nothing has changed: what a SIGKILL may hide."""


@dataclass(slots=True)
class Sighting:
    """What a member handed out by one view, at each of several moments, one after the other."""

    way: str
    """By which call: ``list``, ``stream`` or ``work``. A list is a whole share, a stream's items come one by one. Work
    is what was under way, and may be that of another generation while it ends."""
    generation: int | None
    """None: this member could not say what it owned."""
    mine: int
    """The keys: one bit for each, the first key the lowest."""
    first: float
    """When the first hand-out was over."""
    last: float
    """When the last one was asked for. Ownership and lease were looked at after this moment."""
    times: int = 1
    """How many hand-outs these are."""
    judged: int = 0
    """How many of them were judged before."""


class Journal:
    """The writer's end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._owner = os.getpid()

    def write(self, kind: str, **facts: object) -> None:
        """One line, in one piece; nothing from a forked child, whose doings are not the member's."""
        if os.getpid() == self._owner:
            self._file.write((json.dumps({"kind": kind, "at": now(), **facts}) + "\n").encode())

    def close(self) -> None:
        self._file.close()


class JournalReader:
    """The reader's end: each line once."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._path = path
        self._position = 0
        self._rest = b""

    def lines(self) -> Iterator[dict[str, Any]]:
        """What has been written since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            written = file.read()
        self._position += len(written)
        *lines, self._rest = (self._rest + written).split(b"\n")
        yield from map(json.loads, lines)


class Track:
    """Writes down what is handed out in one way, many times a second, in as few lines as it takes."""

    def __init__(self, journal: Journal, way: str, *, whole: bool, still: float = STILL) -> None:
        self._journal = journal
        self._way = way
        self._whole = whole
        self._still = still
        self._current: Sighting | None = None
        self._written = 0.0

    def saw(self, generation: int | None, mine: int, asked: float) -> None:
        """A hand-out that was asked for at ``asked`` and is over now."""
        current = self._current
        if current is not None and current.generation == generation and (current.mine == mine or not self._whole):
            current.mine |= mine
            current.last = asked
            current.times += 1
            if asked - self._written < self._still:
                return
        else:
            if current is not None:
                self._write(current)
            self._current = current = Sighting(self._way, generation, mine, now(), asked)
        self._write(current)
        self._written = asked

    def _write(self, sighting: Sighting) -> None:
        self._journal.write(
            "saw",
            way=sighting.way,
            generation=sighting.generation,
            mine=f"{sighting.mine:x}",
            first=sighting.first,
            last=sighting.last,
            times=sighting.times,
        )
