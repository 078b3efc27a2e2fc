"""What a group's task may be asked to do next: by :mod:`~aiopartition.group.state`, and by its handoff."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["Step"]


class Step(Enum):
    """What the owner of a group has to do next."""

    REST = auto()
    """Nothing until the next event."""
    JOIN = auto()
    """Create our entry."""
    READ = auto()
    """Read the entries and arm the watch: now."""
    SETTLE = auto()
    """The same after the settling time, so that a burst of changes is one read."""
    PROBE = auto()
    """Compare generations: is what we know still true?"""
    BUILD = auto()
    """Compile the table of :attr:`Group.wanted`."""
    REWEIGH = auto()
    """Put an entry with another weight in the place of ours."""
    WITHDRAW = auto()
    """Delete the entries in :attr:`Group.leftovers`."""
    FINISH = auto()
    """Left, and nothing remains to be done."""

    # Of a handoff:
    ANNOUNCE = auto()
    """Make a mark that says: we are ready to let go of what the newest generation does not give us."""
    ACKNOWLEDGE = auto()
    """Make a mark that says: we have let go of it."""
    READ_ACKNOWLEDGEMENTS = auto()
    """Read who has made such marks."""
    RELEASE = auto()
    """Write that all are ready."""
    ACTIVATE = auto()
    """Write that all have acknowledged."""
    READ_ACTIVE = auto()
    """Read which generations are released and active, and arm the watch."""
    RETRACT = auto()
    """Delete :attr:`Handoff.obsolete`, a mark of ours."""
