"""The steps that :mod:`~aiopartition.group.state`, and the handoff in it, may ask a group's task to take next."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["Step"]


class Step(Enum):
    """What a group's task has to do next."""

    REST = auto()
    """Wait for the next event."""
    JOIN = auto()
    """Create our entry."""
    READ = auto()
    """Read the entries and arm the watch, without delay."""
    SETTLE = auto()
    """Do the same after the settling time, so that a burst of changes needs one read."""
    PROBE = auto()
    """Ask for the generation, to see whether what we know is still true."""
    BUILD = auto()
    """Build the table for :attr:`Group.wanted`."""
    REWEIGH = auto()
    """Put an entry with another weight in the place of ours."""
    WITHDRAW = auto()
    """Delete the entries in :attr:`Group.leftovers`."""
    FINISH = auto()
    """End the task: the group is left, and nothing remains to be done."""

    # Steps of a handoff:
    ANNOUNCE = auto()
    """Make a mark that says that we are ready to let go of what the newest generation does not give us."""
    ACKNOWLEDGE = auto()
    """Make a mark that says that we have let go of it."""
    READ_ACKNOWLEDGEMENTS = auto()
    """Read which members have made such marks."""
    RELEASE = auto()
    """Write that all are ready."""
    ACTIVATE = auto()
    """Write that all have acknowledged."""
    READ_ACTIVE = auto()
    """Read which generations are released and active, and arm the watch."""
    RETRACT = auto()
    """Delete :attr:`Handoff.obsolete`, a mark of ours."""
