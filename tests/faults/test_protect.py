"""The command that gives nodes to those who may take part, while members go on."""

import asyncio
from contextlib import suppress

import pytest
from kazoo.exceptions import NoAuthError

from aiopartition import Acl, GroupPolicy
from tests.faults.rights import AGENT, SUPER_USER, url_of
from tests.support import ZooKeeperServer
from tests.support.admin import Operator, rights
from tests.support.command_line import command, data
from tests.support.fleet import GROUP, Fleet

AS_AGENT = {"AIOPARTITION_AUTH": ":".join(AGENT)}
EXCLUSIVE = GroupPolicy(exclusive=True, slots=64, vnodes=16)


async def paths_below(administrator: Operator, path: str) -> list[str]:
    found = [path]
    for name in await administrator.children(path):
        found += await paths_below(administrator, f"{path}/{name}")
    return found


async def test_migration(
    fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str
) -> None:
    """The way from no credentials to strict ones, as the page tells it: no key moves but by the members' restarts, and
    in no step is the work of an exclusive group held up."""
    url, everybody = url_of(guarded_server, namespace), Acl(("world:anyone",))
    await fleet.start(url, "a", policy=EXCLUSIVE)
    await fleet.start(url, "b")
    await fleet.settle()

    for member_id, acl in [("a", everybody), ("b", everybody), ("a", None), ("b", None)]:
        [old] = [each for each in fleet.members if each.member_id == member_id]
        await old.stop()
        fleet.members.remove(old)
        await fleet.start(url, member_id, auth=AGENT, acl=acl)
        await fleet.settle()

    generation = (await fleet.members[0].view(GROUP)).generation
    examined = await data("doctor", url, "--auth-from-env", environment=AS_AGENT, status=1)
    assert any("'world:anyone' has WRITE, CREATE, DELETE, ADMIN on" in each for each in examined["foreign_rights"])
    shown = await data("protect", url, "--auth-from-env", environment=AS_AGENT, status=1)
    assert (shown["changed"], shown["done"]) == (False, [])
    assert namespace in shown["open"]
    assert [each.id.scheme for each in await administrator.get_acl(namespace)] == ["world"]

    closed = await data("protect", url, "--auth-from-env", "--yes", environment=AS_AGENT)
    assert (closed["changed"], closed["open"], closed["refused"]) == (True, [], [])
    assert set(closed["done"]) == set(shown["open"])
    for path in await paths_below(administrator, namespace):
        assert await administrator.get_acl(path) == [rights(AGENT, "crwda")]
    assert (await fleet.members[0].view(GROUP)).generation == generation
    await fleet.start(url, "c", auth=AGENT, strict_acl=True)
    await fleet.settle()
    assert (await data("doctor", url, "--auth-from-env", environment=AS_AGENT))["verdict"] == "ok"
    again = await command("protect", url, "--auth-from-env", environment=AS_AGENT)
    assert (again.status, "all nodes have this ACL" in again.out) == (0, True)


async def test_members_that_come_and_go_meanwhile(
    fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str
) -> None:
    """What vanishes is no trouble, and what appears is found by the next pass. A reader may read all of it then."""
    url, acl = url_of(guarded_server, namespace), Acl(("world:anyone",))
    member = await fleet.start(url, "a", auth=AGENT, acl=acl, join=False)
    for number in range(20):
        await member.join_group(f"group-{number}")
    ends = asyncio.Event()

    async def come_and_go() -> None:
        number = 0
        while not ends.is_set():
            await member.leave_group(f"group-{number % 20}")
            await member.join_group(f"group-{number % 20}")
            number += 1

    coming = asyncio.create_task(come_and_go())
    reader = Acl.digest_id("reader", "looks")
    arguments = ["protect", url, "--auth-from-env", "--yes", "--member", Acl.digest_id(*AGENT), "--reader", reader]
    first = await data(*arguments, environment=AS_AGENT)
    ends.set()
    await coming
    await data(*arguments, environment=AS_AGENT)
    expected = [rights(AGENT, "crwda"), rights(("reader", "looks"), "r")]
    assert len(first["done"]) >= 61
    for path in await paths_below(administrator, namespace):
        assert await administrator.get_acl(path) == expected
    fleet.members.clear()


async def test_what_it_must_not_do(guarded_server: ZooKeeperServer, administrator: Operator, namespace: str) -> None:
    """It locks nobody out by mistake, tells which nodes are not its own, and shows no hash."""
    url = url_of(guarded_server, namespace)
    await administrator.create(f"{namespace}/{GROUP}/members")
    stranger = Acl.digest_id("stranger", "guess")
    ended = await command("protect", url, "--yes", "--auth-from-env", "--member", stranger, environment=AS_AGENT)
    assert (ended.status, ended.out) == (5, "")
    assert "it would lock this client out, and nothing was changed; the server takes it for" in ended.err
    assert "'digest:agent'" in ended.err
    assert [each.id.scheme for each in await administrator.get_acl(namespace)] == ["world"]

    await administrator.set_acl(f"{namespace}/{GROUP}", [rights(SUPER_USER, "crwda")])
    found = await data("protect", url, "--yes", "--auth-from-env", environment=AS_AGENT, status=1)
    assert found["done"] == [namespace]
    [refused] = found["refused"]
    assert refused.startswith(f"{namespace}/{GROUP}: permission READ or ADMIN denied")
    assert found["members"] == ["digest:agent"]
    async with Operator(guarded_server.address, auth=("stranger", "guess")) as other:
        with pytest.raises(NoAuthError):
            await other.create(f"{namespace}/x")

    for arguments in (["protect", url], ["protect", url, "--member", "agent:secret"]):
        ended = await command(*arguments)
        assert (ended.status, ended.out) == (2, "")
        assert "secret" not in ended.err
    with suppress(AssertionError):
        await administrator.delete(namespace)
    missing = await data("protect", url_of(guarded_server, f"{namespace}-no"), "--auth-from-env", environment=AS_AGENT)
    assert missing["nodes"] == 0
