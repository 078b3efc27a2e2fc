"""Numbered partitions: how even they are, and how many move when a member joins or leaves. Counting, but for the time.

*Most/mean* is the busiest member's number of partitions against the mean; *idle* is the share of cases in which some
member has none although there are enough for all. *Moved* is how many change their owner, as a multiple of what has to:
the quota of the member that comes or goes. What Kafka does (``aiokafka``'s sticky assignor) starts from the assignment
before, which one leader has to know; all others are functions of the members alone. OpenTelemetry's target allocator
hashes items onto 1,061 partitions of a ring with bounded loads (as published in ``buraksezer/consistent``: 5 points
a member, load 1.1). ``SetPartitioner`` deals out a sorted list like cards. *Hashing* is a group of ours without
partitions. Times are of the processor.
"""

import random
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from statistics import fmean
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition  # type: ignore[import-untyped]
from xxhash import xxh64_intdigest

from aiopartition import GroupPolicy
from aiopartition.placement.assign import build, build_steps
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.report import Report, Table, Target

Owners: TypeAlias = list[str]
"""The owner of each partition."""

Assign: TypeAlias = Callable[[Sequence[str], int, Owners | None], Owners]
"""Members, the number of partitions, and the owners before, which only Kafka's looks at."""

SIZES = ((10, 4), (12, 2), (12, 5), (24, 7), (64, 10), (100, 33), (1000, 100))
GOALS = {10: 2.0, 100: 3.5}
KEYS = (20, 100, 1_000, 10_000)


async def measure(*, quick: bool) -> Report:
    moved = Table(
        "partitions",
        "numbered partitions: how even they are, and what moves",
        ("who", "partitions|,", "members|,", "most/mean|.2f", "worst|.2f", "idle|.0%", "join|.2f", "worst join|.2f",
         "leave|.2f", "worst leave|.2f"),
    )  # fmt: skip
    targets: list[Target] = []
    for count, size in SIZES[:3] if quick else SIZES:
        cases = 2 if quick else 200 if size <= 10 else 40 if size < 100 else 20
        for who, assign in ASSIGNORS.items():
            row = _row(assign, count, size, min(cases, 5) if who == KAFKA and count > 500 else cases)
            moved.add(who, count, size, *row)
            if who == OURS:
                limit = next(goal for most, goal in GOALS.items() if size <= most)
                targets += [
                    Target(f"moved by a join, {count} partitions, {size} members", row[3], limit),
                    Target(f"moved by a leave, {count} partitions, {size} members", row[5], limit),
                ]
    keys = Table(
        "keys",
        "when to use which: the busiest of 10 members, and whether one has nothing, by the number of keys",
        ("how many|,", "hashing: most/mean|.2f", "somebody idle|.0%", "partitions: most/mean|.2f", "nobody idle|.0%"),
        "Means over names of members.",
    )
    for count in KEYS[:2] if quick else KEYS:
        cases = 3 if quick else 100
        hashed, numbered = (_evenness(assign, count, 10, cases) for assign in (_hashing, _ours))
        keys.add(count, fmean(hashed[0]), hashed[1], *(
            (fmean(numbered[0]), 1 - numbered[1]) if count <= 4096 else (None, None)
        ))  # fmt: skip
    cost = Table("cost", "what an assignment costs", ("partitions|,", "members|,", "ms|.1f", "longest step, ms|.2f"))
    for count, size in ((24, 7), (100, 33)) if quick else ((24, 7), (100, 33), (1000, 100), (4096, 1000)):
        cost.add(count, size, *_cost(count, size))
    if not quick:
        targets.append(Target("1,000 partitions over 100 members", float(cast("float", cost.rows[2][2])), 50, "ms"))
    return Report([moved, keys, cost], targets)


