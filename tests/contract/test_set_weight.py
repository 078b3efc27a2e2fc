"""Changing a member's weight: one change of the membership for all, and nobody loses what it need not."""

import asyncio

import pytest

from aiopartition import (
    ConfigurationError,
    GroupPolicy,
    MemberSupersededError,
    OwnershipLostError,
    PartitionCoordinator,
    SessionFullError,
    View,
)
from tests.contract.cancelling import cancelled_at
from tests.contract.cluster import Cluster
from tests.contract.exclusive import POLICY as EXCLUSIVE
from tests.contract.working import Floor, running
from tests.support import wait_until
from tests.support.split import RESOURCES, shared_out, split_exactly

PLAIN = GroupPolicy()
POLICIES = pytest.mark.parametrize("policy", [PLAIN, EXCLUSIVE], ids=["ordinary", "exclusive"])


async def pair(
    cluster: Cluster, policy: GroupPolicy = PLAIN, settle: float = 0
) -> tuple[PartitionCoordinator, PartitionCoordinator]:
    """Two members, who share the group out."""
    one, two = await cluster.started("one"), await cluster.started("two")
    for member in (one, two):
        await member.join_group("g", policy=policy, settle=settle)
    await split_exactly(one, two)
    return one, two


def expected(member_id: str, policy: GroupPolicy, **weights: int) -> list[str]:
    return View.of("g", 1, weights, policy, member_id).mine(RESOURCES)


@POLICIES
@pytest.mark.parametrize("weight", [0, 3, 1000])
async def test_keys_move_in_one_generation(cluster: Cluster, policy: GroupPolicy, weight: int) -> None:
    """Whoever watches sees one change, and there is one entry of each member at any time."""
    one, two = await pair(cluster, policy)
    before = {each.id: each.weight for each in (await two.view("g")).members}
    assert before == {"one": 1, "two": 1}
    generation = (await two.view("g")).generation
    seen: list[tuple[int, dict[str, int]]] = []

    async def watch() -> None:
        async for change in two.changes("g"):
            assert change.view is not None
            seen.append((change.view.generation, {each.id: each.weight for each in change.view.members}))

    async with running(watch()):
        await wait_until(lambda: bool(seen))
        await one.set_weight("g", weight)
        assert await one.extract_my_subset("g", RESOURCES) == expected("one", policy, one=weight, two=1)
        await shared_out(policy, {"one": weight, "two": 1}, one, two)
        await wait_until(lambda: seen[-1][1]["one"] == weight)
    states = list(dict.fromkeys((each, tuple(weights.items())) for each, weights in seen))
    assert [dict(weights) for _, weights in states] == [before, {"one": weight, "two": 1}]
    assert states[0][0] == generation
    assert (await one.view("g")).generation == (await two.view("g")).generation == states[1][0]
    assert len(await cluster.entries("g")) == 2


@POLICIES
async def test_drained_and_back(cluster: Cluster, policy: GroupPolicy) -> None:
    """A drained member stays, all see it, and it owns nothing until it has a weight again."""
    one, two = await pair(cluster, policy)
    for weight in (0, 1, 0, 2):
        await one.set_weight("g", weight)
        await shared_out(policy, {"one": weight, "two": 1}, one, two)
    assert await two.get_members("g") == ("one", "two")
    info = await two.describe_member("g", "one")
    assert (info.weight, info.pid is None) == (2, False)


@POLICIES
async def test_all_drained(cluster: Cluster, policy: GroupPolicy) -> None:
    """With no weight anywhere ownership is unknown, and it comes back with the first weight."""
    one, two = await pair(cluster, policy)
    await one.set_weight("g", 0)
    await two.set_weight("g", 0)
    for member in (one, two):
        await wait_until(lambda member=member: member.status("g").reason == "no member has a weight above 0")  # type: ignore[misc]
        assert await member.extract_my_subset("g", RESOURCES) == []
    await one.set_weight("g", 1)
    await shared_out(policy, {"one": 1, "two": 0}, one, two)


async def test_the_same_weight_again(cluster: Cluster) -> None:
    """Nothing happens, for nobody."""
    one, _ = await pair(cluster)
    await one.set_weight("g", 5)
    view, entries = await one.view("g"), await cluster.entries("g")
    await one.set_weight("g", 5)
    assert await one.view("g") is view
    assert await cluster.entries("g") == entries


async def test_calls_at_once(cluster: Cluster) -> None:
    """The last one counts, all return, and no entry is left behind."""
    one, two = await pair(cluster)
    async with asyncio.TaskGroup() as calls:
        for weight in (0, 7, 3, 9, 2):
            calls.create_task(one.set_weight("g", weight))
        calls.create_task(two.set_weight("g", 4))
    await shared_out(PLAIN, {"one": 2, "two": 4}, one, two)
    assert len(await cluster.entries("g")) == 2


