"""The names of entries, which hold everything that placement needs.

An entry's name is ``<member id>;<weight>;<incarnation>;<nonce>``. The member id is percent-encoded (RFC 3986, all but
unreserved characters), so any text fits into one path component, and ``;`` never occurs in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from aiopartition.checks import MAX_WEIGHT
from aiopartition.quoting import quote_component, unquote_component

__all__ = ["MAX_INCARNATION", "Entry"]

MAX_INCARNATION: Final = 10**18 - 1
"""Counting from 1, no honest member gets there."""

_PATTERN: Final = re.compile(
    r"(?P<member>[A-Za-z0-9_.~%-]{1,4096});(?P<weight>0|[1-9][0-9]{0,3});(?P<incarnation>0|[1-9][0-9]{0,17});(?P<nonce>[0-9a-f]{16})"
)


_LONG: Final = 256
"""Characters of a name that is not kept. Whatever the names are, what is kept stays small."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of one incarnation of a member in a group."""

    member_id: str
    weight: int
    incarnation: int
    nonce: str

    @property
    def name(self) -> str:
        return f"{quote_component(self.member_id)};{self.weight};{self.incarnation};{self.nonce}"

    @property
    def seniority(self) -> tuple[int, str, str]:
        """Of several incarnations of one member, the one that compares highest is the live one.

        The last part orders by weight as the names do, so that two entries never compare equal, whoever wrote them.
        """
        return self.incarnation, self.nonce, f"{self.weight};"

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        """Return the entry that has this name, or ``None`` if this library would not write such a name."""
        return _kept(name) if len(name) < _LONG else _parsed(name)


def _parsed(name: str) -> Entry | None:
    match = _PATTERN.fullmatch(name)
    if match is None or int(match["weight"]) > MAX_WEIGHT:
        return None
    if "%" not in match["member"] and match["member"] not in (".", ".."):  # the common case, at half the cost
        return Entry(match["member"], int(match["weight"]), int(match["incarnation"]), match["nonce"])
    try:
        member_id = unquote_component(match["member"])
    except UnicodeDecodeError:
        return None
    entry = Entry(member_id, int(match["weight"]), int(match["incarnation"]), match["nonce"])
    # We write exactly one spelling; any other would be a second name for the same entry.
    return entry if entry.name == name else None


_kept: Final = lru_cache(maxsize=4096)(_parsed)
"""The members of one process all read the same names."""
