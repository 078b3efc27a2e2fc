"""``aiopartition audit``: checks that a group is as it should be, and that each key has the right number of owners."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiopartition.backends.base import Backend, Owner
from aiopartition.cli.balance import Balance, fair_shares
from aiopartition.cli.report import policy_text
from aiopartition.cli.snapshot import Snapshot, each, read_snapshot
from aiopartition.cli.text import Block, Columns, cell, percent
from aiopartition.errors import BackendError, BackendUnavailableError

__all__ = ["Audit", "Finding", "MemberCount", "audit_group", "keys_of", "settled_snapshot"]

_INTERVAL: Final = 0.2
"""Seconds between two looks at a handoff that is under way."""

_HEADER: Final = ("MEMBER", "WEIGHT", "SHARE", "EXPECTED")
_SHOWN: Final = 10
"""The text shows at most this many names of each finding. JSON has all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    :ivar kind: a stable word for programs.
    :ivar text: what is wrong, in one line.
    :ivar names: the nodes or members concerned.
    """

    kind: str
    text: str
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "text": self.text, "names": list(self.names)}

    def line(self) -> str:
        names = ", ".join(map(cell, self.names[:_SHOWN])) + (" ..." if len(self.names) > _SHOWN else "")
        return f"PROBLEM {self.kind}: {self.text}" + (f": {names}" if names else "")


@dataclass(frozen=True, slots=True)
class MemberCount:
    """The share and the keys of one member.

    :ivar share: its share of the slots or partitions.
    :ivar expected: the share that it would have by weight alone.
    :ivar keys: how many of the given keys it owns; ``None`` if none were given.
    """

    id: str
    weight: int
    share: float
    expected: float
    keys: int | None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "weight": self.weight,
            "share": self.share,
            "expected_share": self.expected,
            "keys": self.keys,
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """The verdict on a group.

    :ivar keys: how many distinct keys were given; ``None`` if none were.
    :ivar repeated: how many lines repeat a key.
    :ivar owner_counts: how many keys have how many owners.
    """

    snapshot: Snapshot
    members: tuple[MemberCount, ...]
    findings: tuple[Finding, ...]
    keys: int | None
    repeated: int
    owner_counts: Mapping[int, int]

    @property
    def healthy(self) -> bool:
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        found, view = self.snapshot, self.snapshot.view
        return {
            "group": found.group_id,
            "verdict": "ok" if self.healthy else "problems",
            "generation": found.generation,
            "active_generation": None if found.handoff is None else found.handoff.active,
            "policy": found.policy.as_json(),
            "members": [member.to_json() for member in self.members],
            "balance": None if view is None else Balance.of(view).to_json(),
            "keys": self.keys,
            "repeated_keys": self.repeated,
            "owner_counts": {str(owners): count for owners, count in sorted(self.owner_counts.items())},
            "waiting_for": [entry.member_id for entry in found.waiting_for],
            "findings": [finding.to_json() for finding in self.findings],
        }

    def blocks(self) -> list[Block]:
        found = self.snapshot
        heading = f"group {cell(found.group_id)} at generation {found.generation}: {len(self.members)} members, "
        lines: list[Block] = [heading + policy_text(found.policy)]
        if found.handoff is not None:
            state = "under way" if found.handing_over else "complete"
            lines.append(f"handoff {state}; the last one completed is that to generation {found.handoff.active}")
        if found.view is not None:
            lines.append(f"balance: {Balance.of(found.view)}")
        if self.keys is not None:
            counts = ", ".join(
                f"{count} with {owners} owner{'' if owners == 1 else 's'}"
                for owners, count in sorted(self.owner_counts.items())
            )
            repeated = f"; {self.repeated} lines repeat one" if self.repeated else ""
            lines.append(f"{self.keys} keys: {counts or 'none'}{repeated}")
        header = _HEADER if self.keys is None else (*_HEADER, "KEYS", "OF THE KEYS")
        rows = tuple(self._row(member) for member in self.members)
        lines += [Columns(header, rows, frozenset({1, 2, 3, 4, 5}))] if rows else []
        return [*lines, *(finding.line() for finding in self.findings), f"verdict: {self.to_json()['verdict']}"]

    def _row(self, member: MemberCount) -> tuple[str, ...]:
        row = (cell(member.id), str(member.weight), percent(member.share), percent(member.expected))
        if member.keys is None or self.keys is None:
            return row
        return *row, str(member.keys), percent(member.keys / max(1, self.keys))


def keys_of(lines: Iterable[bytes]) -> list[bytes]:
    """Return the keys of a file that has one on each line. Empty lines are ignored."""
    return [key for line in lines if (key := line.rstrip(b"\r\n"))]


async def settled_snapshot(backend: Backend, group_id: str, patience: float) -> Snapshot:
    """Read a group, and read it again while a handoff is under way, for at most ``patience`` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        snapshot = await read_snapshot(backend, group_id)
        if not snapshot.handing_over or loop.time() >= end:
            return snapshot
        await asyncio.sleep(min(_INTERVAL, patience))


