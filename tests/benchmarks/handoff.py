"""How long a key is without an owner when it moves from one member to another, and who else has to stop meanwhile.

500 resources on a real server, each with a worker that notes when it begins and when it has ended. Members have a
session each and share this process and its event loop; ``members`` counts those that are there before a join and
after a stop or a crash. Nothing is stopped but what is named.

- ``alone``: for a key that moved, from the end of its worker here to the beginning of its worker there. For a crash,
  which tells nobody when its workers ended, from the expiry of the session: when a bystander's watch fired. The
  session timeout comes on top of it.
- ``interrupted``: of the keys whose owner is the same before and after, how many were stopped in between.
- ``all at work``: from the call of ``join_group()`` or ``stop()``, or from the expiry, until each key has its worker.

*Stop the world* is what the eager protocol of Kafka's consumers does: everybody lets go of everything, waits at a
barrier until all have, and takes up what the new assignment gives. It is this library's own handoff, with that one
rule changed: same session, same requests, same placement, same tables. So the difference is the rule's alone.

kazoo's ``SetPartitioner`` runs in threads of this process with a ``time_boundary`` of 0.05 s (its default is 30 s, for
which the work is stopped before anything else happens). Its keys are alone from their member's ``release_set()``, or
the call of ``finish()``, until the new one finds them acquired. It takes a lock for each item.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

from kazoo.client import KazooClient

from aiopartition import GroupPolicy, PartitionCoordinator, View
from aiopartition.group import state as group_module
from aiopartition.group.handoff import Handoff
from aiopartition.placement.table import Mask
from tests.benchmarks.handoff_cost import cost_table
from tests.benchmarks.inputs import Plan, member_ids, switches
from tests.benchmarks.report import Report, Table, Target
from tests.benchmarks.set_partitioner import SetMembers
from tests.benchmarks.timing import percentile
from tests.support import ZooKeeperServer

GROUP = "switches"
POLICY = GroupPolicy(exclusive=True)
RESOURCES = switches(500)
REST = 0.25  # seconds between changes
TIME_BOUNDARY = 0.05


FULL = [Plan(3, 10, 3), Plan(10, 10, 3), Plan(50, 5, 3)]
QUICK = [Plan(2, 1, 1, session_timeout=0.8)]


async def measure(*, quick: bool) -> Report:
    table = Table(
        "handoff",
        f"{len(RESOURCES)} keys: for how long those that move are alone, and how many others are interrupted",
        (
            "who",
            "members",
            "change",
            "times",
            "moved keys",
            "alone p50 ms|,.1f",
            "alone p99 ms|,.1f",
            "kept keys",
            "interrupted",
            "for p50 ms|,.1f",
            "all at work p50 ms|,.1f",
            "worst ms|,.1f",
        ),
    )
    plans = QUICK if quick else FULL
    targets: list[Target] = []
    async with ZooKeeperServer(heap_megabytes=256) as server:
        for plan in plans:
            for change, gap in (await _changed(server, f"/ours-{plan.members}", plan)).items():
                table.add("aiopartition", plan.members, change, *gap.cells())
                what = f"kept keys that were interrupted, {change}, {plan.members} members"
                targets.append(Target(what, gap.interrupted, 0, "keys"))
        with stop_the_world():
            for plan in plans:
                for change, gap in (await _changed(server, f"/eager-{plan.members}", plan)).items():
                    table.add("stop the world", plan.members, change, *gap.cells())
        for plan in plans:
            found = await asyncio.to_thread(_set_partitioner, server, plan, RESOURCES[:20] if quick else RESOURCES)
            for change, gap in found.items():
                table.add("SetPartitioner", plan.members, change, *gap.cells())
    async with ZooKeeperServer(tick_time=2000, heap_megabytes=512) as server:
        cost = await cost_table(server, (2,) if quick else (3, 10, 50, 200))
    return Report([table, cost], targets)


# ---- what is noted


@dataclass
class Gaps:
    """Seconds, over all changes of one kind."""

    alone: list[float] = field(default_factory=list[float])
    interrupted_for: list[float] = field(default_factory=list[float])
    kept: int = 0
    whole: list[float] = field(default_factory=list[float])

    @property
    def interrupted(self) -> int:
        return len(self.interrupted_for)

    def note(self, attendance: Attendance, resource: str, *, moved: bool, began_before: Mapping[str, float]) -> None:
        """What a change has meant to a resource, by what its workers wrote down."""
        began = attendance.began[resource]
        if moved:
            self.alone.append(began - attendance.ended[resource])
            return
        self.kept += 1
        if began != began_before[resource]:
            self.interrupted_for.append(began - attendance.ended[resource])

    def cells(self) -> tuple[int | float | None, ...]:
        return (
            *(len(self.whole), len(self.alone), percentile(self.alone, 50) * 1e3, percentile(self.alone, 99) * 1e3),
            *(self.kept, self.interrupted),
            percentile(self.interrupted_for, 50) * 1e3 if self.interrupted_for else None,
            *(percentile(self.whole, 50) * 1e3, max(self.whole) * 1e3),
        )


class Attendance:
    """Who works on what, and since when. A key with two workers ends the benchmark."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self._changed = asyncio.Event()

    async def work(self, member_id: str, resource: str) -> None:
        """A worker: the whole of what it does is to be there."""
        if resource in self.holders:
            raise AssertionError(f"{resource} is worked on by {self.holders[resource]} and {member_id}")
        self.holders[resource] = member_id
        self.began[resource] = time.perf_counter()
        self._changed.set()
        try:
            await asyncio.Event().wait()
        finally:
            del self.holders[resource]
            self.ended[resource] = time.perf_counter()
            self._changed.set()

    async def until(self, holders: Mapping[str, str], timeout: float = 60.0) -> float:
        """Wait until all is held as it has to be; since when it is."""
        async with asyncio.timeout(timeout):
            while self.holders != holders:
                self._changed.clear()
                await self._changed.wait()
        return max(self.began[resource] for resource in holders)


