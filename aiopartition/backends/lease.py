"""What a server's answers prove about a session: until when no ensemble can have ended it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["NO_LEASE", "Lease"]


@dataclass(frozen=True, slots=True)
class Lease:
    """What the last answered request proves about the session.

    ``sent``: when it was sent. ``safe_until``: until then no ensemble can have expired the session.
    ``lost_at``: from then on even a healthy one may have.
    """

    sent: float
    safe_until: float
    lost_at: float

    @classmethod
    def starting(cls, sent: float, timeout: float) -> Lease:
        return cls(sent, sent + timeout * 2 / 3, sent + timeout)

    def lapsed(self, now: float) -> bool:
        """Whether it is over. One that never began is not."""
        return math.isfinite(self.sent) and now >= self.safe_until

    def renewed(self, sent: float, timeout: float) -> Lease:
        """After an answer to a request that was sent at ``sent``. Answers may come in any order."""
        return Lease.starting(sent, timeout) if sent >= self.sent else self

    def cut(self, timeout: float) -> Lease:
        """After a handshake that granted ``timeout``. Less ends the lease earlier; more does not lengthen it."""
        granted = Lease.starting(self.sent, timeout)
        return Lease(self.sent, min(self.safe_until, granted.safe_until), min(self.lost_at, granted.lost_at))


NO_LEASE: Final = Lease(-math.inf, -math.inf, -math.inf)
