"""Work in flight on keys of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import gt
from typing import Any

from aiopartition.placement.table import Mask

__all__ = ["Work"]


def _tell_nobody(_at_once: bool) -> None:
    """It ends by itself, or is waited for."""


@dataclass(eq=False, slots=True)
class Work:
    """Something in flight on slots of ours, which nobody else may have before it has ended.

    :ivar what: what it is, for operators.
    :ivar slots: the number of its slot, or the mask of all those that it may touch.
    :ivar since: when it began, on the clock of its owner.
    :ivar task: tells the task that has it in hand, which may come to wait for it; ``None`` if there is none.
    :ivar drain_timeout: seconds in which it can be expected to end once it is revoked.
    :ivar revoke: called when it has to end; with ``True`` at once, as the lease is over.
    """

    what: str
    slots: int | Mask
    since: float
    task: Callable[[], object]
    drain_timeout: float
    revoke: Callable[[bool], Any] = _tell_nobody

    def within(self, mask: Mask) -> bool:
        """Whether all its slots are in ``mask``."""
        if isinstance(self.slots, int):
            return mask[self.slots]
        return not any(map(gt, self.slots, mask))
