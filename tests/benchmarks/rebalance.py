"""How long it takes from a change until every member is at the new generation, on a real server.

The change begins with the call of ``join_group()`` on a coordinator that is connected, with the call of ``stop()``,
or with the SIGKILL of a member's process; of that one, the session timeout (2 s) is taken off. The server's ticks
(0.2 s) stay in: it looks for dead sessions only that often; and a session had already been silent for up to a third
of its timeout when its process died, which is why the figure can be negative. It ends when the last member's
``changes()`` has handed out the view; nothing is stopped meanwhile. Members settle for 0.05 s, the default.
``members`` counts those before the change.

In the first table all members of a fleet share the processors of this machine, and each process compiles a table of
its own: with many of them that is most of the time. In the second there is one coordinator, and the other members are
entries without coordinators: that is what a member sees that has a processor to itself.

kazoo's ``SetPartitioner`` runs in threads of one process, on a set of ten items for each member, from the call of its
constructor, or of ``finish()``, until each item is held by one member again. For that time everybody's work is
stopped, but for the ``time_boundary`` at its beginning it is stopped for all of it. tooz does not tell of changes;
its users find out when they next ask.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from tests.benchmarks.crowd import Crowd
from tests.benchmarks.hosts import GROUP, Host, LocalHost, RemoteHost, Roll
from tests.benchmarks.inputs import Plan, member_ids, switches
from tests.benchmarks.report import Report, Table, Target
from tests.benchmarks.set_partitioner import SetMembers
from tests.benchmarks.timing import percentile
from tests.support import ZooKeeperServer

SETTLE = 0.05
SESSION_TIMEOUT = 2.0


FULL = [
    *(Plan(3, 30), Plan(10, 50), Plan(30, 15), Plan(100, 6)),
    *(Plan(3, 30, 5, 3), Plan(10, 50, 5, 10), Plan(30, 10, 3, 10), Plan(100, 6, 3, 10)),
]
QUICK = [Plan(2, 1), Plan(2, 1, 1, 2, session_timeout=0.8)]


async def measure(*, quick: bool) -> Report:
    ours = Table(
        "rebalance",
        "milliseconds from the change to the new view",
        (
            "members",
            "processes",
            "change",
            "times",
            "a member p50|,.1f",
            "a member p99|,.1f",
            "the last p50|,.1f",
            "the last p99|,.1f",
        ),
        "A member: over all members at all changes. The last: when every member is there, over all changes. "
        f"Killed: minus the session timeout of {SESSION_TIMEOUT:g} s.",
    )
    targets: list[Target] = []
    async with ZooKeeperServer(heap_megabytes=256) as server:
        for number, plan in enumerate(QUICK if quick else FULL):
            async with HostedMembers.of(server.url(f"/rebalance-{number}"), plan) as fleet:
                latencies = await fleet.changed(plan)
            for change, latency in latencies.items():
                ours.add(
                    *(plan.members, plan.processes, change, len(latency.of_the_last)),
                    *(percentile(latency.of_each, percent) * 1e3 for percent in (50, 99)),
                    *(percentile(latency.of_the_last, percent) * 1e3 for percent in (50, 99)),
                )
                if plan.members == 10 and change == "join":
                    last = percentile(latency.of_the_last, 50) * 1e3
                    targets.append(Target(f"a join at 10 members in {plan.processes} process(es)", last, 100.0, "ms"))
        alone = await _alone(server, quick=quick)
        theirs = _set_partitioner(server, quick=quick)
    return Report([ours, alone, theirs], targets)


@dataclass
class Latency:
    of_each: list[float] = field(default_factory=list[float])
    of_the_last: list[float] = field(default_factory=list[float])

    def add(self, cause: float, moments: Sequence[float], minus: float = 0.0) -> None:
        seconds = [moment - cause - minus for moment in moments]
        self.of_each += seconds
        self.of_the_last.append(max(seconds))


class HostedMembers:
    """Members on several hosts, all of which agree on who they are."""

    def __init__(self, roll: Roll, hosts: Sequence[Host], launch: Callable[[], Awaitable[RemoteHost]]) -> None:
        self._roll = roll
        self._hosts = hosts
        self._launch = launch
        self._members: dict[str, Host] = {}
        self._newcomers = iter(member_ids(10_000, seed=2))

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, plan: Plan) -> AsyncIterator[HostedMembers]:
        """So many members, evenly over so many processes; one is this one."""
        roll = Roll()

        async def launch() -> RemoteHost:
            return await RemoteHost.launch(url, roll.note, settle=SETTLE, session_timeout=plan.session_timeout)

        async with AsyncExitStack() as stack:
            hosts: list[Host]
            if plan.processes == 1:
                hosts = [LocalHost(url, roll.note, settle=SETTLE, session_timeout=plan.session_timeout)]
            else:
                hosts = list(await asyncio.gather(*(launch() for _ in range(plan.processes))))
            for host in hosts:
                stack.push_async_callback(host.close)
            fleet = cls(roll, hosts, launch)
            fleet._members = dict(zip(member_ids(plan.members), itertools.cycle(hosts), strict=False))
            for member_id, host in fleet._members.items():
                await host.start(member_id)
            for member_id, host in fleet._members.items():
                await host.join(member_id)
            await roll.agreed(fleet._members)
            yield fleet

    async def changed(self, plan: Plan) -> dict[str, Latency]:
        """Members come and go, one at a time, the oldest first, so no set of members comes back; how long it took."""
        latencies = {"join": Latency(), "stop": Latency()}
        for host in itertools.islice(itertools.cycle(self._hosts), plan.changes):
            newcomer = next(self._newcomers)
            await host.start(newcomer)
            await self._rest()
            cause = await host.join(newcomer)
            self._members[newcomer] = host
            latencies["join"].add(cause, await self._roll.agreed(self._members))
            await self._rest()
            oldest = next(iter(self._members))
            cause = await self._members.pop(oldest).stop(oldest)
            latencies["stop"].add(cause, await self._roll.agreed(self._members))
        for _ in range(plan.kills):
            victim, newcomer = await self._launch(), next(self._newcomers)
            await victim.start(newcomer)
            await victim.join(newcomer)
            await self._roll.agreed([*self._members, newcomer])
            await self._rest()
            cause = await victim.kill()
            moments = await self._roll.agreed(self._members)
            latencies.setdefault("kill -9", Latency()).add(cause, moments, minus=plan.session_timeout)
        return latencies

    async def _rest(self) -> None:
        await asyncio.sleep(2 * SETTLE)


async def _alone(server: ZooKeeperServer, *, quick: bool) -> Table:
    table = Table(
        "alone",
        "milliseconds from another's join or leave to the new view, at a member with a processor to itself",
        ("members", "change", "times", "p50|,.1f", "p99|,.1f"),
    )
    for size, times in [(3, 1)] if quick else [(3, 30), (10, 30), (100, 30), (1_000, 10)]:
        members, url = member_ids(size + times), server.url(f"/alone-{size}")
        latencies = {"join": Latency(), "leave": Latency()}
        roll = Roll()
        async with Crowd(url) as crowd:
            await crowd.join(GROUP, members[1:size])
            host = LocalHost(url, roll.note, settle=SETTLE, session_timeout=SESSION_TIMEOUT)
            await host.start(members[0])
            await host.join(members[0])
            await roll.sees(members[0], size)
            for oldest, newcomer in zip(members[1:], members[size:], strict=False):
                for change, act, count in (("join", crowd.join, size + 1), ("leave", crowd.leave, size)):
                    await asyncio.sleep(2 * SETTLE)
                    began = time.monotonic()
                    await act(GROUP, [newcomer if change == "join" else oldest])
                    latencies[change].add(began, [await roll.sees(members[0], count)])
            await host.close()
        for change, latency in latencies.items():
            table.add(size, change, times, *(percentile(latency.of_each, percent) * 1e3 for percent in (50, 99)))
    return table


def _set_partitioner(server: ZooKeeperServer, *, quick: bool) -> Table:
    table = Table(
        "SetPartitioner",
        "kazoo's SetPartitioner: milliseconds from the change until all is held again",
        ("members", "time_boundary|.2f", "change", "times", "p50", "worst", "nobody worked p50"),
        "Nobody worked: from the first member's letting go to the last one's holding its new share.",
    )
    plans = [(2, 0.05, 1)] if quick else [(3, 0.05, 5), (10, 0.05, 10), (10, 0.5, 3), (10, 30.0, 1)]
    newcomers = iter(member_ids(1_000, seed=3))
    for number, (size, time_boundary, times) in enumerate(plans):
        durations: dict[str, list[float]] = {"join": [], "leave": []}
        pauses: dict[str, list[float]] = {"join": [], "leave": []}
        arguments = server.address, f"/set-{number}", member_ids(size), switches(10 * size), time_boundary
        with SetMembers(*arguments) as fleet:
            for _ in range(times):
                newcomer = fleet.member(next(newcomers))
                fleet.members.append(newcomer)
                for change in ("join", "leave"):
                    time.sleep(0.2)
                    began = newcomer.join() if change == "join" else newcomer.leave()
                    if change == "leave":
                        fleet.members.remove(newcomer)
                    fleet.settle()
                    held = max(member.acquired_at for member in fleet.members)
                    durations[change].append(held - began)
                    pauses[change].append(held - min(m.released_at for m in fleet.members if m.released_at > began))
                newcomer.close()
        for change in durations:
            table.add(
                *(size, time_boundary, change, times),
                *(percentile(durations[change], 50) * 1e3, max(durations[change]) * 1e3),
                percentile(pauses[change], 50) * 1e3,
            )
    return table
