"""Exclusive groups: who had a key lets go of it before somebody else begins."""

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator
from typing import Any, Self, cast

import pytest

from aiopartition import BackendError, GroupPolicy, MemberSupersededError, PartitionCoordinator, PolicyMismatchError
from aiopartition.backends.base import Mark, MarksCount
from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import ErrorCode, ReplyError
from tests.contract.cancelling import cancelled_at
from tests.contract.cluster import Cluster, ClusterOnServer, _Operator
from tests.contract.exclusive import POLICY, alone, join, joined, shared_out, sharing, waiting, waits, will_own
from tests.support import wait_until
from tests.support.joining import enter
from tests.support.split import RESOURCES

LONG = 10.0
"""Seconds for a session that must not lapse, however busy the machine is."""

STEPS = 60
"""More suspensions than any call has."""


async def took_one(member: PartitionCoordinator, items: list[str]) -> AsyncGenerator[str, None]:
    """A loop over ``items`` in the body of its first round."""
    stream = member.my_subset("g", items)
    await anext(stream)
    assert member.status("g").in_flight == 1
    return stream


class Observed:
    """Looks at what members have, in each turn of the event loop: never two of them the same."""

    def __init__(self, *members: PartitionCoordinator) -> None:
        self._members = members
        self.looks = 0
        self.always: set[str] | None = None  # what the first of them had in each look

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    async def _look(self) -> None:
        while True:
            seen: set[str] = set()
            for count, member in enumerate(self._members):
                mine = set(await member.extract_my_subset("g", RESOURCES)) if "g" in member.groups else set()
                assert not seen & mine
                seen |= mine
                if count == 0:
                    self.always = mine if self.always is None else self.always & mine
            self.looks += 1
            await asyncio.sleep(0)


# ---- members come and go


async def test_joins_and_leaves_hand_over(cluster: Cluster) -> None:
    """Each takes its part; never do two have the same; what somebody keeps is theirs throughout."""
    first = await alone(cluster, "first", session_timeout=LONG)
    second, third = await cluster.started("second"), await cluster.started("third")
    async with Observed(first, second, third) as observed:
        await join(second)
        await shared_out(first, second)
        await join(third)
        await shared_out(first, second, third)
        await second.leave_group("g")
        await shared_out(first, third)
        await third.leave_group("g")
        await shared_out(first)
    assert observed.looks > 10
    splits = ("first", "second"), ("first", "second", "third"), ("first", "third")
    assert observed.always == set.intersection(*(set(will_own("first", *members)) for members in splits))


async def test_many_join_at_once(cluster: Cluster) -> None:
    """A fleet that starts together comes to a split, and all of them to an end of it."""
    members = [await cluster.started(f"m{number}") for number in range(5)]
    async with Observed(*members):
        await asyncio.gather(*map(join, members))
        await shared_out(*members)


async def test_whoever_is_cut_off_is_fenced_before_others_take_over(cluster: Cluster) -> None:
    """Its lease ends, then its session, then the others have its keys."""
    first, second = await sharing(cluster, "first", "second")
    async with Observed(first, second):
        await cluster.cut_off(first)
        await wait_until(lambda: second.status("g").generation == second.status("g").active_generation)
        await shared_out(second)
        assert await first.extract_my_subset("g", RESOURCES) == []
        await cluster.reconnect(first)
        await shared_out(first, second)


async def test_an_expired_session_starts_anew(cluster: Cluster) -> None:
    """Whoever comes back from it has nothing until the others have let go."""
    first, second = await sharing(cluster, "first", "second")
    await cluster.expire(first)
    await shared_out(first, second)


async def test_a_joiner_has_nothing_until_its_handoff(cluster: Cluster) -> None:
    """However long the others take; what they keep they have all the while."""
    first = await alone(cluster, "first")
    async with first.hold("g") as view:
        assert view.mine(RESOURCES) == RESOURCES
        second = await waiting(cluster, "second")
        assert await second.extract_my_subset("g", RESOURCES) == []
        assert (await second.view("g")).mine(RESOURCES) == []
        kept = will_own("first", "first", "second")

        async def let_go() -> bool:
            return await first.extract_my_subset("g", RESOURCES) == kept

        await wait_until(let_go)
        assert first.status("g").state == "handing over"
    await shared_out(first, second)


