"""Who is a member, and that all agree on it: joining, leaving, crashing, restarting, expiring."""

import logging

import anyio
import pytest

from aiopartition import (
    ConfigurationError,
    GroupPolicy,
    MemberSupersededError,
    PartitionCoordinator,
    PolicyMismatchError,
)
from tests.contract.cluster import Cluster
from tests.support import wait_until
from tests.support.split import RESOURCES, current_view, split_exactly


async def test_a_lone_member_owns_everything(cluster: Cluster) -> None:
    """P2: with one member each key has that one owner, with the first call."""
    alone = await cluster.started("alone")
    assert await alone.extract_my_subset("g", RESOURCES) == RESOURCES
    assert await alone.get_members("g") == ("alone",)
    assert alone.groups == ("g",)
    assert (await alone.view("g")).owner(RESOURCES[0]) == "alone"


async def test_members_split_exactly_and_agree(cluster: Cluster) -> None:
    """P1, P2: members at one generation see the same owners, each key has one, and everybody has some."""
    members = [await cluster.started(f"m{number}") for number in range(4)]
    view = await split_exactly(*members)
    for member in members:
        assert await member.view("g") == (view if member is members[0] else await member.view("g"))
        assert (await member.view("g")).shares() == view.shares()
        mine = await member.extract_my_subset("g", RESOURCES)
        assert mine == [resource for resource in RESOURCES if view.owner(resource) == member.member_id] != []


async def test_a_leaver_and_a_stopped_one_hand_over_at_once(cluster: Cluster) -> None:
    """P6: leave_group() and stop() free the keys without waiting for any timeout."""
    first, second, third = [await cluster.started(f"m{number}") for number in range(3)]
    before = await split_exactly(first, second, third)
    await third.leave_group("g")
    assert third.groups == ()
    after = await split_exactly(first, second, timeout=0.9)
    assert after.generation > before.generation
    await second.stop()
    await split_exactly(first, timeout=0.9)


async def test_leaving_moves_only_the_leavers_keys_and_little_else(cluster: Cluster) -> None:
    """What a change does not concern stays where it is, but for what the bound on loads pushes on."""
    first, second, third = [await cluster.started(f"m{number}") for number in range(3)]
    before = await split_exactly(first, second, third)
    await third.stop()
    after = await split_exactly(first, second)
    kept = [resource for resource in RESOURCES if before.owner(resource) != "m2"]
    moved = [resource for resource in kept if before.owner(resource) != after.owner(resource)]
    assert len(moved) <= len(kept) * 0.1


async def test_a_crash_frees_the_keys_when_the_session_ends(cluster: Cluster) -> None:
    """P4, P6: cut off for good, a member owns nothing by the end of its lease, and then its keys are others'."""
    crashing, surviving = await cluster.started("crashing"), await cluster.started("surviving")
    await split_exactly(crashing, surviving)
    await cluster.cut_off(crashing)

    async def taken_over() -> bool:
        theirs = await surviving.extract_my_subset("g", RESOURCES)
        mine = await crashing.extract_my_subset("g", RESOURCES)
        assert not set(mine) & set(theirs), "two owners"
        return len(theirs) == len(RESOURCES)

    await wait_until(taken_over)
    assert await crashing.extract_my_subset("g", RESOURCES) == []


async def test_a_short_disconnection_changes_nothing(cluster: Cluster) -> None:
    """P3: inside the lease a member goes on with what it has, and nobody notices."""
    blinking, steady = await cluster.started("blinking", session_timeout=4), await cluster.started("steady")
    await split_exactly(blinking, steady)
    before, mine = await blinking.view("g"), await blinking.extract_my_subset("g", RESOURCES)
    await cluster.cut_off(blinking)
    await wait_until(lambda: not blinking.connected)
    assert await blinking.extract_my_subset("g", RESOURCES) == mine
    await cluster.reconnect(blinking)
    await wait_until(lambda: blinking.connected)
    await blinking.heartbeat()
    assert await blinking.view("g") is before
    assert (await steady.view("g")).generation == before.generation


