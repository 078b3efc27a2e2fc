"""Shows results: as aligned plain text, or with tables of rich, on a terminal where rich is installed.

Text from outside is shown in one line of printable characters, by :mod:`aiopartition.showing`.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TextIO, TypeAlias

from aiopartition.showing import printable

__all__ = [
    "Block",
    "Columns",
    "bar",
    "cell",
    "encodable",
    "metadata_text",
    "percent",
    "plain",
    "seconds_text",
    "width_of",
    "write",
]

LONGEST_CELL: Final = 255
_GAP: Final = "  "
_NARROWEST: Final = 20


@dataclass(frozen=True, slots=True)
class Columns:
    """A table. Text from outside must have gone through :func:`cell`.

    :ivar numbers: the columns that are aligned on the right.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


Block: TypeAlias = str | Columns
"""A line, or a table."""


def cell(text: str | None) -> str:
    """Show a name or another text from outside; a dash if there is none."""
    return "-" if not text else printable(text, LONGEST_CELL)


def percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def seconds_text(seconds: float) -> str:
    """Show a duration in its two greatest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def metadata_text(metadata: Iterable[tuple[str, str]]) -> str:
    return cell(", ".join(f"{name}={value}" for name, value in sorted(metadata)))


def bar(share: float, greatest: float, width: int, full: str = "█") -> str:
    """Draw a share as a bar. The greatest share takes the whole width."""
    return full * (round(width * share / greatest) if greatest > 0 else 0)


def plain(blocks: Iterable[Block], width: int | None = None) -> Iterable[str]:
    """Yield the lines of a text. With a ``width``, longer lines are cut."""
    for block in blocks:
        for line in [block] if isinstance(block, str) else _aligned(block):
            yield line if width is None else _cut(line, width)


def _aligned(table: Columns) -> list[str]:
    rows = [table.header, *table.rows]
    widths = [max(_columns(row[number]) for row in rows) for number in range(len(table.header))]
    return [
        _GAP.join(
            " " * (widths[number] - _columns(text)) + text
            if number in table.numbers
            else text + " " * (widths[number] - _columns(text))
            for number, text in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def _columns(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def _cut(line: str, width: int) -> str:
    if _columns(line) <= width:
        return line
    while _columns(line) > width - 1:
        line = line[:-1]
    return f"{line}…"


def width_of(stream: TextIO) -> int | None:
    """Return the number of columns of a terminal; ``None`` for a file or a pipe."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if stream.isatty() else None


def write(blocks: Sequence[Block], stream: TextIO) -> None:
    """Write a text, with colours if ``stream`` is a terminal and rich is installed, otherwise as plain text."""
    show = _rich(stream) if stream.isatty() else None
    if show is not None:
        show(blocks)
        return
    stream.writelines(encodable(line, stream) + "\n" for line in plain(blocks, width_of(stream)))


def encodable(line: str, stream: TextIO) -> str:
    """Return ``line`` with those characters escaped that the stream's encoding does not have."""
    encoding = stream.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _rich(stream: TextIO) -> Callable[[Sequence[Block]], None] | None:
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return None
    console = Console(file=stream, highlight=False, markup=False, emoji=False)

    def show(blocks: Sequence[Block]) -> None:
        for block in blocks:
            if isinstance(block, str):
                console.print(Text(block))
                continue
            table = Table(box=box.SIMPLE_HEAD, header_style="bold cyan")
            for number, name in enumerate(block.header):
                table.add_column(Text(name), justify="right" if number in block.numbers else "left", overflow="fold")
            for row in block.rows:
                table.add_row(*map(Text, row))
            console.print(table)

    return show
