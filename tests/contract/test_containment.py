"""What goes wrong in one group in a way that nobody had thought of concerns neither the others nor the coordinator."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from aiopartition import GroupPolicy, OwnershipLostError, PartitionCoordinator, PartitionError
from aiopartition.group.handoff_task import HandoffTask
from aiopartition.group.membership import Membership
from aiopartition.group.requests import Requests
from aiopartition.group.state import Group
from tests.contract.cluster import Cluster
from tests.support import wait_until
from tests.support.joining import enter
from tests.support.split import RESOURCES

POLICY = GroupPolicy(exclusive=True, slots=64, vnodes=16)
LONG = 10.0

WHERE: dict[str, tuple[type, str]] = {
    "parsing": (Group, "_parse"),
    "reading": (Requests, "_look_for_orphans"),
    "building": (Requests, "_build"),
    "a step of the handoff": (HandoffTask, "take"),
    "a decision": (Group, "next_step"),
    "an announcement": (Membership, "announce"),
    "a heartbeat": (Membership, "heartbeat"),
    "the news of a change": (Membership, "group_changed"),
    "the news of a change, inside": (Group, "changed"),
    "the news of a completed handoff": (Membership, "group_activated"),
}


class BrokenError(Exception):
    """Nobody had thought of it."""


def of_group(of: Any) -> tuple[str, str]:
    if isinstance(of, Group):
        return of.group_id, of.member.id
    if isinstance(of, HandoffTask):
        return of._group_id, of._member_id
    if isinstance(of, Requests):
        return of_group(of._group)
    return of.group_id, of.group.member.id


def breaks(patch: pytest.MonkeyPatch, cls: type, name: str, *, group_id: str = "bad", member_id: str = "first") -> None:
    """From now on this raises, in one group of one member."""
    whole: Callable[..., Any] = getattr(cls, name)

    def broken(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if of_group(self) == (group_id, member_id):
            raise BrokenError("boom")
        return whole(self, *arguments, **keywords)

    patch.setattr(cls, name, broken)


async def join(member: PartitionCoordinator, *group_ids: str) -> PartitionCoordinator:
    for group_id in group_ids:
        await enter(member, group_id, policy=POLICY, settle=0)
    return member


async def steady(group_id: str, *members: PartitionCoordinator) -> None:
    ids = [member.member_id for member in members]

    async def done() -> bool:
        statuses = [member.status(group_id) for member in members]
        if any(each.state != "steady" or [one.id for one in each.members] != ids for each in statuses):
            return False
        subsets = [await member.extract_my_subset(group_id, RESOURCES) for member in members]
        return sorted(resource for subset in subsets for resource in subset) == sorted(RESOURCES)

    await wait_until(done, what=lambda: [member.status(group_id) for member in members])


async def refused(member: PartitionCoordinator) -> None:
    """Until its group "bad" has failed, and says so."""
    await wait_until(lambda: member.status("bad").state == "refused", what=lambda: member.status("bad"))
    assert "BrokenError: boom" in member.status("bad").reason
    with pytest.raises(PartitionError, match="'bad' has failed") as raised:
        await member.extract_my_subset("bad", RESOURCES)
    assert isinstance(raised.value.__cause__, BrokenError)


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "has failed" in record.getMessage()]


@pytest.mark.parametrize("where", WHERE)
async def test_the_other_group_goes_on(
    cluster: Cluster, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that fails owns nothing and says why; it is logged once, and comes back when the cause has gone."""
    first = await join(await cluster.started("first", session_timeout=LONG), "good", "bad")
    second = await join(await cluster.started("second", session_timeout=LONG), "good")
    await steady("good", first, second)
    await steady("bad", first)
    view = await first.view("good")
    with monkeypatch.context() as patch:
        breaks(patch, *WHERE[where])
        await join(second, "bad")  # which first hears of, reads, builds a table for, and hands over
        await refused(first)
        for _ in range(3):
            await first.heartbeat()
        assert await first.view("good") is view
        assert await first.extract_my_subset("good", RESOURCES)
    await steady("bad", first, second)
    await steady("good", first, second)
    assert await first.view("good") is view
    [failure] = failures(caplog)
    assert failure.exc_info is not None
    third = await join(await cluster.started("third"), "good", "bad")
    await steady("bad", first, second, third)


@pytest.mark.parametrize("event", ["session_opened", "session_suspended"])
async def test_news_of_the_connection(cluster: Cluster, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the network, which brings them to all groups whatever one of them makes of them."""
    first = await join(await cluster.started("first", session_timeout=LONG), "bad", "good")
    await steady("bad", first)
    await steady("good", first)
    with monkeypatch.context() as patch:
        breaks(patch, Group, event)
        await cluster.cut_off(first)
        await cluster.reconnect(first)
        await refused(first)
        await steady("good", first)
    await steady("bad", first)


@pytest.mark.parametrize("event", ["session_expired", "session_opened"])
async def test_news_of_the_end_of_the_session(cluster: Cluster, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group whose news got lost finds out by itself that its entry is gone, and has let go at once."""
    first = await join(await cluster.started("first"), "bad", "good")
    await steady("bad", first)
    await steady("good", first)
    with monkeypatch.context() as patch:
        breaks(patch, Group, event)
        with pytest.raises(OwnershipLostError):
            async with first.hold("bad"):
                await cluster.expire(first)
                await wait_until(lambda: False)
        await refused(first)
        await steady("good", first)
    await steady("bad", first)


async def test_a_group_that_fails_while_it_is_joined(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever joins is told; the next to join begins anew."""
    first = await join(await cluster.started("first"), "good")
    with monkeypatch.context() as patch:
        breaks(patch, Group, "choose_entry")
        with pytest.raises(PartitionError, match="BrokenError: boom"):
            await join(first, "bad")
    await join(first, "bad")
    await steady("bad", first)
    await steady("good", first)


async def test_a_group_that_fails_while_it_is_left(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves is told. Its entry goes at a heartbeat after the cause has gone. stop() waits for nothing."""
    first = await join(await cluster.started("first"), "bad", "good")
    second = await join(await cluster.started("second"), "bad")
    await steady("bad", first, second)
    with monkeypatch.context() as patch:
        breaks(patch, Membership, "_take")
        with pytest.raises(PartitionError, match="BrokenError: boom"):
            await first.leave_group("bad")
        assert len(await cluster.entries("bad")) == 2
        await steady("good", first)
    await steady("bad", second)
    with monkeypatch.context() as patch:
        breaks(patch, Group, "next_step", group_id="good")
        await first.stop()
    assert await cluster.entries("good") == []


async def test_work_whose_revocation_fails_keeps_no_other(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is in flight has to end when the session has."""
    first = await join(await cluster.started("first"), "bad", "good")
    await steady("bad", first)
    await steady("good", first)

    def broken(_at_once: bool) -> None:
        raise BrokenError("boom")

    async with first.hold("bad"):
        [work] = first._registry.memberships["bad"].in_flight.works
        work.revoke = broken
        with pytest.raises(OwnershipLostError):
            async with first.hold("bad"):
                await cluster.expire(first)
                await wait_until(lambda: False)
    await steady("bad", first)
    await steady("good", first)


async def test_what_failed_may_be_long(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text from the tree may be a megabyte long. No log is filled with it."""
    first = await join(await cluster.started("first"), "bad")
    await steady("bad", first)

    def broken(*_: Any) -> None:
        raise BrokenError("boom" * 100_000)

    with monkeypatch.context() as patch:
        patch.setattr(Group, "probed", broken)
        await refused(first)
        assert len(first.status("bad").reason) < 1000
    await steady("bad", first)
