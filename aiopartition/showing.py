"""Formats text that comes from outside: from the tree, from servers, from users' objects.

Whatever the text contains, the result is one short line of printable characters.
"""

from __future__ import annotations

import reprlib
from typing import Final

__all__ = ["LONGEST_TEXT", "printable", "shown", "shown_error", "shown_key", "shown_name"]

LONGEST_TEXT: Final = 2_000
"""The greatest number of characters in an error's text."""

_LONGEST_VALUE: Final = 60
_LONGEST_ERROR: Final = 150
_LONGEST_NAME: Final = 255  # a name of any usual length is shown whole, so that operators can search for it


def printable(text: str, limit: int = LONGEST_TEXT) -> str:
    """Return ``text``, cut to ``limit`` characters. Escape whatever could move a cursor, begin another line, change the
    direction of reading, or fail to be encoded."""
    cut = text[: limit + 1]
    if not cut.isprintable():
        cut = "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in cut)
    return cut if len(cut) <= limit else f"{cut[:limit]}…"


def shown(value: object, limit: int = _LONGEST_VALUE) -> str:
    """Format any ``value`` for a message, cut to ``limit`` characters."""
    try:
        text = repr(value[: limit + 1]) if type(value) is str else _shortened.repr(value)
    except Exception as error:  # an int beyond Python's limit of digits, or a bug in a user's class
        return f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"
    return printable(text, limit)


def shown_error(error: BaseException) -> str:
    """Format an exception for a message, cut to 150 characters."""
    try:
        text = str(error)
    except Exception as another:  # a bug in a user's class
        text = f"its str() raises {type(another).__name__}"
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__, _LONGEST_ERROR)


def shown_name(name: str) -> str:
    """Format the id of a member or a group, or the name of a node or a host."""
    return shown(name, _LONGEST_NAME)


def shown_key(key: bytes) -> str:
    """Format an encoded key for a message, cut to 60 bytes."""
    text = repr(key[:_LONGEST_VALUE])[1:]
    return text if len(key) <= _LONGEST_VALUE else f"{text}…"


class _Shortened(reprlib.Repr):
    """Does not format the parts of a container that would be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = _LONGEST_VALUE
        self.maxstring = self.maxlong = self.maxother = LONGEST_TEXT

    def repr_instance(self, x: object, level: int) -> str:
        return repr(x)


_shortened: Final = _Shortened()
