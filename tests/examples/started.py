"""Examples, started as users start them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil

ROOT = Path(__file__).parents[2]
RUNNING: Final = {
    "quickstart": ("quickstart", (), "alice"),
    "polling": ("polling", (), "cycle 1"),
    "watching": ("watching", (), "cache-2"),
    "connections": ("connections", ("--pause", 30), "member-1 has"),
    "fencing": ("fencing", (), "alice: ownership"),
    "fleet": ("fleet", ("--files", 200, "--seconds", 30), "files held"),
}
"""Examples, with arguments with which they go on for a while, and what they print when they are in the midst of it."""

EXAMPLES = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").rglob("*.py") if path.parent.name != "shared"
)
"""All of them, but for what they share."""

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "error",  # in the processes that an example starts, too
}


def processes_with(argument: str) -> list[psutil.Process]:
    """Those with ``argument`` in their command line."""
    return [
        process for process in psutil.process_iter(["cmdline"]) if argument in " ".join(process.info["cmdline"] or ())
    ]


def command(example: str, *arguments: object) -> list[str]:
    """How a user starts an example."""
    return [sys.executable, "-W", "error", str(ROOT / "examples" / f"{example}.py"), *map(str, arguments)]


def run(example: str, *arguments: object, code: int = 0) -> str:
    """Run an example to its end; what it has printed."""
    ended = subprocess.run(
        command(example, *arguments), env=ENVIRONMENT, capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    return ended.stdout if code == 0 else ended.stdout + ended.stderr


def start(example: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start an example, with more environment."""
    return subprocess.Popen(
        command(example, *arguments),
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    """What it prints, up to the line that contains ``wanted``."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if wanted in line:
            return read
    raise AssertionError(f"ended without {wanted!r}:\n{read}")