async def test_too_few_members_hold_up_nobody(cluster: Cluster) -> None:
    """Below min_members a member owns nothing and lets the others have theirs."""
    first = await cluster.started("first")
    await join(first, min_members=2)
    assert first.status("g").state == "unknown"
    assert await first.extract_my_subset("g", RESOURCES) == []
    second = await joined(cluster, "second")
    await shared_out(first, second)
    await second.leave_group("g")
    await wait_until(lambda: first.status("g").state == "unknown")
    assert await first.extract_my_subset("g", RESOURCES) == []
    assert "1 of at least 2 members" in first.status("g").reason
    await join(second)
    await shared_out(first, second)


@pytest.mark.parametrize(("there", "here"), [(True, False), (False, True)])
async def test_all_members_agree_whether_it_is_exclusive(cluster: Cluster, there: bool, here: bool) -> None:
    """A member that took no care would break the promise for all."""
    first, second = await cluster.started("first"), await cluster.started("second")
    await first.join_group("g", policy=GroupPolicy(exclusive=there))
    with pytest.raises(PolicyMismatchError) as caught:
        await second.join_group("g", policy=GroupPolicy(exclusive=here))
    assert caught.value.differences == {"exclusive": (there, here)}


async def test_changes_tell_of_what_becomes_active(cluster: Cluster) -> None:
    """At the same generation: the view with nothing for us, then the one with our part."""
    first = await alone(cluster, "first")
    stream = await took_one(first, will_own("second", "first", "second"))
    second = await joined(cluster, "second")
    changes = second.changes("g")
    change = await anext(changes)
    assert change.view is not None
    assert change.view.mine(RESOURCES) == []
    generation = change.view.generation
    await stream.aclose()
    change = await anext(changes)
    await changes.aclose()
    assert change.view is not None
    assert change.previous is not None
    assert (change.view.generation, change.joined, change.left, change.moved) == (generation, (), (), 0.0)
    assert change.view.mine(RESOURCES) == will_own("second", "first", "second")
    await shared_out(first, second)


# ---- items in flight


@pytest.mark.parametrize("end", ["next", "aclose", "break", "cancelled", "failed"])
async def test_an_item_in_flight_is_waited_for(cluster: Cluster, end: str) -> None:
    """Until the loop asks for the next one, or is over in whatever way."""
    first = await alone(cluster, "first")
    items = will_own("second", "first", "second")
    go_on = asyncio.Event()
    seen: list[str] = []

    async def loop() -> None:
        stream = first.my_subset("g", items)
        async for item in stream:
            seen.append(item)
            await go_on.wait()
            if end == "aclose":
                await stream.aclose()
                assert first.status("g").in_flight == 0  # at once, not when the collector comes
            elif end == "break":
                break
            elif end == "failed":
                raise ValueError("the body's own")

    task = asyncio.create_task(loop())
    await wait_until(lambda: seen)
    second = await waiting(cluster, "second")
    await wait_until(lambda: first.status("g").waiting_for)
    assert first.status("g").waiting_for[0].member_id == "first"
    assert "my_subset" in first.status("g").waiting_for[0].works[0]
    assert await second.extract_my_subset("g", RESOURCES) == []
    if end == "cancelled":
        task.cancel()
    go_on.set()
    await asyncio.wait({task})
    await shared_out(first, second)
    assert seen == items[:1]  # the others were another's by then
    assert task.cancelled() == (end == "cancelled")
    if end == "failed":
        assert isinstance(task.exception(), ValueError)


