"""Waiting for a fact instead of sleeping and hoping."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
Description = str | Callable[[], object] | None


@overload
async def wait_until(
    predicate: Callable[[], Awaitable[T]], *, timeout: float = ..., interval: float = ..., what: Description = ...
) -> T: ...
@overload
async def wait_until(
    predicate: Callable[[], T], *, timeout: float = ..., interval: float = ..., what: Description = ...
) -> T: ...
async def wait_until(
    predicate: Callable[[], Any], *, timeout: float = 10.0, interval: float = 0.01, what: Description = None
) -> Any:
    """Ask ``predicate`` again and again until it answers with something true, and return that.

    ``predicate`` is a plain or an async callable. ``what`` describes, in the text of the failure, what was waited for;
    a callable is asked at the time of the failure, so that it can report the state in which things got stuck.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        answer = predicate()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if loop.time() >= deadline:
            wanted = what() if callable(what) else what or _source_of(predicate)
            raise AssertionError(f"not within {timeout:g} s: {wanted} (the last answer was {answer!r})")
        await asyncio.sleep(interval)


def _source_of(predicate: Callable[[], Any]) -> str:
    """The predicate's name, or a lambda's own line of code, which says more than ``<lambda>``."""
    name = getattr(predicate, "__qualname__", repr(predicate))
    if not name.endswith("<lambda>"):
        return str(name)
    try:
        return " ".join(inspect.getsource(predicate).split())
    except (OSError, TypeError):
        return str(name)
