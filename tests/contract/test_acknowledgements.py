"""Exclusive groups: nobody leaves acknowledgements behind. A session that owns too many nodes cannot be ended."""

import logging
from typing import Any

import pytest

from aiopartition import BackendError, PartitionCoordinator
from aiopartition.backends.base import Mark, Progress
from tests.contract.cluster import Cluster
from tests.contract.exclusive import join, joined
from tests.support import wait_until
from tests.support.split import steady

CYCLES = 40


async def none_are_left(cluster: Cluster) -> None:
    left: list[str] = []

    async def none() -> bool:
        left[:] = await cluster.acknowledgements("g")
        return not left

    await wait_until(none, what=lambda: f"{len(left)} are left: {left}")


async def test_joining_and_leaving_over_and_over(cluster: Cluster) -> None:
    """Whether the handoffs between came to an end or were overtaken."""
    first, second = await joined(cluster, "first", session_timeout=10.0), await cluster.started("second")
    for cycle in range(CYCLES):
        await join(second)
        if cycle % 10 == 0:
            await steady("g", first, second)
        await second.leave_group("g")
    await steady("g", first)
    await none_are_left(cluster)


async def test_a_crowd(cluster: Cluster) -> None:
    """Of members that come together, and each overtake the handoff before."""
    members = [await joined(cluster, f"m{number}", session_timeout=10.0) for number in range(6)]
    await steady("g", *members)
    await none_are_left(cluster)
    for member in members[::2]:
        await member.leave_group("g")
    await steady("g", *members[1::2])
    await none_are_left(cluster)


async def test_leaving_in_the_midst_of_a_handoff(cluster: Cluster) -> None:
    """When leave_group() returns, nothing of ours is left, though the others still wait."""
    first, second = await joined(cluster, "first"), await cluster.started("second")
    await steady("g", first)
    async with first.hold("g"):
        await join(second)
        await wait_until(lambda: len_of_waiting(second) == 1)
        [ours] = await acknowledged_by(cluster, "second")
        assert "second" in ours
        await second.leave_group("g")
        assert await acknowledged_by(cluster, "second") == []
    await steady("g", first)
    await none_are_left(cluster)


async def test_stopping_in_the_midst_of_a_handoff(cluster: Cluster) -> None:
    """Acknowledgements do not have to wait for the session's end."""
    first, second = await joined(cluster, "first"), await cluster.started("second")
    await steady("g", first)
    retracted: list[int] = []
    unmark = second._registry.backend.unmark

    async def count(group_id: str, mark: Mark) -> None:
        await unmark(group_id, mark)
        retracted.append(mark.generation)

    second._registry.backend.unmark = count  # type: ignore[method-assign]
    async with first.hold("g"):
        await join(second)
        await wait_until(lambda: len_of_waiting(second) == 1)
        generation = second.status("g").generation
        await second.stop()
    assert retracted == [generation]


async def test_an_entry_that_an_operator_deletes(cluster: Cluster) -> None:
    """Its acknowledgement is deleted by the member that has joined anew."""
    first, second = await joined(cluster, "first"), await cluster.started("second")
    await steady("g", first)
    async with first.hold("g"):
        await join(second)
        await wait_until(lambda: len_of_waiting(second) == 1)
        before = await acknowledged_by(cluster, "second")
        [entry] = [name for name in await cluster.entries("g") if name.startswith("second;")]
        await cluster.delete_entry("g", entry)

        async def replaced() -> bool:
            after = await acknowledged_by(cluster, "second")
            return len(after) == len(before) == 1 and after != before

        await wait_until(replaced)
    await steady("g", first, second)
    await none_are_left(cluster)


async def test_a_superseded_member(cluster: Cluster) -> None:
    """It takes no part any more, and so leaves nothing."""
    first, older = await joined(cluster, "first"), await joined(cluster, "x")
    await steady("g", first, older)
    newer = await joined(cluster, "x")
    await wait_until(lambda: older.status("g").state == "refused")
    await steady("g", first, newer)
    await none_are_left(cluster)


async def test_who_may_not_delete_goes_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once; handoffs are completed, the group can be left, and the next to complete a handoff tidies up."""
    first, second = await joined(cluster, "first"), await cluster.started("second")

    async def refuse(*_: Any) -> None:
        raise BackendError("refused", "/somewhere")

    monkeypatch.setattr(second._registry.backend, "unmark", refuse)
    for _ in range(3):
        await join(second)
        await steady("g", first, second)
        await second.leave_group("g")
        await steady("g", first)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([text for text in warnings if "left behind" in text]) <= 3  # one for each participation
    await none_are_left(cluster)


async def test_a_connection_that_is_lost_on_the_way(cluster: Cluster) -> None:
    """What was asked for and not answered is deleted too."""
    first, second = await joined(cluster, "first", session_timeout=10.0), await joined(cluster, "second")
    await steady("g", first, second)
    for _ in range(3):
        await cluster.cut_off(first)
        await second.leave_group("g")
        await cluster.reconnect(first)
        await join(second)
        await cluster.cut_off(first)
        await cluster.reconnect(first)
        await steady("g", first, second)
        await none_are_left(cluster)


def len_of_waiting(member: PartitionCoordinator) -> int:
    return len(member.status("g").waiting_for)


async def acknowledged_by(cluster: Cluster, name: str) -> list[str]:
    return [each for each in await cluster.acknowledgements("g") if name in each]


async def test_a_change_of_the_progress_while_it_is_read(cluster: Cluster) -> None:
    """It is read again: the answer on its way may not show that change."""
    first, second = await joined(cluster, "first"), await joined(cluster, "second")
    await steady("g", first, second)
    registry, reads = first._registry, 0
    progress = registry.backend.progress

    async def overtaken(group_id: str, *, create: bool = True) -> Progress:
        nonlocal reads
        reads += 1
        found = await progress(group_id, create=create)
        if reads == 1:
            registry.group_activated("g")
        return found

    registry.backend.progress = overtaken  # type: ignore[method-assign]
    registry.group_activated("g")
    await wait_until(lambda: reads == 2)
