"""For how long keys have two owners."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Somebody certainly holds some keys from one moment to another."""

    holder: str
    keys: int
    """One bit for each."""
    begin: float
    end: float


def overlaps(spans: Iterable[Span]) -> tuple[float, float]:
    """How long some key had two holders at once, at the longest, and in how much time any key had.

    Spans of one holder do not overlap with each other.
    """
    events = [(moment, ending, span) for span in spans for moment, ending in ((span.begin, False), (span.end, True))]
    events.sort(key=lambda event: (event[0], not event[1]))  # who takes up when another lets go does not overlap
    held: dict[str, int] = {}
    doubled_since: dict[int, float] = {}  # by key
    longest = total = 0.0
    before = 0.0
    for moment, ending, span in events:
        if doubled_since:
            total += moment - before
        before = moment
        if ending:
            held[span.holder] &= ~span.keys
        else:
            held[span.holder] = held.get(span.holder, 0) | span.keys
        doubled = _doubled(held.values())
        for key in [key for key in doubled_since if not doubled >> key & 1]:
            longest = max(longest, moment - doubled_since.pop(key))
        for key in _bits(doubled):
            doubled_since.setdefault(key, moment)
    return longest, total


def _doubled(shares: Iterable[int]) -> int:
    once = twice = 0
    for share in shares:
        twice |= once & share
        once |= share
    return twice


def _bits(keys: int) -> Iterable[int]:
    while keys:
        lowest = keys & -keys
        yield lowest.bit_length() - 1
        keys ^= lowest
