"""The page on troubleshooting quotes messages that the library really has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text()
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[.\d]*[sdrgfx]")


def messages() -> Iterator[str]:
    """Every text in the source of the library, with ``…`` for what is filled in."""
    for path in sorted((ROOT / "aiopartition").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield PLACEHOLDER.sub("…", node.value)


MESSAGES = frozenset(messages())


def test_page_quotes_messages() -> None:
    """The pattern of this test finds what it is to check."""
    assert len(QUOTED) > 40


@pytest.mark.parametrize("quoted", QUOTED)
def test_message_is_in_the_source(quoted: str) -> None:
    """A reader searches for the words that the log shows. What is filled in at the ends may be left out."""
    wanted = quoted.strip("…")
    assert len(wanted) > 8
    assert any(wanted in message for message in MESSAGES)


def logged() -> Iterator[str]:
    """What is logged as a warning or worse, but for a defect, which has a traceback and says nothing else."""
    for path in (ROOT / "aiopartition").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("_logger"), attr="warning" | "error" | "exception" as level),
                    args=[ast.Constant(str(text)), *_],
                ):
                    message = PLACEHOLDER.sub("…", text)
                    if level != "exception" or "…" in message:
                        yield message


def test_every_error_and_warning_is_on_the_page() -> None:
    """A reader who searches the page for what the log shows finds it, but for a line that is an error's text."""
    missing = {message for message in logged() if not any(quoted.strip("…") in message for quoted in QUOTED)}
    assert missing == {"…"}