@pytest.mark.parametrize("fetch", ["wait_for", "a task"])
async def test_an_item_that_a_helper_has_fetched_is_in_flight(cluster: Cluster, fetch: str) -> None:
    """The task that asked for it may have ended, as that of asyncio.wait_for() has."""
    first = await alone(cluster, "first")
    stream = first.my_subset("g", will_own("second", "first", "second"))

    async def next_item() -> str:
        return await anext(stream)

    await (asyncio.wait_for(next_item(), 5) if fetch == "wait_for" else asyncio.create_task(next_item()))
    second = await waiting(cluster, "second")
    await wait_until(lambda: first.status("g").waiting_for)
    assert first.status("g").in_flight == 1
    assert await second.extract_my_subset("g", RESOURCES) == []
    await stream.aclose()
    await shared_out(first, second)


@pytest.mark.parametrize("call", ["stop", "leave_group"])
async def test_leaving_in_the_body_of_a_loop_whose_items_a_helper_fetches(cluster: Cluster, call: str) -> None:
    """There is no deadlock: the item is in the hands of the task that leaves."""
    first, second = await sharing(cluster, "first", "second")
    stream = first.my_subset("g", RESOURCES)

    async def next_item() -> str:
        return await anext(stream)

    async with asyncio.timeout(10):
        await asyncio.create_task(next_item())
        await (first.stop() if call == "stop" else first.leave_group("g"))
        await shared_out(second)
    await stream.aclose()


async def test_items_that_are_kept_hold_nothing_up(cluster: Cluster) -> None:
    """Only what moves is waited for."""
    first = await alone(cluster, "first")
    stream = await took_one(first, will_own("first", "first", "second"))
    second = await joined(cluster, "second")
    await shared_out(first, second)
    assert first.status("g").in_flight == 1
    await stream.aclose()
    assert first.status("g").in_flight == 0


async def test_an_async_source_is_in_flight_likewise(cluster: Cluster) -> None:
    """The same promise, whatever the items come from."""
    first = await alone(cluster, "first")

    async def source() -> AsyncGenerator[str, None]:
        for resource in will_own("second", "first", "second"):
            yield resource

    items = source()
    stream = first.my_subset("g", items)
    await anext(stream)
    second = await waiting(cluster, "second")
    await stream.aclose()
    assert first.status("g").in_flight == 0
    await items.aclose()
    await shared_out(first, second)


@pytest.mark.parametrize("call", ["stop", "leave_group"])
async def test_leaving_in_the_body_of_a_loop(cluster: Cluster, call: str) -> None:
    """The body waits for us, so we do not wait for the body; the others get everything, and the loop ends."""
    first, second = await sharing(cluster, "first", "second")
    seen: list[str] = []
    async with asyncio.timeout(10):
        async for item in first.my_subset("g", RESOURCES):
            seen.append(item)
            await (first.stop() if call == "stop" else first.leave_group("g"))
    assert len(seen) == 1
    await shared_out(second)


@pytest.mark.parametrize("call", ["stop", "leave_group"])
async def test_leaving_waits_for_the_body_of_another_task(cluster: Cluster, call: str) -> None:
    """Nobody else begins before it is through."""
    first, second = await sharing(cluster, "first", "second")
    stream = await took_one(first, RESOURCES)
    leaving = asyncio.create_task(first.stop() if call == "stop" else first.leave_group("g"))
    await wait_until(lambda: "g" not in first.groups)
    before = second.status("g").generation
    for _ in range(3):
        await second.heartbeat()
    assert second.status("g").generation == before
    assert not leaving.done()
    await stream.aclose()
    await leaving
    await shared_out(second)


async def test_leaving_and_joining_again_at_once(cluster: Cluster) -> None:
    """The new participation waits for what the old one has in flight."""
    member = await alone(cluster, "m")
    stream = await took_one(member, RESOURCES)
    leaving = asyncio.create_task(member.leave_group("g"))
    await wait_until(lambda: "g" not in member.groups)
    await join(member)
    await waits(member)
    assert await member.extract_my_subset("g", RESOURCES) == []
    await stream.aclose()
    await leaving
    await shared_out(member)


