"""The clock of leases: it never goes back, ignores the wall clock, and counts the time of a suspended machine."""

import ast
import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from aiopartition import clock


def loaded_anew() -> ModuleType:
    """The module as it would be on this platform, without touching the one in use."""
    spec = importlib.util.find_spec("aiopartition.clock")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_never_goes_back() -> None:
    """Each look is at or after the one before."""
    looks = [clock.now() for _ in range(1000)]
    assert looks == sorted(looks)
    assert all(type(look) is float for look in looks)


def test_counts_the_time_of_a_suspended_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has such a clock. The servers' clocks went on meanwhile, and the session ended on theirs."""
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(time, "clock_gettime", lambda which: 1000.0 + which)
    assert loaded_anew().now() == 1007.0


def test_counts_the_time_of_a_suspended_macintosh(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it is the clock that time.monotonic() is not."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(time, "clock_gettime", lambda which: (which, "asked"))
    assert loaded_anew().now() == (time.CLOCK_MONOTONIC, "asked")


def test_elsewhere_it_is_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best there is."""
    monkeypatch.setattr(sys, "platform", "another")
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert loaded_anew().now is time.monotonic


def test_does_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sets it an hour back, or forth."""
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= clock.now() - before < 60


WALL_CLOCKS = {
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime", "time.CLOCK_REALTIME",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
}  # fmt: skip


def test_nothing_decides_by_the_wall_clock() -> None:
    """It may be set at any moment. The library reads it once, to tell operators when a member was started; the command
    line, which decides nothing, shows ages and times."""
    package = Path(clock.__file__).parent
    readings = [
        f"{path.relative_to(package)}: {ast.unparse(node)}"
        for path in sorted(package.rglob("*.py"))
        if package / "cli" not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and ast.unparse(node).removeprefix("datetime.datetime") in WALL_CLOCKS)
        or (isinstance(node, ast.ImportFrom) and node.module == "time")
    ]  # fmt: skip
    assert readings == ["runner.py: datetime.now", *["web/facts.py: datetime.now"] * 2]
