"""Nodes among a group's entries that no member has made: names that are none, and entries that nobody stands behind."""

import asyncio
import re
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest

from aiopartition import (
    AuthenticationError,
    GroupPolicy,
    MemberSupersededError,
    PartitionCoordinator,
    PolicyMismatchError,
)
from aiopartition.group import inspection
from aiopartition.group.entry import MAX_INCARNATION, Entry
from aiopartition.group.inspection import LOOKS
from aiopartition.group.roster import NAMES_PER_STEP
from tests.contract.cluster import Cluster, ClusterInMemory
from tests.support import wait_until
from tests.support.logged import logged
from tests.support.split import RESOURCES, current_view, split_exactly

LOWER, HIGHER = "0" * 16, "f" * 16


async def share_all(group_id: str, *members: PartitionCoordinator) -> None:
    """Until each resource is worked on by exactly one of these, whatever the group is like."""

    async def done() -> bool:
        subsets = [await member.extract_my_subset(group_id, RESOURCES) for member in members]
        return all(subsets) and sorted(chain(*subsets)) == sorted(RESOURCES)

    await wait_until(done, what=lambda: [member.status(group_id) for member in members])


async def enter(stranger: PartitionCoordinator, name: str, group_id: str = "g") -> None:
    """Make an entry in the session of somebody who has not joined."""
    assert await stranger._registry.backend.enter(group_id, name, b"")


# ---- entries that are no members


