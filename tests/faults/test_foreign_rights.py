"""Others than the members may change a group's nodes: it is said once, or no member joins."""

import logging
import pickle

import pytest
from kazoo.security import ACL, OPEN_ACL_UNSAFE

from aiopartition import Acl, ForeignRightsError, GroupPolicy, PartitionError
from tests.faults.rights import AGENT, SUPER_USER, url_of
from tests.support import ZooKeeperServer
from tests.support.admin import Operator, rights
from tests.support.fleet import GROUP, Fleet
from tests.support.logged import logged

STRANGER = ("stranger", "guess")
CHANGES = ("WRITE", "CREATE", "DELETE", "ADMIN")
EXCLUSIVE = GroupPolicy(exclusive=True, slots=64, vnodes=16)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each for each in logged(caplog, level=logging.WARNING) if "by others than its members" in each]


async def make(administrator: Operator, path: str, *acl: ACL) -> None:
    await administrator.create(path, acl=acl or OPEN_ACL_UNSAFE)


async def test_nodes_that_the_library_has_made(
    fleet: Fleet, guarded_server: ZooKeeperServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With credentials they are for their user alone: nobody is told anything, and ``strict_acl`` lets all join."""
    url = url_of(guarded_server, namespace, AGENT)
    await fleet.start(url, "a", strict_acl=True, policy=EXCLUSIVE)
    await fleet.start(url, "b", strict_acl=True)
    await fleet.settle()
    assert warnings(caplog) == []


@pytest.mark.parametrize("strict", [False, True], ids=["warned", "refused"])
async def test_a_tree_that_was_made_without_credentials(
    fleet: Fleet,
    guarded_server: ZooKeeperServer,
    administrator: Operator,
    namespace: str,
    strict: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By members of before ``auth``, or by a stranger: all nodes are open to all. All are named, each once."""
    earlier = await fleet.start(url_of(guarded_server, namespace), "before", policy=EXCLUSIVE)
    await earlier.stop()
    fleet.members.clear()
    member = await fleet.start(url_of(guarded_server, namespace), "after", auth=AGENT, strict_acl=strict, join=False)
    paths = [f"{namespace}{node}" for node in ("", f"/{GROUP}", *(f"/{GROUP}/{each}" for each in NODES))]
    text = (
        f"group '{GROUP}' can be changed by others than its members: 'world:anyone' has {', '.join(CHANGES)} on "
        f"{', '.join(paths)}; 'aiopartition protect' closes nodes that are there"
    )
    if not strict:
        await member.join_group(GROUP)
        await fleet.settle()
        await member.heartbeat()
        assert warnings(caplog) == [f"{text}; with strict_acl=True this is an error"]
        return
    with pytest.raises(ForeignRightsError) as refused:
        await member.join_group(GROUP)
    assert str(refused.value) == text
    assert refused.value.group_id == GROUP
    assert refused.value.others == {path: {"world:anyone": CHANGES} for path in paths}
    assert refused.value.unreadable == ()
    assert isinstance(refused.value, PartitionError)
    assert pickle.loads(pickle.dumps(refused.value)).others == refused.value.others
    assert await administrator.children(f"{namespace}/{GROUP}/members") == []
    assert member.groups == ()


NODES = ("members", "handoff", "active")


@pytest.mark.parametrize("node", ["", "/group", "/group/members", "/group/handoff", "/group/active"])
@pytest.mark.parametrize("permission", ["w", "c", "d", "a"])
async def test_one_right_on_one_node(
    fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str, node: str, permission: str
) -> None:
    """Each right but that to read is one that a stranger must not have, wherever it is. The hash is not shown."""
    first = await fleet.start(url_of(guarded_server, namespace), "a", auth=AGENT, join=False)
    await first.join_group("group", policy=EXCLUSIVE)
    path = f"{namespace}{node}"
    ours, theirs = rights(AGENT, "crwda"), rights(STRANGER, f"r{permission}")
    await administrator.set_acl(path, [ours, theirs, rights(("reader", "looks"), "r")])
    second = await fleet.start(url_of(guarded_server, namespace), "b", auth=AGENT, strict_acl=True, join=False)
    with pytest.raises(ForeignRightsError) as refused:
        await second.join_group("group")
    [names] = [{"w": "WRITE", "c": "CREATE", "d": "DELETE", "a": "ADMIN"}[permission]]
    assert refused.value.others == {path: {"digest:stranger": (names,)}}
    assert theirs.id.id.split(":")[1] not in str(refused.value) + repr(refused.value)
    await administrator.set_acl(path, [ours])
    await second.join_group("group")


async def test_what_may_not_be_read_is_not_safe(
    fleet: Fleet,
    guarded_server: ZooKeeperServer,
    administrator: Operator,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whose ACL may not be read, of that it cannot be told who else has rights. Only ``strict_acl`` refuses it then: a
    user with few rights is no mistake."""
    await make(administrator, namespace, rights(SUPER_USER, "crwda"), rights(AGENT, "c"))
    url = url_of(guarded_server, namespace, AGENT)
    await fleet.start(url, "a")
    strict = await fleet.start(url, "b", strict_acl=True, join=False)
    with pytest.raises(ForeignRightsError, match="who else, it cannot be told from the ACLs of") as refused:
        await strict.join_group(GROUP)
    assert (refused.value.others, refused.value.unreadable) == ({}, (namespace,))
    assert warnings(caplog) == []
    # The right to read is enough to be told of others. It does not show whose password it is.
    await administrator.set_acl(namespace, [rights(AGENT, "rc"), rights(STRANGER, "c")])
    with pytest.raises(ForeignRightsError) as refused:
        await strict.join_group(GROUP)
    assert refused.value.others == {namespace: {"digest:stranger": ("CREATE",)}}


class TestChosenAcl:
    async def test_members_and_readers(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str
    ) -> None:
        """Members of two users, and an observer, each with no other right than its role has."""
        acl = Acl((Acl.digest_id(*AGENT), Acl.digest_id("other", "one")), (Acl.digest_id("reader", "looks"),))
        url = url_of(guarded_server, namespace)
        await fleet.start(url, "a", auth=AGENT, acl=acl, strict_acl=True, policy=EXCLUSIVE)
        await fleet.start(url, "b", auth=("other", "one"), acl=acl, strict_acl=True)
        await fleet.settle()
        expected = [rights(AGENT, "crwda"), rights(("other", "one"), "crwda"), rights(("reader", "looks"), "r")]
        paths = [namespace, f"{namespace}/{GROUP}", *(f"{namespace}/{GROUP}/{each}" for each in NODES)]
        members = f"{namespace}/{GROUP}/members"
        for path in [*paths, *(f"{members}/{name}" for name in await administrator.children(members))]:
            assert await administrator.get_acl(path) == expected
        observer = await fleet.start(url, "o", auth=("reader", "looks"), join=False)
        await observer.observe(GROUP)
        assert await observer.get_members(GROUP) == ("a", "b")
        assert (await observer.describe_member(GROUP, "a")).host
        fleet.members.remove(observer)

    async def test_network(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str
    ) -> None:
        """An address needs no credentials."""
        acl = Acl(("ip:127.0.0.0/8",))
        await fleet.start(url_of(guarded_server, namespace), "a", acl=acl, strict_acl=True)
        await fleet.settle()
        [found] = await administrator.get_acl(f"{namespace}/{GROUP}/members")
        assert (found.id.scheme, found.id.id) == ("ip", "127.0.0.0/8")

    async def test_nobody_locks_itself_out(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str
    ) -> None:
        """With an ACL that does not name the member itself, nothing is made that only others could remove."""
        member = await fleet.start(
            url_of(guarded_server, namespace), "a", auth=AGENT, acl=Acl((Acl.digest_id(*STRANGER),)), join=False
        )
        with pytest.raises(PartitionError, match=r"acl has no id of this client; .* 'digest:agent'") as refused:
            await member.join_group(GROUP)
        assert "'ip:127.0.0.1'" in str(refused.value)
        assert namespace.removeprefix("/") not in await administrator.children("/")

    async def test_world_is_for_all(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, namespace: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Who names everybody wants no warning of it."""
        acl = Acl(("world:anyone",))
        url = url_of(guarded_server, namespace)
        await fleet.start(url, "a", auth=AGENT, acl=acl)
        await fleet.start(url, "b")
        await fleet.settle()
        assert warnings(caplog) == []


async def test_a_password_that_the_server_reads_in_another_way(namespace: str) -> None:
    """A server whose locale is not UTF-8 makes another hash than we of letters beyond ASCII. Ours is ours even so."""
    auth = ("poller", "pässwörd")
    async with ZooKeeperServer(properties={"file.encoding": "US-ASCII"}) as server, Fleet() as fleet:
        await fleet.start(server.url(namespace), "a", auth=auth, strict_acl=True)
        await fleet.start(server.url(namespace), "b", auth=auth, strict_acl=True)
        await fleet.settle()
        async with Operator(server.address, auth=auth) as operator:
            [acl] = await operator.get_acl(namespace)
            assert f"digest:{acl.id.id}" != Acl.digest_id(*auth)
