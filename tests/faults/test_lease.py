"""Where the lease of an exclusive group could outlast the session: servers that differ, and that are cut off."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Self

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.faults.conftest import Measure
from tests.support import Ensemble, Frame, Proxy, ZooKeeperServer, wait_until
from tests.support.admin import session_of
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.work import Work, longest_overlap

EXCLUSIVE = GroupPolicy(exclusive=True)
TRANSACTION = 14


@pytest.fixture
async def generous(anyio_backend: str) -> AsyncIterator[ZooKeeperServer]:
    """A server that grants long timeouts, until it is restarted with other settings."""
    async with ZooKeeperServer(settings={"maxSessionTimeout": 30_000}) as server:
        yield server


@pytest.fixture
async def parted_ensemble(anyio_backend: str) -> AsyncIterator[Ensemble]:
    """Servers that can be cut off from one another. A tick is a quarter of the usual one, all else as usual."""
    async with Ensemble(tick_time=500, settings={"syncLimit": 5, "initLimit": 10}, partitions=True) as ensemble:
        yield ensemble


class Pair:
    """Two members of an exclusive group, at work: one that is going to be in trouble, and another."""

    def __init__(self, troubled: PartitionCoordinator, other: PartitionCoordinator) -> None:
        self.troubled = Work(troubled, GROUP, KEYS)
        self.other = Work(other, GROUP, KEYS)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.troubled)
        await self._stack.enter_async_context(self.other)
        await self.at_work()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def at_work(self) -> None:
        """Wait until both work on their shares, and nobody on anything else."""

        def shared_out() -> bool:
            shares = [[work.under_way(way) for way in ("run", "hold")] for work in (self.troubled, self.other)]
            return all(run == hold and run for run, hold in shares) and (
                sorted([*shares[0][0], *shares[1][0]]) == sorted(KEYS)
            )

        await wait_until(shared_out, timeout=20.0)

    async def taken_over(self, measure: Measure, *, trouble: float) -> None:
        """Wait until the other works on everything and the troubled one on nothing: it has let go before."""
        await wait_until(
            lambda: (
                all(len(self.other.under_way(way)) == len(KEYS) for way in ("run", "hold"))
                and not any(self.troubled.under_way(way) for way in ("run", "hold"))
            ),
            timeout=45.0,
        )
        lost = {key: max(until for _, until in spans) for key, spans in self.troubled.spans.items() if spans}
        let_go = max(lost.values())
        taken = min(since for key in lost for since, _ in self.other.all_spans(key) if since > trouble)
        both = self.overlap()
        measure("let go after", let_go - trouble)
        measure("taken over after", taken - trouble)
        measure("both at work on one key for", both)
        assert both < 0

    def overlap(self) -> float:
        """For how long both worked on one key."""
        return longest_overlap(self.troubled, self.other, KEYS)


async def two_members(fleet: Fleet, url: str, other_url: str, *, session_timeout: float) -> Pair:
    """Two members, of which the first is the one to get into trouble."""
    troubled = await fleet.start(url, "troubled", session_timeout=session_timeout, policy=EXCLUSIVE)
    other = await fleet.start(other_url, "other", session_timeout=session_timeout, policy=EXCLUSIVE)
    return Pair(troubled, other)


class TestServerThatGrantsLess:
    """A session is resumed at a server that grants less than it had: what was agreed before counts no longer."""

    @pytest.mark.parametrize("grants", [[2.0], [8.0, 2.0], [2.0, 30.0]], ids=str)
    async def test_work_ends_in_time(
        self, fleet: Fleet, generous: ZooKeeperServer, namespace: str, grants: list[float], measure: Measure
    ) -> None:
        """The network fails after the member has gone on with the shorter lease: its work ends with that."""
        async with Proxy(generous.host, generous.port) as network:
            pair = await two_members(fleet, network.url(namespace), generous.url(namespace), session_timeout=30.0)
            async with pair:
                for seconds in grants:
                    before = network.connections
                    await generous.restart_granting(seconds)
                    for member in fleet.members:
                        await wait_until(lambda: network.connections > before and member.connected)  # noqa: B023
                        await member.heartbeat()
                    await pair.at_work()
                assert pair.troubled.coordinator.session_timeout == min(grants)
                with network.silent():
                    await pair.taken_over(measure, trouble=time.monotonic())

    @pytest.mark.parametrize("grants", [[2.0], [8.0, 2.0], [2.0, 30.0]], ids=str)
    async def test_a_handshake_is_enough(
        self, fleet: Fleet, generous: ZooKeeperServer, namespace: str, grants: list[float], measure: Measure
    ) -> None:
        """One handshake comes through after each restart, and nothing else does: the lease of before ends as the least
        of the new timeouts has it."""
        async with Proxy(generous.host, generous.port) as network:
            pair = await two_members(fleet, network.url(namespace), generous.url(namespace), session_timeout=30.0)
            async with pair:
                session = session_of(pair.troubled.coordinator)
                answered = allowed = 0

                def handshakes_only(frame: Frame) -> bool:
                    nonlocal answered
                    passes = frame.is_handshake and answered < allowed
                    answered += passes and frame.towards == "client"
                    return passes

                with network.on_frame(handshakes_only):
                    trouble = time.monotonic()
                    for allowed, seconds in enumerate(grants, start=1):
                        await generous.restart_granting(seconds)
                        await wait_until(lambda: answered == allowed)  # noqa: B023
                    await wait_until(lambda: session.timeout == min(grants))
                    await pair.taken_over(measure, trouble=trouble)


class TestServersApart:
    """Servers that are cut off from one another go on answering their clients for a while."""

    @pytest.mark.parametrize("role", ["follower", "leader"])
    async def test_only_a_quorum_renews_the_lease(
        self, fleet: Fleet, parted_ensemble: Ensemble, namespace: str, role: str, measure: Measure
    ) -> None:
        """A server and the member that reaches no other are cut off: the member has let go before the others, who are
        a quorum, give its session up."""
        alone = await parted_ensemble.leader() if role == "leader" else (await parted_ensemble.followers())[0]
        rest = ",".join(server.address for server in parted_ensemble.servers if server is not alone)
        pair = await two_members(fleet, alone.url(namespace), f"zookeeper://{rest}{namespace}", session_timeout=2.5)
        async with pair:
            with parted_ensemble.part(alone):
                await pair.taken_over(measure, trouble=time.monotonic())
            await pair.at_work()
            assert pair.overlap() < 0

    async def test_a_member_finds_the_others(
        self, fleet: Fleet, parted_ensemble: Ensemble, namespace: str, measure: Measure
    ) -> None:
        """A follower is cut off and its member is not: the member leaves it for another server while its session
        lives, so nobody takes over what it has."""
        alone = (await parted_ensemble.followers())[0]
        async with Proxy(alone.host, alone.port) as network:
            rest = ",".join(server.address for server in parted_ensemble.servers if server is not alone)
            other_url = f"zookeeper://{rest}{namespace}"
            pair = await two_members(
                fleet, f"zookeeper://{network.address},{rest}{namespace}", other_url, session_timeout=6.0
            )
            session = session_of(pair.troubled.coordinator)
            async with pair:
                while session.peer is None or session.peer.port != network.port:
                    before, peer = network.connections, session.peer
                    if peer is not None:
                        assert session._connection is not None
                        session._connection.abort("try another")
                    await wait_until(lambda: network.connections > before or session.peer not in (None, peer))  # noqa: B023
                await pair.at_work()
                session_id, generation = session.session_id, (await pair.other.coordinator.view(GROUP)).generation
                with parted_ensemble.part(alone):
                    parted = time.monotonic()
                    await wait_until(lambda: session.peer is not None and session.peer.port != network.port)
                    measure("cut off to connected elsewhere", time.monotonic() - parted)
                    await pair.at_work()
                    assert session.session_id == session_id
                    assert (await pair.other.coordinator.view(GROUP)).generation == generation
            assert pair.overlap() < 0


class TestOtherGroups:
    async def test_go_by_any_answer(self, fleet: Fleet, network_url: str, network: Proxy) -> None:
        """A coordinator that also takes part in an exclusive group: the other group's view holds on all the while that
        the exclusive one is joined, at work and left, and only the exclusive one costs writes at rest."""
        member = await fleet.start(network_url, "a", session_timeout=4.0)
        questions = 0

        def count(frame: Frame) -> None:
            nonlocal questions
            questions += frame.opcode == TRANSACTION

        with network.on_frame(count):
            changes = fleet.changes(member)
            await wait_until(lambda: changes)
            pings = network.traffic["server"]
            await wait_until(lambda: network.traffic["server"] > pings + 500)
            assert questions == 0
            await member.join_group("exclusive", policy=EXCLUSIVE)
            await wait_until(lambda: questions >= 3)
            assert member.status("exclusive").lease_left > 0
            await member.leave_group("exclusive")
            assert [change.view is not None for change in changes] == [True]
