"""Looking at a group without taking part in it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from aiopartition import (
    Change,
    ConfigurationError,
    GroupPolicy,
    GroupStatus,
    OwnershipUnknownError,
    PartitionCoordinator,
    PolicyMismatchError,
    View,
)
from aiopartition.group.document import document_of
from tests.contract.cluster import Cluster
from tests.support import ZooKeeperServer, wait_until
from tests.support.joining import enter
from tests.support.logged import logged
from tests.support.split import RESOURCES, current_view, owners, split_exactly

POLICY = GroupPolicy(replicas=2, slots=64, vnodes=16)
EXCLUSIVE = GroupPolicy(exclusive=True, slots=64, vnodes=16)


async def observing(cluster: Cluster, member_id: str = "observer", **arguments: Any) -> PartitionCoordinator:
    observer = await cluster.started(member_id, **arguments)
    await observer.observe("g")
    return observer


async def sees(observer: PartitionCoordinator, *members: PartitionCoordinator) -> View:
    """Wait until the observer sees what these members see, who are all that there are."""
    await wait_until(lambda: all(member.status("g").state == "steady" for member in members))
    view = await split_exactly(*members)

    async def same() -> View | None:
        seen = await current_view(observer)
        return seen if seen is not None and seen.generation == view.generation else None

    seen = await wait_until(same, what=lambda: observer.status("g"))
    assert seen is not None
    assert (seen.members, seen.policy, seen.shares()) == (view.members, view.policy, view.shares())
    assert [seen.owner(resource) for resource in RESOURCES] == [view.owner(resource) for resource in RESOURCES]
    return seen


async def becomes(observer: PartitionCoordinator, state: str, reason: str = "") -> GroupStatus:
    await wait_until(
        lambda: observer.status("g").state == state and reason in observer.status("g").reason,
        what=lambda: observer.status("g"),
    )
    return observer.status("g")


# ---- what it sees


async def test_an_observer_sees_what_the_members_see(cluster: Cluster) -> None:
    """P1, P5: by the group's own policy, of which it was told nothing; as members come and go."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g", policy=POLICY, weight=3)
    await second.join_group("g", policy=POLICY)
    observer = await observing(cluster)
    await wait_until(lambda: all(len(each.status("g").members) == 2 for each in (first, observer)))
    view = await observer.view("g")
    assert view == await observer.view("g")
    assert (view.policy, view.member_id) == (POLICY, "observer")
    assert [(member.id, member.weight) for member in view.members] == [("first", 3), ("second", 1)]
    assert await observer.get_members("g") == ("first", "second")
    assert view.owners("key") == (await first.view("g")).owners("key")
    await second.stop()
    await sees(observer, first)
    third = await cluster.started("third")
    await third.join_group("g", policy=POLICY)
    await wait_until(lambda: [each.id for each in observer.status("g").members] == ["first", "third"])


async def test_the_status_of_an_observer(cluster: Cluster) -> None:
    """Policy, members, generation, and when they last changed; no work and no handoff."""
    first = await cluster.started("first")
    await first.join_group("g", policy=POLICY)
    observer = await observing(cluster)
    view = await sees(observer, first)
    status = observer.status("g")
    assert (status.group_id, status.member_id) == ("g", "observer")
    assert (status.state, status.reason) == ("observing", "")
    assert (status.policy, status.members, status.shares) == (POLICY, view.members, {"first": 1.0})
    assert (status.generation, status.active_generation) == (view.generation, None)
    assert (status.waiting_for, status.waiting, status.in_flight) == ((), 0.0, 0)
    assert status.lease_left > 0
    assert status.server is not None
    assert status.last_rebalance is None
    assert first.status("g").policy == POLICY
    second = await cluster.started("second")
    await second.join_group("g", policy=POLICY)
    await wait_until(lambda: observer.status("g").last_rebalance is not None)
    rebalance = observer.status("g").last_rebalance
    assert rebalance is not None
    assert (rebalance.joined, rebalance.left) == (("second",), ())


