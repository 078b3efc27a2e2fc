"""The files of a folder, and what they contain."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["checksum", "list_files"]


def checksum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"


def list_files(folder: Path, limit: int) -> list[str]:
    """Return the names of files below ``folder``. They are keys, so they do not depend on where it is mounted."""

    def walk() -> Iterator[str]:
        for place, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
            paths = (Path(place, name) for name in sorted(names))
            yield from (path.relative_to(folder).as_posix() for path in paths if path.is_file())

    return list(itertools.islice(walk(), limit))