# ---- ours, and the same with another rule


class StopTheWorld(Handoff):
    """At a new generation everything is let go of, also what is given again."""

    def viewed(self, generation: int, name: str, names: frozenset[str], mine: Mask) -> None:
        new = generation != self.generation
        super().viewed(generation, name, names, mine)
        if new:
            self._keep(self.nothing)
            self.let_go()


@contextmanager
def stop_the_world() -> Iterator[None]:
    """Groups that are joined inside go by that rule."""
    with patch.object(group_module, "Handoff", StopTheWorld):
        yield


class Workforce:
    """Members in this process, all of which run workers on the same resources."""

    def __init__(self, url: str, session_timeout: float) -> None:
        self.attendance = Attendance()
        self._url = url
        self._session_timeout = session_timeout
        self._members: dict[str, tuple[PartitionCoordinator, asyncio.Task[None]]] = {}

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, members: list[str], session_timeout: float) -> AsyncIterator[Workforce]:
        fleet = cls(url, session_timeout)
        try:
            for member_id in members:
                await fleet.join(await fleet.start(member_id))
            await fleet.attendance.until(fleet.owners())
            yield fleet
        finally:
            for member_id in list(fleet._members):
                await fleet.stop(member_id)

    @property
    def oldest(self) -> str:
        return next(iter(self._members))

    async def start(self, member_id: str) -> PartitionCoordinator:
        """One that is connected and does not take part yet."""
        coordinator = PartitionCoordinator(self._url, member_id=member_id, session_timeout=self._session_timeout)
        await coordinator.start()
        return coordinator

    async def join(self, coordinator: PartitionCoordinator) -> float:
        """The moment of the call."""
        began, name = time.perf_counter(), coordinator.member_id
        await coordinator.join_group(GROUP, policy=POLICY)
        work = coordinator.run(GROUP, RESOURCES, partial(self.attendance.work, name))
        self._members[name] = (coordinator, asyncio.create_task(work))
        return began

    async def stop(self, member_id: str) -> float:
        """The moment of the call."""
        coordinator, work = self._members.pop(member_id)
        began = time.perf_counter()
        await coordinator.stop()
        await work
        return began

    def owners(self, *, but: str = "", also: str = "") -> dict[str, str]:
        """Who has to hold what."""
        weights = {each: 1 for each in [*self._members, also] if each not in ("", but)}
        view = View.of(GROUP, 0, weights, POLICY, next(iter(weights)))
        return {resource: view.owner(resource) for resource in RESOURCES}


