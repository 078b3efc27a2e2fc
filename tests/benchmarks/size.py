"""How balance and movement depend on the size of a group, by simulation: tables alone, without members or servers.

From its full size a group loses one member after the other, and then gets them back. Every table on the way is
compared with the one before it. *Even* is the most loaded member's number of slots, as a multiple of the mean, at full
size. *Leave* and *join* are the slots that change owners, as a multiple of the least possible: the mean over the whole
way, and the worst step. The way is long because the bound on loads is a whole number of slots: at a few sizes it
changes for all members at once, and then more moves than usual. Means over fewer steps depend on whether they meet one
of these. Only the last two columns are times, of the processor.
"""

import gc
import math
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import ne
from statistics import mean, median
from time import process_time
from typing import Self

from aiopartition import GroupPolicy
from aiopartition.placement.table import Table as SlotTable
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.report import Report, Table
from tests.benchmarks.table_build import Followed

SLOTS = (16_384, 65_536)
SIZES = (10, 30, 100, 200, 300, 400, 1_000, 3_000, 10_000)


async def measure(*, quick: bool) -> Report:
    all_slots, sizes = ((64, 256), (3, 10)) if quick else (SLOTS, SIZES)
    table = Table(
        "size",
        "balance and movement by the size of a group",
        (
            "slots|,",
            "members|,",
            "slots a member|,.1f",
            "bound in slots|,",
            "even|.3f",
            "leave|.2f",
            "worst leave|.2f",
            "join|.2f",
            "worst join|.2f",
            "ms a change|.2f",
            "first table, ms|,.0f",
        ),
        "Each way loses a tenth of the members, 10 to 200 of them, and gets them back.",
    )
    kept = Table("kept", "megabytes for a table that follows its members", ("slots|,", "members|,", "MB|,.1f"))
    for slots in all_slots:
        policy = GroupPolicy(slots=slots)
        for size in sizes:
            way = Way.of(policy, member_ids(size), min(size - 1, min(200, max(10, size // 10))))
            table.add(
                *(slots, size, slots / size, math.ceil(policy.load_bound * slots / size), way.even),
                *(mean(way.leaves), max(way.leaves), mean(way.joins), max(way.joins)),
                *(median(way.seconds) * 1e3, way.first * 1e3),
            )
        for size in sizes[-3:]:
            kept.add(slots, size, _megabytes(policy, size))
    return Report([table, kept])


@dataclass(frozen=True)
class Way:
    """What a group met on its way down and back.

    :param first: seconds for the first table.
    :param leaves: of each step, the slots that moved as a multiple of the least.
    :param seconds: of each step.
    """

    even: float
    first: float
    leaves: Sequence[float]
    joins: Sequence[float]
    seconds: Sequence[float]

    @classmethod
    def of(cls, policy: GroupPolicy, ids: Sequence[str], steps: int) -> Self:
        size = len(ids)
        began = process_time()
        followed = Followed(ids, policy)
        full = table = followed.table
        first = process_time() - began
        moved, seconds = list[float](), list[float]()
        counts = [*range(size - 1, size - steps - 1, -1), *range(size - steps + 1, size + 1)]
        for count in counts:
            began = process_time()
            after = followed.go_to(ids[:count]).table
            seconds.append(process_time() - began)
            moved.append(_moved(table, after) * max(count, len(table.members)))
            table = after
        assert table == full, "nothing of the way remains"
        even = max(Counter(full.ranks[0]).values()) * size / policy.slots
        return cls(even, first, moved[:steps], moved[steps:], seconds)


def _moved(before: SlotTable, after: SlotTable) -> float:
    changed: int = sum(map(ne, before.ranks[0], after.ranks[0]))
    return changed / before.slots


def _megabytes(policy: GroupPolicy, size: int) -> float:
    ids = member_ids(size)
    gc.collect()
    tracemalloc.start()
    try:
        followed = Followed(ids, policy)
        followed.table.mask(ids[0])
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / 1e6
    finally:
        tracemalloc.stop()
