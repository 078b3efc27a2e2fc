"""How long it takes to compile the table of slots from the members, and again when one has joined.

*In one go* is ``build()``; *in the loop* is what a coordinator does, which gives way to other tasks after each step,
here with none that would want to run. *Followed* builds what can be taken along to other members, as coordinators do
with 64 members and more. *One joins* is the same again with one member more, in a process that has compiled the table
without it just before, or takes it along. Times are the processor's. The rings of others map a key to an owner as
well, by a search at each key, and are built in one go: uhashring with 160 points a member, tooz with 32, and with
Ceilometer's 100. For them *one joins* is ``add_node()``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from tooz.hashring import HashRing

from aiopartition import GroupPolicy
from aiopartition.placement.assign import build, build_steps
from aiopartition.placement.following import Following
from aiopartition.placement.table import Table as SlotTable
from tests.benchmarks.inputs import member_ids
from tests.benchmarks.report import Report, Table
from tests.benchmarks.rings import CEILOMETER_PARTITIONS, tooz_ring, uhashring_ring
from tests.benchmarks.timing import Sample, timed

POLICY = GroupPolicy()


async def measure(*, quick: bool) -> Report:
    sizes, rounds = ((3, 10), 1) if quick else ((10, 100, 1_000), 9)
    table = Table(
        "build",
        "milliseconds to build what answers for all keys, by the number of members",
        ("who", *(f"{size:,}|,.2f" for size in sizes), *(f"one joins {size:,}|,.2f" for size in sizes)),
    )
    fresh = [await _fresh(size, rounds) for size in sizes]
    joined = [await _one_joins(size, rounds) for size in sizes]
    for who in BUILDERS:
        table.add(who, *(each[who].milliseconds for each in fresh), *(each[who].milliseconds for each in joined))
    return Report([table])


def _in_one_go(ids: list[str]) -> Any:
    return build(dict.fromkeys(ids, 1), POLICY)


async def _in_the_loop(ids: list[str]) -> Any:
    steps = build_steps(dict.fromkeys(ids, 1), POLICY)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value
        await asyncio.sleep(0)


class Followed:
    """A table that is taken along when members change."""

    def __init__(self, ids: Sequence[str], policy: GroupPolicy = POLICY) -> None:
        self._following = Following(policy)
        self.go_to(ids)

    def go_to(self, ids: Sequence[str]) -> Followed:
        steps = self._following.steps(dict.fromkeys(ids, 1))
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                self.table: SlotTable = finished.value
                return self


BUILDERS: dict[str, Callable[[list[str]], Any]] = {
    "aiopartition, in one go": _in_one_go,
    "aiopartition, in the loop": _in_the_loop,
    "aiopartition, followed": Followed,
    "uhashring": uhashring_ring,
    "tooz, 32 points": tooz_ring,
    "tooz, 100 points": lambda ids: tooz_ring(ids, CEILOMETER_PARTITIONS),
}


async def _fresh(size: int, rounds: int) -> dict[str, Sample]:
    """Of members that this process has never seen."""
    samples = {who: Sample() for who in BUILDERS}
    seeds = itertools.count(1)
    for _ in range(rounds):
        for who, builder in BUILDERS.items():
            ids = member_ids(size, seed=next(seeds))
            seconds, built = await timed(lambda: builder(ids))  # noqa: B023
            assert _members(built) == set(ids), who
            samples[who].times.append(seconds)
    return samples


async def _one_joins(size: int, rounds: int) -> dict[str, Sample]:
    samples = {who: Sample() for who in BUILDERS}
    seeds = itertools.count(10_000)
    for _ in range(rounds):
        for who, builder in BUILDERS.items():
            *before, newcomer = after = member_ids(size + 1, seed=next(seeds))
            ring = builder(before)
            if asyncio.iscoroutine(ring):
                await ring
            if isinstance(ring, Followed):
                seconds, built = await timed(lambda: ring.go_to(after))  # noqa: B023
            elif isinstance(ring, SlotTable) or asyncio.iscoroutine(ring):
                seconds, built = await timed(lambda: builder(after))  # noqa: B023
            else:
                seconds, built = await timed(lambda: _add(ring, newcomer))  # noqa: B023
            assert _members(built) == set(after), who
            samples[who].times.append(seconds)
    return samples


def _add(ring: Any, member_id: str) -> Any:
    """One more member, as each of the rings has it."""
    ring.add_node(member_id.encode() if isinstance(ring, HashRing) else member_id)
    return ring


def _members(built: Any) -> set[str]:
    """Who may own something by what was built."""
    if isinstance(built, HashRing):
        return {each.decode() for each in built.nodes}
    if isinstance(built, Followed):
        built = built.table
    return set(built.ranks[0] if isinstance(built, SlotTable) else built.get_nodes())
