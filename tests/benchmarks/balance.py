"""How evenly keys are spread, and how many move when a member joins or leaves. Counting, no timing.

*Space* is the share of all possible keys that the busiest member has, against an even share: by slots for us, by arcs
of the ring for uhashring and tooz (with its 32 points a member, and with Ceilometer's 100). kazoo's
``SetPartitioner`` deals out a sorted list like cards, so it has no space, and is even up to one item. *Keys* are
names of hosts, counted at their owners. On a ring they are counted with the peer's own points, found by bisection in
sorted hashes; that this is what ``get_node()`` and ``get_nodes()`` say is checked on a sample.

*Moved* is the share of 100,000 keys whose owner changes when one member joins or leaves, against what has to move:
1/(n+1) and 1/n. Medians over several members that come and go, and the worst. What moves with a member that is absent
for a short time, as in a restart, is the same twice.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import md5
from operator import ne
from statistics import median
from typing import Any

from xxhash import xxh3_64_intdigest

from aiopartition import GroupPolicy
from aiopartition.placement.assign import build
from tests.benchmarks.inputs import member_ids, switches
from tests.benchmarks.report import Report, Table, Target
from tests.benchmarks.rings import CEILOMETER_PARTITIONS, tooz_ring, uhashring_ring

DEFAULT = GroupPolicy()
POLICIES = (*(GroupPolicy(load_bound=bound) for bound in (1.02, 1.03, 1.05, 1.08, 1.1)), GroupPolicy(slots=65_536))

OURS, UHASHRING, TOOZ, TOOZ_100, SETS = (
    "aiopartition",
    "uhashring",
    "tooz, 32 points",
    "tooz, 100 points",
    "SetPartitioner",
)


async def measure(*, quick: bool) -> Report:
    sizes = (3, 10) if quick else (3, 10, 30, 100, 300, 1_000)
    counts = (1_000, 5_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    changes = 1 if quick else 10
    hashed = Hashed(switches(counts[-1]))
    hashed.check()
    balance = Table(
        "balance",
        "the busiest member's load, as a multiple of the mean",
        ("who", "members|,", "space|.2f", *(f"{count:,} keys|.2f" for count in counts)),
        "With 1,000 keys and 1,000 members chance decides: of 1,000 balls thrown at random "
        "the fullest of 1,000 urns gets 5 or 6.",
    )
    moved = Table(
        "moved",
        "what moves when one member joins or leaves, as a multiple of what has to",
        ("who", "members|,", "join|.2f", "worst join|.2f", "leave|.2f", "worst leave|.2f"),
        f"{changes} members each; 3 at 300 members and more.",
    )
    bounds = Table(
        "bounds",
        "the bound on loads: how even it makes us, and what it costs in moves (in slots)",
        (
            "load_bound|.2f",
            "slots|,",
            "members|,",
            "max/mean|.3f",
            "join|.2f",
            "worst join|.2f",
            "leave|.2f",
            "worst leave|.2f",
        ),
        f"The default is {DEFAULT.load_bound:g} with {DEFAULT.slots:,} slots. A cap is a whole number of slots: where "
        "it changes for all members at once, as from 300 members to 299, more moves than on average.",
    )
    for who, spread_of in SPREADS.items():
        for size in sizes:
            spread = spread_of(member_ids(size), hashed)
            balance.add(who, size, spread.space, *(spread.unevenness(count) for count in counts))
    count = 1_000 if quick else 100_000
    for who, spread_of in SPREADS.items():
        for size in sizes:
            times = changes if size < 300 else min(3, changes)

            def owners(ids: list[str], of: SpreadOf = spread_of) -> Sequence[object]:
                return of(ids, hashed).owners(count)

            moved.add(who, size, *_moves(owners, size, times))
    for policy in POLICIES if not quick else (DEFAULT,):
        for size in sizes:

            def slots(ids: list[str], policy: GroupPolicy = policy) -> Sequence[object]:
                return build(dict.fromkeys(ids, 1), policy).ranks[0]

            times = changes if size < 300 else min(3, changes)
            unevenness = _unevenness(slots(member_ids(size)), size)
            bounds.add(policy.load_bound, policy.slots, size, unevenness, *_moves(slots, size, times))
    return Report([balance, moved, bounds], _targets(bounds))


def _targets(bounds: Table) -> list[Target]:
    targets: list[Target] = []
    for row in bounds.rows:
        bound, slots, size, unevenness, join, _, leave, _ = map(float, row)  # type: ignore[arg-type]
        if (bound, slots) == (DEFAULT.load_bound, DEFAULT.slots) and size <= 100:
            targets += [
                Target(f"max/mean in slots, {size:g} members", unevenness, DEFAULT.load_bound + 0.01),
                Target(f"moved by a join, {size:g} members", join, 1.3),
                Target(f"moved by a leave, {size:g} members", leave, 1.3),
            ]
    return targets


class Hashed:
    """Keys with their hashes, made once for all rings."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys
        self.xxh3 = [xxh3_64_intdigest(key.encode()) for key in keys]
        self.md5 = [int.from_bytes(md5(key.encode(), usedforsecurity=False).digest(), "big") for key in keys]

    def check(self) -> None:
        """What is counted here is what the rings say."""
        ids, sample = member_ids(10), self.keys[:1_000]
        ring, tooz, table = uhashring_ring(ids), tooz_ring(ids), build(dict.fromkeys(ids, 1), GroupPolicy())
        assert list(_uhashring(ids, self).owners(1_000)) == [ring.get_node(key) for key in sample]
        assert [{each} for each in _tooz(ids, self).owners(1_000)] == [tooz.get_nodes(key.encode()) for key in sample]
        assert [(each,) for each in _ours(ids, self).owners(1_000)] == [table.owners(key.encode()) for key in sample]


