"""Work in flight on our keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import gt
from typing import Any

from aiopartition.placement.table import Mask

__all__ = ["Work"]


def _tell_nobody(_at_once: bool) -> None:
    """For work that ends by itself: the handoff waits for it."""


@dataclass(eq=False, slots=True)
class Work:
    """Work in flight on our slots, which no other member may have before it has ended.

    :ivar what: says what it is, for operators.
    :ivar slots: the number of its slot, or the mask of all slots that it may touch.
    :ivar since: when it began, on the event loop's clock.
    :ivar task: returns the task that has the work in hand, or ``None``; that task must not have to wait for itself.
    :ivar drain_timeout: seconds within which it can be expected to end once it is revoked.
    :ivar revoke: called when it has to end; with ``True`` if it has to end at once, because the lease has ended.
    """

    what: str
    slots: int | Mask
    since: float
    task: Callable[[], object]
    drain_timeout: float
    revoke: Callable[[bool], Any] = _tell_nobody

    def within(self, mask: Mask) -> bool:
        """Return whether ``mask`` includes all its slots."""
        if isinstance(self.slots, int):
            return mask[self.slots]
        return not any(map(gt, self.slots, mask))
