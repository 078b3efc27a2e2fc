"""What a ``run()`` was given to work on, by key; asked for again and again where it is a callable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Generic, TypeAlias, TypeVar, cast

from anyio.lowlevel import checkpoint

from aiopartition.placement.keys import Key, encode
from aiopartition.placement.view import require_iterable
from aiopartition.showing import shown
from aiopartition.work.workers import call_user

__all__ = ["Listing", "Resources"]

T = TypeVar("T")

Resources: TypeAlias = Iterable[T] | Callable[[], Awaitable[Iterable[T]]]

_logger: Final = logging.getLogger("aiopartition")

_CHUNK: Final = 64
"""Resources between two turns of the event loop."""


class Listing(Generic[T]):
    """Keeps the last complete answer. Whatever the user's callables do, what is known stays known.

    :param refresh: seconds between two questions.
    :param strict: raise whatever goes wrong. Else it is logged: a question that fails is asked again after
        ``refresh``, and a resource whose key cannot be told is left out.
    :param changed: called when there is a new answer.
    """

    def __init__(
        self,
        resources: Resources[T],
        key: Callable[[T], Key] | None,
        refresh: float,
        *,
        strict: bool,
        changed: Callable[[], None],
    ) -> None:
        self._resources = resources
        self._key = key
        self._refresh = refresh
        self._strict = strict
        self._changed = changed
        self._closing = False
        self._left_out = ""  # what was last reported of resources without a key
        self.by_key: dict[bytes, T] = {}
        """The last answer. Replaced whole, never changed."""

    def close(self) -> None:
        """:meth:`follow` is about to be cancelled: an error is not to be retried, an answer is of no use."""
        self._closing = True

    async def follow(self) -> None:
        """Ask until cancelled, or just once for what is no callable.

        :raises Exception: with ``strict``, or of what is no callable: whatever went wrong.
        """
        resources = self._resources
        # It may be iterable and callable, as a class of enumeration members is. What is neither is refused as a list.
        if isinstance(resources, Iterable) or not callable(cast("object", resources)):
            self.by_key = await self._index(cast("Iterable[T]", cast("object", resources)), strict=True)
            self._changed()
            return
        while True:
            try:
                self.by_key = await call_user(self._ask, resources)
            except Exception:
                if self._closing:
                    _logger.exception("resources() failed while it was being cancelled")
                    return
                if self._strict:
                    raise
                # What was listed before is worked on; a database that is away for a minute must not end the work.
                _logger.exception("the resources could not be listed; they are asked for again in %g s", self._refresh)
            else:
                self._changed()
            if self._closing:  # resources() has kept its cancellation to itself
                return
            await asyncio.sleep(self._refresh)

    # ---- inside

    async def _ask(self, resources: Callable[[], Awaitable[Iterable[T]]]) -> dict[bytes, T]:
        return await self._index(await resources(), strict=self._strict)

    async def _index(self, resources: Iterable[T], *, strict: bool) -> dict[bytes, T]:
        by_key: dict[bytes, T] = {}
        left_out: list[str] = []
        for number, resource in enumerate(require_iterable(resources)):
            try:
                by_key.setdefault(encode(resource if self._key is None else self._key(resource)), resource)
            except Exception as error:
                if strict:
                    raise
                left_out.append(f"number {number}, {shown(resource)}: {type(error).__name__}: {shown(error)}")
            if number % _CHUNK == _CHUNK - 1:
                await checkpoint()
        self._report(left_out)
        return by_key

    def _report(self, left_out: list[str]) -> None:
        """One error for each set of resources that are left out, not one for each question."""
        told = "; ".join(left_out[:3]) + (f"; and {len(left_out) - 3} more" if len(left_out) > 3 else "")
        if told and told != self._left_out:
            _logger.error("resources without a usable key are left out: %s", told)
        self._left_out = told