async def test_changes_of_an_observed_group(cluster: Cluster) -> None:
    """From nothing to somebody, and to nobody again; they end when the observation does."""
    observer = await observing(cluster)
    changes = observer.changes("g")
    assert await anext(changes) == Change(None, None, (), (), 0.0)
    first = await cluster.joined("first")
    change = await anext(changes)
    assert (change.joined, change.left) == (("first",), ())
    second = await cluster.joined("second")
    change = await anext(changes)
    assert (change.joined, change.left) == (("second",), ())
    await second.leave_group("g")
    change = await anext(changes)
    assert (change.joined, change.left) == ((), ("second",))
    await first.leave_group("g")
    assert (await anext(changes)).view is None
    await observer.leave_group("g")
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


# ---- what it does not


@pytest.mark.parametrize("policy", [GroupPolicy(), EXCLUSIVE], ids=["ordinary", "exclusive"])
async def test_nothing_is_an_observers(cluster: Cluster, policy: GroupPolicy) -> None:
    """No key, no item, no worker, no hold; the members keep all they have, and the group has no entry more."""
    member = await cluster.started("member")
    await member.join_group("g", policy=policy)
    await wait_until(lambda: member.status("g").state == "steady")
    entries = await cluster.entries("g")
    observer = await observing(cluster, on_unknown="raise")
    view = await observer.view("g")
    assert view.owner(RESOURCES[0]) == "member"
    assert view.mine(RESOURCES) == []
    assert not any(view.mask)
    assert await observer.extract_my_subset("g", RESOURCES) == []
    assert [item async for item in observer.my_subset("g", RESOURCES)] == []
    with pytest.raises(ConfigurationError, match="observed"):
        await observer.run("g", RESOURCES, never)
    with pytest.raises(ConfigurationError, match="observed"):
        async with observer.hold("g"):
            raise AssertionError("it holds nothing")
    assert observer.groups == ()
    assert await member.extract_my_subset("g", RESOURCES) == RESOURCES
    assert await cluster.entries("g") == entries
    assert (await member.view("g")).generation == view.generation


async def never(_: str) -> None:
    raise AssertionError("nothing is an observer's")


@pytest.mark.parametrize("policy", [GroupPolicy(), EXCLUSIVE], ids=["ordinary", "exclusive"])
async def test_an_observer_with_a_members_id(cluster: Cluster, policy: GroupPolicy) -> None:
    """It owns nothing of what that member does, and is no later incarnation of it."""
    member, observer = await cluster.started("twin"), await cluster.started("twin")
    await member.join_group("g", policy=policy)
    await wait_until(lambda: member.status("g").state == "steady")
    await observer.observe("g")
    view = await observer.view("g")
    assert view.owns("twin", RESOURCES[0])
    assert view.mine(RESOURCES) == []
    assert await observer.extract_my_subset("g", RESOURCES) == []
    assert [item async for item in observer.my_subset("g", RESOURCES)] == []
    await member.heartbeat()
    assert await member.extract_my_subset("g", RESOURCES) == RESOURCES


async def test_an_observer_takes_nothing_from_a_source(cluster: Cluster) -> None:
    """``my_subset`` ends at once: what it took from a queue to hand it out to nobody would be lost."""
    observer = await observing(cluster)
    taken: list[int] = []

    async def queue() -> AsyncIterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    assert [item async for item in observer.my_subset("g", queue())] == []
    assert taken == []


async def test_nothing_is_ours_whether_or_not_the_group_can_be_seen(cluster: Cluster) -> None:
    """``on_unknown="raise"`` says that it is unknown what is ours, and that is known here."""
    observer = await observing(cluster, on_unknown="raise")
    with pytest.raises(OwnershipUnknownError):
        await observer.view("g")
    assert await observer.extract_my_subset("g", RESOURCES) == []
    assert [item async for item in observer.my_subset("g", RESOURCES)] == []


