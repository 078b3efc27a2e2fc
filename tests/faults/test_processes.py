"""Members in processes of their own: crash, farewell, restart, being stopped and being blocked."""

import asyncio
import time
from collections.abc import AsyncIterator
from statistics import median

import pytest

from aiopartition import OwnershipUnknownError
from tests.faults.conftest import Measure
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator
from tests.support.fleet import Fleet
from tests.support.lookout import overlap
from tests.support.watched import GROUP, PACKAGES, WatchedMember, packages_split

PATIENCE = 10.0
"""Seconds of a session that is to outlive the start of a Python, even where much else runs."""


@pytest.fixture
async def patient(anyio_backend: str) -> AsyncIterator[ZooKeeperServer]:
    """A server that grants such sessions. By default the longest is 20 ticks, which are 4 s here."""
    async with ZooKeeperServer(settings={"maxSessionTimeout": int(1000 * PATIENCE)}) as server:
        yield server


@pytest.fixture
async def four(fleet: Fleet, url: str) -> list[WatchedMember]:
    """Four processes that share the packages of this machine."""
    members = [await fleet.process(url, name) for name in ("a", "b", "c", "d")]
    await packages_split(*members)
    return members


class TestFourProcesses:
    async def test_split_a_real_list_exactly(self, four: list[WatchedMember]) -> None:
        """Each package is handed out by exactly one of four processes, and each process has a fair share."""
        assert sum(len(member.mine) for member in four) == len(PACKAGES)
        assert max(len(member.mine) for member in four) < 1.5 * len(PACKAGES) / len(four)
        assert [member.errors for member in four] == [[], [], [], []]

    async def test_a_crash_is_made_good_with_the_session_timeout(
        self, four: list[WatchedMember], measure: Measure
    ) -> None:
        """After ``kill -9`` of one process the others cover everything again within 3 s, in one step."""
        *others, crashed = four
        killed = await crashed.kill()
        measure("crash to exact split", await packages_split(*others) - killed)
        assert await packages_split(*others) - killed < 3.0
        assert all(len(member.since(killed)) == 2 for member in others)

    async def test_a_farewell_is_made_good_at_once(self, four: list[WatchedMember], measure: Measure) -> None:
        """After ``stop()`` in one process the others cover everything again within 0.3 s, and nothing that it had
        is handed out anew before it has let go."""
        delays: list[float] = []
        while len(four) > 1:
            leaving = four.pop()
            stopping = await leaving.stop()
            delays.append(await packages_split(*four) - stopping)
            await wait_until(lambda: not leaving.mine)  # noqa: B023
            measure("stop to exact split", delays[-1])
            assert overlap(leaving.sightings, (seen for member in four for seen in member.since(stopping)[1:])) < 0
        assert median(delays) < 0.3

    async def test_a_restart_with_the_same_id_moves_nothing(
        self, patient: ZooKeeperServer, fleet: Fleet, namespace: str
    ) -> None:
        """Killed and restarted at once with the same id, a member gets its packages back, and no other notices:
        neither when it comes back nor when the session of its former self expires."""
        url, members = patient.url(namespace), f"{namespace}/{GROUP}/members"
        four = [await fleet.process(url, name, session_timeout=PATIENCE) for name in ("a", "b", "c", "d")]
        await packages_split(*four)
        *others, crashed = four
        before = {member: member.mine for member in four}
        async with Operator(patient.address) as operator:
            moment = await crashed.kill()
            restarted = await fleet.process(url, crashed.member_id)
            await restarted.hears("joined")
            await wait_until(lambda: restarted.mine == before[crashed], what=lambda: f"its packages at {restarted}")
            assert len(await operator.children(members)) == 5

            async def former_self_is_gone() -> bool:
                return len(await operator.children(members)) == 4

            await wait_until(former_self_is_gone, timeout=30.0, interval=0.05)
        await packages_split(*others, restarted)
        for member in others:
            assert {seen.mine for seen in member.since(moment)} == {before[member]}
        assert {seen.mine for seen in restarted.sightings} <= {before[crashed], frozenset()}

    async def test_a_second_process_with_the_same_id_supersedes_the_first(
        self, fleet: Fleet, operator: Operator, url: str, namespace: str
    ) -> None:
        """Of two live processes with one id the later one works. The earlier one raises ``MemberSupersededError``,
        hands out nothing, and takes its entry away."""
        first, other = await fleet.process(url, "a"), await fleet.process(url, "b")
        await packages_split(first, other)
        before = first.mine
        moment = time.monotonic()
        second = await fleet.process(url, "a")
        await packages_split(second, other)
        await wait_until(lambda: first.errors, what=lambda: f"an error of {first}")
        assert first.errors[0][0] == "MemberSupersededError"
        assert "'a'" in first.errors[0][1]
        assert not first.mine
        assert second.mine == before
        assert {seen.mine for seen in other.since(moment)} == {other.mine}

        async def its_entry_is_gone() -> bool:
            names = await operator.children(f"{namespace}/{GROUP}/members")
            return [name.split(";")[:3] for name in names] == [["a", "1", "2"], ["b", "1", "1"]]

        await wait_until(its_entry_is_gone, interval=0.02)
        assert second.errors == other.errors == []