async def _changed(server: ZooKeeperServer, namespace: str, plan: Plan) -> dict[str, Gaps]:
    """Members come and go, one at a time, the oldest first; how long it took."""
    gaps = {"join": Gaps(), "stop": Gaps(), "crash": Gaps()}
    url, newcomers = server.url(namespace), iter(member_ids(1_000, seed=2))
    async with Workforce.of(url, member_ids(plan.members), plan.session_timeout) as fleet:
        for _ in range(plan.changes):
            coordinator = await fleet.start(next(newcomers))
            await _change(
                fleet, gaps["join"], fleet.owners(also=coordinator.member_id), partial(fleet.join, coordinator)
            )
            oldest = fleet.oldest
            await _change(fleet, gaps["stop"], fleet.owners(but=oldest), partial(fleet.stop, oldest))
        for _ in range(plan.kills):
            await _crash(server, namespace, fleet, next(newcomers), plan.session_timeout, gaps["crash"])
    return gaps


async def _change(fleet: Workforce, gap: Gaps, owners: dict[str, str], change: Callable[[], Any]) -> None:
    await asyncio.sleep(REST)
    attendance, before, began_before = fleet.attendance, dict(fleet.attendance.holders), dict(fleet.attendance.began)
    began = await change()
    gap.whole.append(await attendance.until(owners) - began)
    for resource, holder in owners.items():
        gap.note(attendance, resource, moved=holder != before[resource], began_before=began_before)


async def _crash(
    server: ZooKeeperServer, namespace: str, fleet: Workforce, victim: str, session_timeout: float, gap: Gaps
) -> None:
    """One more member joins in a process of its own, and is killed."""
    after, attendance = fleet.owners(), fleet.attendance
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.handoff", server.url(namespace), victim, str(session_timeout)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        owners = fleet.owners(also=victim)
        await process.stdout.readline()  # it has its share
        await attendance.until({key: owner for key, owner in owners.items() if owner != victim})
        await asyncio.sleep(REST)
        began_before = dict(attendance.began)
        with expiry(server, f"{namespace}/{GROUP}/members") as expired:
            process.kill()
            whole = await attendance.until(after, session_timeout + 60.0)
        gap.whole.append(whole - expired[0])
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    for resource, holder in after.items():
        if owners[resource] == victim:
            gap.alone.append(attendance.began[resource] - expired[0])
        else:
            gap.note(attendance, resource, moved=owners[resource] != holder, began_before=began_before)


@contextmanager
def expiry(server: ZooKeeperServer, path: str) -> Iterator[list[float]]:
    """When the children of a node change, as another client sees it: the moment is in the list then."""
    client: Any = KazooClient(server.address)
    client.start()
    moments: list[float] = []
    try:
        client.get_children(path, watch=lambda _event: moments.append(time.perf_counter()))
        yield moments
    finally:
        client.stop()
        client.close()


async def be_a_victim(url: str, member_id: str, session_timeout: float) -> None:
    """The process that is killed: a member that says when it has its share."""
    async with PartitionCoordinator(url, member_id=member_id, session_timeout=session_timeout) as coordinator:
        await coordinator.join_group(GROUP, policy=POLICY)
        attendance = Attendance()
        work = asyncio.create_task(coordinator.run(GROUP, RESOURCES, partial(attendance.work, member_id)))
        async for change in coordinator.changes(GROUP):
            if change.view and change.view.mine(RESOURCES):
                break
        print("ready", flush=True)
        await work


# ---- kazoo


def _set_partitioner(server: ZooKeeperServer, plan: Plan, items: Sequence[str]) -> dict[str, Gaps]:
    gaps = {"join": Gaps(), "stop": Gaps()}
    newcomers = iter(member_ids(1_000, seed=3))
    arguments = server.address, f"/set-{plan.members}", member_ids(plan.members), items, TIME_BOUNDARY
    with SetMembers(*arguments) as fleet:
        for _ in range(min(plan.changes, 3)):
            newcomer = fleet.member(next(newcomers))
            with closing(newcomer):
                for change, gap in gaps.items():
                    time.sleep(REST)
                    before = {item: member for member in fleet.members for item in member.items}
                    if change == "join":
                        fleet.members.append(newcomer)
                        began = newcomer.join()
                    else:
                        fleet.members.remove(newcomer)
                        began = newcomer.leave()
                        newcomer.released_at = began
                    fleet.settle()
                    after = {item: member for member in fleet.members for item in member.items}
                    gap.whole.append(max(member.acquired_at for member in fleet.members) - began)
                    for item, member in after.items():
                        released = before[item].released_at
                        if member is not before[item]:
                            gap.alone.append(member.acquired_at - released)
                            continue
                        gap.kept += 1
                        if released >= began:
                            gap.interrupted_for.append(member.acquired_at - released)
    return gaps


if __name__ == "__main__":
    asyncio.run(be_a_victim(sys.argv[1], sys.argv[2], float(sys.argv[3])))
