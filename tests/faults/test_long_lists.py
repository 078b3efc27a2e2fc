"""A list of more than 16 MB in one group: that group is refused, and no other notices."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
from kazoo.exceptions import NodeExistsError

from aiopartition import BackendError, GroupPolicy, PartitionCoordinator, PartitionError
from aiopartition.backends.base import Marks
from aiopartition.backends.zookeeper.connection import Connection
from aiopartition.backends.zookeeper.frames import MAX_FRAME, LongFrame
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator, session_of
from tests.support.fleet import Fleet

POLICY = GroupPolicy(slots=64, vnodes=16)
EXCLUSIVE = GroupPolicy(slots=64, vnodes=16, exclusive=True)
KEYS = [f"key-{number}" for number in range(100)]
JUNK = [f"{number:05}-{'x' * 4_000}" for number in range(4_400)]
ONCE = 200
"""Nodes in one request, as a server takes 1 MB at once."""


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[ZooKeeperServer]:
    """One for each test, as these trees are large."""
    async with ZooKeeperServer(heap_megabytes=512) as server:
        yield server


@pytest.fixture
async def shell(server: ZooKeeperServer) -> AsyncIterator[Operator]:
    async with Operator(server.address) as operator:
        yield operator


async def litter(operator: Operator, path: str, names: list[str] = JUNK) -> None:
    """Put nodes below ``path``."""
    with suppress(NodeExistsError):
        await operator.create(path)
    for at in range(0, len(names), ONCE):
        transaction = operator._client.transaction()
        for name in names[at : at + ONCE]:
            transaction.create(f"{path}/{name}")
        assert all(isinstance(each, str) for each in await asyncio.to_thread(transaction.commit))


async def clear(operator: Operator, path: str, names: list[str] = JUNK) -> None:
    for at in range(0, len(names), ONCE):
        transaction = operator._client.transaction()
        for name in names[at : at + ONCE]:
            transaction.delete(f"{path}/{name}")
        await asyncio.to_thread(transaction.commit)


async def owns_all(member: PartitionCoordinator, group_id: str) -> bool:
    return await member.extract_my_subset(group_id, KEYS) == KEYS


async def test_the_group_is_refused_and_the_others_go_on(
    fleet: Fleet, server: ZooKeeperServer, shell: Operator, namespace: str,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """While it lasts, the list is asked for once. When the nodes have gone, the group is whole again by itself."""
    lists: list[LongFrame] = []
    dispatch: Callable[[Connection, LongFrame], None] = Connection._dispatch_long

    def count(connection: Connection, long: LongFrame) -> None:
        lists.append(long)
        dispatch(connection, long)

    monkeypatch.setattr(Connection, "_dispatch_long", count)
    member = await fleet.start(server.url(namespace), "a", join=False, heartbeat=0.1, session_timeout=4.0)
    await member.join_group("g", policy=POLICY)
    await member.join_group("other", policy=EXCLUSIVE)
    await wait_until(lambda: owns_all(member, "g"))
    await wait_until(lambda: owns_all(member, "other"))
    session_id = session_of(member).session_id
    caplog.set_level(logging.INFO, "aiopartition.zookeeper")
    caplog.clear()

    members = f"{namespace}/g/members"
    await litter(shell, members)
    await wait_until(lambda: member.status("g").state == "refused", timeout=50.0)
    reason = member.status("g").reason
    assert reason.startswith(f"{members}: ")
    assert f"{MAX_FRAME:,} bytes" in reason
    assert "remove" in reason
    with pytest.raises(BackendError, match="remove"):
        await member.extract_my_subset("g", KEYS)
    seen = len(lists)
    beats: list[int] = []
    heartbeat = member._registry.heartbeat

    async def beat(*, quiet_too: bool = True) -> None:
        await heartbeat(quiet_too=quiet_too)
        beats.append(len(lists))

    monkeypatch.setattr(member._registry, "heartbeat", beat)

    async def thirty_more() -> bool:
        assert await member.extract_my_subset("other", KEYS) == KEYS
        return len(beats) >= 30

    await wait_until(thirty_more)
    assert len(lists) <= seen + 1
    assert "connection lost" not in caplog.text

    await clear(shell, members)
    await wait_until(lambda: owns_all(member, "g"), timeout=50.0)
    assert "connection lost" not in caplog.text
    assert member._registry.backend._session.session_id == session_id  # type: ignore[attr-defined]


async def test_a_backup_from_before_is_restored(fleet: Fleet, server: ZooKeeperServer, namespace: str) -> None:
    """Its transactions are earlier than the one at which the list was too long. The group is whole again."""
    member = await fleet.start(server.url(namespace), "a", join=False, heartbeat=0.1, session_timeout=4.0)
    await member.join_group("g", policy=POLICY)
    await wait_until(lambda: owns_all(member, "g"))
    await server.stop()
    server.back_up()
    await server.start()
    async with Operator(server.address) as shell:
        await litter(shell, f"{namespace}/g/members")
    await wait_until(lambda: member.status("g").state == "refused", timeout=50.0)
    await server.stop()
    server.restore()
    await server.start()
    await wait_until(lambda: member.status("g").state == "steady", timeout=30.0)
    assert await owns_all(member, "g")


@asynccontextmanager
async def slow_line(server: ZooKeeperServer, seconds: float) -> AsyncIterator[int]:
    """The port of a line to ``server`` that carries 64 KB towards the client in so many seconds."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        try:
            while data := await reader.read(64 << 10):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(seconds)
        except OSError:
            pass
        finally:
            writer.close()

    links: set[asyncio.Task[None] | None] = set()
    carriers: set[asyncio.Task[None]] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.add(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection(server.host, server.port)
        both = {
            asyncio.create_task(carry(reader, far_writer, 0.0)),
            asyncio.create_task(carry(far_reader, writer, seconds)),
        }
        carriers.update(both)
        await asyncio.wait(both)

    listener = await asyncio.start_server(link, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for carrier in carriers:  # what is still on its way to the client reaches nobody any more
            carrier.cancel()
        await asyncio.gather(*filter(None, links))
        await listener.wait_closed()


async def test_a_list_that_takes_longer_than_the_session_timeout(
    fleet: Fleet, server: ZooKeeperServer, shell: Operator, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """18 MB in some 11 s, with a timeout of 4 s: nothing is known meanwhile, but connection and session last."""
    async with slow_line(server, 0.04) as port:
        url = f"zookeeper://127.0.0.1:{port}{namespace}"
        member = await fleet.start(url, "a", join=False, heartbeat=0.2, session_timeout=4.0)
        await member.join_group("other", policy=EXCLUSIVE)
        await wait_until(partial(owns_all, member, "other"))
        session_id = session_of(member).session_id
        await litter(shell, f"{namespace}/g/members")
        caplog.set_level(logging.INFO, "aiopartition.zookeeper")
        with pytest.raises(PartitionError):
            await member.join_group("g", policy=POLICY)
        await wait_until(lambda: member.status("other").state == "unknown", timeout=50.0)
        await wait_until(partial(owns_all, member, "other"), timeout=60.0)
        assert session_of(member).session_id == session_id
        assert "connection lost" not in caplog.text
        await member.stop()


async def test_joining_such_a_group_is_refused(
    fleet: Fleet, server: ZooKeeperServer, shell: Operator, namespace: str
) -> None:
    await shell.create(f"{namespace}/g")
    await litter(shell, f"{namespace}/g/members")
    member = await fleet.start(server.url(namespace), "a", join=False, session_timeout=4.0)
    await member.join_group("other", policy=POLICY)
    with pytest.raises(BackendError, match=rf"^{namespace}/g/members: .* remove "):
        await member.join_group("g", policy=POLICY)
    assert await owns_all(member, "other")
    await clear(shell, f"{namespace}/g/members")
    await member.join_group("g", policy=POLICY)
    assert await owns_all(member, "g")


async def test_acknowledgements_that_are_too_many(
    fleet: Fleet, server: ZooKeeperServer, shell: Operator, namespace: str
) -> None:
    """The handoff of that group waits until they have gone; the other groups hand over."""
    member = await fleet.start(server.url(namespace), "a", join=False, heartbeat=0.2, session_timeout=4.0)
    for group_id in ("g", "other"):
        await member.join_group(group_id, policy=EXCLUSIVE, settle=0)
        await wait_until(partial(owns_all, member, group_id))
    # Below the generation that the next member's entry makes: it is found where the nodes are put first.
    handoffs = f"{namespace}/g/handoff"
    second = await fleet.start(server.url(namespace), "b", join=False, heartbeat=0.2, session_timeout=4.0)
    backend = member._registry.backend
    marks = type(backend).marks
    littered: list[str] = []
    littering = asyncio.Lock()

    async def late(group_id: str, generation: int) -> Marks:
        if group_id == "g":
            async with littering:  # neither completes the handoff meanwhile
                if not littered:
                    littered.append(f"{handoffs}/{generation}")
                    await litter(shell, littered[0])
        return await marks(backend, group_id, generation)

    for each in (member, second):
        each._registry.backend.marks = late  # type: ignore[method-assign]
    for group_id in ("g", "other"):
        await second.join_group(group_id, policy=EXCLUSIVE, settle=0)

    def shared(group_id: str) -> bool:
        return all(len(each.status(group_id).members) == 2 and each.status(group_id).state == "steady"
                   for each in (member, second))  # fmt: skip

    await wait_until(lambda: shared("other"))
    await wait_until(lambda: bool(littered) and "remove" in member.status("g").reason, timeout=50.0)
    assert member.connected
    assert shared("other")
    await clear(shell, littered[0])
    await wait_until(lambda: shared("g"), timeout=50.0)


async def test_a_document_that_is_too_long(fleet: Fleet, namespace: str, anyio_backend: str) -> None:
    """On a server that takes requests of any length."""
    async with ZooKeeperServer(heap_megabytes=512, properties={"jute.maxbuffer": 64 << 20}) as server:
        member = await fleet.start(server.url(namespace), "a", join=False, session_timeout=4.0)
        await member.join_group("other", policy=POLICY)
        async with Operator(server.address) as operator:
            await operator.create(f"{namespace}/g", b"x" * (MAX_FRAME + 1))
        with pytest.raises(BackendError, match=rf"^{namespace}/g: .* remove "):
            await member.join_group("g", policy=POLICY)
        assert await owns_all(member, "other")
