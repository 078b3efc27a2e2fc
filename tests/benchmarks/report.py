"""What a benchmark hands back: tables of figures, and the targets that were set for some of them."""

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from aiopartition.version import __version__

Cell: TypeAlias = str | int | float | None
"""``None`` where nothing was measured."""

PACKAGES = ("aiozk", "anyio", "uhashring", "xxhash", "tooz", "kazoo")


class Column(NamedTuple):
    """``format``: of its numbers; texts stand as they are."""

    name: str
    format: str = ",.0f"


@dataclass
class Table:
    """Figures under headings. ``name`` is for programs, ``title`` and ``note`` are for readers.

    ``heads``: of columns, each a name, or a name and the format of its numbers: ``"share|.2f"``.
    """

    name: str
    title: str
    heads: Sequence[str]
    note: str = ""
    rows: list[tuple[Cell, ...]] = field(default_factory=list[tuple[Cell, ...]])

    @property
    def columns(self) -> list[Column]:
        return [Column(*head.split("|")) for head in self.heads]

    def add(self, *cells: Cell) -> None:
        """One more row."""
        assert len(cells) == len(self.heads), f"{self.name}: {cells}"
        self.rows.append(cells)

    def __str__(self) -> str:
        texts = [[_text(cell, column) for cell, column in zip(row, self.columns, strict=True)] for row in self.rows]
        heads = [column.name for column in self.columns]
        widths = [max(map(len, cells)) for cells in zip(heads, *texts, strict=True)]
        # A column is aligned as its cells are: numbers to the right.
        left = [all(isinstance(row[place], str) for row in self.rows) for place in range(len(heads))]

        def line(cells: list[str]) -> str:
            aligned = [
                cell.ljust(width) if to_left else cell.rjust(width)
                for cell, width, to_left in zip(cells, widths, left, strict=True)
            ]
            return "  " + "   ".join(aligned).rstrip()

        rule = "  " + "─" * (sum(widths) + 3 * (len(widths) - 1))
        return "\n".join([self.title, rule, line(heads), rule, *map(line, texts), rule, *_wrapped(self.note)])

    def as_json(self) -> dict[str, Any]:
        """The same for programs: a row is an object with the columns' names."""
        names = [column.name for column in self.columns]
        return {
            "title": self.title,
            "note": self.note,
            "rows": [dict(zip(names, row, strict=True)) for row in self.rows],
        }


@dataclass(frozen=True)
class Target:
    """What was aimed at, and what was measured."""

    what: str
    measured: float
    limit: float
    unit: str = "×"
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        verdict, bound = ("met" if self.met else "MISSED"), ("at least" if self.at_least else "at most")
        return f"  {verdict:7} {self.what}: {self.measured:.3g} {self.unit} ({bound} {self.limit:g} {self.unit})"

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "measured": self.measured,
            "limit": self.limit,
            "unit": self.unit,
            "at least": self.at_least,
            "met": self.met,
        }


@dataclass
class Report:
    """All that one benchmark has found."""

    tables: list[Table] = field(default_factory=list[Table])
    targets: list[Target] = field(default_factory=list[Target])

    def __str__(self) -> str:
        parts = [str(table) for table in self.tables]
        if self.targets:
            parts.append("\n".join(["targets", *map(str, self.targets)]))
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        return {
            "tables": {table.name: table.as_json() for table in self.tables},
            "targets": [target.as_json() for target in self.targets],
        }


def circumstances() -> dict[str, Any]:
    """On what, with what and when: without that no figure means anything."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": f"{os.cpu_count()} × {_processor()}",
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "versions": {"aiopartition": __version__} | {name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _text(cell: Cell, column: Column) -> str:
    if cell is None:
        return "–"
    return cell if isinstance(cell, str) else format(cell, column.format)


def _wrapped(text: str, width: int = 110) -> Iterator[str]:
    line = ""
    for word in text.split():
        if len(line) + len(word) > width:
            yield f"  {line.rstrip()}"
            line = ""
        line += f"{word} "
    if line:
        yield f"  {line.rstrip()}"