@POLICIES
async def test_cancelled_at_any_step(cluster: Cluster, policy: GroupPolicy) -> None:
    """It goes on in the background."""
    one, two = await pair(cluster, policy)
    step, weight = 1, 2
    while await cancelled_at(step, one.set_weight("g", weight)):
        await shared_out(policy, {"one": weight, "two": 1}, one, two)
        step, weight = step + 1, weight + 1
    await shared_out(policy, {"one": weight, "two": 1}, one, two)
    assert len(await cluster.entries("g")) == 2


@pytest.mark.parametrize("weight", [-1, 1001, 1.5, True, "2", None])
async def test_a_bad_weight(cluster: Cluster, weight: object) -> None:
    one, _ = await pair(cluster)
    with pytest.raises(ConfigurationError, match="weight"):
        await one.set_weight("g", weight)  # type: ignore[arg-type]
    assert len(await one.extract_my_subset("g", RESOURCES)) < len(RESOURCES)


async def test_a_group_that_is_not_joined(cluster: Cluster) -> None:
    """No call joins by the way what somebody only wants to change."""
    member = await cluster.started("m")
    with pytest.raises(ConfigurationError, match="'g' is not joined"):
        await member.set_weight("g", 2)
    await member.observe("g")
    with pytest.raises(ConfigurationError, match="observed"):
        await member.set_weight("g", 2)
    await member.leave_group("g")
    await member.join_group("g", weight=3)
    await member.leave_group("g")
    with pytest.raises(ConfigurationError, match="not joined"):
        await member.set_weight("g", 3)


async def test_joining_again(cluster: Cluster) -> None:
    """The weight that was set is the one that a repeated join_group() has to name."""
    one, _ = await pair(cluster)
    await one.set_weight("g", 3)
    await one.join_group("g", weight=3, settle=0)
    with pytest.raises(ConfigurationError, match=r"joined with 3, not 1; set_weight\(\) changes that"):
        await one.join_group("g", settle=0)


@POLICIES
async def test_an_expired_session(cluster: Cluster, policy: GroupPolicy) -> None:
    """The group is joined again with the weight that was set."""
    one, two = await pair(cluster, policy)
    await one.set_weight("g", 4)
    before = await cluster.entries("g")
    await cluster.expire(one)

    async def joined_again() -> bool:
        entries = await cluster.entries("g")
        return len(entries) == 2 and entries != before

    await wait_until(joined_again)
    await shared_out(policy, {"one": 4, "two": 1}, one, two)


@POLICIES
async def test_set_without_a_connection(cluster: Cluster, policy: GroupPolicy) -> None:
    """It returns at once, and is done when there is one."""
    one, two = await pair(cluster, policy)
    await cluster.cut_off(one)
    await wait_until(lambda: not one.connected)
    await asyncio.wait_for(one.set_weight("g", 4), 5)
    await cluster.reconnect(one)
    await shared_out(policy, {"one": 4, "two": 1}, one, two)
    assert len(await cluster.entries("g")) == 2


@POLICIES
async def test_cut_off_in_the_midst(cluster: Cluster, policy: GroupPolicy) -> None:
    """Whether the change was carried out or not: it is in the end, with one entry, and the session goes on."""
    one, two = await pair(cluster, policy)
    for weight in range(2, 7):
        call = asyncio.create_task(one.set_weight("g", weight))
        for _ in range(weight):  # so many turns of the event loop: at each it is somewhere else
            await asyncio.sleep(0)
        await cluster.cut_off(one)
        await cluster.reconnect(one)
        await call
        await shared_out(policy, {"one": weight, "two": 1}, one, two)
        assert len(await cluster.entries("g")) == 2


async def test_superseded(cluster: Cluster) -> None:
    """Who has lost its place has no weight to set. Its successor is not touched."""
    first = await cluster.started("m")
    await first.join_group("g", settle=0)
    second = await cluster.started("m")
    await second.join_group("g", weight=2, settle=0)
    await wait_until(lambda: first.status("g").state == "refused")
    with pytest.raises(MemberSupersededError):
        await first.set_weight("g", 0)
    await second.set_weight("g", 5)
    assert [member.weight for member in (await second.view("g")).members] == [5]
    assert len(await cluster.entries("g")) == 1


async def test_a_successor_supersedes_one_that_was_reweighed(cluster: Cluster) -> None:
    """However often it was: the later start is the live one."""
    first = await cluster.started("m")
    await first.join_group("g", settle=0)
    for weight in (2, 3, 4):
        await first.set_weight("g", weight)
    second = await cluster.started("m")
    await second.join_group("g", settle=0)
    await wait_until(lambda: first.status("g").state == "refused")
    assert [member.weight for member in (await second.view("g")).members] == [1]


