"""Enumerations that are harder to tell from plain keys than most."""

from enum import Enum
from typing import Self


class Described(str, Enum):  # noqa: UP042
    """Its members' values are other than their text."""

    RED = "red", "the colour of signals"

    def __new__(cls, text: str, description: str) -> Self:
        member = str.__new__(cls, text)
        member._value_ = description
        return member