async def test_an_expired_member_joins_again_by_itself(cluster: Cluster) -> None:
    """After the service has ended the session, the member comes back without anybody's help, at a later generation."""
    unlucky, other = await cluster.started("unlucky"), await cluster.started("other")
    before = await split_exactly(unlucky, other)
    await cluster.expire(unlucky)
    await wait_until(lambda: _later(unlucky, before.generation))
    await split_exactly(unlucky, other)
    assert len(await cluster.entries("g")) == 2


async def test_a_restart_with_the_same_id_moves_no_key(cluster: Cluster) -> None:
    """P6: while the dead process's session lives on, its successor has its keys at once; the others keep theirs."""
    other = await cluster.started("other", session_timeout=5)
    old = await cluster.started("restarted", session_timeout=5)
    before = await split_exactly(old, other)
    kept = await other.extract_my_subset("g", RESOURCES)
    await cluster.cut_off(old)  # dead, as far as anybody can tell
    new = await cluster.started("restarted", session_timeout=5)
    view = await split_exactly(new, other)
    assert view.generation > before.generation
    assert view.shares() == before.shares()
    assert await other.extract_my_subset("g", RESOURCES) == kept
    assert len(await cluster.entries("g")) == 2 + 1


async def test_the_older_incarnation_learns_that_it_is_superseded(cluster: Cluster) -> None:
    """P6: of two live processes with one id the earlier one gives up, deletes its entry, and says so at each call."""
    old = await cluster.joined("twin")
    new = await cluster.joined("twin")
    await wait_until(lambda: _raises(MemberSupersededError, old))
    for call in (old.view("g"), old.get_members("g"), old.join_group("g"), old.extract_my_subset("g", RESOURCES)):
        with pytest.raises(MemberSupersededError) as caught:
            await call
        assert (caught.value.group_id, caught.value.member_id) == ("g", "twin")
    with pytest.raises(MemberSupersededError):
        async for _ in old.my_subset("g", RESOURCES):
            raise AssertionError("a superseded member hands out nothing")
    assert await new.extract_my_subset("g", RESOURCES) == RESOURCES

    async def one_entry() -> bool:
        return len(await cluster.entries("g")) == 1

    await wait_until(one_entry)


async def test_a_supersession_is_final_even_before_the_first_view(cluster: Cluster) -> None:
    """Superseded while it was still joining, a member that is asked again does not take the id back."""
    witness = await cluster.joined("witness")
    early, late = await cluster.started("twin"), await cluster.started("twin")
    async with anyio.create_task_group() as joining:

        async def join_early() -> None:
            with pytest.raises(MemberSupersededError):
                await early.join_group("g", settle=0.5)

        joining.start_soon(join_early)

        async def has_entered() -> bool:
            return any(name.startswith("twin;") for name in await cluster.entries("g"))

        await wait_until(has_entered)
        await late.join_group("g")
    for _ in range(3):
        with pytest.raises(MemberSupersededError):
            await early.extract_my_subset("g", RESOURCES)
    await split_exactly(late, witness)


async def test_a_superseded_member_may_leave_and_join_anew(cluster: Cluster) -> None:
    """The verdict holds until the member leaves; joining after that is a new start, which supersedes the other."""
    old = await cluster.joined("twin")
    new = await cluster.joined("twin")
    await wait_until(lambda: _raises(MemberSupersededError, old))
    await old.leave_group("g")
    await old.join_group("g")
    assert await old.extract_my_subset("g", RESOURCES) == RESOURCES
    await wait_until(lambda: _raises(MemberSupersededError, new))


async def test_a_zombie_that_comes_back_after_its_expiry_does_not_oust_its_successor(cluster: Cluster) -> None:
    """The later start is the live one even if it found nothing left of the earlier one to count on from."""
    zombie, witness = await cluster.started("phoenix"), await cluster.started("witness")
    await split_exactly(zombie, witness)
    await cluster.cut_off(zombie)
    await split_exactly(witness)
    successor = await cluster.started("phoenix")
    await split_exactly(successor, witness)
    await cluster.reconnect(zombie)
    await wait_until(lambda: _raises(MemberSupersededError, zombie))
    await split_exactly(successor, witness)


