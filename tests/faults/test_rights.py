"""Servers that do not let everybody do everything."""

import logging
import time
from contextlib import suppress

import pytest
from kazoo.exceptions import NoAuthError
from kazoo.security import OPEN_ACL_UNSAFE

from aiopartition import AuthenticationError, GroupPolicy, OwnershipUnknownError
from tests.faults.conftest import Measure
from tests.faults.rights import AGENT, SUPER_USER, url_of
from tests.support import OpenProxy, ZooKeeperServer, wait_until
from tests.support.admin import Operator, rights, session_of
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.joining import enter
from tests.support.logged import logged

STRANGER = ("stranger", "guess")


@pytest.fixture
async def guarded(administrator: Operator, namespace: str) -> str:
    """A namespace below which the agents' user may create nodes, and that is all; above it, they may do nothing."""
    await administrator.create(namespace, acl=[rights(SUPER_USER, "crwda")])
    await administrator.create(f"{namespace}/groups", acl=[rights(AGENT, "c")])
    return f"{namespace}/groups"


class TestUnprivilegedUser:
    @pytest.mark.parametrize("auth_in_url", [True, False], ids=["auth in the URL", "auth as an argument"])
    async def test_may_create_and_nothing_else(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, guarded: str, auth_in_url: bool
    ) -> None:
        """The right to create below the namespace is all that it takes to join, to follow the others and to leave."""
        url = url_of(guarded_server, guarded, AGENT if auth_in_url else None)
        auth = None if auth_in_url else AGENT
        first = await fleet.start(url, "a", auth=auth)
        second = await fleet.start(url, "b", auth=auth)
        third = await fleet.start(url, "c", auth=auth)
        await fleet.settle()
        await second.leave_group(GROUP)
        await fleet.settle(first, third)
        await third.stop()
        await fleet.settle(first)
        await second.join_group(GROUP)
        await fleet.settle(first, second)
        assert "pass" not in repr(first)

    async def test_the_namespace_itself_may_be_missing(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, guarded: str
    ) -> None:
        """What lies between the place where one may create and the group is made too, if it is not there."""
        await fleet.start(url_of(guarded_server, f"{guarded}/deeply/nested/space"), "a", auth=AGENT)
        await fleet.start(url_of(guarded_server, f"{guarded}/deeply/nested/space"), "b", auth=AGENT)
        await fleet.settle()

    async def test_the_root_may_be_closed(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, proxy: OpenProxy, guarded: str
    ) -> None:
        """Nothing that keeps a session alive, or takes it up again, needs a right to the root. (Until 3.9 a server
        answered whether a node exists to whoever asked.)"""
        network = await proxy(guarded_server)
        await administrator.set_acl("/", [rights(SUPER_USER, "crwda")])
        try:
            idle = await fleet.start(f"zookeeper://{network.address}{guarded}", "a", auth=AGENT, join=False)
            session = session_of(idle).session_id
            await idle.heartbeat()
            network.reset()
            await wait_until(lambda: network.connections == 2 and idle.connected)
            await idle.heartbeat()
            assert session_of(idle).session_id == session
            await idle.join_group(GROUP)
            await fleet.start(f"zookeeper://{network.address}{guarded}", "b", auth=AGENT)
            await fleet.settle()
        finally:
            await administrator.set_acl("/", OPEN_ACL_UNSAFE)

    async def test_others_can_read_nothing(self, fleet: Fleet, guarded_server: ZooKeeperServer, guarded: str) -> None:
        """With credentials, nodes that the library makes are closed to everybody else: the group, its members, and
        what stands in their entries."""
        await fleet.start(url_of(guarded_server, guarded), "a", auth=AGENT)
        group, members = f"{guarded}/{GROUP}", f"{guarded}/{GROUP}/members"
        async with Operator(guarded_server.address, auth=AGENT) as colleague:
            [entry] = await colleague.children(members)
            assert b"a" in await colleague.get(f"{members}/{entry}")
        async with Operator(guarded_server.address, auth=STRANGER) as stranger:
            for path in (group, members, f"{members}/{entry}"):
                with pytest.raises(NoAuthError):
                    await stranger.get(path)
                with pytest.raises(NoAuthError):
                    await stranger.children(path)
                with pytest.raises(NoAuthError):
                    await stranger.create(f"{path}/x")
            with pytest.raises(NoAuthError):
                await stranger.delete(f"{members}/{entry}")


