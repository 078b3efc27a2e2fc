"""The clock that leases are measured on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

__all__ = ["Clock", "now"]

Clock: TypeAlias = Callable[[], float]
"""Seconds on a clock that never goes backwards, from an arbitrary start."""

# The servers' clocks go on while this machine is suspended. CLOCK_MONOTONIC does not count that time on Linux, so a
# laptop that wakes up would believe in a lease that ended hours ago; CLOCK_BOOTTIME counts it. Neither follows
# changes of the wall clock. On macOS it is the other way round: there CLOCK_MONOTONIC counts that time, which
# time.monotonic() does not, being another clock. Elsewhere time.monotonic() is the best there is.
now: Final[Clock] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if sys.platform == "darwin"
    else time.monotonic
)
