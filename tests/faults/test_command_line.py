"""The command line as operators use it: processes of its own, on a real server."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.faults.rights import SUPER_USER, url_of
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator, rights
from tests.support.command_line import command, data
from tests.support.fleet import Fleet

IDS = [f"web-{number}" for number in range(1, 6)]
READER = ("reader", "looks")
MEMBER = ("member", "secret")


@dataclass(frozen=True)
class Scene:
    """Five members of three groups. In ``switches`` one is drained; in ``orders`` a handoff waits for the first."""

    url: str
    members: list[PartitionCoordinator]


@pytest.fixture
async def scene(zookeeper: ZooKeeperServer, namespace: str, fleet: Fleet) -> AsyncIterator[Scene]:
    url = zookeeper.url(namespace)
    members = [await fleet.start(url, member_id, join=False, session_timeout=4.0) for member_id in IDS]
    for number, member in enumerate(members):
        await member.join_group("switches", weight=0 if number == 3 else 1)
        await member.join_group("queues", policy=GroupPolicy(partitions=24))
    for member in members[:4]:
        await member.join_group("orders", policy=GroupPolicy(exclusive=True, slots=64, vnodes=16))
    await wait_until(lambda: all(member.status("orders").state == "steady" for member in members[:4]))
    async with members[0].hold("orders", drain_timeout=600):
        joining = asyncio.create_task(members[4].join_group("orders"))
        await wait_until(lambda: [each.member_id for each in members[1].status("orders").waiting_for] == ["web-1"])
        yield Scene(url, members)
    await joining


async def tree(operator: Operator, path: str) -> dict[str, Any]:
    """All nodes below, each with its stat, in which every transaction on it has left its number."""
    found: dict[str, Any] = {path: (await operator._call(operator._client.get, path))}
    for name in await operator.children(path):
        found |= await tree(operator, f"{path}/{name}")
    return found


async def test_every_command_tells_the_same_story(scene: Scene, operator: Operator, namespace: str) -> None:
    """Each by its schema; and not a node has changed after all of them."""
    before = await tree(operator, namespace)
    url = scene.url

    groups = (await data("groups", url))["groups"]
    assert {each["group"]: (each["members"], each["drained"], each["handing_over"]) for each in groups} == {
        "orders": (5, 0, True),
        "queues": (5, 0, False),
        "switches": (5, 1, False),
    }

    members = (await data("members", url, "orders"))["members"]
    assert [each["id"] for each in members] == IDS
    assert [each["handoff"] for each in members] == ["waited for", *["has let go"] * 4]
    assert {each["pid"] for each in members} == {os.getpid()}
    drained = [each for each in (await data("members", url, "switches"))["members"] if each["weight"] == 0]
    assert [(each["id"], each["share"]) for each in drained] == [("web-4", 0)]

    view = await scene.members[0].view("switches")
    keys = ["a", "7", "grüße", "two words"]
    found = (await data("owner", url, "switches", *keys))["keys"]
    assert [(each["key"], tuple(each["owners"])) for each in found] == [(key, view.owners(key)) for key in keys]
    [last] = (await data("owner", url, "queues", "--partition", "23"))["keys"]
    assert (last["partition"], last["hash"]) == (23, None)

    plan = await data("plan", url, "switches", "--add", "web-6:2", "--remove", "web-1", "--weight", "web-4:1")
    assert 0 < plan["least_possible"] <= plan["moved"] < 1
    assert plan["moved"] == pytest.approx(sum(flow["share"] for flow in plan["flows"]))

    lines = "".join(f"host-{number}\n" for number in range(500)).encode()
    verdict = await data("audit", url, "switches", "--keys", "-", stdin=lines)
    assert (verdict["verdict"], verdict["keys"], verdict["owner_counts"]) == ("ok", 500, {"1": 500})
    assert sum(each["keys"] for each in verdict["members"]) == 500
    verdict = await data("audit", url, "orders", "--patience", "0.5", status=1)
    assert [each["kind"] for each in verdict["findings"]] == ["handoff-waits"]
    assert verdict["waiting_for"] == ["web-1"]

    for arguments in (
        ["groups", url],
        ["members", url, "orders"],
        ["owner", url, "queues", "a"],
        ["plan", url, "switches", "--add", "x"],
        ["audit", url, "switches"],
    ):
        ended = await command(*arguments)
        assert (ended.status, ended.err) == (0, "")
        assert "\x1b" not in ended.out
        assert "web-1" in ended.out or arguments[0] in ("groups", "owner")

    assert (await data("doctor", url))["groups"] == 3
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiopartition", "watch", url, "orders"), stdout=PIPE
    )
    assert watching.stdout is not None
    assert b"5 members" in await watching.stdout.readline()
    watching.terminate()
    assert await watching.wait() == 143

    assert await tree(operator, namespace) == before


async def test_what_goes_wrong(zookeeper: ZooKeeperServer, namespace: str, fleet: Fleet) -> None:
    """One line on standard error, nothing on standard output, and a status for each kind of trouble."""
    url = zookeeper.url(namespace)
    ended = await command("groups", url)
    assert (ended.status, ended.out) == (0, f"no groups at {url}\n")
    ended = await command("members", url, "no\nsuch")
    assert (ended.status, ended.out, ended.err) == (3, "", "aiopartition: there is no group 'no\\nsuch'\n")
    member = await fleet.start(url, "only", join=False)
    await member.join_group("g", weight=0)
    ended = await command("owner", url, "g", "key")
    assert (ended.status, len(ended.err.splitlines())) == (3, 1)
    ended = await command("plan", url, "g")
    assert (ended.status, len(ended.err.splitlines())) == (3, 1)
    assert (await command("audit", url, "g")).status == 1
    await member.set_weight("g", 1)
    assert (await command("plan", url, "g")).status == 2


async def test_no_server(zookeeper: ZooKeeperServer, namespace: str) -> None:
    """Whether it refuses or is silent, the command ends with status 4 in the time that it was given."""
    url = zookeeper.url(namespace)
    await zookeeper.freeze()
    silent = await command("groups", url, "--timeout", "0.5")
    await zookeeper.kill()
    refused = await command("groups", url, "--timeout", "0.5")
    for ended in (silent, refused):
        assert (ended.status, ended.out) == (4, "")
        [line] = ended.err.splitlines()
        assert zookeeper.address in line
    assert "Connect call failed" in refused.err


async def test_the_right_to_read_is_enough(
    guarded_server: ZooKeeperServer, administrator: Operator, namespace: str, fleet: Fleet
) -> None:
    """For everything that the commands tell; and without it they say which right is missing where."""
    readable = [rights(MEMBER, "crwd"), rights(READER, "r")]
    for node in ("", "/g", "/g/members", "/g/handoff"):
        await administrator.create(f"{namespace}{node}", acl=readable)
    await administrator.create(f"{namespace}/g/active", b"0", acl=readable)
    member = await fleet.start(url_of(guarded_server, namespace, MEMBER), "first", join=False)
    await member.join_group("g", policy=GroupPolicy(exclusive=True))
    url = url_of(guarded_server, namespace)
    as_reader = {"AIOPARTITION_AUTH": ":".join(READER)}
    before = await tree(administrator, namespace)

    [group] = (await data("groups", url, "--auth-from-env", environment=as_reader))["groups"]
    assert (group["group"], group["members"], group["problem"]) == ("g", 1, None)
    [line] = (await data("members", url, "g", "--auth-from-env", environment=as_reader))["members"]
    assert (line["id"], line["host"]) == ("first", None)
    assert "permission READ denied" in line["problem"]  # the entry is the member's own
    for arguments in (["owner", url, "g", "a"], ["plan", url, "g", "--add", "b"], ["audit", url, "g"]):
        await data(*arguments, "--auth-from-env", environment=as_reader)
    assert await tree(administrator, namespace) == before

    ended = await command("members", url, "g")
    assert (ended.status, ended.out) == (5, "")
    assert "permission READ denied" in ended.err
    assert ended.err.count("\n") == 1
    ended = await command("groups", url)
    assert ended.status == 5
    assert SUPER_USER[1] not in ended.err


async def test_a_closed_pipe_ends_quietly(url: str) -> None:
    """As with ``| head``: no traceback, and the status of a broken pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiopartition", "groups", url), stdout=writer, stderr=PIPE
    )
    os.close(writer)
    _, err = await process.communicate()
    assert (process.returncode, err) == (141, b"")


async def test_names_with_control_characters(zookeeper: ZooKeeperServer, namespace: str, fleet: Fleet) -> None:
    """They are shown escaped; as data they are what they are."""
    url, evil = zookeeper.url(namespace), "evil\x1b[2J\n\u202e"
    member = await fleet.start(url, evil, join=False)
    await member.join_group(evil)
    for arguments in (
        ["groups", url],
        ["members", url, evil],
        ["owner", url, evil, evil],
        ["plan", url, evil, "--add", "x"],
        ["audit", url, evil],
    ):
        ended = await command(*arguments)
        assert ended.status == 0
        assert all(line.isprintable() for line in ended.out.splitlines())
        assert "evil\\x1b[2J\\n\\u202e" in ended.out
    assert [each["id"] for each in (await data("members", url, evil))["members"]] == [evil]
