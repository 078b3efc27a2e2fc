"""A polling cycle: 10 members, 1,000 resources, a real server. What is mine at this moment?

Ours is ``extract_my_subset`` on a joined coordinator. Ceilometer's recipe asks tooz's coordinator for the members,
makes a ring of them with 100 points each, and asks that for each resource. The better way with tooz is to join a
"partitioned group" and to call ``run_watchers()`` before asking, which is one round trip too. kazoo's
``SetPartitioner`` keeps a list at hand; but what is in it is fixed when it is made, each item is a lock in ZooKeeper,
and it cannot answer for resources that were not there then. tooz and kazoo block their thread, so a service on
asyncio would have to pay for a hop to another one on top, which is not counted here.

The time of one cycle is the median of many, whose answers are all compared with what they have to be. Requests are
the server's own count over all cycles (``mntr``), divided by their number; nothing else talks to the server meanwhile
but pings.
"""

import time
from collections.abc import Awaitable, Callable
from statistics import median

from tests.benchmarks.counters import Counters
from tests.benchmarks.inputs import member_ids, switches
from tests.benchmarks.per_key import GROUP, coordinator_among, owned_by
from tests.benchmarks.report import Report, Table, Target
from tests.benchmarks.rings import CEILOMETER_PARTITIONS, tooz_partitioner, tooz_ring
from tests.benchmarks.set_partitioner import SetMembers
from tests.benchmarks.timing import percentile
from tests.benchmarks.tooz_members import ToozMembers
from tests.support import ZooKeeperServer

MEMBERS = 10
RESOURCES = 1_000


async def measure(*, quick: bool) -> Report:
    cycles = 5 if quick else 500
    resources, members = switches(RESOURCES), member_ids(2 if quick else MEMBERS)
    table = Table(
        "cycle",
        f"one polling cycle: {len(members)} members, {RESOURCES:,} resources",
        ("who", "p50 µs|,.1f", "p99 µs|,.1f", "× ours|,.2f", "requests a cycle|.2f"),
        "The other members hold their sessions and do nothing. A cycle of ours sends nothing.",
    )
    async with ZooKeeperServer(tick_time=2000) as server:

        async def cycle(who: str, call: Callable[[], object], expected: list[str], times: int = cycles) -> None:
            before = await Counters.of(server)
            durations: list[float] = []
            for _ in range(times):
                began = time.perf_counter()
                answer = call()
                if isinstance(answer, Awaitable):
                    answer = await answer
                durations.append(time.perf_counter() - began)
                assert answer == expected, who
            spent = (await Counters.of(server)).since(before)
            measured[who] = median(durations)
            requests[who] = spent.requests / times
            p50, p99 = median(durations) * 1e6, percentile(durations, 99) * 1e6
            table.add(who, p50, p99, measured[who] / measured[OURS], requests[who])

        measured: dict[str, float] = {}
        requests: dict[str, float] = {}
        async with coordinator_among(members, server.url("/cycle")) as coordinator:
            mine = owned_by(members[0], members, resources)
            await cycle(OURS, lambda: coordinator.extract_my_subset(GROUP, resources), mine, 10 * cycles)
        with ToozMembers(server.address, members) as others:
            other = others.members[0]
            ring, partitioner = tooz_ring(members, CEILOMETER_PARTITIONS), tooz_partitioner(members)
            mine = [each for each in resources if other.member_id in ring.get_nodes(each.encode())]
            await cycle(CEILOMETER, lambda: other.ceilometer(others.group_id, resources), mine)
            mine = [each for each in resources if partitioner.belongs_to_self(each)]
            await cycle("tooz, run_watchers and Partitioner", lambda: other.watched(resources), mine)
        held = resources if not quick else resources[:10]
        with SetMembers(server.address, "/set", members, held, time_boundary=0.05) as sets:
            place = sorted(members).index(members[0])
            await cycle("kazoo, list(SetPartitioner)", sets.members[0].held, sorted(held)[place :: len(members)])
    ratio = measured[CEILOMETER] / measured[OURS]
    return Report(
        [table],
        [
            Target(f"{CEILOMETER}, against ours", ratio, 40.0, at_least=True),
            Target("requests in a cycle of ours", requests[OURS], 0.005, "requests"),
        ],
    )


OURS = "aiopartition, extract_my_subset"
CEILOMETER = "tooz, Ceilometer's recipe"
