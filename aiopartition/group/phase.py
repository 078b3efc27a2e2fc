"""Where a member stands in a group."""

from __future__ import annotations

from enum import Enum

__all__ = ["Phase"]


class Phase(Enum):
    """The phases of a participation. The values say why it has no view in that phase."""

    JOINING = "this member has not joined yet"
    """It has no entry, or cannot know whether it has one."""
    MEMBER = "the members are being read"
    """Its entry exists."""
    SUPERSEDED = "another process has joined with this member id"
    """It takes no part until it sees that the other process's entry is gone. Then it joins again."""
    LEAVING = "the group was left"
    """Final. Its work ends, then its entry is deleted."""