async def audit_group(backend: Backend, snapshot: Snapshot, keys: list[bytes] | None, patience: float) -> Audit:
    """Look at every entry of a group, and calculate the owners of the keys.

    :param keys: ``None`` if none were given.
    :param patience: seconds after which a handoff that is still under way counts as one that waits.
    :raises BackendUnavailableError: if the connection breaks.
    """
    distinct = None if keys is None else list(dict.fromkeys(keys))
    owned, counts = _count(snapshot, distinct or [])
    findings = [*_entries(snapshot), *await _stale(backend, snapshot), *_handoff(snapshot, patience)]
    if snapshot.view is None:
        findings.insert(0, Finding("no-owners", f"nobody owns anything: {snapshot.unknown_reason}"))
    else:
        wanted = len(snapshot.view.table.ranks)
        if wrong := sum(number for owners, number in counts.items() if owners != wanted):
            findings.append(Finding("owner-count", f"{wrong} keys have another number of owners than {wanted}"))
    shares = {} if snapshot.view is None else snapshot.view.shares()
    expected = {} if snapshot.view is None else fair_shares(snapshot.view)
    members = tuple(
        MemberCount(
            member_id,
            entry.weight,
            shares.get(member_id, 0.0),
            expected.get(member_id, 0.0),
            None if distinct is None else owned[member_id],
        )
        for member_id, entry in snapshot.members.items()
    )
    number = None if distinct is None else len(distinct)
    return Audit(snapshot, members, tuple(findings), number, len(keys or []) - (number or 0), counts)


def _count(snapshot: Snapshot, keys: list[bytes]) -> tuple[Counter[str], Counter[int]]:
    """Return how many keys each member owns by its own view, and how many keys have how many owners."""
    owned, owners = Counter[str](), Counter[int]()
    if snapshot.view is None:
        return owned, Counter({0: len(keys)} if keys else {})
    table = snapshot.view.table
    masks = {member_id: table.mask(member_id) for member_id in snapshot.members}  # members decide by these
    for slot, number in Counter(map(table.slot, keys)).items():
        mine = [member_id for member_id, mask in masks.items() if mask[slot]]
        owners[len(mine)] += number
        owned.update(dict.fromkeys(mine, number))
    return owned, owners


def _entries(snapshot: Snapshot) -> list[Finding]:
    """Return what the names of the entries show to be wrong."""
    findings: list[Finding] = []
    if snapshot.roster.foreign:
        text = "names among the entries that no member has written, and that all members ignore"
        findings.append(Finding("foreign-nodes", text, tuple(sorted(snapshot.roster.foreign))))
    live = {entry.name for entry in snapshot.members.values()}
    if superseded := snapshot.roster.members - live:
        text = "entries of earlier incarnations of a member; two live processes may share one member id"
        findings.append(Finding("superseded-entries", text, tuple(sorted(superseded))))
    return findings


async def _stale(backend: Backend, snapshot: Snapshot) -> list[Finding]:
    """Return what the owners of the entries show to be wrong: entries that belong to no session."""
    problems: set[str] = set()

    async def look(name: str) -> str | None:
        try:
            return name if await backend.owner(snapshot.group_id, name) is Owner.NOBODY else None
        except BackendUnavailableError:
            raise
        except BackendError as error:
            problems.add(str(error))
            return None

    names = [name for name in await each(look, sorted(snapshot.roster.members)) if name is not None]
    findings: list[Finding] = []
    if names:
        text = "entries that belong to no session, but count as members until a member removes them"
        findings.append(Finding("stale-nodes", text, tuple(names)))
    if problems:
        text = "entries that cannot be read, so they may be stale"
        findings.append(Finding("unreadable-nodes", text, tuple(sorted(problems))))
    return findings


def _handoff(snapshot: Snapshot, patience: float) -> list[Finding]:
    if not snapshot.handing_over or snapshot.handoff is None:
        return []
    if snapshot.handoff.problem:
        return [
            Finding(
                "unreadable-handoff",
                f"it cannot be read which members the handoff waits for: {snapshot.handoff.problem}",
            )
        ]
    waiting_for = tuple(sorted({entry.member_id for entry in snapshot.waiting_for}))
    released = snapshot.handoff.released == snapshot.generation
    doing = "let go of what it loses" if released else "say that it is ready"
    text = f"the handoff to generation {snapshot.generation} has waited for {patience:g} s for each of these to {doing}"
    return [Finding("handoff-waits", text, waiting_for)]