@pytest.mark.parametrize("exclusive", [False, True], ids=["ordinary", "exclusive"])
@pytest.mark.parametrize(
    "ghost",
    [
        Entry("ghost", 1, 1, LOWER),
        Entry("a ghost/☃", 9, 7, HIGHER),
        Entry("first", 1, 9, HIGHER),
        Entry("first", 1, MAX_INCARNATION, HIGHER),
        Entry("first", 1, 0, LOWER),
    ],
    ids=["another id", "a greater weight", "our id, above", "our id, highest", "our id, below"],
)
async def test_a_node_with_no_session_is_removed(
    cluster: Cluster, ghost: Entry, exclusive: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """P2, P9: of an entry that somebody has put there, or restored from a copy, nothing remains but a warning."""
    policy = GroupPolicy(exclusive=exclusive, slots=64, vnodes=16)
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g", policy=policy)
    await cluster.put_entry("g", ghost.name)
    await second.join_group("g", policy=policy)
    await share_all("g", first, second)

    async def removed() -> bool:
        return ghost.name not in await cluster.entries("g")

    await wait_until(removed)
    await share_all("g", first, second)
    assert len(await cluster.entries("g")) == 2
    assert any(repr(ghost.name) in warning for warning in logged(caplog, "belonged to no session"))


@pytest.mark.parametrize("exclusive", [False, True], ids=["ordinary", "exclusive"])
async def test_a_tree_that_was_restored(cluster: Cluster, exclusive: bool) -> None:
    """All its entries were somebody's once, ours too; who joins finds them there."""
    policy = GroupPolicy(exclusive=exclusive, slots=64, vnodes=16)
    members = [await cluster.started(f"m{number}") for number in range(3)]
    for member in members:
        await member.join_group("g", policy=policy)
    saved = await cluster.entries("g")
    for member in members:
        await member.leave_group("g")
    for name in saved:
        await cluster.put_entry("g", name)
    for member in members[:2]:
        await member.join_group("g", policy=policy)
    await share_all("g", *members[:2])
    assert len(await cluster.entries("g")) == 2


async def test_membership_does_not_depend_on_what_one_has_looked_up(cluster: Cluster) -> None:
    """P1: until the node is gone all count it; then nobody does. Two may remove it at once."""
    members = [await cluster.started(f"m{number}", heartbeat=1000.0) for number in range(2)]
    for member in members:
        await member.join_group("g")
    await cluster.put_entry("g", Entry("ghost", 1, 1, LOWER).name)

    async def counted() -> bool:
        views = [await current_view(member) for member in members]
        return all(view is not None and len(view.members) == 3 for view in views)

    await wait_until(counted)
    assert len({(await member.view("g")).generation for member in members}) == 1
    await asyncio.gather(*(member._registry.heartbeat() for member in members))
    await split_exactly(*members)


async def test_an_entry_of_another_session_stays(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are looked up once each, a few at a heartbeat, and are left alone."""
    member, stranger = await cluster.started("m", heartbeat=1000.0), await cluster.started("stranger")
    await member.join_group("g")
    names = [Entry(f"n{number}", 1, 1, LOWER).name for number in range(2 * LOOKS + 1)]
    for name in names:
        await enter(stranger, name)

    async def all_seen() -> bool:
        view = await current_view(member)
        return view is not None and len(view.members) == len(names) + 1

    await wait_until(all_seen)
    asked: list[str] = []
    backend = member._registry.backend
    owner = backend.owner

    async def counted(group_id: str, name: str) -> Any:
        asked.append(name)
        return await owner(group_id, name)

    monkeypatch.setattr(backend, "owner", counted)
    for beat in range(1, 9):
        await member._registry.heartbeat()
        assert len(asked) == min(beat * LOOKS, len(names) + 1)
    assert sorted(asked) == await cluster.entries("g")
    another = Entry("later", 1, 1, LOWER).name
    await enter(stranger, another)
    await wait_until(lambda: "later" in [one.id for one in member.status("g").members])
    for _ in range(3):
        await member._registry.heartbeat()
    assert asked[len(names) + 1 :] == [another]
    assert await cluster.entries("g") == sorted(asked)


async def test_a_removal_that_is_refused(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and the group goes on; when it is allowed at last, it is done."""
    member = await cluster.joined("m")
    backend, refusals = member._registry.backend, 0
    remove = backend.remove

    async def refused(group_id: str, name: str) -> bool:
        nonlocal refusals
        refusals += 1
        raise AuthenticationError("these credentials do not have it", f"/{group_id}/members", "DELETE")

    with monkeypatch.context() as patch:
        patch.setattr(backend, "remove", refused)
        for name in (Entry("ghost", 1, 1, LOWER).name, Entry("m", 1, 0, LOWER).name):
            await cluster.put_entry("g", name)
        await wait_until(lambda: refusals > 5)
        assert member.status("g").state == "steady"
        assert (await member.view("g")).members[0].id == "ghost"
    assert len(logged(caplog, "cannot be inspected")) == 1
    assert backend.remove == remove
    await split_exactly(member)
    assert len(await cluster.entries("g")) == 1


# ---- names that are no entries


async def test_many_foreign_names_are_one_warning(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut, on one line, with their number; what comes soon after is told of later, together."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g")
    await cluster.put_entry("g", "x" * 3000)
    await wait_until(lambda: logged(caplog, "ignoring"))
    for number in range(12):
        await cluster.put_entry("g", f"lock-{number:04}")
    await second.join_group("g")
    await split_exactly(first, second)
    mine, theirs = logged(caplog, "ignoring")
    assert mine == f"group 'g': ignoring '{'x' * 254}…, which is not an entry of a member"
    assert theirs.startswith("group 'g': ignoring ")
    assert theirs.endswith(" and 10 more, which are not entries of members")
    assert len(theirs) < 1000
    monkeypatch.setattr(first._registry.memberships["g"]._requests.inspection, "_quiet_until", 0.0)
    await wait_until(lambda: len(logged(caplog, "ignoring")) == 3)  # at a heartbeat
    later = logged(caplog, "ignoring")[2]
    more = re.search(r" and (\d+) more, which are not entries of members$", later)
    assert more is not None, later
    assert later.count("'lock-") + int(more[1]) == 12
    assert inspection.QUIET >= 10


async def test_very_many_foreign_names_are_taken_apart_between_turns_of_the_loop(
    memory_cluster: ClusterInMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Other tasks have their turn after each lot, when joining, when reading and when observing."""
    first, second = await memory_cluster.started("first"), await memory_cluster.started("second")
    observer = await memory_cluster.started("observer")
    await first.join_group("g")
    await observer.observe("g")
    parsed, most, before = 0, 0, 0
    parse: Callable[[str], Entry | None] = Entry.parse

    def counted(name: str) -> Entry | None:
        nonlocal parsed
        parsed += 1
        return parse(name)

    async def watch() -> None:
        nonlocal most, before
        while True:
            most, before = max(most, parsed - before), parsed
            await asyncio.sleep(0)

    monkeypatch.setattr(Entry, "parse", counted)
    watching = asyncio.create_task(watch())
    group = memory_cluster._cluster._groups["g"]
    anybody = next(iter(group.entries.values()))
    group.entries.update((f"lock-{number}", anybody) for number in range(20 * NAMES_PER_STEP))
    await second.join_group("g")
    await split_exactly(first, second)
    await wait_until(lambda: len(observer.status("g").members) == 2)
    watching.cancel()
    assert parsed > 3 * 20 * NAMES_PER_STEP
    assert most <= 3 * NAMES_PER_STEP  # one lot of each of the three
    assert len(logged(caplog, "ignoring")) == 2


# ---- who was superseded


@pytest.mark.parametrize("exclusive", [False, True], ids=["ordinary", "exclusive"])
async def test_nothing_can_be_above_the_highest_incarnation(
    cluster: Cluster, exclusive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused and at rest, rather than joining again and again; and back when that entry has gone."""
    policy = GroupPolicy(exclusive=exclusive, slots=64, vnodes=16)
    witness, stranger = await cluster.started("witness"), await cluster.started("stranger")
    await witness.join_group("g", policy=policy)
    highest = Entry("m", 1, MAX_INCARNATION, HIGHER).name
    await enter(stranger, highest)
    member = await cluster.started("m")
    backend, entered, beats = member._registry.backend, 0, 0
    whole, generation = backend.enter, backend.generation

    async def enter_counted(*arguments: Any, **keywords: Any) -> bool:
        nonlocal entered
        entered += 1
        return await whole(*arguments, **keywords)

    async def beat_counted(group_id: str) -> int | None:
        nonlocal beats
        beats += 1
        return await generation(group_id)

    monkeypatch.setattr(backend, "enter", enter_counted)
    monkeypatch.setattr(backend, "generation", beat_counted)
    with pytest.raises(MemberSupersededError, match=str(MAX_INCARNATION)):
        await member.join_group("g", policy=policy, settle=0)
    await wait_until(lambda: beats > 5)
    assert entered == 0
    assert member.status("g").state == "refused"
    await cluster.delete_entry("g", highest)
    await share_all_eventually("g", member, witness)
    assert entered == 1


@pytest.mark.parametrize("exclusive", [False, True], ids=["ordinary", "exclusive"])
@pytest.mark.parametrize("incarnation", [9, MAX_INCARNATION])
async def test_whoever_was_superseded_for_a_moment_comes_back(
    cluster: Cluster, exclusive: bool, incarnation: int
) -> None:
    """What had raised has ended; calls from then on work again."""
    policy = GroupPolicy(exclusive=exclusive, slots=64, vnodes=16)
    member, witness = await cluster.started("m"), await cluster.started("witness")
    stranger = await cluster.started("stranger")
    for each in (member, witness):
        await each.join_group("g", policy=policy)
    await share_all("g", member, witness)

    async def worker(_: str) -> None:
        await asyncio.Event().wait()

    running = asyncio.create_task(member.run("g", RESOURCES, worker))
    successor = Entry("m", 1, incarnation, HIGHER).name
    await enter(stranger, successor)
    with pytest.raises(MemberSupersededError):
        async for _ in member.changes("g"):
            pass
    with pytest.raises(MemberSupersededError):
        await running
    with pytest.raises(MemberSupersededError):
        await member.extract_my_subset("g", RESOURCES)
    assert member.status("g").state == "refused"
    await cluster.delete_entry("g", successor)
    await share_all_eventually("g", member, witness)
    assert len(await cluster.entries("g")) == 2


@pytest.mark.parametrize("end", ["leave", "stop", "crash"])
async def test_the_older_process_is_back_when_the_later_one_has_gone(cluster: Cluster, end: str) -> None:
    """P6: and not before, however often it looks."""
    older, later, witness = [await cluster.started(each) for each in ("m", "m", "witness")]
    await split_exactly(older, witness)
    await later.join_group("g")
    await split_exactly(later, witness)

    async def refused() -> bool:
        return older.status("g").state == "refused" and len(await cluster.entries("g")) == 2

    await wait_until(refused)
    generation = await later._registry.backend.generation("g")
    for _ in range(10):
        await older._registry.heartbeat()
        assert await refused()
    assert await later._registry.backend.generation("g") == generation
    if end == "leave":
        await later.leave_group("g")
    elif end == "stop":
        await later.stop()
    else:
        await cluster.cut_off(later)
    await share_all_eventually("g", older, witness)
    if end == "crash":  # it lives, and is the later start, so the place is its own again
        await cluster.reconnect(later)
        await share_all_eventually("g", later, witness)
        await wait_until(lambda: older.status("g").state == "refused")


async def share_all_eventually(group_id: str, *members: PartitionCoordinator) -> None:
    """The same, though at first they may be refused."""
    await wait_until(
        lambda: all(member.status(group_id).state == "steady" for member in members),
        what=lambda: [member.status(group_id) for member in members],
    )
    await share_all(group_id, *members)


# ---- documents


@pytest.mark.parametrize(
    "document",
    [
        b'{"format": 1, "policy": {"\\u001b[2J\\nERROR forged": 1, "\\ud800": "\\u202e"}}',
        '{"format": "\u2028\x9b31m", "policy": {"slots": ["\u202e"]}}'.encode(),
        b"\x1b]0;owned\x07",
    ],
    ids=["fields", "values", "rubbish"],
)
async def test_a_hostile_document_is_shown_without_harm(
    cluster: Cluster, document: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """To who joins, to who is a member and has to join again, in the log, and in the status."""
    member, stranger = await cluster.started("m"), await cluster.started("stranger")
    await member.join_group("g")
    await cluster.put_document("g", document)
    with pytest.raises(PolicyMismatchError) as caught:
        await stranger.join_group("g")
    (entry,) = await cluster.entries("g")
    await cluster.delete_entry("g", entry)
    await wait_until(lambda: member.status("g").state == "refused")
    with pytest.raises(PolicyMismatchError):
        await member.view("g")
    logged = [record.getMessage() for record in caplog.records if "another policy" in record.getMessage()]
    assert len(logged) == 1
    for text in (str(caught.value), member.status("g").reason, *logged):
        assert "has another policy" in text
        assert text.isprintable()
