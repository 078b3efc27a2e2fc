"""How often members ask about a group at their heartbeats, in memory and in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aiopartition.backends.memory.backend import MemoryBackend
from aiopartition.group.heartbeats import LONGEST
from aiopartition.testing import PartitionCluster, VirtualTimeLoop

Test = Callable[[PartitionCluster, list[str]], Awaitable[None]]


def run(monkeypatch: pytest.MonkeyPatch, test: Test) -> None:
    """Run ``test`` with a cluster, and the groups that its members ask about."""
    asked: list[str] = []
    generation = MemoryBackend.generation

    async def noted(self: MemoryBackend, group_id: str) -> int | None:
        asked.append(group_id)
        return await generation(self, group_id)

    monkeypatch.setattr(MemoryBackend, "generation", noted)

    async def scenario() -> None:
        async with PartitionCluster() as cluster:
            await test(cluster, asked)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())


async def _beats(cluster: PartitionCluster, asked: list[str], count: int) -> list[int]:
    """The number of questions at each of the next heartbeats."""
    numbers: list[int] = []
    for _ in range(count):
        before = len(asked)
        await cluster.step(cluster.heartbeat)
        numbers.append(len(asked) - before)
    return numbers


def test_a_quiet_group_is_asked_about_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(cluster: PartitionCluster, asked: list[str]) -> None:
        await cluster.join("a", "g")
        assert await _beats(cluster, asked, 3) != [0, 0, 0]
        numbers = await _beats(cluster, asked, 40)
        assert set(numbers) == {0, 1}
        assert sum(numbers[-4 * LONGEST :]) == 4

    run(monkeypatch, test)


def test_a_change_makes_it_often_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(cluster: PartitionCluster, asked: list[str]) -> None:
        await cluster.join("a", "g")
        await _beats(cluster, asked, 40)
        await cluster.join("b", "g")
        await cluster.settle("g")
        await _beats(cluster, asked, 40)
        await cluster.kill("b")
        await cluster.settle("g")
        assert sum(await _beats(cluster, asked, 3)) >= 2

    run(monkeypatch, test)


@pytest.mark.parametrize("quiet_for", [0, 1, 40])
def test_a_lost_notification_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch, quiet_for: int) -> None:
    """P5: it takes a few heartbeats where it took one."""

    async def test(cluster: PartitionCluster, asked: list[str]) -> None:
        member = await cluster.join("a", "g")
        await _beats(cluster, asked, quiet_for)
        cluster.lose_watches("g")
        await cluster.join("b", "g")
        await _beats(cluster, asked, LONGEST + 1)
        assert await member.get_members("g") == ("a", "b")

    run(monkeypatch, test)


def test_a_group_that_is_unknown_is_asked_about_at_each_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are too few members, or an observed group does not exist, so nothing may be quiet about it."""

    async def test(cluster: PartitionCluster, asked: list[str]) -> None:
        member = await cluster.join("a", "g", min_members=2)
        assert (await _beats(cluster, asked, 20))[1:] == [1] * 19
        await member.observe("missing")
        assert (await _beats(cluster, asked, 20))[1:] == [2] * 19

    run(monkeypatch, test)
