"""The clock of leases: it never goes back, ignores the wall clock, and counts the time of a suspended machine."""

from __future__ import annotations

import importlib.util
import time
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


def test_elsewhere_it_is_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best there is."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert loaded_anew().now is time.monotonic


def test_does_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sets it an hour back, or forth."""
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= clock.now() - before < 60