async def test_a_lost_event_is_repaired_by_a_heartbeat(cluster: Cluster) -> None:
    """P5: a watch that never fired delays the news until the next heartbeat, no longer."""
    deaf = await cluster.joined("deaf", heartbeat=1000.0)
    before = await deaf.view("g")
    await cluster.lose_next_event(deaf, "g")
    other = await cluster.joined("other")
    assert await deaf.view("g") is before
    await deaf.heartbeat()
    await split_exactly(deaf, other)


async def test_weights_and_replicas(cluster: Cluster) -> None:
    """A member of weight 3 takes about three shares; with two replicas each key has two owners."""
    policy = GroupPolicy(replicas=2)
    heavy, light, other = [await cluster.started(name) for name in ("heavy", "light", "other")]
    await heavy.join_group("w", weight=3)
    await light.join_group("w")
    shares = (await split_exactly(heavy, light, group_id="w")).shares()
    assert shares["heavy"] == pytest.approx(0.75, rel=0.09)
    for member in (heavy, light, other):
        await member.join_group("r", policy=policy)
    view = await split_exactly(heavy, light, other, group_id="r", replicas=2)
    assert sum(view.shares().values()) == pytest.approx(2.0)
    assert view.policy == policy


async def test_too_few_members_own_nothing(cluster: Cluster) -> None:
    """min_members: below it ownership is unknown, at the start and later; from it on everything is owned."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g", min_members=2)
    assert await first.extract_my_subset("g", RESOURCES) == []
    await second.join_group("g", min_members=2)
    await split_exactly(first, second)
    await second.stop()
    await wait_until(lambda: _is_unknown(first))
    assert await first.extract_my_subset("g", RESOURCES) == []


async def test_a_burst_of_joins_is_one_change(cluster: Cluster) -> None:
    """settle: a fleet that starts together moves everybody's keys once, not once for each."""
    first = await cluster.started("first")
    await first.join_group("g", settle=0.4)
    changes = first.changes("g")
    await anext(changes)
    others = [await cluster.started(f"m{number}") for number in range(5)]
    async with anyio.create_task_group() as fleet:
        for other in others:
            fleet.start_soon(other.join_group, "g")
    change = await anext(changes)
    assert change.joined == tuple(f"m{number}" for number in range(5))
    await changes.aclose()


async def test_differing_policies_are_refused_by_name(cluster: Cluster) -> None:
    """All members must agree: a joiner that does not is told the fields, and can join another group."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g", policy=GroupPolicy(vnodes=50))
    with pytest.raises(PolicyMismatchError) as caught:
        await second.join_group("g", policy=GroupPolicy(vnodes=50, replicas=2))
    assert caught.value.differences == {"replicas": (1, 2)}
    assert second.groups == ()
    with pytest.raises(PolicyMismatchError):
        await second.join_group("g", policy=GroupPolicy())
    await second.join_group("g", policy=GroupPolicy(vnodes=50))
    await split_exactly(first, second)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (b"\x00\xff not ours", "document"),
        (b'{"format": 1}', "document"),
        (b"[" * 100_000, "document"),
        (b'{"format": 2, "policy": {}}', "format"),
        (b'{"format": 1, "policy": {"slots": 17}}', "slots"),
        (b'{"format": 1, "policy": {"slots": "many"}}', "slots"),
        (b'{"format": 1, "policy": {"exclusive": true, "replicas": 2}}', "exclusive"),
        (b'{"format": 1, "policy": {"colour": "red"}}', "colour"),
    ],
)
@pytest.mark.parametrize("policy", [None, GroupPolicy()], ids=["the group's", "given"])
async def test_a_foreign_document_is_refused(
    cluster: Cluster, document: bytes, field: str, policy: GroupPolicy | None
) -> None:
    """A group that some other program or a newer version made is left alone, and the difference is named."""
    member = await cluster.started("m")
    await cluster.put_document("g", document)
    with pytest.raises(PolicyMismatchError) as caught:
        await member.join_group("g", policy=policy)
    assert field in caught.value.differences
    assert member.groups == ()


async def test_an_empty_document_becomes_a_group(cluster: Cluster) -> None:
    """A bare node, made by hand, is taken for a new group."""
    member = await cluster.started("m")
    await cluster.put_document("g", b"")
    await member.join_group("g")
    await split_exactly(member)
    stranger = await cluster.started("stranger")
    with pytest.raises(PolicyMismatchError):
        await stranger.join_group("g", policy=GroupPolicy(slots=1024))


@pytest.mark.parametrize(
    "name",
    ["lock-0000000001", "a;1;1;tooshort", "%FF;1;1;0123456789abcdef", "a;99999;1;0123456789abcdef", "é", "a b;1"],
)
async def test_foreign_children_are_skipped_with_one_warning(
    cluster: Cluster, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What no member of ours wrote is no member, is told of once, and is in nobody's way."""
    first = await cluster.joined("first")
    with caplog.at_level(logging.WARNING, "aiopartition"):
        await cluster.put_entry("g", name)
        second = await cluster.joined("second")
        await split_exactly(first, second)
        await second.leave_group("g")
        await split_exactly(first)
    assert len([record for record in caplog.records if repr(name) in record.getMessage()]) == 2  # one by each