async def test_a_superseded_incarnation_is_waited_for(cluster: Cluster) -> None:
    """It owns nothing any more, but is still at work: its successor begins when that has ended."""
    older = await alone(cluster, "m")
    stream = await took_one(older, RESOURCES)
    newer = await joined(cluster, "m")
    await wait_until(lambda: older.status("g").state == "refused")
    with pytest.raises(MemberSupersededError):
        await older.extract_my_subset("g", RESOURCES)
    assert newer.status("g").state == "handing over"
    assert await newer.extract_my_subset("g", RESOURCES) == []
    assert len(await cluster.entries("g")) == 2
    await stream.aclose()
    await shared_out(newer)
    assert len(await cluster.entries("g")) == 1


# ---- what goes wrong on the way


async def test_lost_news_of_the_active_generation(cluster: Cluster) -> None:
    """Whoever waits looks again, whatever the heartbeats do meanwhile."""
    first = await alone(cluster, "first")
    stream = await took_one(first, will_own("second", "first", "second"))
    second = await waiting(cluster, "second")
    await wait_until(lambda: first.status("g").state == "handing over")
    await cluster.lose_next_event(second, "g")
    await stream.aclose()
    await shared_out(first, second)


async def remove(cluster: ClusterOnServer, *parts: str) -> None:
    """Delete a node, and those below it, as an operator would."""
    async with _Operator(cluster._server) as operator:
        await operator.delete_all(cluster._path("g", *parts))


async def children(cluster: ClusterOnServer, *parts: str) -> tuple[str, ...]:
    async with _Operator(cluster._server) as operator:
        try:
            names = (await operator.send(codec.get_children(cluster._path("g", *parts)))).names
        except ReplyError as error:
            assert error.code == ErrorCode.NO_NODE
            return ()
    return cast("tuple[str, ...]", names)


async def has_data(cluster: ClusterOnServer, data: bytes, *parts: str) -> bool:
    async with _Operator(cluster._server) as operator:
        try:
            found, _ = await operator.send(codec.get_data(cluster._path("g", *parts)))
        except ReplyError as error:
            assert error.code == ErrorCode.NO_NODE
            return False
    return bool(found == data)


@pytest.mark.parametrize("what", ["handoff", "active", "acknowledgements"])
async def test_nodes_of_a_handoff_that_an_operator_deletes(zookeeper_cluster: ClusterOnServer, what: str) -> None:
    """While it is under way. They are put back, and it comes to its end."""
    cluster = zookeeper_cluster
    first = await joined(cluster, "first")
    await shared_out(first)
    stream = await took_one(first, will_own("second", "first", "second"))
    second = await joined(cluster, "second")
    await waits(second)

    async def acknowledged() -> bool:
        return len(await children(cluster, "handoff", str(second.status("g").generation))) == 1

    await wait_until(acknowledged)
    generation = str(second.status("g").generation)
    await remove(cluster, *(["handoff", generation] if what == "acknowledgements" else [what]))
    await stream.aclose()
    await shared_out(first, second)


async def test_the_active_node_deleted_at_rest(zookeeper_cluster: ClusterOnServer) -> None:
    """Nobody loses anything, and the next handoff comes to its end."""
    first = await joined(zookeeper_cluster, "first", session_timeout=LONG)
    second = await joined(zookeeper_cluster, "second")
    await shared_out(first, second)
    async with Observed(first, second) as observed:
        generation = str(first.status("g").generation).encode()
        await remove(zookeeper_cluster, "active")
        await wait_until(lambda: has_data(zookeeper_cluster, generation, "active"))
        third = await joined(zookeeper_cluster, "third")
        await shared_out(first, second, third)
    assert observed.always == set(will_own("first", "first", "second")) & set(
        will_own("first", "first", "second", "third")
    )


