"""How long it takes to tell for one key whether it is mine.

The floor is a bare loop that encodes each key and hashes it with xxh3, and does nothing with that; a comprehension
that keeps the hashes in a list is shown beside it. ``extract_my_subset`` is called on a coordinator in memory, as the
backend has no part in it; its other members are entries without coordinators. The rings of others are built
beforehand, and asked in a list comprehension: ``uhashring`` once as it comes, with MD5, and once with our hash;
tooz's ``HashRing`` as in Ceilometer, ``me in ring.get_nodes(key.encode())``, and its ``Partitioner`` by
``belongs_to_self(key)``. All run on the same keys in turns; beyond 100 members tooz, whose price for a key grows with
the members, gets each tenth key. Every answer is compared with the one that it has to be, outside of the time taken.
Times are the processor's: what other processes take meanwhile does not count.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, TypeVar, cast

import uhashring  # type: ignore[import-untyped]
from xxhash import xxh3_64_intdigest

from aiopartition import GroupPolicy, PartitionCoordinator
from aiopartition.placement.assign import build
from aiopartition.placement.keys import encode
from tests.benchmarks.crowd import Crowd
from tests.benchmarks.inputs import member_ids, switches
from tests.benchmarks.report import Report, Table, Target
from tests.benchmarks.rings import tooz_partitioner, tooz_ring, uhashring_ring
from tests.benchmarks.timing import Candidate, Sample, race

T = TypeVar("T")

URL: Final = "memory://per-key"
GROUP = "switches"

FLOOR, KEEPING = "floor: a loop that encodes and hashes", "a comprehension that does"
OURS = "extract_my_subset"
UHASHRING, UHASHRING_XXH3 = "uhashring", "uhashring with xxh3"
TOOZ, PARTITIONER = "tooz HashRing", "tooz Partitioner"


async def measure(*, quick: bool) -> Report:
    keys = switches(2_000 if quick else 200_000)
    sizes = (3, 10) if quick else (3, 10, 100, 1_000)
    rounds = 1 if quick else 7
    report = Report()
    await _by_members(report, keys, sizes, rounds)
    await _by_kind(report, keys, rounds)
    await _item_by_item(report, keys, rounds)
    return report


async def _by_members(report: Report, keys: list[str], sizes: Sequence[int], rounds: int) -> None:
    headings = tuple(f"{size:,}" for size in sizes)
    times = Table(
        "time", f"nanoseconds a key, {len(keys):,} str keys, by the number of members", ("members", *headings)
    )
    ratios = Table(
        "ratio", "the same as multiples of extract_my_subset", ("members", *(f"{size:,}|,.2f" for size in sizes))
    )
    results = [await _ring_race(keys, size, rounds) for size in sizes]
    for name in (FLOOR, KEEPING, OURS, UHASHRING, UHASHRING_XXH3, TOOZ, PARTITIONER):
        times.add(name, *(result[name].nanoseconds for result in results))
        ratios.add(name, *(result[name].over(result[OURS]) for result in results))
    report.tables += [times, ratios]
    for size, result in zip(sizes, results, strict=True):
        ours = result[OURS]
        report.targets.append(Target(f"{OURS} against the floor, {size:,} members", ours.over(result[FLOOR]), 2.0))
        report.targets.append(
            Target(f"uhashring against {OURS}, {size:,} members", result[UHASHRING].over(ours), 10.0, at_least=True)
        )
        tooz_limit = 100.0 if size >= 1_000 else 15.0
        report.targets.append(
            Target(f"tooz against {OURS}, {size:,} members", result[TOOZ].over(ours), tooz_limit, at_least=True)
        )
    # By the floor of its own rounds, which takes out what else the machine did at either time.
    growth = results[-1][OURS].over(results[-1][FLOOR]) / results[0][OURS].over(results[0][FLOOR])
    report.targets.append(Target(f"{OURS}, {sizes[-1]:,} members against {sizes[0]:,}", growth, 1.2))


async def _ring_race(keys: list[str], size: int, rounds: int) -> dict[str, Sample]:
    members = member_ids(size)
    me, my_bytes = members[0], members[0].encode()
    ring, tooz, partitioner = uhashring_ring(members), tooz_ring(members), tooz_partitioner(members)
    xxh3_ring: Any = uhashring.HashRing(members, hash_fn=lambda key: xxh3_64_intdigest(key.encode()))
    fewer = keys if size <= 100 else keys[::10]

    async with coordinator_among(members) as coordinator:
        return await race(
            [
                Candidate(FLOOR, lambda: _floor(keys), len(keys)),
                known(KEEPING, lambda: [xxh3_64_intdigest(key.encode()) for key in keys], len(keys)),
                Candidate(
                    OURS, lambda: coordinator.extract_my_subset(GROUP, keys), len(keys), owned_by(me, members, keys)
                ),
                known(UHASHRING, lambda: [k for k in keys if ring.get_node(k) == me], len(keys)),
                known(UHASHRING_XXH3, lambda: [k for k in keys if xxh3_ring.get_node(k) == me], len(keys)),
                known(TOOZ, lambda: [k for k in fewer if my_bytes in tooz.get_nodes(k.encode())], len(fewer)),
                known(PARTITIONER, lambda: [k for k in fewer if partitioner.belongs_to_self(k)], len(fewer)),
            ],
            rounds,
        )


def known(name: str, call: Callable[[], list[Any]], count: int) -> Candidate:
    """A candidate that depends on nothing that could change: its answer is always the first one."""
    answer = call()
    assert answer, name
    return Candidate(name, call, count, answer)


def owned_by(
    member_id: str, members: Sequence[str], keys: Iterable[T], key: Callable[[T], bytes] | None = None
) -> list[T]:
    """What a member among these has to get of ``keys``, one by one from a table made for this question alone."""
    table = build(dict.fromkeys(members, 1), GroupPolicy())
    return [each for each in keys if member_id in table.owners(encode(each) if key is None else key(each))]


@dataclass(frozen=True, slots=True)
class Switch:
    """A resource that needs ``key=``."""

    name: str


async def _by_kind(report: Report, keys: list[str], rounds: int) -> None:
    table = Table(
        "kinds",
        f"nanoseconds a key by the kind of the resource, {len(keys):,} resources, 10 members",
        ("resource", "floor", OURS, "× floor|.2f", "uhashring", "uhashring × ours|,.1f", "tooz", "tooz × ours|,.1f"),
        "Each kind's floor is its own: key= is called there too. "
        "Bytes need no encoding, so the price of the rest shows most.",
    )
    members = member_ids(10)
    me, my_bytes = members[0], members[0].encode()
    node, nodes = uhashring_ring(members).get_node, tooz_ring(members).get_nodes
    raw, numbers, objects = [key.encode() for key in keys], list(range(len(keys))), [Switch(key) for key in keys]
    name = attrgetter("name")

    async with coordinator_among(members) as coordinator:
        mine = coordinator.extract_my_subset
        kinds: dict[str, tuple[Callable[[], Any], ...]] = {  # the floor, ours, uhashring, tooz
            "str": (
                lambda: _floor(keys),
                lambda: mine(GROUP, keys),
                lambda: [each for each in keys if node(each) == me],
                lambda: [each for each in keys if my_bytes in nodes(each.encode())],
            ),
            "bytes": (
                lambda: _floor_bytes(raw),
                lambda: mine(GROUP, raw),
                lambda: [each for each in raw if node(each) == me],
                lambda: [each for each in raw if my_bytes in nodes(each)],
            ),
            "int": (
                lambda: _floor_int(numbers),
                lambda: mine(GROUP, numbers),
                lambda: [each for each in numbers if node(each) == me],
                lambda: [each for each in numbers if my_bytes in nodes(b"%d" % each)],
            ),
            "key=attrgetter": (
                lambda: _floor_key(objects, name),
                lambda: mine(GROUP, objects, key=name),
                lambda: [each for each in objects if node(name(each)) == me],
                lambda: [each for each in objects if my_bytes in nodes(name(each).encode())],
            ),
        }
        expected: dict[str, list[Any]] = {
            "str": owned_by(me, members, keys),
            "bytes": owned_by(me, members, raw),
            "int": owned_by(me, members, numbers),
            "key=attrgetter": owned_by(me, members, objects, lambda each: each.name.encode()),
        }
        for kind, calls in kinds.items():
            bare, extract, *others = calls
            result = await race(
                [
                    Candidate(FLOOR, bare, len(keys)),
                    Candidate(OURS, extract, len(keys), expected[kind]),
                    *(known(who, call, len(keys)) for who, call in zip((UHASHRING, TOOZ), others, strict=True)),
                ],
                rounds,
            )
            floor, ours, ring, tooz = (result[each] for each in (FLOOR, OURS, UHASHRING, TOOZ))
            table.add(
                *(kind, floor.nanoseconds, ours.nanoseconds, ours.over(floor)),
                *(ring.nanoseconds, ring.over(ours), tooz.nanoseconds, tooz.over(ours)),
            )
            if kind != "str":  # of which more above
                report.targets += [
                    Target(f"{OURS} against the floor, {kind}, 10 members", ours.over(floor), 2.0),
                    Target(f"uhashring against {OURS}, {kind}", ring.over(ours), 10.0, at_least=True),
                    Target(f"tooz against {OURS}, {kind}", tooz.over(ours), 15.0, at_least=True),
                ]
    report.tables.append(table)


async def _item_by_item(report: Report, keys: list[str], rounds: int) -> None:
    table = Table(
        "my_subset",
        f"nanoseconds an item, {len(keys):,} str items walked through with my_subset",
        ("source", "members", "source alone", "my_subset", OURS),
        "With one member each item is handed out, with ten each tenth; they are put into a list. The source alone: an "
        "empty loop over it. "
        "What my_subset takes beyond that is the price of looking at the view and the lease anew for each item.",
    )

    def generator() -> Iterable[str]:
        yield from keys

    async def stream() -> AsyncIterator[str]:
        for key in keys:
            yield key

    async def through(items: AsyncIterator[Any]) -> list[Any]:
        return [each async for each in items]

    async def past(items: AsyncIterator[str]) -> None:
        async for _ in items:
            pass

    def over(items: Iterable[Any]) -> None:
        for _ in items:
            pass

    objects, name = [Switch(key) for key in keys], attrgetter("name")
    for size in (1, 10):
        members = member_ids(size)
        async with coordinator_among(members) as coordinator:
            mine = owned_by(members[0], members, keys)
            my_objects = owned_by(members[0], members, objects, lambda each: each.name.encode())
            sources: list[tuple[str, Callable[[], object], Callable[[], Any], Any, list[Any]]] = [
                ("list", lambda: over(keys), lambda: keys, None, mine),
                ("list, key=attrgetter", lambda: over(objects), lambda: objects, name, my_objects),
                ("generator", lambda: over(generator()), generator, None, mine),
                ("async generator", lambda: past(stream()), stream, None, mine),
            ]
            for source, alone, make, key, expected in sources:

                def walk(of: Callable[[], Any] = make, key: Any = key) -> object:
                    return through(coordinator.my_subset(GROUP, of(), key=key))

                def extract(key: Any = key) -> object:
                    return coordinator.extract_my_subset(GROUP, keys if key is None else objects, key=cast("Any", key))

                result = await race(
                    [
                        Candidate("alone", alone, len(keys)),
                        Candidate("walk", walk, len(keys), expected),
                        Candidate(OURS, extract, len(keys), expected),
                    ],
                    rounds,
                )
                walked = result["walk"].nanoseconds
                table.add(source, size, result["alone"].nanoseconds, walked, result[OURS].nanoseconds)
                if source != "async generator":
                    report.targets.append(
                        Target(f"my_subset of a {source}, {size} members", walked, 1000, "ns an item")
                    )
    report.tables.append(table)


@asynccontextmanager
async def coordinator_among(members: Sequence[str], url: str = URL) -> AsyncIterator[PartitionCoordinator]:
    """A coordinator that has joined the group as the first of ``members``, and sees the others as well."""
    async with AsyncExitStack() as stack:
        crowd = await stack.enter_async_context(Crowd(url))
        await crowd.join(GROUP, members[1:])
        # Patient, as those that run beside it block the event loop for seconds.
        coordinator = await stack.enter_async_context(
            PartitionCoordinator(url, member_id=members[0], heartbeat=60.0, session_timeout=300.0)
        )
        await coordinator.join_group(GROUP)
        assert len(await coordinator.get_members(GROUP)) == len(members)
        await coordinator.extract_my_subset(GROUP, [""])  # the first call at a view compiles this member's mask
        yield coordinator


def _floor(keys: list[str]) -> None:
    h = xxh3_64_intdigest
    for key in keys:
        h(key.encode())


def _floor_bytes(keys: list[bytes]) -> None:
    h = xxh3_64_intdigest
    for key in keys:
        h(key)


def _floor_int(keys: list[int]) -> None:
    h = xxh3_64_intdigest
    for key in keys:
        h(b"%d" % key)


def _floor_key(objects: list[Switch], key: Callable[[Switch], str]) -> None:
    h = xxh3_64_intdigest
    for each in objects:
        h(key(each).encode())
