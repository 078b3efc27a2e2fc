"""Nodes of kinds that only ZooKeeper has, with the names of entries, and what may not be removed."""

from typing import Any, Final

import pytest
from aiozk import protocol  # pyright: ignore[reportMissingTypeStubs]
from aiozk.protocol.create import Create2Response  # pyright: ignore[reportMissingTypeStubs]
from aiozk.protocol.primitives import Long  # pyright: ignore[reportMissingTypeStubs]
from kazoo.security import make_acl

from aiopartition import PartitionCoordinator
from aiopartition.backends.zookeeper.codec import Operation
from aiopartition.backends.zookeeper.nodes import DELETIONS, is_session
from aiopartition.group.entry import Entry
from tests.contract.cluster import _Operator
from tests.faults.rights import AGENT, url_of
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator, rights
from tests.support.fleet import Fleet
from tests.support.logged import logged
from tests.support.split import steady

_protocol: Any = protocol
GHOST: Final = Entry("ghost", 1, 1, "0" * 16).name
CONTAINER, TTL = 4, 5  # CreateMode.java


class CreateContainer(_protocol.CreateRequest):  # type: ignore[misc]
    """The request that makes a container, which vanishes some time after its last child."""

    opcode = 19


class CreateTTL(_protocol.CreateRequest):  # type: ignore[misc]
    """The request that makes a node with a time to live."""

    opcode = 21
    parts = (*_protocol.CreateRequest.parts, ("ttl", Long))


# Known to aiozk by their definition.
type("ContainerCreated", (Create2Response,), {"opcode": CreateContainer.opcode})
type("TTLCreated", (Create2Response,), {"opcode": CreateTTL.opcode})


async def member_of(fleet: Fleet, url: str, member_id: str, group_id: str = "g") -> PartitionCoordinator:
    member = await fleet.start(url, member_id, join=False, heartbeat=0.2)
    await member.join_group(group_id, settle=0)
    return member


async def removed(operator: Operator, members: str) -> None:
    async def gone() -> bool:
        return GHOST not in await operator.children(members)

    await wait_until(gone)


@pytest.mark.parametrize("children", [1, 2 * DELETIONS + 1])
async def test_a_node_with_others_below_it(
    fleet: Fleet, url: str, namespace: str, operator: Operator, children: int
) -> None:
    """An entry has none: they go with it, though not all in one breath."""
    member = await member_of(fleet, url, "a")
    await operator.create(f"{namespace}/g/members/{GHOST}/below/further")
    for number in range(1, children):
        await operator.create(f"{namespace}/g/members/{GHOST}/{number}")
    await removed(operator, f"{namespace}/g/members")
    await steady("g", member)


@pytest.mark.parametrize("kind", ["container", "time to live"])
async def test_a_node_of_another_kind(anyio_backend: str, fleet: Fleet, namespace: str, kind: str) -> None:
    """It has an owner, too, but that is a number which says of what kind it is."""
    async with ZooKeeperServer(properties={"zookeeper.extendedTypesEnabled": "true"}) as server:
        member = await member_of(fleet, server.url(namespace), "a")
        create: Any = CreateContainer if kind == "container" else CreateTTL
        path = f"{namespace}/g/members/{GHOST}"
        request: Any = create(path=path, data=b"", acl=[_protocol.UNRESTRICTED_ACCESS], flags=CONTAINER)
        if kind != "container":
            request.flags, request.ttl = TTL, 3_600_000
        async with _Operator(server) as operator:
            await operator.send(Operation(request, lambda _: None))
        async with Operator(server.address) as shell:
            await removed(shell, f"{namespace}/g/members")
        await steady("g", member)
        await member.stop()


@pytest.mark.parametrize(
    ("owner", "session"),
    [
        (0, False),
        (-(1 << 63), False),
        (0xFF0000_0000000001 - (1 << 64), False),
        (0xFF0000_FFFFFFFFFF - (1 << 64), False),
        (1, True),
        (0x1_0000_1234_0001, True),
        (0xFE00_1234_5678_0001 - (1 << 64), True),
        (0xFF12_1234_5678_0001 - (1 << 64), True),
    ],
    ids=["none", "container", "time to live", "the longest", "small", "server 1", "server 254", "server 255"],
)
def test_who_is_an_owner(owner: int, session: bool) -> None:
    """Sessions' numbers begin with that of their server, so they may be negative."""
    assert is_session(owner) == session


async def test_a_node_that_must_not_be_removed(
    fleet: Fleet,
    guarded_server: ZooKeeperServer,
    administrator: Operator,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is said once by each, nobody is refused for it; and once it is allowed, it is done."""
    await administrator.create(namespace)
    members = f"{namespace}/g/members"
    first = await member_of(fleet, url_of(guarded_server, namespace), "a")
    second = await member_of(fleet, url_of(guarded_server, namespace), "b")
    await steady("g", first, second)
    whole = await administrator.get_acl(members)
    await administrator.set_acl(members, [make_acl("world", "anyone", create=True, read=True)])
    for name in (GHOST, Entry("b", 1, 0, "0" * 16).name):
        await administrator.create(f"{members}/{name}", acl=[rights(AGENT, "crwda")])
    await steady("g", first, second, ids=["a", "b", "ghost"])
    await wait_until(lambda: len(logged(caplog)) >= 2)
    for _ in range(5):
        await first._registry.heartbeat()
        await second._registry.heartbeat()
    assert first.status("g").state == second.status("g").state == "steady"
    assert len(logged(caplog)) == 2
    assert all("cannot be inspected" in text and "DELETE denied" in text for text in logged(caplog))
    await administrator.set_acl(members, whole)
    await steady("g", first, second)
    assert len(await administrator.children(members)) == 2
