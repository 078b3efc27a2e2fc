"""``aiopartition owner``: tells who owns a key, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiopartition.cli.snapshot import Snapshot
from aiopartition.cli.text import Block, Columns, cell
from aiopartition.errors import ConfigurationError
from aiopartition.parsing import parse_number
from aiopartition.placement.keys import encode, hash_key
from aiopartition.placement.partition import Partition
from aiopartition.placement.view import View
from aiopartition.showing import shown_name

__all__ = ["KeyLine", "Owners", "find_owners", "key_of"]

_PARTITIONS: Final = "a group without partitions has none to ask for"


def key_of(argument: str) -> bytes:
    """Return an argument or a line as a key: its bytes, whether they are UTF-8 or not.

    A ``str`` or ``int``, or anything else with the same text, has this key.
    """
    return argument.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One key, and why it has its owners: the high bits of its hash are its slot, and each slot has its owners.

    :ivar hash: the hash of the key; ``None`` for a partition that was given by number.
    :ivar partition: ``None`` in a group without partitions.
    :ivar owners: the first owner first.
    """

    key: str
    hash: int | None
    slot: int
    partition: int | None
    owners: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "hash": None if self.hash is None else f"{self.hash:016x}",
            "slot": self.slot,
            "partition": self.partition,
            "owners": list(self.owners),
        }

    def row(self, *, partitions: bool) -> tuple[str, ...]:
        number = "-" if self.hash is None else f"{self.hash:016x}"
        place = (str(self.slot), str(self.partition)) if partitions else (str(self.slot),)
        return cell(self.key), number, *place, ", ".join(map(cell, self.owners))


@dataclass(frozen=True, slots=True)
class Owners:
    """The owners of some keys at one generation."""

    snapshot: Snapshot
    view: View
    keys: tuple[KeyLine, ...]

    @property
    def healthy(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "group": self.view.group_id,
            "generation": self.view.generation,
            "members": len(self.view.members),
            "handing_over": self.snapshot.handing_over,
            "slots": self.view.policy.slots,
            "partitions": self.view.policy.partitions or None,
            "keys": [line.to_json() for line in self.keys],
        }

    def blocks(self) -> list[Block]:
        view, policy = self.view, self.view.policy
        bits = policy.slots.bit_length() - 1
        why = f"the first {bits} bits of a key's hash (XXH3) are its slot, of {policy.slots}"
        if policy.partitions:
            why += f"; slot x {policy.partitions} / {policy.slots}, rounded down, is its partition"
        lines: list[Block] = [
            f"group {cell(view.group_id)} at generation {view.generation}, {len(view.members)} members; {why}"
        ]
        if self.snapshot.handing_over:
            lines.append("a handoff is under way: what a member gains is at work there only when it is complete")
        place = ("SLOT", "PARTITION") if policy.partitions else ("SLOT",)
        header = ("KEY", "HASH", *place, "OWNERS" if policy.replicas > 1 else "OWNER")
        rows = tuple(line.row(partitions=bool(policy.partitions)) for line in self.keys)
        return [*lines, Columns(header, rows, frozenset({2, 3} if policy.partitions else {2}))]


def find_owners(snapshot: Snapshot, arguments: Sequence[str], *, partitions: bool) -> Owners:
    """Calculate who owns keys.

    :param partitions: whether the arguments are numbers of partitions rather than keys.
    :raises ConfigurationError: if a number is not that of a partition of this group.
    :raises OwnershipUnknownError: if nobody can own anything.
    """
    view = snapshot.certain_view
    look = _partition_line if partitions else _key_line
    return Owners(snapshot, view, tuple(look(view, argument) for argument in arguments))


def _key_line(view: View, argument: str) -> KeyLine:
    key = key_of(argument)
    partition = int(view.table.partition(key)) if view.policy.partitions else None
    return KeyLine(argument, hash_key(key), view.table.slot(key), partition, view.table.owners(key))


def _partition_line(view: View, argument: str) -> KeyLine:
    count = view.policy.partitions
    number = parse_number(argument)
    if number is None or number >= count:
        reason = f"the group has partitions 0 to {count - 1}" if count else _PARTITIONS
        raise ConfigurationError("partition", f"{shown_name(argument)}: {reason}")
    key = encode(Partition(number))
    return KeyLine(argument, None, view.table.slot(key), number, view.table.owners(key))
