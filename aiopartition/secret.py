"""Holds passwords, and texts that may contain one, and shows nothing of them."""

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

    The library keeps passwords and URLs in secrets from the moment it gets them. If tracebacks of your own code show
    variables, keep passwords in secrets there too, and pass these: ``auth=("user", Secret(password))``.

    Secrets with equal values are equal. Copying a secret returns the secret itself. A secret cannot be pickled.

    :param value: the value that is kept secret.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T_co) -> None:
        self._value = value

    def reveal(self) -> T_co:
        """Return the value."""
        return self._value

    def read(self, parse: Callable[[T_co], R]) -> R:
        """Return ``parse(value)``.

        :raises Exception: the error that ``parse`` raises, without its frames, its cause and its context, whose
            variables and arguments hold the value. The error's own text must not contain it.
        """
        try:
            return parse(self._value)
        except Exception as error:
            failure = error.with_traceback(None)
        failure.__cause__ = failure.__context__ = None
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame

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
    """Return ``value`` as a secret. A secret, or ``None``, is returned as it is.

    Tracebacks show the arguments of functions. So a function that takes a password, and may raise, calls this first and
    gives the result the name of the argument.
    """
    if value is None or isinstance(value, Secret):
        return cast("Secret[T] | None", value)
    return Secret(value)
