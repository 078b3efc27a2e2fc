"""The ephemeral nodes of a session, counted in bytes: a session that owns too many can take its ensemble down.

The transaction that closes a session, after a farewell or when it expires, lists the paths of all its ephemeral nodes.
Servers write that transaction whatever its length. But none can read one of more than 2 MB back (``jute.maxbuffer`` and
as much again), so the ensemble could not start any more (ZOOKEEPER-4306).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

from aiopartition.errors import BackendError, BackendUnavailableError, SessionFullError

__all__ = ["MAX_BYTES", "PORTION", "Ephemerals"]

MAX_BYTES: Final = 1_500_000
"""Bytes of ephemeral nodes that a session may own, and of the marks that it may have to make."""

PORTION: Final = 64_000
"""Bytes of nodes that one transaction deletes."""

_FULL: Final = "this session must not own more ephemeral nodes"

_LENGTH_BYTES: Final = 4
"""Before each path."""

_LONGER: Final = 26
"""Bytes by which the path of a mark can be longer than that of its entry."""

_MARKS: Final = 2
"""Of an entry in one handoff."""


class Ephemerals:
    """The ephemeral nodes that a session owns or may own.

    A node counts from the moment at which its creation is asked for, because the answer may be lost. It counts until
    the service has told that it does not exist, or that it is another session's.

    In a handoff, other members wait for the marks of each of our entries. So an entry of an exclusive group claims the
    room for these as well.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._claims: dict[str, int] = {}  # of the entries: size, and room for marks
        self.used: int = 0
        """Bytes of all nodes in the transaction that closes the session."""
        self._claimed = 0

    def __contains__(self, path: str) -> bool:
        return path in self._sizes

    @contextmanager
    def entry(self, path: str, *, marks: bool) -> Generator[None]:
        """Count an entry whose creation is asked for within, unless it is refused there.

        :param marks: whether it is an entry of an exclusive group.
        :raises SessionFullError: if the session must not own more nodes. Then this one does not count.
        """
        size = _size_of(path)
        with self._counted(path, size, size + (_MARKS * (size + _LONGER) if marks else 0)):
            yield

    @contextmanager
    def mark(self, path: str) -> Generator[None]:
        """Count a mark in the same way."""
        with self._counted(path, _size_of(path), 0):
            yield

    def discard(self, path: str) -> None:
        """A node does not exist, or is not ours."""
        self.used -= self._sizes.pop(path, 0)
        self._claimed -= self._claims.pop(path, 0)

    def clear(self) -> None:
        """The session has ended, and all its nodes with it."""
        self._sizes.clear()
        self._claims.clear()
        self.used = self._claimed = 0

    def portions(self) -> Iterator[list[str]]:
        """Yield the nodes in portions of ``PORTION`` bytes, the newest first, until one such portion is left.

        The caller discards what it has deleted.
        """
        rest = self.used
        portion: list[str] = []
        size = 0
        for path in reversed(list(self._sizes)):
            if rest <= PORTION:
                break
            portion.append(path)
            size += _size_of(path)
            rest -= _size_of(path)
            if size >= PORTION:
                yield portion
                portion, size = [], 0
        if portion:
            yield portion

    @contextmanager
    def _counted(self, path: str, size: int, claim: int) -> Generator[None]:
        known = path in self._sizes
        if not known:
            self._add(path, size, claim)
        try:
            yield
        except BackendUnavailableError:
            raise  # it may have been created
        except BackendError:
            if not known:
                self.discard(path)
            raise

    def _add(self, path: str, size: int, claim: int) -> None:
        if self.used + size > MAX_BYTES or self._claimed + claim > MAX_BYTES:
            raise SessionFullError(_FULL, path, max(self.used, self._claimed), MAX_BYTES)
        self._sizes[path] = size
        self._claims[path] = claim
        self.used += size
        self._claimed += claim


def _size_of(path: str) -> int:
    return _LENGTH_BYTES + len(path.encode())
