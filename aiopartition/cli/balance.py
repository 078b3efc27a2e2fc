"""The shares of members, compared with those that they would have if the work could be divided at will."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiopartition.placement.view import View

__all__ = ["Balance", "fair_shares", "least_possible"]


def fair_shares(view: View) -> dict[str, float]:
    """Return each member's share by weight alone, by its id. They add up to the number of owners of a key.

    No member owns a key twice, so a share is at most 1. Any excess goes to the other members, by weight.
    """
    weights = {member.id: member.weight for member in view.members}
    shares = dict.fromkeys(weights, 0.0)
    rest = float(len(view.table.ranks))
    while open_weights := {each: weight for each, weight in weights.items() if weight and shares[each] < 1.0}:
        total = sum(open_weights.values())
        full = [each for each, weight in open_weights.items() if rest * weight / total >= 1.0]
        for each in full or open_weights:
            shares[each] = 1.0 if full else rest * open_weights[each] / total
        if not full:
            break
        rest -= len(full)
    return shares


@dataclass(frozen=True, slots=True)
class Balance:
    """How evenly a view spreads the work: the greatest and the least share, each as a multiple of the fair share.

    Drained members do not count.
    """

    greatest: float
    least: float

    @classmethod
    def of(cls, view: View) -> Balance:
        shares, fair = view.shares(), fair_shares(view)
        loads = [shares[each] / fair[each] for each in shares if fair[each] > 0]
        return cls(max(loads), min(loads))

    def to_json(self) -> dict[str, float]:
        return {"greatest": self.greatest, "least": self.least}

    def __str__(self) -> str:
        return f"members have {self.least:.2f} to {self.greatest:.2f} times their fair shares"


def least_possible(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Return the least share that has to move so that the members' shares change from ``before`` to ``after``."""
    return sum(max(0.0, share - before.get(each, 0.0)) for each, share in after.items())
