"""What a member hands out, as it writes it down. Times are those of :data:`aiopartition.clock.now`."""

from dataclasses import dataclass

from aiopartition.clock import now
from tests.support.journal import Journal

STILL = 0.05
"""Seconds after which it is written down that nothing has changed: what a SIGKILL may hide."""


@dataclass(slots=True)
class Sighting:
    """What a member handed out by one view, at each of several moments, one after the other."""

    way: str
    """By which call: ``list``, ``stream`` or ``work``. A list is a whole share, a stream's items come one by one. Work
    is what was under way, and may be that of another generation while it ends."""
    generation: int | None
    """None: this member could not say what it owned."""
    mine: int
    """The keys: one bit for each, the first key the lowest."""
    first: float
    """When the first hand-out was over."""
    last: float
    """When the last one was asked for. Ownership and lease were looked at after this moment."""
    times: int = 1
    """How many hand-outs these are."""
    judged: int = 0
    """How many of them were judged before."""


class Track:
    """Writes down what is handed out in one way, many times a second, in as few lines as it takes."""

    def __init__(self, journal: Journal, way: str, *, whole: bool, still: float = STILL) -> None:
        self._journal = journal
        self._way = way
        self._whole = whole
        self._still = still
        self._current: Sighting | None = None
        self._written = 0.0

    def saw(self, generation: int | None, mine: int, asked: float) -> None:
        """A hand-out that was asked for at ``asked`` and is over now."""
        current = self._current
        if current is not None and current.generation == generation and (current.mine == mine or not self._whole):
            current.mine |= mine
            current.last = asked
            current.times += 1
            if asked - self._written < self._still:
                return
        else:
            if current is not None:
                self._write(current)
            self._current = current = Sighting(self._way, generation, mine, now(), asked)
        self._write(current)
        self._written = asked

    def _write(self, sighting: Sighting) -> None:
        self._journal.write(
            "saw",
            way=sighting.way,
            generation=sighting.generation,
            mine=f"{sighting.mine:x}",
            first=sighting.first,
            last=sighting.last,
            times=sighting.times,
        )
