"""What a forked process inherits: nothing that acts.

A child gets a copy of each coordinator, with sockets, and an epoll object, that are still its parent's. Its event loop
ends the tasks that it inherited, and may run them for a moment before; what they then write or read, the parent's
server would take for the parent's, and what they read is lost to the parent. So whoever holds something of that kind is
told in the child, before any code runs there.
"""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet

__all__ = ["Forkable", "tell_child"]


class Forkable(Protocol):
    """Something that belongs to the process in which it was started."""

    def forked(self) -> None:
        """This is a copy in a child: let go of everything. Called with no event loop running; must not raise."""


_started: Final[WeakSet[Forkable]] = WeakSet()


def tell_child(party: Forkable) -> None:
    """Call ``party.forked()`` in each process that is forked from this one from now on."""
    _started.add(party)


def _tell_all() -> None:
    for party in list(_started):
        party.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_all)
