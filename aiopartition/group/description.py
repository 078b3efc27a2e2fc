"""What members say about themselves. The library only shows it, and never relies on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from aiopartition.backends.base import Backend
from aiopartition.checks import MAX_METADATA
from aiopartition.errors import ConfigurationError
from aiopartition.group.entry import Entry
from aiopartition.group.roster import Roster
from aiopartition.parsing import parse_json
from aiopartition.placement.view import Member

__all__ = ["LONGEST_HOST", "LONGEST_WORD", "Descriptions", "MemberInfo"]

_LONGEST_DOCUMENT: Final = 262_144
"""Bytes. The longest metadata allowed takes less than that, however JSON writes it."""

LONGEST_HOST: Final = 255
LONGEST_WORD: Final = 64
_PIDS: Final = 2**63


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A member, and what it says about itself.

    Except for ``id`` and ``weight``, do not trust this text: whoever may write into the group may have written it, with
    any characters in it. A field that does not hold what this library would write is ``None``; ``metadata`` is empty
    then.

    :ivar id: the member id.
    :ivar weight: how many shares of the work it takes.
    :ivar host: the name of the machine on which it runs; at most 255 characters.
    :ivar pid: its process id there.
    :ivar started: when its coordinator was started, ISO 8601 in UTC, by its own clock.
    :ivar version: the version of this library that it runs.
    :ivar metadata: what its coordinator was given as ``metadata``.
    """

    id: str
    weight: int
    host: str | None = None
    pid: int | None = None
    started: str | None = None
    version: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def described(cls, member: Member, document: bytes) -> MemberInfo:
        """Return what ``document``, the content of its entry, says about a member."""
        facts = _facts(document)
        pid = facts.get("pid")
        return cls(
            member.id,
            member.weight,
            _text(facts.get("host"), LONGEST_HOST),
            pid if isinstance(pid, int) and not isinstance(pid, bool) and 0 < pid < _PIDS else None,
            _text(facts.get("started"), LONGEST_WORD),
            _text(facts.get("version"), LONGEST_WORD),
            _metadata(facts.get("metadata")),
        )


class Descriptions:
    """Reads what the members of one group say about themselves, once for each entry, and keeps it while that exists."""

    def __init__(self, backend: Backend, group_id: str) -> None:
        self._backend = backend
        self._group_id = group_id
        self._roster: Roster | None = None  # the entries last asked about
        self._live: dict[str, Entry] = {}  # the live ones among them, by the member's id
        self._known: dict[str, MemberInfo] = {}  # by the name of the entry

    async def of(self, member_id: str, roster: Roster) -> MemberInfo:
        """Return what a member says about itself.

        :param roster: the entries that were last read.
        :raises ConfigurationError: if there is no such member.
        :raises BackendError: if its entry cannot be read.
        """
        if roster is not self._roster:
            self._roster, self._live = roster, roster.live()
            names = {entry.name for entry in self._live.values()}
            self._known = {name: info for name, info in self._known.items() if name in names}
        entry = self._live.get(member_id)
        if entry is None:
            raise ConfigurationError("member_id", f"{member_id!r} is no member of group {self._group_id!r}")
        known = self._known.get(entry.name)
        if known is not None:
            return known
        document = await self._backend.describe(self._group_id, entry.name)
        if document is None:
            raise ConfigurationError("member_id", f"{member_id!r} has just left group {self._group_id!r}")
        info = MemberInfo.described(Member(member_id, entry.weight), document)
        if self._live.get(member_id) == entry:  # still
            self._known[entry.name] = info
        return info


def _facts(document: bytes) -> dict[str, Any]:
    if len(document) > _LONGEST_DOCUMENT:
        return {}
    try:
        facts: Any = parse_json(document)
    except ValueError:
        return {}
    return cast("dict[str, Any]", facts) if isinstance(facts, dict) else {}


def _text(value: object, longest: int) -> str | None:
    return value[:longest] if isinstance(value, str) else None


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    pairs = cast("dict[str, object]", value)
    texts = {name: text for name, text in pairs.items() if isinstance(text, str)}
    size = sum(len(name) + len(text) for name, text in texts.items())
    return texts if len(texts) == len(pairs) and size <= MAX_METADATA else {}
