"""How much of the work is in hand at each moment."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Steps: TypeAlias = Sequence[tuple[float, int]]
"""From which moment on somebody holds which keys, in order; one bit for each key."""


def fewest(holders: Iterable[Steps], since: float, until: float) -> tuple[int, float]:
    """How many keys are held at least, by any of these, at any moment from ``since`` to ``until``; and when first."""
    events = sorted((moment, number, keys) for number, steps in enumerate(holders) for moment, keys in steps)
    held: dict[int, int] = {}
    least: tuple[int, float] | None = None
    for (moment, number, keys), after in zip(events, [*(event[0] for event in events), until][1:], strict=True):
        held[number] = keys
        if after > since and moment < until and after > moment:
            count = _together(held.values())
            if least is None or count < least[0]:
                least = count, max(moment, since)
    return least or (0, since)


def _together(shares: Iterable[int]) -> int:
    together = 0
    for share in shares:
        together |= share
    return together.bit_count()