class TestStoppedProcess:
    async def test_hands_out_nothing_of_another_when_it_wakes(self, fleet: Fleet, url: str, measure: Measure) -> None:
        """A process that was stopped (SIGSTOP) for longer than its session hands out nothing when it wakes, until
        it has joined again. What it had was let go of before the other took it over."""
        sleeper, other = await fleet.process(url, "sleeper"), await fleet.process(url, "other")
        await packages_split(sleeper, other)
        before, seen = sleeper.generation, len(sleeper.sightings)
        sleeper.freeze()
        taken_over = await packages_split(other)
        await wait_until(lambda: time.monotonic() > taken_over + 0.2)
        woken = time.monotonic()
        sleeper.thaw()
        again = await packages_split(sleeper, other)
        measure("waking to exact split", again - woken)

        asleep, awake = sleeper.sightings[:seen], sleeper.sightings[seen:]
        assert overlap(asleep, [sight for sight in other.sightings if sight.first >= taken_over]) < 0
        assert asleep[-1].last < woken < awake[0].first
        assert not awake[0].mine
        assert all(sight.generation is None or sight.generation > (before or 0) for sight in awake)
        # From then on two are at different generations for as long as news travel.
        measure("overlap when it came back", overlap(awake, other.sightings))
        assert overlap(awake, other.sightings) < 0.5


class TestBlockedLoop:
    async def test_for_longer_than_the_session(self, fleet: Fleet, url: str, measure: Measure) -> None:
        """A member whose event loop was blocked until others took over hands out nothing afterwards, from the first
        moment on, and then joins again."""
        other = await fleet.process(url, "other")
        await packages_split(other)
        blocked = await fleet.start(url, "blocked", join=False, on_unknown="raise")
        await blocked.join_group(GROUP)
        await wait_until(lambda: other.mine and len(other.mine) < len(PACKAGES), what=lambda: f"a split with {other}")
        mine = await blocked.extract_my_subset(GROUP, PACKAGES)
        iteration = blocked.my_subset(GROUP, PACKAGES * 2)
        assert await anext(iteration) == mine[0]

        time.sleep(2.7)  # noqa: ASYNC251
        with pytest.raises(OwnershipUnknownError):
            await blocked.extract_my_subset(GROUP, PACKAGES)
        with pytest.raises(OwnershipUnknownError):
            await anext(iteration)
        with pytest.raises(OwnershipUnknownError):
            await blocked.view(GROUP)

        woken = time.monotonic()

        async def has_its_own_again() -> bool:
            try:
                return await blocked.extract_my_subset(GROUP, PACKAGES) == mine
            except OwnershipUnknownError:
                return False

        await wait_until(has_its_own_again, interval=0.001)
        measure("end of the block to its own again", time.monotonic() - woken)
        await wait_until(lambda: other.mine == set(PACKAGES) - set(mine), what=lambda: f"a split with {other}")
        # The other had taken everything meanwhile, and news of it has only now been read.
        assert any(seen.mine == set(PACKAGES) for seen in other.since(woken))

    async def test_for_longer_than_the_lease(self, fleet: Fleet, url: str, measure: Measure) -> None:
        """A member whose event loop was blocked for longer than its lease, but not for so long that its session
        ended, hands out nothing until a server has answered it; then it goes on at the same generation."""
        other = await fleet.process(url, "other")
        await packages_split(other)
        blocked = await fleet.start(url, "blocked", join=False, heartbeat=0.1)
        await blocked.join_group(GROUP)
        await wait_until(lambda: other.mine and len(other.mine) < len(PACKAGES), what=lambda: f"a split with {other}")
        view = await blocked.view(GROUP)
        mine = await blocked.extract_my_subset(GROUP, PACKAGES)
        blocking = time.monotonic()
        time.sleep(1.5)  # noqa: ASYNC251
        assert await blocked.extract_my_subset(GROUP, PACKAGES) == []
        woken = time.monotonic()

        async def has_its_own_again() -> bool:
            return await blocked.extract_my_subset(GROUP, PACKAGES) == mine

        await wait_until(has_its_own_again, interval=0.001)
        measure("end of the block to its own again", time.monotonic() - woken)
        assert await blocked.view(GROUP) == view
        await asyncio.sleep(0.1)  # for the other's news to arrive, if there were any
        assert {seen.mine for seen in other.since(blocking)} == {frozenset(PACKAGES) - set(mine)}
