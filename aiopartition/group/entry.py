"""Names: of groups as one component of a path, and of entries, in which everything that placement needs stands.

An entry's name is ``<member id>;<weight>;<incarnation>;<nonce>``. Both ids are percent-encoded (RFC 3986, only
unreserved characters stay), so any text fits into one path component and ``;`` never occurs inside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aiopartition.checks import MAX_WEIGHT
from aiopartition.quoting import quote_component, unquote_component

__all__ = ["MAX_INCARNATION", "Entry"]

MAX_INCARNATION: Final = 10**18 - 1
"""No honest member gets there."""

_PATTERN: Final = re.compile(
    r"(?P<member>[A-Za-z0-9_.~%-]{1,4096});(?P<weight>0|[1-9][0-9]{0,3});(?P<incarnation>0|[1-9][0-9]{0,17});(?P<nonce>[0-9a-f]{16})"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One incarnation of a member, as it stands in a group."""

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

        The last part orders them as their names do, so that no two entries are equal, whatever others have written.
        """
        return self.incarnation, self.nonce, f"{self.weight};"

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        """The entry of that name; ``None`` when it is not one that this library writes."""
        match = _PATTERN.fullmatch(name)
        if match is None or int(match["weight"]) > MAX_WEIGHT:
            return None
        if "%" not in match["member"] and match["member"] not in (".", ".."):  # the common case, at half the cost
            return cls(match["member"], int(match["weight"]), int(match["incarnation"]), match["nonce"])
        try:
            entry = cls(
                unquote_component(match["member"]), int(match["weight"]), int(match["incarnation"]), match["nonce"]
            )
        except UnicodeDecodeError:
            return None
        # Exactly one spelling is ours; any other would be a second name for the same entry.
        return entry if entry.name == name else None
