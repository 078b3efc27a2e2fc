"""The resources of a ``run()``, by key. If they are given as a callable, it is called again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from inspect import isawaitable
from typing import Final, Generic, TypeAlias, TypeVar, cast

from anyio.lowlevel import checkpoint

from aiopartition.placement.keys import Key, encode
from aiopartition.placement.partition import require_in_range
from aiopartition.placement.view import require_iterable
from aiopartition.showing import shown, shown_error, shown_key
from aiopartition.work.workers import call_user

__all__ = ["Listing", "Resources"]

T = TypeVar("T")

Resources: TypeAlias = Iterable[T] | Callable[[], Awaitable[Iterable[T]]] | Callable[[], Iterable[T]]

_logger: Final = logging.getLogger("aiopartition")

_CHUNK: Final = 64
"""Resources handled in one turn of the event loop."""

_PAUSE: Final = 1.0
"""Least seconds from one question to the next (or ``refresh``, if that is shorter), however often slots are gained."""

_TOLD: Final = 3
"""How many of the resources that something is wrong with are named in one message."""


class Listing(Generic[T]):
    """Keeps the last complete answer, even if the user's callables fail later.

    :param where: begins each message in the log.
    :param refresh: seconds between two questions.
    :param strict: raise whatever goes wrong. Otherwise it is logged: a question that fails is asked again after
        ``refresh``, and a resource that has no valid key is left out.
    :param changed: called when there is a new answer.
    :param failed: called when a question has failed.
    """

    def __init__(
        self,
        resources: Resources[T],
        key: Callable[[T], Key] | None,
        refresh: float,
        *,
        where: str,
        strict: bool,
        changed: Callable[[], None],
        failed: Callable[[], None],
    ) -> None:
        self._resources = resources
        self._key = key
        self._where = where
        self._refresh = refresh
        self._strict = strict
        self._changed = changed
        self._failed = failed
        self._partitions: int | None = None
        self._closing = False
        self._due = asyncio.Event()  # set to ask before ``refresh`` is over
        self._left_out = ""  # what was last reported about resources without a key
        self._shared: set[bytes] = set()  # the keys that several resources of the last answer have
        self.by_key: dict[bytes, T] = {}
        """The last answer. It is replaced as a whole, never changed."""

    def close(self) -> None:
        """:meth:`follow` is about to be cancelled: do not retry after an error, and do not ask again."""
        self._closing = True

    def ask_again(self) -> None:
        """Slots were gained, and their last owner may have had a newer answer: ask at once, but not too often."""
        self._due.set()

    async def follow(self, partitions: int | None = None) -> None:
        """Ask until cancelled. If the resources are not a callable, look at them once.

        :param partitions: how many partitions the group has; ``None`` if there is no group.
        :raises Exception: whatever went wrong, with ``strict`` or if the resources are not a callable.
        """
        self._partitions = partitions
        resources = self._resources
        # A class of enumeration members is iterable and callable. What is neither gets the error of a wrong list.
        if isinstance(resources, Iterable) or not callable(cast("object", resources)):
            self.by_key = await self._index(cast("Iterable[T]", cast("object", resources)), strict=True)
            self._changed()
            return
        while True:
            self._due.clear()  # before asking, so that a gain during the question leads to another one
            asked_at = asyncio.get_running_loop().time()
            try:
                self.by_key = await call_user(self._ask, resources)
            except Exception:
                self._failed()
                if self._closing:
                    _logger.exception("%sresources() failed while it was being cancelled", self._where)
                    return
                if self._strict:
                    raise
                # Work on what was listed before goes on: a database that is away for a minute must not end it.
                _logger.exception(
                    "%sthe resources could not be listed; they are asked for again in %g s", self._where, self._refresh
                )
            else:
                self._changed()
            if self._closing:  # resources() has swallowed its cancellation
                return
            await self._pause(asked_at)

    # ---- inside

    async def _pause(self, asked_at: float) -> None:
        """Wait until the next question is due."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._refresh):
                await self._due.wait()
        earliest = asked_at + min(self._refresh, _PAUSE)
        await asyncio.sleep(max(0.0, earliest - asyncio.get_running_loop().time()))

    async def _ask(self, resources: Callable[[], Awaitable[Iterable[T]] | Iterable[T]]) -> dict[bytes, T]:
        answer = resources()
        return await self._index(await answer if isawaitable(answer) else answer, strict=self._strict)

    async def _index(self, resources: Iterable[T], *, strict: bool) -> dict[bytes, T]:
        by_key: dict[bytes, T] = {}
        shared: dict[bytes, T] = {}
        left_out: list[str] = []
        for number, resource in enumerate(require_iterable(resources)):
            try:
                key = encode(resource if self._key is None else self._key(resource))
                if self._partitions is not None:
                    require_in_range(key, self._partitions)
            except (Exception, asyncio.CancelledError) as error:  # nothing is awaited, so nobody has cancelled us
                if strict:
                    raise
                left_out.append(f"number {number}, {shown(resource)}: {shown_error(error)}")
            else:
                if key in by_key:
                    shared.setdefault(key, resource)
                else:
                    by_key[key] = resource
            if number % _CHUNK == _CHUNK - 1:
                await checkpoint()
        self._report_left_out(left_out)
        self._report_shared([
            f"{shown_key(key)} is that of {shown(by_key[key])} and of {shown(resource)}"
            for key, resource in shared.items() if key not in self._shared
        ])  # fmt: skip
        self._shared = set(shared)
        return by_key

    def _report_left_out(self, left_out: list[str]) -> None:
        """Log one error for each set of resources that are left out, not one for each question."""
        told = _told(left_out)
        if told and told != self._left_out:
            _logger.error("%sresources without a usable key are left out: %s", self._where, told)
        self._left_out = told

    def _report_shared(self, shared: list[str]) -> None:
        """Log one warning for each key that several resources share, and no other until an answer without that."""
        if shared:
            _logger.warning("%sof resources with one key only the first counts: key %s", self._where, _told(shared))


def _told(complaints: list[str]) -> str:
    more = len(complaints) - _TOLD
    return "; ".join(complaints[:_TOLD]) + (f"; and {more} more" if more > 0 else "")
