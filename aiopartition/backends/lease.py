"""A session's lease: the time in which no service can have expired it, by P4 of ``docs/explanation/guarantees.md``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["NO_LEASE", "Lease"]


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease that the last answered request gives. Times are in seconds, on the clock of the backend."""

    sent: float
    """When the request was sent."""
    safe_until: float
    """The end of the lease. No service can have expired the session before."""
    lost_at: float
    """From then on even a healthy service may have expired the session."""

    @classmethod
    def starting(cls, sent: float, timeout: float) -> Lease:
        """Return the lease that a request sent at ``sent`` gives, with a session timeout of ``timeout`` seconds."""
        return cls(sent, sent + timeout * 2 / 3, sent + timeout)

    def lapsed(self, now: float) -> bool:
        """Return whether the lease has ended. A lease that never began has not."""
        return math.isfinite(self.sent) and now >= self.safe_until

    def renewed(self, sent: float, timeout: float) -> Lease:
        """Return the lease after the answer to a request that was sent at ``sent``. Answers may come in any order."""
        return Lease.starting(sent, timeout) if sent >= self.sent else self

    def cut(self, timeout: float) -> Lease:
        """Return the lease after a handshake that granted ``timeout``. A longer timeout does not lengthen it."""
        granted = Lease.starting(self.sent, timeout)
        return Lease(self.sent, min(self.safe_until, granted.safe_until), min(self.lost_at, granted.lost_at))


NO_LEASE: Final = Lease(-math.inf, -math.inf, -math.inf)