def _ours(ids: Sequence[str], count: int, _: Owners | None = None) -> Owners:
    if count > 4096:
        return []
    table = build(dict.fromkeys(ids, 1), GroupPolicy(partitions=count))
    return [table.ranks[0][-(-number * table.slots // count)] for number in range(count)]


def _hashing(ids: Sequence[str], count: int, _: Owners | None = None) -> Owners:
    table = build(dict.fromkeys(ids, 1), GroupPolicy())
    return [table.owners(b"job-%d" % number)[0] for number in range(count)]


def _kafka(ids: Sequence[str], count: int, before: Owners | None = None) -> Owners:
    cluster: Any = SimpleNamespace(
        partitions_for_topic=lambda _: set(range(count)), topics=lambda: {"t"}, available_partitions_for_topic=None
    )
    had: dict[str, list[TopicPartition]] = {each: [] for each in ids}
    for number, owner in enumerate(before or ()):
        if owner in had:
            had[owner].append(TopicPartition("t", number))
    members = {each: StickyPartitionAssignor._metadata(["t"], had[each] if before else None, 1) for each in ids}
    owners = [""] * count
    for member_id, assignment in StickyPartitionAssignor.assign(cluster, members).items():
        for _, numbers in assignment.assignment:
            for number in numbers:
                owners[number] = member_id
    return owners


def _opentelemetry(ids: Sequence[str], count: int, _: Owners | None = None) -> Owners:
    """``consistent.New(members, Config{PartitionCount: 1061, ReplicationFactor: 5, Load: 1.1, Hasher: xxhash})``."""
    partitions, points, load = 1061, 5, 1.1
    ring = sorted((xxh64_intdigest(f"{each}{number}".encode()), each) for each in ids for number in range(points))
    most, loads = ceil(partitions / len(ids) * load), Counter[str]()
    owners: Owners = []
    for number in range(partitions):
        place = bisect_left(ring, (xxh64_intdigest(number.to_bytes(8, "little")), ""))
        while loads[owner := ring[place % len(ring)][1]] + 1 > most:
            place += 1
        loads[owner] += 1
        owners.append(owner)
    return [owners[xxh64_intdigest(b"job-%d" % number) % partitions] for number in range(count)]


def _dealt(ids: Sequence[str], count: int, _: Owners | None = None) -> Owners:
    """``SetPartitioner._partitioner``: item i to the member whose place in the order of names is i modulo members."""
    names = sorted(ids)
    return [names[number % len(names)] for number in range(count)]


OURS, KAFKA = "aiopartition, partitions", "Kafka, sticky"
ASSIGNORS: Mapping[str, Assign] = {
    OURS: _ours,
    "aiopartition, hashing": _hashing,
    KAFKA: _kafka,
    "OpenTelemetry": _opentelemetry,
    "SetPartitioner": _dealt,
}


def _evenness(assign: Assign, count: int, size: int, cases: int) -> tuple[list[float], float]:
    """The busiest member's part as a multiple of the mean in each case, and in how many somebody has nothing."""
    most: list[float] = []
    idle = 0
    for seed in range(cases):
        had = Counter(assign(member_ids(size, seed=seed), count, None))
        most.append(max(had.values(), default=0) * size / count)
        idle += count >= size > len(had)
    return most, idle / cases


def _row(assign: Assign, count: int, size: int, cases: int) -> tuple[float, ...]:
    most, idle = _evenness(assign, count, size, cases)
    joins, leaves = [list(each) for each in zip(*_moves(assign, count, size, cases), strict=True)]
    return fmean(most), max(most), idle, fmean(joins), max(joins), fmean(leaves), max(leaves)


def _moves(assign: Assign, count: int, size: int, cases: int) -> Iterator[tuple[float, float]]:
    for seed in range(cases):
        *ids, joiner = member_ids(size + 1, seed=seed)
        before = assign(ids, count, None)
        gone = random.Random(seed).choice(ids)
        more = assign([*ids, joiner], count, before)
        fewer = assign([each for each in ids if each != gone], count, before)
        yield _changed(before, more) * (size + 1) / count, _changed(before, fewer) * size / count


def _changed(before: Owners, after: Owners) -> int:
    return sum(left != right for left, right in zip(before, after, strict=True))


def _cost(count: int, size: int) -> tuple[float, float]:
    """Milliseconds in all, and in the longest step: the best of five."""
    found: list[tuple[float, float]] = []
    members = dict.fromkeys(member_ids(size), 1)
    for _ in range(5):
        began = last = time.process_time()
        longest = 0.0
        for _ in build_steps(members, GroupPolicy(partitions=count)):
            now = time.process_time()
            longest, last = max(longest, now - last), now
        now = time.process_time()
        found.append(((now - began) * 1e3, max(longest, now - last) * 1e3))
    return min(total for total, _ in found), min(longest for _, longest in found)