async def test_a_member_whose_entry_was_deleted_comes_back(cluster: Cluster) -> None:
    """An operator's slip costs one rebalance, no more."""
    first, second = await cluster.started("first"), await cluster.started("second")
    before = await split_exactly(first, second)
    (entry,) = [name for name in await cluster.entries("g") if name.startswith("first;")]
    await cluster.delete_entry("g", entry)
    await wait_until(lambda: _later(first, before.generation))
    await split_exactly(first, second)


async def test_a_deleted_group_is_rebuilt(cluster: Cluster) -> None:
    """If an operator deletes the group, its members make it anew, policy included."""
    policy = GroupPolicy(load_bound=1.25)
    members = [await cluster.started(f"m{number}") for number in range(3)]
    for member in members:
        await member.join_group("g", policy=policy)
    before = await split_exactly(*members)
    await cluster.delete_group("g")
    for member in members:
        await wait_until(lambda member=member: _later(member, before.generation))  # type: ignore[misc]
    await split_exactly(*members)
    stranger = await cluster.started("stranger")
    with pytest.raises(PolicyMismatchError):
        await stranger.join_group("g", policy=GroupPolicy())


async def test_leaving_without_a_connection_is_made_good_later(cluster: Cluster) -> None:
    """A group left while disconnected is ours no more at once; the others learn of it when the connection is back."""
    leaving, other = await cluster.started("leaving", session_timeout=5), await cluster.started("other")
    await leaving.join_group("elsewhere")
    await split_exactly(leaving, other)
    await cluster.cut_off(leaving)
    await leaving.leave_group("g")
    assert leaving.groups == ("elsewhere",)
    await cluster.reconnect(leaving)
    await split_exactly(other, timeout=3)
    assert leaving.groups == ("elsewhere",)


async def test_joining_again_with_the_same_arguments_does_nothing(cluster: Cluster) -> None:
    """Other arguments are refused by name, as they would have no effect."""
    member = await cluster.started("m")
    await member.join_group("g", weight=2)
    before = await member.view("g")
    await member.join_group("g", weight=2)
    assert await member.view("g") is before
    with pytest.raises(ConfigurationError, match="weight"):
        await member.join_group("g")
    with pytest.raises(PolicyMismatchError, match="replicas"):
        await member.join_group("g", weight=2, policy=GroupPolicy(replicas=3))
    with pytest.raises(ConfigurationError, match="settle"):
        await member.join_group("g", weight=2, settle=1.0)


@pytest.mark.parametrize(
    "group_id", ["a/b", "..", ".", "ünïcødé ☃", "with blank", "%2F", "zookeeper", "\x00", "x" * 1024]
)
async def test_any_text_names_a_group(cluster: Cluster, group_id: str) -> None:
    """Group ids are quoted: none reaches into another's part of the tree."""
    first, second = await cluster.started("first"), await cluster.started("../second;1/☃")
    for member in (first, second):
        await member.join_group(group_id)
        await member.join_group("other")
    await split_exactly(first, second, group_id=group_id)
    await split_exactly(first, second, group_id="other")


