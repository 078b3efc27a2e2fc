"""For how long other tasks have to wait while the library is at work.

A task wants to run each millisecond; how late it comes at most during the work is the longest stall. Each work is
done several times; the median of the longest stalls is shown, with the least and the worst. *Its own work* is the most
that this thread took of the processor between two turns of that task: what the library is to blame for, with up to a
millisecond in which the task did not want to run. The first row is a loop that is idle: what machine, scheduler and
other processes do by themselves. The garbage collector is on, with all the keys of
the benchmark on the heap, and its longest run is shown by itself.

*Filtering* is ``extract_my_subset`` and ``my_subset`` over a million resources among 10 members. *Compiling* is what
happens in a coordinator in memory when 990 members join the 10 that are there. *Decoding* is one member that joins
999 on a real server: read, decode, parse, compile, publish, and then, by itself and without a loop, each piece of
that which cannot be divided. *Workers* are those of ``run()``, which do nothing but be there, beside as many tasks that
asyncio is asked for directly: that the collector walks over all of them takes longer than anything else, so both are
shown without it as well. The rings of others have no way to give way: they hold up the loop for as long as they
take.
"""

import asyncio
import gc
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import median

from aiopartition import GroupPolicy, PartitionCoordinator
from aiopartition.backends.base import Entries
from aiopartition.backends.zookeeper import codec
from aiopartition.group.entry import Entry
from aiopartition.group.state import Group
from aiopartition.placement.assign import build_steps
from aiopartition.placement.view import Change, Member, View
from tests.benchmarks.crowd import Crowd
from tests.benchmarks.inputs import member_ids, switches
from tests.benchmarks.per_key import GROUP, coordinator_among, owned_by
from tests.benchmarks.report import Report, Table, Target
from tests.benchmarks.rings import tooz_ring, uhashring_ring
from tests.benchmarks.timing import Sample, Ticker
from tests.benchmarks.workers import PlainTasks, Workers
from tests.support import ZooKeeperServer, wait_until

FILTER, WALK, RUN = "extract_my_subset", "my_subset", "run()"
NO_COLLECTOR = ", no collector"


@dataclass(frozen=True, slots=True)
class Switch:
    """A resource that needs ``key=``."""

    name: str


async def measure(*, quick: bool) -> Report:
    rounds, count, size = (1, 20_000, 50) if quick else (9, 1_000_000, 1_000)
    table = Table(
        "stalls",
        "milliseconds for which the event loop was held up",
        (
            "work",
            "it took|,.1f",
            "longest stall|,.2f",
            "least|,.2f",
            "worst|,.2f",
            "its own work|,.2f",
            "collector|,.2f",
        ),
        f"Medians of {rounds} rounds but for least and worst; one round of the others' filters. The targets are for "
        "its own work.",
    )
    stalls = Stalls(table, rounds)
    await _idle(stalls)
    await _filtering(stalls, count)
    await _compiling(stalls, size)
    await _joining(stalls, size)
    await _working(stalls, 1_000 if quick else 10_000)
    pieces = _pieces(size, rounds)
    limits = {FILTER: 5.0, WALK: 5.0, "compile": 10.0, "a member joins": 10.0, RUN: 10.0}
    targets = [
        Target(f"longest stall, {work}", stall, limit, "ms")
        for work, stall in stalls.medians.items()
        for beginning, limit in limits.items()
        if work.startswith(beginning) and (beginning != RUN or work.endswith(NO_COLLECTOR))
    ]
    return Report([table, pieces], targets)


class Stalls:
    """Notes how each work has held up the loop."""

    def __init__(self, table: Table, rounds: int) -> None:
        self.rounds = rounds
        self.medians: dict[str, float] = {}
        self._table = table

    async def during(
        self,
        work: str,
        call: Callable[[], Awaitable[object]],
        *,
        again: Callable[[], Awaitable[object]] | None = None,
        rounds: int | None = None,
    ) -> None:
        """``again`` undoes what ``call`` has done, unwatched."""
        tickers: list[Ticker] = []
        for _ in range(rounds or self.rounds):
            async with Ticker() as ticker:
                await call()
            tickers.append(ticker)
            if again is not None:
                await again()
        longest = [ticker.longest * 1e3 for ticker in tickers]
        self.medians[work] = median(ticker.longest_work for ticker in tickers) * 1e3
        self._table.add(
            work,
            median(ticker.seconds for ticker in tickers) * 1e3,
            median(longest),
            min(longest),
            max(longest),
            self.medians[work],
            max(ticker.longest_collection for ticker in tickers) * 1e3,
        )


async def _idle(stalls: Stalls) -> None:
    await stalls.during("nothing", lambda: asyncio.sleep(0.2))


async def _filtering(stalls: Stalls, count: int) -> None:
    keys = switches(count)
    objects = [Switch(key) for key in keys]
    members = member_ids(10)
    me, my_bytes = members[0], members[0].encode()

    async with coordinator_among(members) as coordinator:
        name: Callable[[Switch], str] = attrgetter("name")
        share = len(owned_by(me, members, keys))

        async def extract() -> None:
            assert len(await coordinator.extract_my_subset(GROUP, keys)) == share

        async def extract_objects() -> None:
            assert len(await coordinator.extract_my_subset(GROUP, objects, key=name)) == share

        async def walk() -> None:
            assert len([each async for each in coordinator.my_subset(GROUP, objects, key=name)]) == share

        await stalls.during(f"{FILTER}, {count:,} str", extract)
        await stalls.during(f"{FILTER}, {count:,} objects, key=", extract_objects)
        await stalls.during(f"{WALK}, {count:,} objects, key=", walk, rounds=min(3, stalls.rounds))

    async def blocking(call: Callable[[], object]) -> None:
        call()

    ring, tooz = uhashring_ring(members), tooz_ring(members)
    await stalls.during(
        f"uhashring, {count:,} str", lambda: blocking(lambda: [k for k in keys if ring.get_node(k) == me]), rounds=1
    )
    await stalls.during(
        f"tooz, {count:,} str",
        lambda: blocking(lambda: [k for k in keys if my_bytes in tooz.get_nodes(k.encode())]),
        rounds=1,
    )


