"""The end of a session with as many ephemeral nodes as it may have: servers can read what they wrote of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator, SessionFullError
from aiopartition.backends.base import Mark
from aiopartition.backends.ephemerals import MAX_BYTES, PORTION
from aiopartition.backends.zookeeper.session import Session
from tests.support import Ensemble, OpenProxy, ZooKeeperServer, wait_until
from tests.support.admin import session_of
from tests.support.fleet import Fleet

pytestmark = pytest.mark.timeout(240)  # they make thousands of nodes

MEMBER = "ü" * 500
"""1,000 bytes, and three times as many in a path."""
GROUPS = [f"{number:04}{'ö' * 498}" for number in range(348)]
POLICY = GroupPolicy(slots=16, vnodes=4)
EXCLUSIVE = GroupPolicy(slots=16, vnodes=4, exclusive=True)


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[ZooKeeperServer]:
    """One for each test: it may not come up again."""
    async with ZooKeeperServer() as server:
        yield server


async def join(member: PartitionCoordinator, group_ids: list[str], policy: GroupPolicy) -> list[str]:
    """Join groups, and return those that were not refused."""
    joined: list[str] = []
    for group_id in group_ids:
        try:
            await member.join_group(group_id, policy=policy, settle=0)
        except SessionFullError:
            continue
        joined.append(group_id)
    return joined


async def fill(member: PartitionCoordinator) -> None:
    """Make as many entries and acknowledgements as the session may have."""
    joined = await join(member, GROUPS, EXCLUSIVE)
    assert len(joined) < len(GROUPS)
    backend, generation = member._registry.backend, 1 << 40
    with pytest.raises(SessionFullError):
        while True:
            for group_id in joined:
                await backend.mark(group_id, Mark(generation, "x" * 3_000))
            generation += 1
    assert MAX_BYTES - 7_000 < session_of(member).ephemerals.used <= MAX_BYTES


async def serves(fleet: Fleet, server: ZooKeeperServer, namespace: str) -> None:
    """The server comes up with all that it knows, and a member can join."""
    await server.restart()
    member = await fleet.start(server.url(namespace), "afterwards", join=False)
    await member.join_group("afterwards", settle=0)
    await wait_until(lambda: len(member.status("afterwards").members) == 1)


async def test_a_farewell_with_many_groups(
    fleet: Fleet, server: ZooKeeperServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entries are deleted in portions, and what is left for the end of the session is one of these."""
    at_the_end: list[int] = []
    close = Session.close

    async def note(session: Session) -> None:
        at_the_end.append(session.ephemerals.used)
        await close(session)

    member = await fleet.start(server.url(namespace), MEMBER, join=False)
    joined = await join(member, GROUPS, POLICY)
    assert 200 < len(joined) < 260
    used = session_of(member).ephemerals.used
    assert MAX_BYTES - 7_000 < used <= MAX_BYTES
    listed = sum(4 + len(path.encode()) for _, path in await server.ephemerals())
    assert used == listed
    monkeypatch.setattr(Session, "close", note)
    began = asyncio.get_running_loop().time()
    await member.stop()
    assert asyncio.get_running_loop().time() - began < 3.0
    assert await server.ephemerals() == set()
    assert [left <= PORTION for left in at_the_end] == [True]
    monkeypatch.undo()
    await serves(fleet, server, namespace)


async def test_a_farewell_with_all_that_a_session_may_have(
    fleet: Fleet, server: ZooKeeperServer, namespace: str
) -> None:
    member = await fleet.start(server.url(namespace), MEMBER, join=False)
    await fill(member)
    await member.stop()
    assert await server.ephemerals() == set()
    await serves(fleet, server, namespace)


async def test_expiry_with_all_that_a_session_may_have(
    fleet: Fleet, server: ZooKeeperServer, proxy: OpenProxy, namespace: str
) -> None:
    """Nobody has divided it into portions: the server writes all paths at once, and can read them."""
    network = await proxy(server)
    member = await fleet.start(network.url(namespace), MEMBER, join=False)
    await fill(member)
    network.refuse()
    network.reset()

    async def expired() -> bool:
        return await server.ephemerals() == set()

    await wait_until(expired, timeout=20.0)
    await serves(fleet, server, namespace)


async def test_expiry_on_three_servers(fleet: Fleet, proxy: OpenProxy, namespace: str) -> None:
    """The leader sends that transaction to the others, and each of them reads it at its next start."""
    async with Ensemble() as ensemble:
        network = await proxy(await ensemble.leader())
        member = await fleet.start(network.url(namespace), MEMBER, join=False)
        await fill(member)
        network.refuse()
        network.reset()

        async def expired() -> bool:
            return all([await server.ephemerals() == set() for server in ensemble.servers])

        await wait_until(expired, timeout=20.0)
        for server in ensemble.servers:
            await server.stop()
        await ensemble.heal()
        after = await fleet.start(ensemble.url(namespace), "afterwards", join=False)
        await after.join_group("afterwards", settle=0)
        await wait_until(lambda: len(after.status("afterwards").members) == 1)


async def test_nodes_that_somebody_else_has_deleted(fleet: Fleet, server: ZooKeeperServer, namespace: str) -> None:
    """A portion with one of these cannot be deleted at once. Its nodes are deleted one by one."""
    member = await fleet.start(server.url(namespace), MEMBER, join=False)
    backend = member._registry.backend
    for group_id in GROUPS[:60]:
        await backend.ensure_group(group_id, b"{}")
        assert await backend.enter(group_id, "entry" * 600, b"")
    ephemerals = session_of(member).ephemerals
    gone = f"{namespace}/gone/members/gone"
    with ephemerals.entry(gone, marks=False):
        pass
    before = ephemerals.used
    assert before > 3 * PORTION
    await backend._nodes.delete_ephemerals()  # type: ignore[attr-defined]
    assert 0 < ephemerals.used <= PORTION
    assert gone not in ephemerals
    assert ephemerals.used == sum(4 + len(path.encode()) for _, path in await server.ephemerals())
