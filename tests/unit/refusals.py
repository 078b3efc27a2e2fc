"""Values that no setting takes, and what is said of them."""

import traceback
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Final

import pytest

from aiopartition import ConfigurationError

NAN: Final = float("nan")
INF: Final = float("inf")
HUGE: Final = 10**400  # beyond floats
ENDLESS: Final = 10**5000  # beyond what Python turns into digits
SECONDS: Final = ("heartbeat", "session_timeout", "connect_timeout")


def refusal(call: Callable[[], object]) -> ConfigurationError:
    """The error that ``call`` ends in."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    assert type(caught.value) is ConfigurationError
    return caught.value


def everything_said_about(outcome: object) -> Iterator[str]:
    """The texts by which ``outcome`` could end up in a log."""
    yield str(outcome)
    yield repr(outcome)
    error = outcome if isinstance(outcome, BaseException) else None
    if error is not None:
        yield from traceback.format_exception(error)
        yield from variables_shown_with(error)
    while error is not None:
        yield str(error)
        yield repr(error)
        yield repr(error.args)
        yield repr(vars(error))
        error = error.__cause__ or error.__context__


def variables_shown_with(error: BaseException) -> Iterator[str]:
    """The variables of the library's frames in a traceback, also of the errors that led to it, as error reporters show
    them. Those of tests are the user's own."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    todo: list[traceback.TracebackException | None] = [shown]
    while todo:
        each = todo.pop()
        if each is not None:
            todo += [each.__cause__, each.__context__, *(each.exceptions or ())]
            for frame in each.stack:
                if "/tests/" not in frame.filename:
                    yield f"{frame.name}: {frame.locals}"


def outcome_of(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:
        return error


async def outcome_of_awaiting(call: Awaitable[object]) -> object:
    try:
        return await call
    except Exception as error:
        return error


NO_INTEGERS: Final[list[object]] = [None, True, False, 1.0, 1.5, NAN, INF, "1", b"1", Decimal(1), [], (1,)]