async def test_observers_write_nothing(zookeeper: ZooKeeperServer, zookeeper_cluster: Cluster) -> None:
    """A server numbers all its transactions: looking at groups, there or not, takes none, but for the session's own."""
    first, second = await zookeeper_cluster.started("first"), await zookeeper_cluster.started("second")
    for member in (first, second):
        await member.join_group("g", policy=EXCLUSIVE, settle=0)
    await wait_until(lambda: first.status("g").state == second.status("g").state == "steady")
    observer = await zookeeper_cluster.started("observer")
    for group_id in ("g", "no such group"):
        await observer.heartbeat()
        before = await zxid(zookeeper)
        await observer.observe(group_id)
        await observer.heartbeat()
        observer.status(group_id)
        await observer.leave_group(group_id)
        await observer.heartbeat()
        assert await zxid(zookeeper) == before


async def zxid(server: ZooKeeperServer) -> str:
    [line] = [each for each in (await server.four_letter_word("srvr")).splitlines() if each.startswith("Zxid")]
    return line


# ---- groups that come and go


async def test_a_group_that_does_not_exist_yet(cluster: Cluster) -> None:
    """It is unknown, and not made by looking at it. When somebody makes it, it comes to be seen."""
    observer = await observing(cluster)
    status = observer.status("g")
    assert (status.state, status.policy, status.members, status.generation) == ("unknown", None, (), None)
    assert "does not exist" in status.reason
    with pytest.raises(OwnershipUnknownError, match="does not exist"):
        await observer.view("g")
    member = await cluster.started("member")
    await member.join_group("g", policy=POLICY)
    view = await sees(observer, member)
    assert view.policy == POLICY


async def test_a_group_that_all_have_left(cluster: Cluster) -> None:
    """Nobody owns anything in it, so there is no view; but its policy is known."""
    member, observer = await cluster.started("member"), await observing(cluster)
    await member.join_group("g", policy=POLICY)
    await sees(observer, member)
    await member.leave_group("g")
    status = await becomes(observer, "unknown", "no members")
    assert (status.policy, status.members) == (POLICY, ())
    await member.join_group("g", policy=POLICY)
    await sees(observer, member)


