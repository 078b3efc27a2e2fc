"""What a process writes down of its own doings, and how it is read elsewhere.

A file of JSON lines: writing never waits for a reader, and what was written outlives a SIGKILL.
"""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiopartition.clock import Clock, now


class Journal:
    """The writer's end.

    :param clock: one that all processes of a machine share.
    """

    def __init__(self, path: Path, clock: Clock = now) -> None:
        self._file = path.open("ab", buffering=0)
        self._clock = clock
        self._owner = os.getpid()

    def write(self, kind: str, **facts: object) -> None:
        """One line, in one piece; nothing from a forked child, whose doings are not the member's."""
        if os.getpid() == self._owner:
            self._file.write((json.dumps({"kind": kind, "at": self._clock(), **facts}) + "\n").encode())

    def close(self) -> None:
        self._file.close()


class JournalHandler(logging.Handler):
    """Writes down what the library says."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.INFO)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        self._journal.write("log", level=record.levelname, text=record.getMessage())


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
