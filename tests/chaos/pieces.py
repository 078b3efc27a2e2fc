"""Exclusive work: who was at work on which key from when to when, and whether anybody else was meanwhile."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from tests.chaos.workloads import LONGEST_CLEANUP

SILENCE = 0.3
"""Seconds without a line in the journal, after which a process is taken to have been stopped: it writes each 50 ms."""
RECOVERY = LONGEST_CLEANUP + 0.25
"""Seconds that a process which was stopped inside a piece of work is given to end it. Nobody can end it sooner."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A process was certainly at work on a key, from one moment to another."""

    process: str
    key: int
    begin: float
    end: float


@dataclass
class Presence:
    """What one process wrote of its work, and when it wrote anything at all."""

    process: str
    begun: dict[int, float] = field(default_factory=dict[int, float])
    """What it is at work on, and since when."""
    done: list[tuple[int, float, float]] = field(default_factory=list[tuple[int, float, float]])
    doubled: list[int] = field(default_factory=list[int])
    """What it began to work on while it was at work on it."""
    silences: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    last: float | None = None

    def note(self, kind: str, at: float, key: int = -1) -> None:
        """A line of the journal: ``began`` or ``ended``, or any other, which is a sign of life."""
        if self.last is not None and at - self.last > SILENCE:
            self.silences.append((self.last, at + RECOVERY))
        self.last = at
        if kind == "began":
            if key in self.begun:
                self.doubled.append(key)
            self.begun[key] = at
        elif kind == "ended":
            self.done.append((key, self.begun.pop(key, at), at))

    def steps(self) -> list[tuple[float, int]]:
        """From which moment on it was at work on which keys, as far as it is not forgotten."""
        changes = [(begin, 1, key) for key, begin in self.begun.items()]
        for key, begin, end in self.done:
            changes += [(begin, 1, key), (end, 0, key)]
        steps: list[tuple[float, int]] = []
        keys = 0
        for moment, begins, key in sorted(changes):
            keys = keys | 1 << key if begins else keys & ~(1 << key)
            steps.append((moment, keys))
        return steps

    def pieces(self, since: float, *, timed: bool = False) -> Iterator[Piece]:
        """All of its work after ``since``, without the times in which it was stopped, if it is not ``timed``."""
        # What a killed process had begun ended with its last sign of life.
        last = since if self.last is None else self.last
        for key, begin, end in [*self.done, *((key, begin, last) for key, begin in self.begun.items())]:
            for silent, again in [*(() if timed else self.silences), (end, end)]:
                if max(begin, since) < min(silent, end):
                    yield Piece(self.process, key, max(begin, since), min(silent, end))
                begin = max(begin, again)

    def forget_done(self) -> None:
        """Keep what goes on."""
        self.done.clear()
        self.doubled.clear()
        self.silences.clear()


def collisions(pieces: Iterable[Piece]) -> Iterator[str]:
    """Each piece that began before another process had ended one on the same key, in words."""
    newest: dict[int, Piece] = {}
    for piece in sorted(pieces, key=lambda each: each.begin):
        before = newest.get(piece.key)
        if before is not None and before.process != piece.process and piece.begin < before.end:
            yield (
                f"key {piece.key}: process {piece.process} began {before.end - piece.begin:.3f} s before "
                f"process {before.process} had ended"
            )
        if before is None or piece.end > before.end:
            newest[piece.key] = piece


def gaps(pieces: Iterable[Piece]) -> Iterator[float]:
    """Seconds from the end of each piece to the beginning of the next one on the same key."""
    ordered = sorted(pieces, key=lambda each: (each.key, each.begin))
    for _, ours in groupby(ordered, key=lambda each: each.key):
        yield from (after.begin - before.end for before, after in pairwise(ours))
