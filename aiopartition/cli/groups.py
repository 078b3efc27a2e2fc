"""``aiopartition groups``: lists the groups below the namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from aiopartition.backends.base import Backend
from aiopartition.cli.report import policy_text
from aiopartition.cli.snapshot import NoGroupError, Snapshot, each, read_snapshot
from aiopartition.cli.text import Block, Columns, cell
from aiopartition.errors import BackendUnavailableError, PartitionError

__all__ = ["GroupLine", "Groups", "list_groups"]

_HEADER: Final = ("GROUP", "MEMBERS", "DRAINED", "GENERATION", "HANDOFF", "POLICY")


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One group, or why it cannot be seen.

    :ivar snapshot: ``None`` if it cannot be seen.
    """

    group_id: str
    snapshot: Snapshot | None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        found = self.snapshot
        return {
            "group": self.group_id,
            "members": None if found is None else len(found.members),
            "drained": None if found is None else _drained(found),
            "generation": None if found is None else found.generation,
            "policy": None if found is None else found.policy.as_json(),
            "handing_over": None if found is None else found.handing_over,
            "problem": self.problem or None,
        }

    def row(self) -> tuple[str, ...]:
        found = self.snapshot
        if found is None:
            return cell(self.group_id), "?", "?", "?", "?", cell(self.problem)
        handoff = "-" if found.handoff is None else "under way" if found.handing_over else "complete"
        counts = (str(len(found.members)), str(_drained(found)), str(found.generation))
        return cell(self.group_id), *counts, handoff, policy_text(found.policy)


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a namespace, sorted by their ids.

    :ivar url: the backend's URL, without credentials.
    """

    url: str
    groups: tuple[GroupLine, ...]

    @property
    def healthy(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {"url": self.url, "groups": [line.to_json() for line in self.groups]}

    def blocks(self) -> list[Block]:
        if not self.groups:
            return [f"no groups at {self.url}"]
        return [Columns(_HEADER, tuple(line.row() for line in self.groups), frozenset({1, 2, 3}))]


async def list_groups(backend: Backend, url: str) -> Groups:
    """Read all groups. If one cannot be read, the others are still listed.

    :raises BackendError: if the namespace cannot be read, or the connection breaks.
    """

    async def look(group_id: str) -> GroupLine | None:
        try:
            return GroupLine(group_id, await read_snapshot(backend, group_id))
        except NoGroupError:  # a node with the name of one
            return None
        except BackendUnavailableError:
            raise
        except PartitionError as error:
            return GroupLine(group_id, None, str(error))

    found = await each(look, await backend.groups())
    return Groups(url, tuple(line for line in found if line is not None))


def _drained(snapshot: Snapshot) -> int:
    return sum(entry.weight == 0 for entry in snapshot.members.values())
