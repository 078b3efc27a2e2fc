"""``aiopartition members``: lists the members of a group, where they run, and their shares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiopartition.backends.base import Backend
from aiopartition.cli.balance import fair_shares
from aiopartition.cli.report import policy_text
from aiopartition.cli.snapshot import Snapshot, each
from aiopartition.cli.text import Block, Columns, cell, metadata_text, percent, seconds_text
from aiopartition.errors import BackendError, BackendUnavailableError
from aiopartition.group.description import MemberInfo
from aiopartition.group.entry import Entry
from aiopartition.placement.view import Member

__all__ = ["MemberLine", "Members", "describe_members"]

_HEADER: Final = ("MEMBER", "WEIGHT", "SHARE", "EXPECTED", "HANDOFF", "HOST", "PID", "AGE", "VERSION", "METADATA")


@dataclass(frozen=True, slots=True)
class MemberLine:
    """One member.

    :ivar info: what it says about itself.
    :ivar share: its share of the slots or partitions.
    :ivar expected: the share that it would have by weight alone.
    :ivar age: seconds since its coordinator was started, by its clock and ours; ``None`` if it does not say.
    :ivar handoff: see :meth:`Snapshot.handoff_state`.
    :ivar problem: why its description could not be read; otherwise empty.
    """

    info: MemberInfo
    share: float
    expected: float
    age: float | None
    handoff: str
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.info.id,
            "weight": self.info.weight,
            "share": self.share,
            "expected_share": self.expected,
            "handoff": self.handoff,
            "host": self.info.host,
            "pid": self.info.pid,
            "started": self.info.started,
            "age_seconds": self.age,
            "version": self.info.version,
            "metadata": dict(self.info.metadata),
            "problem": self.problem or None,
        }

    def row(self) -> tuple[str, ...]:
        info = self.info
        return (
            cell(info.id),
            str(info.weight) if info.weight else "0 (drained)",
            percent(self.share),
            percent(self.expected),
            self.handoff,
            cell(info.host),
            "-" if info.pid is None else str(info.pid),
            "-" if self.age is None else seconds_text(self.age),
            cell(info.version),
            cell(self.problem) if self.problem else metadata_text(info.metadata.items()),
        )


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a group, sorted by their ids."""

    snapshot: Snapshot
    members: tuple[MemberLine, ...]

    @property
    def healthy(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "group": self.snapshot.group_id,
            "generation": self.snapshot.generation,
            "policy": self.snapshot.policy.as_json(),
            "handing_over": self.snapshot.handing_over,
            "members": [line.to_json() for line in self.members],
        }

    def blocks(self) -> list[Block]:
        found = self.snapshot
        heading = (
            f"group {cell(found.group_id)}: {len(self.members)} members at generation {found.generation}, "
            f"{policy_text(found.policy)}"
        )
        table = Columns(_HEADER, tuple(line.row() for line in self.members), frozenset({1, 2, 3, 6, 7}))
        return [heading, table] if self.members else [heading]


async def describe_members(backend: Backend, snapshot: Snapshot) -> Members:
    """Read what the members of a group say about themselves.

    :raises BackendUnavailableError: if the connection breaks.
    """
    shares = {} if snapshot.view is None else snapshot.view.shares()
    expected = {} if snapshot.view is None else fair_shares(snapshot.view)

    async def look(entry: Entry) -> MemberLine:
        member, problem = Member(entry.member_id, entry.weight), ""
        info = MemberInfo(member.id, member.weight)
        try:
            document = await backend.describe(snapshot.group_id, entry.name)
            info = MemberInfo.described(member, document or b"")
        except BackendUnavailableError:
            raise
        except BackendError as error:
            problem = str(error)
        return MemberLine(
            info,
            shares.get(member.id, 0.0),
            expected.get(member.id, 0.0),
            _age(info.started),
            snapshot.handoff_state(entry),
            problem,
        )

    return Members(snapshot, tuple(await each(look, snapshot.members.values())))


def _age(started: str | None) -> float | None:
    """Return the seconds since a time that a member gives; ``None`` if that is not a time."""
    try:
        moment = datetime.fromisoformat(started or "")
        return max(0.0, (datetime.now(UTC) - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds())
    except (ValueError, OverflowError):
        return None