class Spread:
    """Who owns which keys.

    :param space: the busiest member's share of all possible keys, as a multiple of the mean; ``None`` if there is none.
    :param owners: gives the owners of the first so many keys.
    """

    def __init__(self, size: int, space: float | None, owners: Callable[[int], Sequence[object]]) -> None:
        self.space = space
        self.owners = owners
        self._size = size

    def unevenness(self, count: int) -> float:
        return _unevenness(self.owners(count), self._size)


SpreadOf = Callable[[list[str], Hashed], Spread]


def _unevenness(owners: Sequence[object], size: int) -> float:
    return max(Counter(owners).values()) * size / len(owners)


def _ours(ids: list[str], hashed: Hashed) -> Spread:
    table = build(dict.fromkeys(ids, 1), GroupPolicy())
    rank, shift = table.ranks[0], table.shift
    return Spread(
        len(ids), _unevenness(rank, len(ids)), lambda count: [rank[each >> shift] for each in hashed.xxh3[:count]]
    )


def _ring(
    points: Sequence[int], owners: Sequence[object], bits: int, size: int, search: Any, hashes: list[int]
) -> Spread:
    """A ring of so many bits whose ``points`` lead from the arc before each to ``owners``."""
    arcs = Counter[object]()
    for place, point in enumerate(points):
        arcs[owners[place]] += (point - points[place - 1]) % (1 << bits)

    def owners_of(count: int) -> Sequence[object]:
        around = [*owners, owners[0]]
        return [around[search(points, each)] for each in hashes[:count]]

    return Spread(size, max(arcs.values()) * size / (1 << bits), owners_of)


def _uhashring(ids: list[str], hashed: Hashed) -> Spread:
    runtime = uhashring_ring(ids).runtime
    points = runtime._keys
    return _ring(points, [runtime._ring[point] for point in points], 128, len(ids), bisect_right, hashed.md5)


def _tooz(ids: list[str], hashed: Hashed, partitions: int = 32) -> Spread:
    ring = tooz_ring(ids, partitions)
    points = ring._partitions
    return _ring(points, [ring._ring[point] for point in points], 128, len(ids), bisect_right, hashed.md5)


def _dealt(ids: list[str], hashed: Hashed) -> Spread:
    """``SetPartitioner._partitioner``: ``sorted(items)[i::n]`` for the member that comes i-th in the order of names."""
    workers = sorted(ids)

    def owners(count: int) -> Sequence[object]:
        places = sorted(range(count), key=hashed.keys.__getitem__)
        owner: list[object] = [None] * count
        for turn, place in enumerate(places):
            owner[place] = workers[turn % len(workers)]
        return owner

    return Spread(len(ids), None, owners)


SPREADS: dict[str, SpreadOf] = {
    OURS: _ours,
    UHASHRING: _uhashring,
    TOOZ: _tooz,
    TOOZ_100: lambda ids, hashed: _tooz(ids, hashed, CEILOMETER_PARTITIONS),
    SETS: _dealt,
}


def _moves(owners_of: Callable[[list[str]], Sequence[object]], size: int, changes: int) -> tuple[float, ...]:
    """Median and worst of joins, then of leaves, as multiples of what has to move."""
    ids = member_ids(size + changes)
    before = owners_of(ids[:size])
    joins = [_share(before, owners_of([*ids[:size], ids[size + each]])) * (size + 1) for each in range(changes)]
    leavers = [ids[each * size // changes] for each in range(changes)]
    leaves = [_share(before, owners_of([each for each in ids[:size] if each != gone])) * size for gone in leavers]
    return median(joins), max(joins), median(leaves), max(leaves)


def _share(before: Sequence[object], after: Sequence[object]) -> float:
    changed: int = sum(map(ne, before, after))
    return changed / len(before)
