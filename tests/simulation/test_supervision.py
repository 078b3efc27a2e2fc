"""run() in virtual time: faults in the midst of what it does, at chosen moments rather than at random ones."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from aiopartition import GroupPolicy, MemberSupersededError, PartitionCoordinator
from aiopartition.testing import PartitionCluster, VirtualTimeLoop
from tests.support import wait_until

pytestmark = pytest.mark.usefixtures("quiet_library")

KEYS = [f"key-{number}" for number in range(1000)]
SESSION_TIMEOUT = 10.0
AFTER_LEASE = SESSION_TIMEOUT * 0.7
POLICIES = [GroupPolicy(slots=1024, vnodes=16), GroupPolicy(slots=1024, vnodes=16, exclusive=True)]
both_kinds = pytest.mark.parametrize("policy", POLICIES, ids=["ordinary", "exclusive"])


class AtWork:
    """Who works on what at this moment, over all members."""

    def __init__(self) -> None:
        self.working: set[tuple[str, str]] = set()
        self.starts: Counter[str] = Counter()
        self.on_start: dict[tuple[str, int], Callable[[], None]] = {}
        """What happens when a member starts its n-th worker."""
        self.twice: set[str] = set()
        """Keys that two workers had at once."""
        self.seconds_to_end = 0.0

    def worker_of(self, member_id: str) -> Callable[[str], Awaitable[None]]:
        async def worker(key: str) -> None:
            if self.owners(key):
                self.twice.add(key)
            assert (member_id, key) not in self.working, f"{member_id} works on {key} twice"
            self.working.add((member_id, key))
            self.starts[member_id] += 1
            self.on_start.pop((member_id, self.starts[member_id]), lambda: None)()
            try:
                await asyncio.Event().wait()
            finally:
                if self.seconds_to_end:
                    await asyncio.sleep(self.seconds_to_end)
                self.working.remove((member_id, key))

        return worker

    def owners(self, key: str) -> list[str]:
        return [member_id for member_id, worked_on in self.working if worked_on == key]

    def of(self, member_id: str) -> set[str]:
        return {key for owner, key in self.working if owner == member_id}


def simulate(scenario: Callable[[PartitionCluster], Awaitable[None]]) -> None:
    async def main() -> None:
        async with PartitionCluster(session_timeout=SESSION_TIMEOUT) as cluster, asyncio.timeout(600):
            await scenario(cluster)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())


@both_kinds
@pytest.mark.parametrize("workers", [1, 40, 64, 65, 70, 90, 128, 200])
@pytest.mark.parametrize("fault", ["cut off", "expired"])
def test_ownership_that_ends_while_workers_start(policy: GroupPolicy, workers: int, fault: str) -> None:
    """P8: however far the starting has come, nobody is at work for long on what it cannot prove to be its own; and
    when all faults have ended, each resource has one worker."""

    async def scenario(cluster: PartitionCluster) -> None:
        floor = AtWork()
        members = [await cluster.join(member_id, "g", policy=policy) for member_id in ("a", "b")]
        runs = [asyncio.create_task(each.run("g", KEYS, floor.worker_of(each.member_id))) for each in members]
        await wait_until(lambda: len(floor.working) == len(KEYS))
        cluster.cut_off("a")
        await cluster.step(AFTER_LEASE)
        assert floor.of("a") == set()

        def strike() -> None:
            cluster.cut_off("a")
            if fault == "expired":
                cluster.expire("a")
            cluster.stall(AFTER_LEASE)

        floor.on_start["a", floor.starts["a"] + workers] = strike
        cluster.reconnect("a")
        await wait_until(lambda: not floor.on_start)
        for _ in range(20):  # more turns than there are portions of starts
            await asyncio.sleep(0)
        assert members[0].status("g").state == "unknown"
        assert floor.of("a") == set()
        await wait_until(lambda: floor.of("b") == set(KEYS), timeout=30)
        assert floor.of("a") == set()
        cluster.reconnect("a")
        await cluster.settle("g")
        await wait_until(lambda: len(floor.working) == len(KEYS) and floor.of("a"), timeout=30)
        assert not policy.exclusive or not floor.twice
        for run in runs:
            run.cancel()
        await asyncio.wait(runs)
        assert floor.working == set()

    simulate(scenario)


@both_kinds
@pytest.mark.parametrize("workers", [1, 64, 65, 200])
def test_a_second_process_in_the_midst_of_an_interrupted_start(policy: GroupPolicy, workers: int) -> None:
    """The member that is superseded ends its workers and says so; nobody waits for it in vain."""

    async def scenario(cluster: PartitionCluster) -> None:
        floor = AtWork()
        older = PartitionCoordinator(cluster.url, member_id="a", session_timeout=SESSION_TIMEOUT)
        async with older:
            await older.join_group("g", policy=policy)
            run = asyncio.create_task(older.run("g", KEYS, floor.worker_of("older")))
            await wait_until(lambda: len(floor.working) == len(KEYS))
            cluster.cut_off("a")
            await cluster.step(AFTER_LEASE)
            joining: list[asyncio.Task[PartitionCoordinator]] = []

            def strike() -> None:
                cluster.cut_off("a")
                cluster.stall(AFTER_LEASE)
                joining.append(asyncio.create_task(cluster.join("a", "g", policy=policy)))
                cluster.reconnect("a")

            floor.on_start["older", floor.starts["older"] + workers] = strike
            cluster.reconnect("a")
            await wait_until(lambda: bool(joining))
            newer = await joining[0]
            with pytest.raises(MemberSupersededError):
                await run
            assert floor.of("older") == set()
            run = asyncio.create_task(newer.run("g", KEYS, floor.worker_of("newer")))
            await wait_until(lambda: floor.of("newer") == set(KEYS), timeout=30)
            run.cancel()
            await asyncio.wait({run})

    simulate(scenario)


@pytest.mark.parametrize("fault", ["expire", "cut off", "leave and join once more"])
def test_joining_again_while_the_work_of_before_ends(fault: str) -> None:
    """P7 within one process: what it takes up anew waits for what it had not ended before, whatever becomes of the
    session that both are in."""

    async def scenario(cluster: PartitionCluster) -> None:
        floor = AtWork()
        floor.seconds_to_end = 8.0
        member = await cluster.join("a", "g", policy=POLICIES[1])
        old = asyncio.create_task(member.run("g", KEYS[:100], floor.worker_of("old")))
        await wait_until(lambda: len(floor.of("old")) == 100)
        leaving = asyncio.create_task(member.leave_group("g"))
        await asyncio.sleep(0)
        joining = [asyncio.create_task(cluster.join("a", "g", policy=POLICIES[1]))]
        await cluster.step(0.1)
        if fault == "leave and join once more":
            await member.leave_group("g")
            joining.append(asyncio.create_task(cluster.join("a", "g", policy=POLICIES[1])))
            await cluster.step(0.1)
        new = asyncio.create_task(member.run("g", KEYS[:100], floor.worker_of("new")))
        if fault == "cut off":
            cluster.cut_off("a")
            await cluster.step(0.1)
            cluster.reconnect("a")
        cluster.expire("a")
        await cluster.step(1)
        assert len(floor.of("old")) == 100
        assert floor.of("new") == set()
        await wait_until(lambda: len(floor.of("new")) == 100, timeout=30)
        assert floor.twice == set()
        await asyncio.wait({old, leaving, *joining})
        new.cancel()
        await asyncio.wait({new})

    simulate(scenario)