async def test_an_active_generation_that_was_forgotten(zookeeper_cluster: ClusterOnServer) -> None:
    """No watch tells of it, and who is through with a handoff asks no more; but it asks whenever it has reconnected."""
    first = await joined(zookeeper_cluster, "first")
    await shared_out(first)
    generation = str(first.status("g").generation).encode()
    network = zookeeper_cluster._network(first)
    network.drop_next_event()
    async with _Operator(zookeeper_cluster._server) as operator:
        await operator.send(codec.set_data(zookeeper_cluster._path("g", "active"), b"0", -1))
    await wait_until(lambda: network.events_dropped == 1)
    await first.heartbeat()  # so that it has seen a later transaction, and what is older is no news to its watches
    assert await has_data(zookeeper_cluster, b"0", "active")
    network.reset()
    await wait_until(lambda: has_data(zookeeper_cluster, generation, "active"))
    await shared_out(first)


async def test_past_acknowledgements_are_removed(zookeeper_cluster: ClusterOnServer) -> None:
    """However many handoffs there were."""
    first, second = await joined(zookeeper_cluster, "first"), await joined(zookeeper_cluster, "second")
    for _ in range(4):
        await shared_out(first, second)
        await second.leave_group("g")
        await shared_out(first)
        await join(second)
    await shared_out(first, second)

    async def tidied() -> bool:
        return len(await children(zookeeper_cluster, "handoff")) <= 2  # those of the last one

    await wait_until(tidied)


@pytest.mark.parametrize("call", ["join_group", "leave_group", "hold", "my_subset", "run"])
async def test_cancelled_anywhere(cluster: Cluster, call: str) -> None:
    """At each suspension in turn: afterwards nothing is in flight, nothing waits, and all is shared out."""
    first = await joined(cluster, "first")
    second = await cluster.started("second")

    async def hold() -> None:
        await join(second)
        async with second.hold("g"):
            await asyncio.sleep(0)

    async def my_subset() -> None:
        await join(second)
        stream = second.my_subset("g", RESOURCES[:40])
        try:
            async for _ in stream:
                await asyncio.sleep(0)
        finally:
            await stream.aclose()

    async def leave_group() -> None:
        await join(second)
        await second.leave_group("g")

    async def run() -> None:
        await join(second)
        started = asyncio.Event()

        async def worker(_: str) -> None:
            started.set()
            await asyncio.Event().wait()

        running = asyncio.ensure_future(second.run("g", RESOURCES[:40], worker))
        try:
            await started.wait()
        finally:
            running.cancel()
            await asyncio.wait({running})

    calls = {
        "join_group": lambda: join(second),
        "leave_group": leave_group,
        "hold": hold,
        "my_subset": my_subset,
        "run": run,
    }
    for step in range(1, STEPS):
        if step % 10 == 0 or step < 10:
            if not await cancelled_at(step, calls[call]()):
                break
            assert "g" not in second.groups or second.status("g").in_flight == 0
    await join(second)
    await shared_out(first, second)


# ---- what operators see


