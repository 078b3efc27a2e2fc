"""Makes the objects that a child process inherits by a fork let go of what belongs to the parent.

A child process gets a copy of each coordinator, and with it sockets and an epoll object that still belong to the
parent. The child's event loop ends the tasks that it inherited, but may run them for a moment first. Servers would take
whatever these write for requests of the parent, and the parent would miss whatever these read. So each object that
holds a socket is told in the child, before any other code runs there.
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