@pytest.mark.parametrize("policy", [POLICY, EXCLUSIVE], ids=["replicas", "exclusive"])
@pytest.mark.parametrize("before", ["observed", "drained"])
async def test_a_group_whose_members_are_all_drained(
    cluster: Cluster, policy: GroupPolicy, before: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody owns anything in it, which is no failure. It is seen again when one has a weight."""
    caplog.set_level(logging.WARNING, "aiopartition")
    one, two = await cluster.started("one"), await cluster.started("two")
    await one.join_group("g", policy=policy, weight=0 if before == "drained" else 1)
    await two.join_group("g", weight=0)
    observer = await observing(cluster)
    await one.set_weight("g", 0)
    status = await becomes(observer, "unknown", "no member has a weight above 0")
    assert (status.policy, status.members, status.generation) == (policy, (), None)
    with pytest.raises(OwnershipUnknownError, match="no member has a weight above 0"):
        await observer.view("g")
    await two.set_weight("g", 3)
    view = await sees(observer, one, two)
    assert view.shares() == {"one": 0.0, "two": 1.0}
    assert not caplog.records


async def test_a_group_that_is_made_anew_with_another_policy(cluster: Cluster) -> None:
    """It is seen as it is now."""
    member, observer = await cluster.started("member"), await observing(cluster)
    await member.join_group("g", policy=POLICY)
    before = await sees(observer, member)
    await member.leave_group("g")
    await cluster.delete_group("g")
    await becomes(observer, "unknown", "does not exist")
    await member.join_group("g", policy=EXCLUSIVE)
    after = await sees(observer, member)
    assert (before.policy, after.policy) == (POLICY, EXCLUSIVE)
    assert after.generation > before.generation


async def test_a_group_that_is_deleted_and_made_anew_at_once(cluster: Cluster) -> None:
    """However fast that goes."""
    member, observer = await cluster.started("member"), await observing(cluster)
    for policy in (POLICY, EXCLUSIVE, GroupPolicy(), POLICY):
        await member.join_group("g", policy=policy, settle=0)
        view = await sees(observer, member)
        assert view.policy == policy
        await member.leave_group("g")
        await cluster.delete_group("g")


async def test_a_policy_that_an_operator_changes(cluster: Cluster) -> None:
    """The members' list does not change, and yet it is seen."""
    member, observer = await cluster.started("member"), await observing(cluster)
    await member.join_group("g", policy=POLICY)
    await sees(observer, member)
    await cluster.put_document("g", document_of(GroupPolicy(slots=256)))
    await wait_until(lambda: observer.status("g").policy == GroupPolicy(slots=256))
    assert (await observer.view("g")).policy == GroupPolicy(slots=256)


# ---- beginning and end


async def test_observing_again_does_nothing(cluster: Cluster) -> None:
    """And is no way round anything."""
    await cluster.joined("member")
    observer = await observing(cluster)
    view = await observer.view("g")
    await observer.observe("g")
    assert await observer.view("g") is view


async def test_observing_or_joining(cluster: Cluster) -> None:
    """Not both: each says what to do first, and changes nothing."""
    coordinator = await observing(cluster, "both")
    with pytest.raises(ConfigurationError, match="leave it first"):
        await coordinator.join_group("g")
    assert coordinator.groups == ()
    await coordinator.leave_group("g")
    with pytest.raises(ConfigurationError, match="neither joined nor observed"):
        coordinator.status("g")
    await coordinator.join_group("g")
    assert await coordinator.extract_my_subset("g", RESOURCES) == RESOURCES
    with pytest.raises(ConfigurationError, match="leave it first"):
        await coordinator.observe("g")
    await split_exactly(coordinator)
    await coordinator.leave_group("g")
    await coordinator.observe("g")
    assert await coordinator.extract_my_subset("g", RESOURCES) == []
    await becomes(coordinator, "unknown", "no members")


async def test_taking_turns(cluster: Cluster) -> None:
    """Nothing of an ended observation or membership gets in the way of the next one."""
    other, coordinator = await cluster.started("other"), await cluster.started("turns")
    await other.join_group("g", settle=0)
    for _ in range(5):
        await coordinator.observe("g")
        await coordinator.leave_group("g")
        await coordinator.join_group("g", settle=0)
        await split_exactly(other, coordinator)
        await coordinator.leave_group("g")
    await coordinator.observe("g")
    await sees(coordinator, other)
    await other.leave_group("g")
    await becomes(coordinator, "unknown", "no members")


async def test_what_is_observed_is_no_matter_of_what_is_joined(cluster: Cluster) -> None:
    """One coordinator does both, in different groups."""
    both, member = await cluster.started("both"), await cluster.started("member")
    await both.join_group("mine")
    await member.join_group("g", policy=POLICY)
    await both.observe("g")
    assert (await both.view("g")).policy == POLICY
    assert both.groups == ("mine",)
    assert await owners([both], "mine") == [["both"]] * len(RESOURCES)
    await both.leave_group("g")
    assert await owners([both], "mine") == [["both"]] * len(RESOURCES)


async def test_a_stopped_coordinator_observes_nothing(cluster: Cluster) -> None:
    """Its changes end with it."""
    observer = await observing(cluster)
    changes = observer.changes("g")
    await anext(changes)
    await observer.stop()
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


@pytest.mark.parametrize("group_id", [None, "", 5, "x" * 2000])
async def test_invalid_groups(cluster: Cluster, group_id: Any) -> None:
    """As in the other calls."""
    observer = await cluster.started("observer")
    with pytest.raises(ConfigurationError, match="group_id"):
        await observer.observe(group_id)


async def test_with_partitioning_off_there_is_nothing_to_observe() -> None:
    """Everything is mine then, which no observer can say."""
    async with PartitionCoordinator(None) as coordinator:
        with pytest.raises(ConfigurationError, match="partitioning is off"):
            await coordinator.observe("g")
        assert await coordinator.extract_my_subset("g", RESOURCES) == RESOURCES


async def test_cancelled_observing_goes_on(cluster: Cluster) -> None:
    """As joining does; ``leave_group`` undoes it."""
    observer = await cluster.started("observer")
    task = asyncio.create_task(observer.observe("g"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await becomes(observer, "unknown", "does not exist")


# ---- troubles


async def test_a_lost_notification(cluster: Cluster) -> None:
    """P5: the heartbeat compares generations."""
    member, observer = await cluster.started("member"), await observing(cluster)
    await member.join_group("g")
    await sees(observer, member)
    await cluster.lose_next_event(observer, "g")
    other = await cluster.joined("other")
    await sees(observer, member, other)


async def test_a_view_that_may_be_out_of_date(cluster: Cluster) -> None:
    """P3: cut off for longer than the lease, an observer says that it cannot tell; within the lease nothing changes."""
    member, observer = await cluster.started("member", session_timeout=10), await observing(cluster)
    await member.join_group("g")
    view = await sees(observer, member)
    changes = observer.changes("g")
    assert (await anext(changes)).view == view
    await cluster.cut_off(observer)
    await wait_until(lambda: not observer.connected)
    if observer.status("g").lease_left > 0.1:
        assert await observer.view("g") is view
    with anyio.fail_after(5):
        assert (await anext(changes)).view is None
    with pytest.raises(OwnershipUnknownError, match="no connection"):
        await observer.view("g")
    assert observer.status("g").state == "unknown"
    assert await observer.extract_my_subset("g", RESOURCES) == []
    other = await cluster.joined("other", session_timeout=10)
    await cluster.reconnect(observer)
    await sees(observer, member, other)
    await changes.aclose()


async def test_an_expired_session(cluster: Cluster) -> None:
    """The watches went with it; a new one sees all that happens afterwards."""
    member, observer = await cluster.started("member"), await observing(cluster)
    await member.join_group("g")
    await sees(observer, member)
    await cluster.expire(observer)
    await sees(observer, member)
    other = await cluster.joined("other")
    await sees(observer, member, other)
    assert await cluster.entries("g") != []


JUNK = [
    b"not JSON",
    b"[]",
    b"\xff\xfe",
    b'{"format": 1, "policy": {"slots": 17}}',
    b'{"format": 1, "policy": {"replicas": 2, "exclusive": true}}',
    b'{"format": 1, "policy": {"vnodes": "many"}}',
    b'{"format": 1, "policy": {"load_bound": 1e999}}',
    b'{"format": 1, "policy": {"colour": "red"}}',
    b'{"format": 2, "policy": {}}',
    b'{"format": 1, "policy": [[["a"]]]}',
    b'{"format": 1, "policy": ' + b"[" * 100_000,
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: junk[:60].decode("ascii", "replace"))
async def test_a_document_that_makes_no_sense(cluster: Cluster, junk: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The status says so, calls raise it, the log has it once; when it is mended, the group is seen."""
    member = await cluster.started("member")
    await member.join_group("g", policy=POLICY)
    document = document_of(POLICY)
    await cluster.put_document("g", junk)
    observer = await observing(cluster)
    status = observer.status("g")
    assert status.state == "refused"
    assert "'g' has another policy" in status.reason
    assert len(status.reason) < 1000
    for _ in range(3):
        await observer.heartbeat()
        with pytest.raises(PolicyMismatchError):
            await observer.view("g")
    with pytest.raises(PolicyMismatchError):
        await anext(observer.changes("g"))
    assert await observer.extract_my_subset("g", RESOURCES) == []
    assert len([error for error in logged(caplog, level=logging.ERROR) if "another policy" in error]) == 1
    await cluster.put_document("g", document)
    await becomes(observer, "observing")
    await sees(observer, member)
    await cluster.put_document("g", junk)
    await becomes(observer, "refused", "another policy")


async def test_names_that_make_no_sense(cluster: Cluster) -> None:
    """The members skip them, and so does an observer."""
    member, observer = await cluster.started("member"), await observing(cluster)
    await member.join_group("g")
    await sees(observer, member)
    for name in ("junk", "a;1;1", "é", "m;0;1;0123456789abcdef", "x" * 200):
        await cluster.put_entry("g", name)
    await sees(observer, member)


async def test_two_incarnations_of_one_member(cluster: Cluster) -> None:
    """The higher one is the member, as for the members."""
    member, observer = await cluster.started("member"), await observing(cluster)
    await member.join_group("g")
    await sees(observer, member)
    process = await cluster.started("process")  # entries of no session would be removed by the member
    for name in ("other;2;7;0123456789abcdef", "other;5;9;0123456789abcdef"):
        assert await process._registry.backend.enter("g", name, b"")
    for each in (member, observer):
        await wait_until(lambda: {m.id: m.weight for m in each.status("g").members} == {"member": 1, "other": 5})  # noqa: B023
    assert (await observer.view("g")).shares() == (await member.view("g")).shares()


async def test_an_unexpected_failure_is_one_groups_matter(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P9: it is told, once, and tried again; other groups, observed or joined, do not notice."""
    member = await cluster.started("member")
    for group_id in ("g", "h"):
        await member.join_group(group_id)
    observer = await observing(cluster)
    await observer.observe("h")
    await sees(observer, member)
    backend = observer._registry.backend
    read = backend.read

    async def broken(group_id: str, *, watch: bool, latest: bool = False) -> Any:
        if group_id == "g":
            raise ZeroDivisionError("boom")
        return await read(group_id, watch=watch, latest=latest)

    monkeypatch.setattr(backend, "read", broken)
    other = await cluster.started("other")
    for group_id in ("g", "h"):
        await other.join_group(group_id)
    status = await becomes(observer, "refused", "ZeroDivisionError: boom")
    assert status.members == ()
    for _ in range(3):
        await observer.heartbeat()
    await wait_until(lambda: len(observer.status("h").members) == 2)
    assert len([error for error in logged(caplog, level=logging.ERROR) if "boom" in error]) == 1
    monkeypatch.undo()
    await becomes(observer, "observing")
    await sees(observer, member, other)


# ---- exclusive groups


async def test_an_observer_sees_who_is_waited_for(cluster: Cluster) -> None:
    """While a member takes its time to let go, the observer names it, with its host and process."""
    first, second = await cluster.started("first"), await cluster.started("second")
    observer = await observing(cluster)
    await first.join_group("g", policy=EXCLUSIVE, settle=0)
    await wait_until(lambda: first.status("g").state == "steady")
    generation = (await sees(observer, first)).generation
    await wait_until(lambda: observer.status("g").active_generation == generation)
    assert observer.status("g").waiting == 0
    async with first.hold("g", drain_timeout=30):
        await enter(second, policy=EXCLUSIVE, settle=0)
        await wait_until(lambda: len(observer.status("g").waiting_for) == 1, what=lambda: observer.status("g"))
        await wait_until(lambda: observer.status("g").waiting_for[0].pid is not None)
        status = observer.status("g")
        [awaited] = status.waiting_for
        assert (status.state, status.reason) == ("observing", "")
        assert awaited.member_id == "first"
        assert awaited.host is not None
        assert awaited.started is not None
        assert status.waiting > 0
        assert status.active_generation == generation
        assert status.generation == second.status("g").generation
    await wait_until(lambda: second.status("g").state == "steady")
    generation = second.status("g").generation or 0
    await wait_until(lambda: observer.status("g").active_generation == generation)
    assert (observer.status("g").waiting_for, observer.status("g").waiting) == ((), 0.0)


async def test_the_first_look_at_a_handoff_is_whole(cluster: Cluster) -> None:
    """Whoever begins to observe at rest never sees a handoff that is long over."""
    first = await cluster.started("first")
    await first.join_group("g", policy=EXCLUSIVE)
    await wait_until(lambda: first.status("g").state == "steady")
    observer = await observing(cluster)
    status = observer.status("g")
    assert status.generation == status.active_generation == first.status("g").generation
    assert (status.waiting_for, status.waiting) == ((), 0.0)


async def test_a_handoff_is_looked_at_though_heartbeats_come_often(cluster: Cluster) -> None:
    """And though no notification of its end arrives."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g", policy=EXCLUSIVE, settle=0)
    observer = await observing(cluster, heartbeat=0.02)
    async with first.hold("g", drain_timeout=30):
        await enter(second, policy=EXCLUSIVE, settle=0)
        await wait_until(lambda: [each.member_id for each in observer.status("g").waiting_for] == ["first"])
        await cluster.lose_next_event(observer, "g")
    await wait_until(lambda: second.status("g").state == "steady")
    generation = second.status("g").generation
    await wait_until(lambda: observer.status("g").active_generation == generation)


# ---- what members say of themselves


async def test_an_owners_address(cluster: Cluster) -> None:
    """Members and observers look up where the owner of a key is."""
    addresses = {name: f"http://{name}.example:80" for name in ("first", "second")}
    members = [await cluster.started(name, metadata={"address": address}) for name, address in addresses.items()]
    for member in members:
        await member.join_group("g", weight=2)
    observer = await observing(cluster)
    await split_exactly(*members)
    await sees(observer, *members)
    for asking in (*members, observer):
        view = await asking.view("g")
        for resource in RESOURCES[:20]:
            info = await asking.describe_member("g", view.owner(resource))
            assert info.metadata["address"] == addresses[view.owner(resource)]
            assert (info.id, info.weight) == (view.owner(resource), 2)
            assert info.host
            assert info.pid
            assert info.started
            assert info.version


async def test_a_description_is_read_once_for_each_entry(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept while others come and go; a new incarnation is asked anew."""
    member = await cluster.joined("member", metadata={"n": "1"})
    observer = await observing(cluster)
    asked: list[str] = []
    backend = observer._registry.backend
    describe = backend.describe

    async def counted(group_id: str, name: str) -> bytes | None:
        asked.append(name)
        return await describe(group_id, name)

    monkeypatch.setattr(backend, "describe", counted)
    for _ in range(3):
        assert (await observer.describe_member("g", "member")).metadata == {"n": "1"}
    other = await cluster.joined("other")
    await sees(observer, member, other)
    assert (await observer.describe_member("g", "member")).metadata == {"n": "1"}
    assert len(asked) == 1
    await member.stop()
    again = await cluster.joined("member", metadata={"n": "2"})
    await sees(observer, again, other)
    assert (await observer.describe_member("g", "member")).metadata == {"n": "2"}
    assert len(asked) == 2


async def test_describing_one_that_is_no_member(cluster: Cluster) -> None:
    """Neither a stranger, nor an observer, nor one that has left."""
    member, observer = await cluster.started("member"), await observing(cluster)
    await member.join_group("g")
    await sees(observer, member)
    other = await cluster.joined("other")
    await sees(observer, member, other)
    assert (await observer.describe_member("g", "other")).id == "other"
    await other.leave_group("g")
    await sees(observer, member)
    for asking in (member, observer):
        for stranger in ("nobody", "observer", "other"):
            with pytest.raises(ConfigurationError, match="no member of group 'g'"):
                await asking.describe_member("g", stranger)
        with pytest.raises(ConfigurationError, match="member_id"):
            await asking.describe_member("g", "")


async def test_describing_in_a_group_that_is_unknown(cluster: Cluster) -> None:
    """It cannot be told who is a member."""
    observer = await observing(cluster)
    with pytest.raises(OwnershipUnknownError):
        await observer.describe_member("g", "member")


async def test_an_entry_that_says_nothing(cluster: Cluster) -> None:
    """It was made by something else, but its name is a member's: the rest is empty."""
    member, observer = await cluster.started("member"), await observing(cluster)
    await member.join_group("g")
    something_else = await cluster.started("something else")
    await something_else._registry.backend.enter("g", "other;3;1;0123456789abcdef", b"", marks=False)
    await wait_until(lambda: len(observer.status("g").members) == 2)
    info = await observer.describe_member("g", "other")
    assert (info.id, info.weight) == ("other", 3)
    assert (info.host, info.pid, info.started, info.version, info.metadata) == (None, None, None, None, {})


async def test_metadata_is_given_as_it_is(cluster: Cluster) -> None:
    """Any text that a member may have, to its greatest length."""
    metadata = {"\u0000\n\x1b[31m": "é\U0001f600" * 4000, "": ""}
    member = await cluster.joined("member", metadata=metadata)
    assert json.dumps((await member.describe_member("g", "member")).metadata) == json.dumps(metadata)
