"""What metrics cost: the same calls at a member that is instrumented and at one that is not, in turns."""

from functools import partial

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from aiopartition import PartitionCoordinator
from aiopartition.opentelemetry import instrument
from tests.benchmarks.inputs import switches
from tests.benchmarks.report import Report, Table
from tests.benchmarks.timing import Candidate, race

GROUP = "switches"


async def measure(*, quick: bool) -> Report:
    count, rounds = (100, 1) if quick else (20_000, 60)
    keys = switches(count)
    table = Table(
        "instrumentation",
        f"metrics: cost of asking what is ours, {count:,} keys",
        ("call", "plain, ns a key|,.0f", "instrumented, ns a key|,.0f", "instrumented / plain|.3f"),
        f"Medians of {rounds} rounds, each with both in random order; the last column is the median of their ratios.",
    )
    plain = PartitionCoordinator("memory://plain", member_id="a")
    instrumented = PartitionCoordinator("memory://instrumented", member_id="a")
    instrument(instrumented, MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    async with plain, instrumented:
        for name, call in (("extract_my_subset", _extract), ("my_subset", _stream)):
            for coordinator in (plain, instrumented):
                await coordinator.join_group(GROUP)
            samples = await race(
                [
                    Candidate("plain", partial(call, plain, keys), count, count),
                    Candidate("instrumented", partial(call, instrumented, keys), count, count),
                ],
                rounds,
            )
            ratio = samples["instrumented"].over(samples["plain"])
            table.add(name, samples["plain"].nanoseconds, samples["instrumented"].nanoseconds, ratio)
    return Report([table])


async def _extract(coordinator: PartitionCoordinator, keys: list[str]) -> int:
    return len(await coordinator.extract_my_subset(GROUP, keys))


async def _stream(coordinator: PartitionCoordinator, keys: list[str]) -> int:
    count = 0
    async for _ in coordinator.my_subset(GROUP, keys):
        count += 1
    return count
