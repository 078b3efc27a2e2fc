"""What members of unequal weight cost, how evenly they are loaded, and what moves. Counting, but for the time.

*Points for each unit* is the simplest rule, ``vnodes`` points for each unit of weight, which format 1 does not have:
there a table costs more the greater the weights are. *Load* is a member's share as a multiple of what its weight
entitles it to: the least and the most of all members. *Moved* is what changes its owner when a member joins or leaves,
as a multiple of what has to move; *excess* is how much more than that moves at worst, in shares of an average member.
By the rule of format 1 it is about the difference of the member's weight from the average.
"""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean

from aiopartition import GroupPolicy
from aiopartition.placement import ring
from aiopartition.placement.assign import build
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.report import Report, Table, Target

POLICY = GroupPolicy()

FLEETS: dict[str, tuple[int, ...]] = {
    "1": (1,),
    "500": (500,),
    "1 and 2": (1, 2),
    "1, 2, 4 and 8": (1, 2, 4, 8),
    "1 to 10": tuple(range(1, 11)),
    "100, and one of 101": (100,),
    "10, and one of 1": (10,),
}
"""The weights in a fleet, which take turns."""

JOINERS = {"100, and one of 101": 101, "10, and one of 1": 1}


async def measure(*, quick: bool) -> Report:
    sizes = (10,) if quick else (10, 30, 100)
    changes = 1 if quick else 8
    costs = Table("cost", "what a table costs, afresh", ("rule", "members|,", "weights", "points|,", "ms|,.1f"))
    moves = Table(
        "moved",
        "how even unequal weights are, and what moves",
        ("rule", "members|,", "weights", "least load|.2f", "most load|.2f", "join|.2f", "worst join|.2f",
         "leave|.2f", "worst leave|.2f", "excess|.2f"),
        f"{changes} members each; joins are measured with each weight of the fleet in turn.",
    )  # fmt: skip
    targets: list[Target] = []
    for size in sizes:
        for weights in ("1", "500") if quick else ("1", "500", "1, 2, 4 and 8"):
            for rule in ("format 1", "points for each unit"):
                if rule != "format 1" and weights == "500" and size > 10:
                    continue  # gigabytes
                with _rule(rule):
                    costs.add(rule, size, weights, *_cost(_fleet(size, FLEETS[weights])))
        for weights in FLEETS:
            for rule in ("format 1", "points for each unit"):
                if rule != "format 1" and max(FLEETS[weights]) > 10:
                    continue
                with _rule(rule):
                    row = _moves(size, weights, changes)
                moves.add(rule, size, weights, *row)
                if rule == "format 1":
                    targets += [
                        Target(f"load, {size} members of {weights}", row[1], POLICY.load_bound + 0.05),
                        Target(
                            f"excess, {size} members of {weights}", row[-1], _distance(weights) + 0.7, "average shares"
                        ),
                    ]
    return Report([costs, moves], targets)


def _fleet(size: int, weights: tuple[int, ...], seed: int = 1) -> dict[str, int]:
    return {each: weights[place % len(weights)] for place, each in enumerate(member_ids(size, seed=seed))}


def _distance(weights: str) -> float:
    """How far a weight that comes or goes is from the average, as a multiple of the average."""
    usual = FLEETS[weights]
    return max(abs(each / fmean(usual) - 1) for each in (*usual, JOINERS.get(weights, usual[0])))


def _each_unit(members: Mapping[str, int], vnodes: int) -> dict[str, int]:
    return {each: vnodes * weight for each, weight in members.items()}


@contextmanager
def _rule(name: str) -> Iterator[None]:
    chosen = ring.points_of
    if name != "format 1":
        ring.points_of = _each_unit
    try:
        yield
    finally:
        ring.points_of = chosen


def _cost(members: Mapping[str, int]) -> tuple[float, float]:
    """Points on the ring, and milliseconds: the best of three."""
    best = float("inf")
    for _ in range(3):
        ring._points.cache_clear()
        began = time.perf_counter()
        build(members, POLICY)
        best = min(best, time.perf_counter() - began)
    divisor = min(members.values()) if len(set(members.values())) == 1 else 1
    counts = ring.points_of(members, POLICY.vnodes) if ring.points_of is not _each_unit else _each_unit(
        {each: weight // divisor for each, weight in members.items()}, POLICY.vnodes
    )  # fmt: skip
    return sum(counts.values()), best * 1e3


def _moves(size: int, weights: str, changes: int) -> tuple[float, ...]:
    chance = random.Random(size)
    joins: list[float] = []
    leaves: list[float] = []
    loads: list[float] = []
    excess: list[float] = []
    for change in range(changes):
        members = _fleet(size, FLEETS[weights], seed=change)
        total = sum(members.values())
        before = build(members, POLICY)
        loads += [share * total / members[each] for each, share in before.shares().items()]
        newcomer = JOINERS.get(weights, FLEETS[weights][change % len(FLEETS[weights])])
        gone = chance.choice(sorted(members))
        for after, part, found in (
            ({**members, "joiner": newcomer}, newcomer / (total + newcomer), joins),
            ({each: weight for each, weight in members.items() if each != gone}, members[gone] / total, leaves),
        ):
            moved = build(after, POLICY).moved(before)
            found.append(moved / part)
            excess.append((moved - part) * size)
    return min(loads), max(loads), fmean(joins), max(joins), fmean(leaves), max(leaves), max(excess)