@pytest.mark.parametrize("step", ["mark", "read"])
async def test_leaving_while_something_else_is_refused(
    cluster: Cluster, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused then says nothing of the leaving, which goes on at once."""
    first, second = (
        await joined(cluster, "first"),
        await joined(cluster, "second", heartbeat=60.0, session_timeout=90.0),
    )
    await shared_out(first, second)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def refuse(*_: Any, **__: Any) -> None:
        asked.set()
        await go_on.wait()
        raise BackendError("refused", "/somewhere")

    monkeypatch.setattr(second._registry.backend, step, refuse)
    third = await joined(cluster, "third")
    await asked.wait()
    leaving = asyncio.create_task(second.leave_group("g"))
    await wait_until(lambda: "g" not in second.groups)
    go_on.set()
    await leaving
    await shared_out(first, third)


async def test_who_may_not_see_the_acknowledgements_learns_that_all_are_there(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From somebody who may. And of what was refused before nothing is said any more."""
    first, second = await joined(cluster, "first"), await cluster.started("second", heartbeat=0.2)
    mark = second._registry.backend.mark
    refused = 0

    async def refuse(*_: Any) -> None:
        nonlocal refused
        refused += 1
        raise BackendError("refused", "/somewhere")

    async def mark_last(group_id: str, our_mark: Mark) -> MarksCount | None:
        count = await mark(group_id, our_mark)
        return count and MarksCount(0, 2)  # as if first were there already, and had not looked since

    monkeypatch.setattr(second._registry.backend, "marks", refuse)
    monkeypatch.setattr(second._registry.backend, "mark", mark_last)
    async with first.hold("g"):
        await join(second)
        await wait_until(lambda: "refused" in second.status("g").reason)
    await shared_out(first, second)
    assert refused
    await wait_until(lambda: second.status("g").reason == "")


async def test_status_says_who_is_waited_for(cluster: Cluster) -> None:
    """Each state, with what it tells."""
    first = await alone(cluster, "first")
    status = first.status("g")
    assert (status.group_id, status.member_id, status.reason, status.waiting_for) == ("g", "first", "", ())
    assert status.generation == status.active_generation
    assert status.shares == {"first": 1.0}
    assert status.server is not None
    assert 0 < status.lease_left <= first.session_timeout
    assert (status.in_flight, status.waiting, status.last_rebalance) == (0, 0.0, None)

    stream = await took_one(first, will_own("second", "first", "second"))
    second = await waiting(cluster, "second")
    status = second.status("g")
    assert status.active_generation is not None
    assert status.generation is not None
    assert status.generation > status.active_generation
    await wait_until(lambda: second.status("g").waiting > 0)
    await wait_until(lambda: any(each.host is not None for each in second.status("g").waiting_for))
    (awaited,) = second.status("g").waiting_for
    assert (awaited.member_id, awaited.host, awaited.pid) == ("first", socket.gethostname(), os.getpid())
    assert awaited.started is not None
    await stream.aclose()
    await shared_out(first, second)
    rebalance = first.status("g").last_rebalance
    assert rebalance is not None
    assert (rebalance.joined, rebalance.left) == (("second",), ())
    assert rebalance.moved == pytest.approx(0.5, abs=0.15)
    assert rebalance.seconds_ago >= 0

    await cluster.cut_off(first)
    await wait_until(lambda: first.status("g").state == "unknown")
    assert "no connection" in first.status("g").reason
    assert first.status("g").server is None
    assert first.status("g").lease_left == 0.0
    assert first.status("g").members == ()


async def test_a_handoff_that_waits_is_reported(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Within five seconds, by those who wait, with host and process, and by whoever has the work in flight."""
    caplog.set_level(logging.INFO, logger="aiopartition")
    first = await alone(cluster, "first")
    stream = await took_one(first, will_own("second", "first", "second"))
    second = await waiting(cluster, "second")
    began = asyncio.get_running_loop().time()

    def reports(part: str) -> list[str]:
        return [record.getMessage() for record in caplog.records if part in record.getMessage()]

    await wait_until(lambda: reports(f"'first' (host {socket.gethostname()!r}, pid {os.getpid()}"))
    (own,) = await wait_until(lambda: reports("'first': an item of my_subset() for "))
    assert "group 'g': the handoff to generation" in own
    print(json.dumps({"reported after": asyncio.get_running_loop().time() - began}))
    await stream.aclose()
    await shared_out(first, second)
    await wait_until(lambda: reports("the handoff that had to wait is complete"))


async def test_joining_again_while_what_was_left_is_still_at_work(cluster: Cluster) -> None:
    """The entry that is being left stands for that work: it stays, though it is one of the same session, and nobody
    has those keys before the work has ended."""
    member, other = await sharing(cluster, "member", "other")
    (left,) = [name for name in await cluster.entries("g") if name.startswith("member")]
    async with member.hold("g") as view:
        held = set(view.mine(RESOURCES))
        leaving = asyncio.create_task(member.leave_group("g"))
        await wait_until(lambda: member.groups == ())
        await enter(member, policy=POLICY)
        await wait_until(lambda: other.status("g").state == "handing over")
        for _ in range(5):
            await member.heartbeat()
            await other.heartbeat()
            assert left in await cluster.entries("g")
            assert held.isdisjoint(await other.extract_my_subset("g", RESOURCES))
            assert held.isdisjoint(await member.extract_my_subset("g", RESOURCES))
    await leaving
    await shared_out(member, other)
    assert left not in await cluster.entries("g")