class TestRefused:
    @pytest.mark.parametrize("auth", [STRANGER, None], ids=["wrong credentials", "none"])
    async def test_create(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, guarded: str, auth: tuple[str, str] | None
    ) -> None:
        """Who may not create a group is told which right is missing on which node."""
        member = await fleet.start(url_of(guarded_server, guarded), "a", auth=auth, join=False)
        with pytest.raises(AuthenticationError, match="permission CREATE denied") as refused:
            await member.join_group(GROUP)
        assert (refused.value.path, refused.value.permission) == (guarded, "CREATE")
        assert member.groups == ()
        with pytest.raises(AuthenticationError):
            await member.extract_my_subset(GROUP, KEYS)

    @pytest.mark.parametrize("auth", [STRANGER, None], ids=["wrong credentials", "none"])
    async def test_read(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, guarded: str, auth: tuple[str, str] | None
    ) -> None:
        """Likewise who may not read a group that exists. The members that are there do not notice."""
        await fleet.start(url_of(guarded_server, guarded), "a", auth=AGENT)
        member = await fleet.start(url_of(guarded_server, guarded), "b", auth=auth, join=False)
        with pytest.raises(AuthenticationError, match="permission READ denied") as refused:
            await member.join_group(GROUP)
        assert (refused.value.path, refused.value.permission) == (f"{guarded}/{GROUP}", "READ")
        await fleet.settle(fleet.members[0])

    async def test_write(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, guarded: str
    ) -> None:
        """A bare node that one may read and not write cannot become a group."""
        await administrator.create(f"{guarded}/{GROUP}", acl=[rights(AGENT, "cr")])
        member = await fleet.start(url_of(guarded_server, guarded), "a", auth=AGENT, join=False)
        with pytest.raises(AuthenticationError, match="permission WRITE denied") as refused:
            await member.join_group(GROUP)
        assert (refused.value.path, refused.value.permission) == (f"{guarded}/{GROUP}", "WRITE")

    async def test_entering(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, guarded: str
    ) -> None:
        """Who may read a group and create nothing in it is told so."""
        first = await fleet.start(url_of(guarded_server, guarded), "a", auth=AGENT)
        await administrator.set_acl(f"{guarded}/{GROUP}/members", [rights(AGENT, "rd")])
        second = await fleet.start(url_of(guarded_server, guarded), "b", auth=AGENT, join=False)
        with pytest.raises(AuthenticationError, match="permission CREATE denied") as refused:
            await second.join_group(GROUP)
        assert (refused.value.path, refused.value.permission) == (f"{guarded}/{GROUP}/members", "CREATE")
        await fleet.settle(first)

    async def test_delete(
        self,
        fleet: Fleet,
        guarded_server: ZooKeeperServer,
        administrator: Operator,
        guarded: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Who may not delete its own entry cannot leave a group before the session ends, and is told so at once."""
        member = await fleet.start(url_of(guarded_server, guarded), "a", auth=AGENT)
        other = await fleet.start(url_of(guarded_server, guarded), "b", auth=AGENT)
        await fleet.settle()
        members = f"{guarded}/{GROUP}/members"
        await administrator.set_acl(members, [rights(AGENT, "cr")])
        begun = time.monotonic()
        with pytest.raises(AuthenticationError, match="permission DELETE denied"):
            await member.leave_group(GROUP)
        assert time.monotonic() - begun < 1.5
        assert any(f"{members}: permission DELETE denied" in message for message in logged(caplog, level=logging.ERROR))
        assert member.groups == ()
        assert len(await other.get_members(GROUP)) == 2
        await member.stop()
        await fleet.settle(other)

    async def test_server_that_demands_authentication(
        self, fleet: Fleet, namespace: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A server that serves nobody whom it does not know: with credentials it works, without any the refusal is an
        ``AuthenticationError``, at the latest when a group is joined."""
        settings = {"zookeeper.enforce.auth.enabled": "true", "zookeeper.enforce.auth.schemes": "digest"}
        async with ZooKeeperServer(properties=settings) as server:
            await fleet.start(server.url(namespace), "a", auth=AGENT)
            await fleet.settle()
            with pytest.raises(AuthenticationError):
                await fleet.start(server.url(namespace), "b")
            await fleet.settle()

    async def test_one_group_is_no_matter_of_the_others(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, guarded: str
    ) -> None:
        """A group that refuses us disturbs no other group of the same coordinator."""
        url = url_of(guarded_server, guarded, AGENT)
        await administrator.create(f"{guarded}/closed", acl=[rights(SUPER_USER, "crwda")])
        for name in ("a", "b"):
            await fleet.start(url, name)
        await fleet.settle()
        seen = await fleet.watch(fleet.members[0])
        for _ in range(3):
            with pytest.raises(AuthenticationError):
                await fleet.members[0].extract_my_subset("closed", KEYS)
            await fleet.members[0].heartbeat()
        assert fleet.members[0].groups == (GROUP,)
        assert len(seen.sightings) == 1
        await fleet.settle()


class TestAclsChangedWhileRunning:
    async def test_right_to_read_taken_away_and_given_back(
        self,
        fleet: Fleet,
        guarded_server: ZooKeeperServer,
        administrator: Operator,
        proxy: OpenProxy,
        guarded: str,
        caplog: pytest.LogCaptureFixture,
        measure: Measure,
    ) -> None:
        """A member that may no longer read the members says so, by name of the node and the right, in the log and to
        whoever asks; it hands out nothing meanwhile, and recovers by itself when the right is restored. As long as it
        misses no event it need not read them."""
        url, members = url_of(guarded_server, guarded, AGENT), f"{guarded}/{GROUP}/members"
        network = await proxy(guarded_server)
        first = await fleet.start(url.replace(guarded_server.address, network.address), "a", heartbeat=0.2)
        second = await fleet.start(url, "b", heartbeat=0.2)
        await fleet.settle()
        acl = await administrator.get_acl(members)
        await administrator.set_acl(members, [rights(AGENT, "cd")])
        with network.refuse():
            network.reset()
            await wait_until(lambda: not first.connected)
            await second.leave_group(GROUP)  # news, which cannot be read

        async def is_refused() -> AuthenticationError | None:
            try:
                await first.extract_my_subset(GROUP, KEYS)
            except AuthenticationError as error:
                return error
            return None

        error = await wait_until(is_refused)
        assert error is not None
        assert (error.path, error.permission) == (members, "READ")
        with pytest.raises((AuthenticationError, OwnershipUnknownError)):
            await first.view(GROUP)
        with pytest.raises(AuthenticationError):
            await first.join_group(GROUP)
        told = [
            message
            for message in logged(caplog, level=logging.ERROR)
            if f"{members}: permission READ denied" in message
        ]
        assert len(told) == 1
        assert first.groups == (GROUP,)

        await administrator.set_acl(members, acl)
        restored = time.monotonic()

        async def is_well() -> bool:
            with suppress(AuthenticationError):
                return await fleet.exact(first)
            return False

        await wait_until(is_well)
        measure("right restored to exact split", time.monotonic() - restored)
        await second.join_group(GROUP)
        await fleet.settle()

    @pytest.mark.parametrize("node", ["active", "handoff"])
    async def test_handoff_that_is_refused(
        self,
        fleet: Fleet,
        guarded_server: ZooKeeperServer,
        administrator: Operator,
        guarded: str,
        caplog: pytest.LogCaptureFixture,
        node: str,
    ) -> None:
        """Whoever gains keys in an exclusive group waits until the right is restored; nobody else is disturbed, and
        the log and the status say once which right is missing where."""
        url, path = url_of(guarded_server, guarded, AGENT), f"{guarded}/{GROUP}/{node}"
        exclusive = GroupPolicy(exclusive=True)
        first = await fleet.start(url, "a", heartbeat=0.1, policy=exclusive)
        second = await fleet.start(url, "b", heartbeat=0.1, policy=exclusive)
        await fleet.settle()
        acl = await administrator.get_acl(path)
        await administrator.set_acl(path, [rights(AGENT, "r")])
        third = await enter(await fleet.start(url, "c", heartbeat=0.1, join=False), GROUP, policy=exclusive)
        refusal = f"{path}: permission {'WRITE' if node == 'active' else 'CREATE'} denied"
        await wait_until(lambda: all(refusal in member.status(GROUP).reason for member in fleet.members))
        seen = [await fleet.watch(first), await fleet.watch(second), await fleet.watch(third)]
        for _ in range(5):
            for member in fleet.members:
                await member.heartbeat()
        kept = [len(await member.extract_my_subset(GROUP, KEYS)) for member in fleet.members]
        assert kept[0] > 0 < kept[1]
        assert kept[2] == 0
        assert [len(each.sightings) for each in seen] == [1, 1, 1]
        assert {member.status(GROUP).state for member in fleet.members} == {"handing over"}
        assert 1 <= len([message for message in logged(caplog, level=logging.ERROR) if refusal in message]) <= 3

        await administrator.set_acl(path, acl)
        await fleet.settle()
        await wait_until(lambda: all(member.status(GROUP).state == "steady" for member in fleet.members))
        assert [member.status(GROUP).reason for member in fleet.members] == [""] * 3

    async def test_handoff_that_waits_for_somebody_else_when_the_right_is_back(
        self, fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, guarded: str
    ) -> None:
        """What was refused is no reason any more once it is done, although the handoff goes on waiting."""
        url, path = url_of(guarded_server, guarded, AGENT), f"{guarded}/{GROUP}/handoff"
        exclusive = GroupPolicy(exclusive=True)
        first = await fleet.start(url, "a", heartbeat=0.1, policy=exclusive)
        second = await fleet.start(url, "b", heartbeat=0.1, policy=exclusive)
        await fleet.settle()
        acl = await administrator.get_acl(path)
        async with second.hold(GROUP):
            await administrator.set_acl(path, [rights(AGENT, "r")])
            third = await enter(await fleet.start(url, "c", heartbeat=0.1, join=False), GROUP, policy=exclusive)
            await wait_until(lambda: all("CREATE denied" in each.status(GROUP).reason for each in (first, third)))
            await administrator.set_acl(path, acl)
            await wait_until(lambda: all(each.status(GROUP).reason == "" for each in (first, third)))
            assert {each.status(GROUP).state for each in (first, third)} == {"handing over"}
        await fleet.settle()
        await wait_until(lambda: all(member.status(GROUP).state == "steady" for member in fleet.members))
