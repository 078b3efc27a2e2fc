"""Strict parsers of text that others may have put into the tree."""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["parse_json", "parse_number"]

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")  # isdigit() and int() know digits of many scripts, and any number
_LARGEST_NUMBER: Final = 2**63 - 1


def parse_number(text: str) -> int | None:
    """Return the number in ``text``, from 0 to 2**63 - 1. Return ``None`` for anything that this library would not
    write in exactly this way."""
    number = int(text) if _NUMBER.fullmatch(text) else None
    return None if number is None or number > _LARGEST_NUMBER else number


def parse_json(document: bytes) -> Any:
    """Parse JSON that means the same to every reader: in UTF-8, with no name twice in one object, and no ``NaN``.

    :raises ValueError: for anything else, and if it is nested too deeply.
    """
    try:
        return json.loads(document.decode(), object_pairs_hook=_object, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