async def test_many_groups_on_one_session(cluster: Cluster) -> None:
    """Groups are independent of each other; members may be in some and not in others."""
    first, second = await cluster.started("first"), await cluster.started("second")
    for number in range(30):
        await first.join_group(f"g{number}")
        if number % 2:
            await second.join_group(f"g{number}")
    assert len(first.groups) == 30
    await split_exactly(first, group_id="g0")
    await split_exactly(first, second, group_id="g29")
    await first.stop()
    await split_exactly(second, group_id="g1")


async def _later(coordinator: PartitionCoordinator, generation: int) -> bool:
    view = await current_view(coordinator)
    return view is not None and view.generation > generation


async def _raises(kind: type[Exception], coordinator: PartitionCoordinator) -> bool:
    try:
        await current_view(coordinator)
    except kind:
        return True
    return False


async def _is_unknown(coordinator: PartitionCoordinator) -> bool:
    return await current_view(coordinator) is None


# ---- what an ensemble forgets


@pytest.mark.parametrize("incarnation", [1, 9])
async def test_an_entry_that_was_left_comes_back(cluster: Cluster, incarnation: int) -> None:
    """An ensemble can forget that an entry was deleted, in the midst of its session. Nobody stands behind it: it is
    withdrawn, and neither taken for another process under the same id nor waited for in a handoff."""
    for exclusive in (False, True):
        group_id, policy = f"g{exclusive}", GroupPolicy(slots=64, vnodes=16, exclusive=exclusive)
        member, other = await cluster.started(f"m{exclusive}"), await cluster.started(f"o{exclusive}")
        await member.join_group(group_id, policy=policy)
        await other.join_group(group_id, policy=policy)
        (left,) = [name for name in await cluster.entries(group_id) if name.startswith("m")]
        _, weight, _, nonce = left.split(";")
        ghost = f"m{exclusive};{weight};{incarnation};{nonce}"
        await member.leave_group(group_id)
        await member.join_group(group_id, policy=policy)
        (own,) = [name for name in await cluster.entries(group_id) if name.startswith("m")]
        await member._registry.backend.enter(group_id, ghost, b"")  # as its session did before
        await wait_until(lambda: is_at_rest(member, other, group_id))  # noqa: B023
        assert ghost not in await cluster.entries(group_id)
        assert own in await cluster.entries(group_id)

        # The entry that was made since is forgotten as well.
        await member._registry.backend.enter(group_id, ghost, b"")
        await cluster.delete_entry(group_id, own)
        await wait_until(lambda: is_at_rest(member, other, group_id))  # noqa: B023
        assert ghost not in await cluster.entries(group_id)


@pytest.mark.parametrize("end", ["left", "superseded"])
async def test_nobody_waits_for_an_entry_that_has_come_back_for_nobody(cluster: Cluster, end: str) -> None:
    """Its session looks after it once it has found the ensemble again, though it has no part in the group any more."""
    policy = GroupPolicy(slots=64, vnodes=16, exclusive=True)
    member = await cluster.started("m")
    await member.join_group("g", policy=policy)
    (ghost,) = await cluster.entries("g")
    heir, other = await cluster.started("m" if end == "superseded" else "n"), await cluster.started("o")
    if end == "left":
        await member.leave_group("g")
    await heir.join_group("g", policy=policy)
    await other.join_group("g", policy=policy)
    await wait_until(lambda: is_at_rest(heir, other, "g"))
    assert ghost not in await cluster.entries("g")

    await member._registry.backend.enter("g", ghost, b"")  # as its session did before
    assert ghost in await cluster.entries("g")
    await cluster.cut_off(member)
    await cluster.reconnect(member)
    await wait_until(lambda: is_at_rest(heir, other, "g"))
    assert ghost not in await cluster.entries("g")


async def is_at_rest(member: PartitionCoordinator, other: PartitionCoordinator, group_id: str) -> bool:
    """Whether both are at one generation at which there are two entries, and share everything."""
    view, theirs = (each.status(group_id) for each in (member, other))
    shares = [await each.extract_my_subset(group_id, range(100)) for each in (member, other)]
    entries = await member._registry.backend.read(group_id, watch=False, latest=True)
    assert entries is not None
    return (
        view.state == theirs.state == "steady"
        and view.generation == theirs.generation == entries.generation
        and len(entries.names) == 2
        and sorted([*shares[0], *shares[1]]) == list(range(100))
    )
