"""The clock that measures leases."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

__all__ = ["Clock", "now"]

Clock: TypeAlias = Callable[[], float]
"""Seconds on a clock that never goes backwards, from an arbitrary start."""

# While this machine is suspended, the servers' clocks continue. On Linux, CLOCK_MONOTONIC stops during suspension, so
# a laptop that wakes up would trust a lease that ended hours ago; CLOCK_BOOTTIME continues. On macOS, CLOCK_MONOTONIC
# continues, but time.monotonic() reads another clock, which stops. Other platforms offer only time.monotonic().
# None of these clocks follows changes of the wall clock.
now: Final[Clock] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if sys.platform == "darwin"
    else time.monotonic
)
