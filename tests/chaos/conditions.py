"""Under which circumstances a run takes place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Conditions:
    """What holds for a whole run.

    A follower answers its clients until it has missed its leader for ``tick_time * sync_limit``, and half a tick may
    have gone by since the leader heard of it. While both together are no longer than a third of the session timeout,
    the lease of ordinary groups ends before the session does, and :attr:`lease_excess` is nothing. For the same reason
    only one server stands still or is cut off at a time: a follower that wakes while its leader cannot be heard begins
    anew to wait for it, and answers for as long.
    """

    servers: int = 3
    members: int = 7
    seats: int = 9
    """For so many members there is room."""
    session_timeout: float = 3.0
    heartbeat: float = 0.5
    tick_time: int = 200
    sync_limit: int = 4
    workload: str = "shared"
    mutation: str | None = None
    least_timeout: float = 2.75
    """Seconds that a server grants which grants less than asked for."""
    convergence: float = 6.5
    """Seconds after the last fault within which everybody must be of one mind."""

    servers_fail: bool = True
    """Whether servers are among what goes wrong."""

    @property
    def exclusive(self) -> bool:
        return self.workload in ("exclusive", "timed")

    @property
    def timed(self) -> bool:
        """Whether no process is ever stopped, so that each piece of work lasts as long as its journal says."""
        return self.workload == "timed"

    @property
    def supervised(self) -> bool:
        """Whether members work with ``run()``."""
        return self.workload != "shared"

    @property
    def lease_excess(self) -> float:
        """Seconds for which the lease of an ordinary group may outlast the session, as any answer renews it."""
        if not self.servers_fail:
            return 0.0
        return max(0.0, self.tick_time / 1000 * (self.sync_limit + 0.5) - self.least_timeout / 3)

    @property
    def answers_age(self) -> float:
        """Seconds by which an answer may be out of date: one of a follower that has lost its leader, or of one that
        was frozen for as long as its client bears with it."""
        return self.tick_time / 1000 * self.sync_limit + self.session_timeout / 2 if self.servers_fail else 0.0


STOCK = Conditions(tick_time=600, sync_limit=5, least_timeout=2.0, convergence=20.0)
"""As when servers have the usual settings and clients ask for 10 s: a follower without its leader answers for as long
as a session lasts."""
