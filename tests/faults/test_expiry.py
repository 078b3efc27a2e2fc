"""Sessions that the server has ended."""

import time

from tests.faults.conftest import Measure
from tests.support import Proxy, ZooKeeperServer, wait_until
from tests.support.admin import Operator, end_session, session_of
from tests.support.fleet import GROUP, Fleet


class TestExpiredSession:
    async def test_is_replaced_and_the_group_joined_again(
        self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, operator: Operator, namespace: str, measure: Measure
    ) -> None:
        """A member whose session was ended by the server joins again by itself with a fresh one. Others see it leave
        and join, nothing of the old session remains, and the split is exact again."""
        member = await fleet.start(url, "a")
        other = await fleet.start(url, "b")
        await fleet.settle()
        before, generation = session_of(member).session_id, (await other.view(GROUP)).generation
        changes, others_changes = fleet.changes(member), fleet.changes(other)
        await wait_until(lambda: changes and others_changes)
        await end_session(zookeeper.address, session_of(member))
        ended = time.monotonic()
        await wait_until(lambda: member.connected and session_of(member).session_id != before, interval=0.001)
        measure("session ended to fresh session", time.monotonic() - ended)
        await fleet.settle()
        measure("session ended to exact split", time.monotonic() - ended)

        members = f"{namespace}/{GROUP}/members"
        names = await operator.children(members)
        assert [name.partition(";")[0] for name in names] == ["a", "b"]
        assert [await operator.owner(f"{members}/{name}") for name in names] == [
            session_of(each).session_id for each in (member, other)
        ]
        assert (await other.view(GROUP)).generation > generation
        assert await member.get_members(GROUP) == ("a", "b")
        assert changes[1].view is None
        await wait_until(lambda: changes[-1].view is not None)
        joined = {name for change in others_changes[1:] for name in change.joined}
        left = {name for change in others_changes[1:] for name in change.left}
        assert joined == left <= {"a"}

    async def test_while_disconnected(
        self,
        fleet: Fleet,
        url: str,
        network_url: str,
        zookeeper: ZooKeeperServer,
        network: Proxy,
        operator: Operator,
        namespace: str,
    ) -> None:
        """A member that was cut off while its session ended learns of it when it is back, and joins again."""
        member = await fleet.start(network_url, "a")
        other = await fleet.start(url, "b")
        await fleet.settle()
        before, seen = session_of(member).session_id, await fleet.watch(member)
        with network.refuse():
            network.reset()
            await wait_until(lambda: not member.connected)
            await end_session(zookeeper.address, session_of(member))
            await fleet.settle(other)
            await wait_until(lambda: not seen.mine)
        await fleet.settle()
        assert session_of(member).session_id != before
        assert len(await operator.children(f"{namespace}/{GROUP}/members")) == 2

    async def test_again_and_again(
        self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, operator: Operator, namespace: str
    ) -> None:
        """However often it happens, there is one entry for each member, and a session for each."""
        for name in ("a", "b", "c"):
            await fleet.start(url, name)
        await fleet.settle()
        for _ in range(3):
            for member in fleet.members:
                before = session_of(member).session_id
                await end_session(zookeeper.address, session_of(member))
                await wait_until(lambda: session_of(member).session_id not in (0, before))  # noqa: B023
            await fleet.settle()
        names = await operator.children(f"{namespace}/{GROUP}/members")
        assert [name.partition(";")[0] for name in names] == ["a", "b", "c"]

    async def test_somebody_else_took_the_place(
        self, fleet: Fleet, url: str, network_url: str, zookeeper: ZooKeeperServer, network: Proxy
    ) -> None:
        """A process that was replaced while it was cut off, after its session had ended, finds its id taken and does
        not take it back: of two starts the later one counts."""
        first = await fleet.start(network_url, "a")
        other = await fleet.start(url, "b")
        await fleet.settle()
        with network.refuse():
            network.reset()
            await wait_until(lambda: not first.connected)
            await end_session(zookeeper.address, session_of(first))
            await fleet.settle(other)
            second = await fleet.start(url, "a")
            await fleet.settle(second, other)
            seen = await fleet.watch(second)
        earlier = await fleet.watch(first)
        await wait_until(lambda: any("superseded" in str(error) for error in earlier.errors))
        await fleet.settle(second, other)
        assert len(seen.sightings) == 1
        assert not earlier.mine
