"""Under which circumstances a run takes place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Conditions"]


@dataclass(frozen=True)
class Conditions:
    """What holds for a whole run.

    A follower answers its clients until it has missed its leader for ``tick_time * sync_limit``. If that and half a
    tick were longer than a third of the session timeout, a leader could stand still and a follower die, and sessions
    be expired that had been answered within two thirds of their timeout: more than any client can know. For the same
    reason no two servers are frozen at a time: a follower that wakes while its leader stands still begins anew to
    wait for it, and answers for as long.
    """

    members: int = 7
    seats: int = 9
    """For so many members there is room."""
    session_timeout: float = 3.0
    heartbeat: float = 0.5
    tick_time: int = 200
    sync_limit: int = 4
    workload: str = "shared"
    mutation: str | None = None
    convergence: float = 5.0
    """Seconds after the last fault within which everybody must be of one mind."""

    servers_fail: bool = True
    """Whether servers are among what goes wrong."""

    @property
    def answers_age(self) -> float:
        """Seconds by which an answer may be out of date: one of a follower that has lost its leader, or of one that
        was frozen for as long as its client bears with it."""
        return self.tick_time / 1000 * self.sync_limit + self.session_timeout / 2 if self.servers_fail else 0.0
