"""The documents of the repository, and the blocks of code in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

INCLUDED: Final = "included"
"""The mark of a block that shows a file, which has tests of its own."""

FENCE: Final = re.compile(
    r"(?:^<!-- block: (?P<mark>[^>]+?) -->\n)?^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
"""A fenced block, with the mark that may stand on the line above it."""

INCLUDE: Final = re.compile(r'^ *--8<-- "([^":]+)"$', re.MULTILINE)
"""A line that the builder of the site replaces by a file."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code: its document and line, its language, and what its mark says of it (empty without one)."""

    document: Path
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    """All documents: those in the root, and the pages of the site."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(document: Path) -> Iterator[Block]:
    """The blocks of code of a document, in order."""
    text = document.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        indent = found["indent"]
        lines = [line.removeprefix(indent) for line in found["text"].splitlines(keepends=True)]
        line = text.count("\n", 0, found.start("language")) + 1
        shown = "".join(lines)
        mark = INCLUDED if INCLUDE.search(shown) else found["mark"] or ""
        yield Block(document, line, found["language"], mark, INCLUDE.sub(included, shown))


def included(found: re.Match[str]) -> str:
    """The file that is shown in the place of a line."""
    return (ROOT / found[1]).read_text(encoding="utf-8")