async def _compiling(stalls: Stalls, size: int) -> None:
    url = "memory://compiling"
    members = member_ids(size)
    others = members[1:10]
    async with Crowd(url) as crowd, PartitionCoordinator(url, member_id=members[0]) as coordinator:
        await crowd.join(GROUP, others)
        await coordinator.join_group(GROUP)

        async def grow() -> None:
            await crowd.join(GROUP, members[10:])
            await sees(coordinator, size)

        async def shrink() -> None:
            await crowd.leave(GROUP, members[10:])
            await sees(coordinator, 10)

        await stalls.during(f"compile a table for {size:,} members", grow, again=shrink)

    async def blocking(call: Callable[[Sequence[str]], object]) -> None:
        call(members)

    await stalls.during(f"uhashring, a ring of {size:,}", lambda: blocking(uhashring_ring))
    await stalls.during(f"tooz, a ring of {size:,}", lambda: blocking(tooz_ring))


async def _joining(stalls: Stalls, size: int) -> None:
    members = member_ids(size + 1)
    async with (
        ZooKeeperServer(tick_time=2000) as server,
        coordinator_among(members[:size], server.url("/stalls")) as coordinator,
        Crowd(server.url("/stalls")) as crowd,
    ):

        async def join() -> None:
            await crowd.join(GROUP, members[size:])
            await sees(coordinator, size + 1)

        async def leave() -> None:
            await crowd.leave(GROUP, members[size:])
            await sees(coordinator, size)

        await stalls.during(f"a member joins {size:,}, on the real server", join, again=leave)


async def sees(coordinator: PartitionCoordinator, size: int) -> None:
    """Wait until a coordinator is at a view with so many members, and has been asked what is its own."""

    async def at_size() -> bool:
        return len((await coordinator.view(GROUP)).members) == size

    await wait_until(at_size, timeout=60.0, interval=0.005)
    await coordinator.extract_my_subset(GROUP, [""])


async def _working(stalls: Stalls, count: int) -> None:
    async with coordinator_among(member_ids(1)) as coordinator:
        crews: dict[str, Workers | PlainTasks] = {
            f"{RUN}, {count:,} workers": Workers(coordinator, GROUP, switches(count)),
            f"asyncio alone, {count:,} tasks": PlainTasks(count),
        }
        for name, crew in crews.items():
            for note, switch in (("", gc.enable), (NO_COLLECTOR, gc.disable)):
                switch()
                try:
                    await stalls.during(f"{name} start{note}", crew.start, again=crew.end)
                    await crew.start()
                    await stalls.during(f"{name} end{note}", crew.end, again=crew.start)
                    await crew.end()
                finally:
                    gc.enable()


def _pieces(size: int, rounds: int) -> Table:
    """The pieces of a rebalance that no other task can get between."""
    table = Table(
        "pieces",
        f"milliseconds of what cannot be divided when {size:,} members change",
        ("piece", "median|,.2f", "worst|,.2f"),
        "Time of the processor: what other processes take does not count. Each piece runs from beginning to end "
        "before another task gets its turn, and several may follow upon each other. Of compiling, the longest step.",
    )
    members = member_ids(size)
    weights = dict.fromkeys(members, 1)
    entries = [Entry(each, 1, 1, f"{place:016x}") for place, each in enumerate(members)]
    names = tuple(entry.name for entry in entries)
    body = _children_body(names)
    read = codec.get_children("/group/members")
    assert read.parse(body).names == names
    policy = GroupPolicy()
    times: dict[str, Sample] = {}

    def note(piece: str, call: Callable[[], object]) -> None:
        began = time.thread_time()
        call()
        times.setdefault(piece, Sample()).times.append(time.thread_time() - began)

    for _ in range(rounds):
        group = Group(GROUP, Member(members[0]), policy, 1, entries[0].nonce)
        group.session_opened(fresh=True)
        group.entered(group.choose_entry(None))
        group.reading()
        note("decoding the answer with all entries", lambda: read.parse(body))
        note("parsing the entries, as a member among them", lambda: group.read(Entries(2, frozenset(names))))  # noqa: B023
        steps, longest = build_steps(weights, policy), 0.0
        while True:
            began = time.thread_time()
            try:
                next(steps)
            except StopIteration as finished:
                table_of_slots = finished.value
                break
            finally:
                longest = max(longest, time.thread_time() - began)
        times.setdefault("compiling, the longest step", Sample()).times.append(longest)
        note("publishing the view", lambda: group.built(group.wanted, table_of_slots))  # noqa: B023
        view, other = (View.of(GROUP, 1, weights, policy, each, table_of_slots) for each in members[:2])
        note("the mask of this member", lambda: view.mask)  # noqa: B023
        note("the change, for changes()", lambda: Change.between(other, view))  # noqa: B023
    for piece, sample in times.items():
        table.add(piece, sample.milliseconds, max(sample.times) * 1e3)
    return table


def _children_body(names: Sequence[str]) -> bytes:
    """What a server answers to GetChildren2: the names, and the node's stat."""
    encoded = [name.encode() for name in names]
    parts = [struct.pack("!i", len(encoded))]
    parts += [struct.pack("!i", len(name)) + name for name in encoded]
    return b"".join(parts) + struct.pack("!qqqqiiiqiiq", 1, 1, 0, 0, 0, len(encoded), 0, 0, 0, len(encoded), 2)
