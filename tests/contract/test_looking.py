"""What the command line reads of a group, on both backends: the list of groups, a snapshot, an audit."""

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator, PolicyMismatchError
from aiopartition.backends.base import Backend
from aiopartition.backends.memory.backend import MemoryBackend
from aiopartition.backends.zookeeper.backend import ZooKeeperBackend
from aiopartition.cli.audit import Audit, audit_group, settled_snapshot
from aiopartition.cli.groups import list_groups
from aiopartition.cli.members import describe_members
from aiopartition.cli.snapshot import NoGroupError, each, read_snapshot
from aiopartition.group.entry import Entry
from tests.contract.cluster import Cluster
from tests.contract.exclusive import POLICY, alone, shared_out, waits
from tests.support import wait_until

GROUPS = ["a/b", "grüße", "..", "a;b", "x y", "\x1b[2J"]


def backend_of(coordinator: PartitionCoordinator) -> Backend:
    backend = coordinator._registry.backend
    assert isinstance(backend, MemoryBackend | ZooKeeperBackend)
    return backend


async def audit(backend: Backend, keys: list[bytes] | None = None, patience: float = 0.0) -> Audit:
    return await audit_group(backend, await settled_snapshot(backend, "g", patience), keys, patience)


async def test_groups(cluster: Cluster) -> None:
    """All are found by their ids, whatever characters are in them."""
    member = await cluster.started("first")
    backend = backend_of(member)
    assert await backend.groups() == ()
    for group_id in GROUPS:
        await member.join_group(group_id)
    await cluster.put_document("strange", b"something else")
    assert await backend.groups() == tuple(sorted([*GROUPS, "strange"]))
    found = await list_groups(backend, "url")
    assert [line.group_id for line in found.groups] == sorted([*GROUPS, "strange"])
    [strange] = [line for line in found.groups if line.snapshot is None]
    assert strange.group_id == "strange"
    assert "policy" in strange.problem
    assert all(len(line.snapshot.members) == 1 for line in found.groups if line.snapshot is not None)


async def test_a_snapshot_has_what_members_see(cluster: Cluster) -> None:
    first, second = await cluster.started("first", metadata={"zone": "b"}), await cluster.started("second")
    await first.join_group("g", weight=2)
    await second.join_group("g", weight=0)
    await wait_until(lambda: len(first.status("g").members) == 2)
    snapshot = await read_snapshot(backend_of(first), "g")
    view = await first.view("g")
    assert snapshot.certain_view.members == view.members
    assert (snapshot.generation, snapshot.certain_view.table) == (view.generation, view.table)
    assert snapshot.handoff is None
    found = await describe_members(backend_of(first), snapshot)
    assert [(line.info.id, line.info.weight, line.share, line.expected) for line in found.members] == [
        ("first", 2, 1.0, 1.0),
        ("second", 0, 0.0, 0.0),
    ]
    assert found.members[0].info.metadata == {"zone": "b"}
    assert found.members[0].age is not None
    assert {line.handoff for line in found.members} == {"steady"}


async def test_there_is_no_group(cluster: Cluster) -> None:
    member = await cluster.started("first")
    with pytest.raises(NoGroupError, match="there is no group 'g'"):
        await read_snapshot(backend_of(member), "g")


async def test_a_policy_of_the_future(cluster: Cluster) -> None:
    member = await cluster.started("first")
    await cluster.put_document("g", b'{"format": 2, "policy": {}}')
    with pytest.raises(PolicyMismatchError):
        await read_snapshot(backend_of(member), "g")


async def test_a_healthy_group(cluster: Cluster) -> None:
    """Each key has one owner, and the keys add up."""
    members = [await cluster.started(name) for name in ("first", "second", "third")]
    for member in members:
        await member.join_group("g", policy=GroupPolicy(slots=64, vnodes=16))
    await wait_until(lambda: all(len(member.status("g").members) == 3 for member in members))
    names = [f"key-{number}" for number in range(100)]
    found = await audit(backend_of(members[0]), [name.encode() for name in [*names, "key-0"]])
    assert (found.healthy, found.keys, found.repeated, found.owner_counts) == (True, 100, 1, {1: 100})
    for member, line in zip(members, found.members, strict=True):
        assert line.keys == len(await member.extract_my_subset("g", names))
    assert sum(line.share for line in found.members) == pytest.approx(1.0)


async def test_each_replica_counts(cluster: Cluster) -> None:
    first, second = await cluster.started("first"), await cluster.started("second")
    policy = GroupPolicy(slots=64, vnodes=16, replicas=2)
    for member in (first, second):
        await member.join_group("g", policy=policy)
    found = await audit(backend_of(first), [b"a", b"b", b"c"])
    assert (found.healthy, found.owner_counts) == (True, {2: 3})


async def test_what_is_no_member(cluster: Cluster) -> None:
    """Foreign names, an earlier incarnation, and an entry of no session are each told of by name."""
    first = await cluster.started("first", heartbeat=60)  # it inspects nothing meanwhile
    await first.join_group("g")
    earlier, orphan = Entry("first", 1, 0, "0" * 16).name, Entry("orphan", 1, 3, "a" * 16).name
    for name in ("junk", earlier, orphan):
        await cluster.put_entry("g", name)
    found = {finding.kind: finding.names for finding in (await audit(backend_of(first))).findings}
    assert found["foreign-nodes"] == ("junk",)
    assert found["superseded-entries"] == (earlier,)
    assert orphan in found["stale-nodes"]


async def test_nobody_can_own_anything(cluster: Cluster) -> None:
    first = await cluster.started("first")
    await first.join_group("g", weight=0)
    found = await audit(backend_of(first), [b"a"])
    assert [finding.kind for finding in found.findings] == ["no-owners"]
    assert found.owner_counts == {0: 1}
    await first.leave_group("g")
    found = await audit(backend_of(first))
    assert "the group has no members" in found.findings[0].text


async def test_a_handoff_that_waits(cluster: Cluster) -> None:
    """It is told for whom, and what the others have done; when it is complete, all is well."""
    first = await alone(cluster, "first", session_timeout=10.0)
    second = await cluster.started("second", session_timeout=10.0, connect_timeout=0.1)
    async with first.hold("g", drain_timeout=60):
        await second.join_group("g", policy=POLICY, settle=0)
        await waits(second)
        backend = backend_of(await cluster.started("looker"))

        async def waits_for_first() -> bool:
            snapshot = await read_snapshot(backend, "g")
            return [entry.member_id for entry in snapshot.waiting_for] == ["first"]

        await wait_until(waits_for_first)
        found = await audit(backend, [b"a", b"b"], patience=0.3)
        [finding] = found.findings
        assert (finding.kind, finding.names, found.healthy) == ("handoff-waits", ("first",), False)
        described = await describe_members(backend, found.snapshot)
        assert [line.handoff for line in described.members] == ["waited for", "has let go"]
        [line] = (await list_groups(backend, "url")).groups
        assert line.row()[4] == "under way"
    await shared_out(first, second)
    found = await audit(backend, patience=10.0)
    assert found.healthy
    assert found.snapshot.handoff is not None
    assert found.snapshot.handoff.active == found.snapshot.generation


async def test_each_in_order() -> None:
    """More calls than are under way at a time; an error comes out when the others have ended."""
    calls: list[int] = []

    async def call(number: int) -> int:
        calls.append(number)
        if number == 150:
            raise ValueError(number)
        return -number

    assert await each(call, range(140)) == [-number for number in range(140)]
    calls.clear()
    with pytest.raises(ValueError, match="150"):
        await each(call, range(1000))
    assert len(calls) < 200
