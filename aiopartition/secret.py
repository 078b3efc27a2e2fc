"""Passwords, and texts that may have one in them, as values that show nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NoReturn, Self, TypeVar, cast, final

__all__ = ["Secret", "hidden"]

T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)


@final
class Secret(Generic[T_co]):
    """A value that no log, traceback or error report shows: whatever formats it gets ``Secret(...)``.

    The library holds passwords in it, and URLs from the moment in which they are given to it. If tracebacks of your own
    code are shown with their variables, hold it in their place, and give it: ``auth=("user", Secret(password))``.

    It is equal to another secret with an equal value, a copy of it is itself, and it cannot be pickled.

    :param value: what is kept secret.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T_co) -> None:
        self._value = value

    def reveal(self) -> T_co:
        """Return the value."""
        return self._value

    def read(self, parse: Callable[[T_co], R]) -> R:
        """Return ``parse(value)``.

        :raises Exception: what ``parse`` raises, without the frames and the other errors that led to it: their
            variables and arguments hold the value. Its own text must not.
        """
        try:
            return parse(self._value)
        except Exception as error:
            failure = error.with_traceback(None)
        failure.__cause__ = failure.__context__ = None
        try:
            raise failure
        finally:
            del failure  # it holds this frame

    def __repr__(self) -> str:
        return "Secret(...)"

    def __format__(self, _specification: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == cast("Secret[object]", other)._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def hidden(value: T | Secret[T] | None) -> Secret[T] | None:
    """Return ``value`` as a secret, unless it is one or nothing.

    Tracebacks show the arguments of functions. One that takes a secret, and may raise, hides it under the same name.
    """
    if value is None or isinstance(value, Secret):
        return cast("Secret[T] | None", value)
    return Secret(value)
