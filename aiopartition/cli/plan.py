"""``aiopartition plan``: calculates how much work a change of the members would move, without making the change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from aiopartition.checks import MAX_WEIGHT, require_id
from aiopartition.cli.balance import Balance, least_possible
from aiopartition.cli.snapshot import Snapshot
from aiopartition.cli.text import Block, Columns, cell, percent
from aiopartition.errors import ConfigurationError
from aiopartition.parsing import parse_number
from aiopartition.placement.view import View
from aiopartition.showing import shown_name

__all__ = ["Flow", "Plan", "changed_weights", "flows", "plan_change"]

_SHARES: Final = ("MEMBER", "WEIGHT", "SHARE BEFORE", "SHARE AFTER")
_FLOWS: Final = ("FROM", "TO", "MOVES")


@dataclass(frozen=True, slots=True)
class Flow:
    """A share of the work that goes from one member to another.

    :ivar source: ``None`` for copies that had no owner.
    :ivar target: ``None`` for copies that will have none.
    """

    source: str | None
    target: str | None
    share: float

    def to_json(self) -> dict[str, Any]:
        return {"from": self.source, "to": self.target, "share": self.share}


@dataclass(frozen=True, slots=True)
class Plan:
    """The effect of changes of the members."""

    before: View
    after: View

    @property
    def healthy(self) -> bool:
        return True

    @property
    def moved(self) -> float:
        """The share of slots or partitions whose owners change."""
        return self.after.table.moved(self.before.table)

    @property
    def least(self) -> float:
        """The least that could move for these shares."""
        return least_possible(self.before.shares(), self.after.shares())

    def to_json(self) -> dict[str, Any]:
        return {
            "group": self.before.group_id,
            "generation": self.before.generation,
            "moved": self.moved,
            "least_possible": self.least,
            "flows": [flow.to_json() for flow in flows(self.before, self.after)],
            "members": [
                {"id": each, "weight_before": old, "weight_after": new, "share_before": was, "share_after": will}
                for each, old, new, was, will in self._members()
            ],
            "balance_before": Balance.of(self.before).to_json(),
            "balance_after": Balance.of(self.after).to_json(),
        }

    def blocks(self) -> list[Block]:
        shares = [
            (
                cell(each),
                _weights(old, new),
                "-" if old is None else percent(was),
                "-" if new is None else percent(will),
            )
            for each, old, new, was, will in self._members()
        ]
        moves = [(cell(flow.source), cell(flow.target), percent(flow.share)) for flow in flows(self.before, self.after)]
        before, moved, least = self.before, percent(self.moved), percent(self.least)
        lines: list[Block] = [
            f"group {cell(before.group_id)} at generation {before.generation}",
            f"{moved} of the work would move; for these shares at least {least} must",
            f"balance before: {Balance.of(before)}",
            f"balance after: {Balance.of(self.after)}",
            Columns(_SHARES, tuple(shares), frozenset({1, 2, 3})),
        ]
        return [*lines, "", Columns(_FLOWS, tuple(moves), frozenset({2}))] if moves else lines

    def _members(self) -> list[tuple[str, int | None, int | None, float, float]]:
        """Return each member's weights and shares, before and after the change. An absent member has no weight."""
        old, new = ({each.id: each.weight for each in view.members} for view in (self.before, self.after))
        was, will = self.before.shares(), self.after.shares()
        return [
            (each, old.get(each), new.get(each), was.get(each, 0.0), will.get(each, 0.0))
            for each in sorted(old.keys() | new.keys())
        ]


def plan_change(snapshot: Snapshot, add: Sequence[str], remove: Sequence[str], weight: Sequence[str]) -> Plan:
    """Calculate what a change would do to the present members.

    :param add: ``id`` or ``id:weight``.
    :param remove: ids.
    :param weight: ``id:weight``.
    :raises ConfigurationError: for a change that cannot be made.
    :raises GroupTooLargeError: if there would be too many members for the group's policy.
    :raises OwnershipUnknownError: if nobody owns anything at present.
    """
    before = snapshot.certain_view
    present = {member.id: member.weight for member in before.members}
    weights = changed_weights(present, add, remove, weight)
    return Plan(before, View.of(before.group_id, before.generation, weights, before.policy, ""))


def changed_weights(
    present: Mapping[str, int], add: Sequence[str], remove: Sequence[str], weight: Sequence[str]
) -> dict[str, int]:
    """Return the weights after a change, by member id. See :func:`plan_change`."""
    if not (add or remove or weight):
        raise ConfigurationError("plan", "give at least one of --add, --remove and --weight")
    weights = dict(present)
    for each in remove:
        if weights.pop(each, None) is None:
            raise ConfigurationError("--remove", f"{shown_name(each)} is no member")
    for text in weight:
        member_id, number = _divide("--weight", text, None)
        if member_id not in weights:
            raise ConfigurationError("--weight", f"{shown_name(member_id)} is no member")
        weights[member_id] = number
    for text in add:
        member_id, number = _divide("--add", text, 1)
        if member_id in weights:
            raise ConfigurationError("--add", f"{shown_name(member_id)} is a member already")
        weights[require_id("--add", member_id)] = number
    if not any(weights.values()):
        raise ConfigurationError("plan", "no member with a weight above 0 would be left")
    return weights


def flows(before: View, after: View) -> tuple[Flow, ...]:
    """Return the shares that members give to each other, the greatest first."""
    count = len(before.table.units[0])
    moved = Counter[tuple[str | None, str | None]]()
    for old, new in zip(zip(*before.table.units, strict=True), zip(*after.table.units, strict=True), strict=True):
        if old != new:
            lost = [each for each in old if each not in new]
            gained = [each for each in new if each not in old]
            moved.update(zip_longest(lost, gained))
    ordered = sorted(moved.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
    return tuple(Flow(source, target, number / count) for (source, target), number in ordered)


def _divide(option: str, text: str, default: int | None) -> tuple[str, int]:
    """Return the id and the weight in ``id:weight``: what follows the last colon, if it is a number."""
    member_id, colon, digits = text.rpartition(":")
    number = parse_number(digits) if colon else None
    if number is None:
        if default is None:
            raise ConfigurationError(option, f"{shown_name(text)} must be id:weight")
        return text, default
    if number > MAX_WEIGHT:
        raise ConfigurationError(option, f"{shown_name(text)}: a weight is at most {MAX_WEIGHT}")
    return member_id, number


def _weights(old: int | None, new: int | None) -> str:
    if old == new:
        return str(new)
    return f"{'-' if old is None else old} > {'-' if new is None else new}"
