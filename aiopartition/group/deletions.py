"""Entries that this session had in groups it has left. A joined group looks after its own: :mod:`~.leftovers`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

from aiopartition.backends.base import Backend, Owner
from aiopartition.errors import BackendError

__all__ = ["Deletions"]

_logger: Final = logging.getLogger("aiopartition")

_KEPT: Final = 1000
"""Entries remembered. Each costs a request after each reconnection."""


class Deletions:
    """Deletes entries again if the ensemble has forgotten their deletion (ZOOKEEPER-4643).

    Other members would take such an entry for a member that owns keys.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._deleted: deque[tuple[str, str]] = deque(maxlen=_KEPT)  # group and entry

    def __bool__(self) -> bool:
        return bool(self._deleted)

    def add(self, group_id: str, names: Iterable[str]) -> None:
        """These entries were deleted in this session."""
        self._deleted.extend((group_id, name) for name in names)

    def session_ended(self) -> None:
        """The session has ended, and every entry with it."""
        self._deleted.clear()

    async def repeat(self) -> None:
        """Delete the entries that have come back."""
        try:
            for group_id, name in list(self._deleted):
                if await self._backend.owner(group_id, name) is Owner.US:
                    await self._backend.withdraw(group_id, name)
        except BackendError as error:
            _logger.debug("looking for entries of groups that were left: %s", error)
        except Exception:
            _logger.exception("looking for entries of groups that were left")