async def test_left_meanwhile(cluster: Cluster) -> None:
    """The call ends, and no entry stays, old or new."""
    one, two = await pair(cluster)
    call = asyncio.create_task(one.set_weight("g", 0))
    await asyncio.sleep(0)
    await one.leave_group("g")
    await asyncio.wait_for(call, 5)
    await split_exactly(two)
    assert len(await cluster.entries("g")) == 1


async def test_draining_ends_work_in_good_order(cluster: Cluster) -> None:
    """In an exclusive group each worker has ended here before it begins there."""
    one, two = await pair(cluster, EXCLUSIVE)
    resources = RESOURCES[:40]
    floors = {"one": Floor(), "two": Floor()}

    def overlaps() -> set[str]:
        return set(floors["one"].working) & set(floors["two"].working)

    overlapped: set[str] = set()

    async def work(member: PartitionCoordinator) -> None:
        floor = floors[member.member_id]

        async def worker(resource: str) -> None:
            overlapped.update(set(floors["one" if floor is floors["two"] else "two"].working) & {resource})
            await floor.worker(resource)

        await member.run("g", resources, worker)

    async with running(work(one)), running(work(two)):
        await wait_until(lambda: sum(len(floor.working) for floor in floors.values()) == len(resources))
        assert floors["one"].working
        for _ in range(2):
            await one.set_weight("g", 0)
            assert floors["one"].working == []
            await wait_until(lambda: floors["two"].works_on(*resources))
            assert one.status("g").state == "steady"
            await one.set_weight("g", 1)
            await wait_until(lambda: sum(len(floor.working) for floor in floors.values()) == len(resources))
            assert floors["one"].working
    assert overlaps() == set()
    assert overlapped == set()


async def test_set_from_within_work_that_it_takes_away(cluster: Cluster) -> None:
    """The call does not wait for itself, and others get the work when it has ended."""
    one, two = await pair(cluster, EXCLUSIVE)
    key = (await one.extract_my_subset("g", RESOURCES))[0]
    async with one.hold("g") as view:
        assert view.owns("one", key)
        async with asyncio.timeout(5):
            await one.set_weight("g", 0)
        assert key not in await two.extract_my_subset("g", RESOURCES)
    await shared_out(EXCLUSIVE, {"one": 0, "two": 1}, one, two)


async def test_nobody_is_waited_for_longer_than_its_drain(cluster: Cluster) -> None:
    """Work that would go on for ever has its deadline: then it is cancelled, and the others have its keys."""
    one, two = await pair(cluster, EXCLUSIVE)
    cancelled = asyncio.Event()

    async def hold() -> None:
        try:
            async with one.hold("g", drain_timeout=0.1):
                await asyncio.Event().wait()
        except OwnershipLostError:
            cancelled.set()

    async with running(hold()):
        await wait_until(lambda: one.status("g").in_flight > 0)
        await one.set_weight("g", 0)
        await asyncio.wait_for(cancelled.wait(), 5)
        await shared_out(EXCLUSIVE, {"one": 0, "two": 1}, one, two)


def has_marks(member: PartitionCoordinator) -> bool:
    handoff = member._registry.memberships["g"].group.handoff
    return handoff is not None and (handoff.waiting or handoff.obsolete is not None)


def counted(member: PartitionCoordinator) -> int:
    backend = member._registry.backend
    ephemerals = getattr(backend, "_ephemerals", None) or backend._session.ephemerals  # type: ignore[attr-defined]
    count: int = ephemerals.used
    return count


@POLICIES
async def test_the_bytes_of_the_session_stay_the_same(cluster: Cluster, policy: GroupPolicy) -> None:
    """The old entry counts no longer, whether an answer was lost or not."""
    one, two = await pair(cluster, policy)
    await wait_until(lambda: not has_marks(one), what="the marks have gone")
    before = counted(one)
    for weight in range(2, 6):
        await one.set_weight("g", weight)
        await shared_out(policy, {"one": weight, "two": 1}, one, two)
        await cluster.cut_off(one)
        await cluster.reconnect(one)
    await shared_out(policy, {"one": 5, "two": 1}, one, two)
    await wait_until(lambda: counted(one) == before, what=lambda: f"{counted(one)}, not {before}")


async def test_no_room_for_another_entry(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call says so, the weight stays, and what is owned goes on."""
    one, two = await pair(cluster)
    await one.set_weight("g", 2)
    with monkeypatch.context() as small:
        small.setattr("aiopartition.backends.ephemerals.MAX_BYTES", counted(one) + 10)
        with pytest.raises(SessionFullError):
            await one.set_weight("g", 3)
    await shared_out(PLAIN, {"one": 2, "two": 1}, one, two)
    await one.join_group("g", weight=2, settle=0)
    await one.set_weight("g", 3)
    await shared_out(PLAIN, {"one": 3, "two": 1}, one, two)
