"""Nodes and values that no member has written, in a group whose members are at work."""

from contextlib import suppress
from typing import Any

import pytest
from kazoo.exceptions import NoNodeError

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.faults.rights import AGENT, url_of
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator, rights
from tests.support.fleet import Fleet
from tests.support.joining import enter
from tests.support.logged import logged
from tests.support.split import steady

POLICY = GroupPolicy(exclusive=True, slots=64, vnodes=16)

NO_NUMBERS = {
    "superscript": "²",
    "circled": "①",
    "Arabic-Indic": "٤٢",
    "full width": "１２",
    "mixed": "1²",
    "too long for int()": "1" * 4301,
    "too large": str(2**63),
    "signed": "-1",
    "leading zero": "01",
    "a word": "generation",
    "blank": " ",
}


async def join(member: PartitionCoordinator, *group_ids: str) -> PartitionCoordinator:
    for group_id in group_ids:
        await enter(member, group_id, policy=POLICY, settle=0)
    return member


async def member_of(fleet: Fleet, url: str, member_id: str, *group_ids: str, **arguments: Any) -> PartitionCoordinator:
    member = await fleet.start(url, member_id, join=False, heartbeat=0.2, **arguments)
    return await join(member, *group_ids)


class TestBelowHandoff:
    @pytest.mark.parametrize("name", NO_NUMBERS.values(), ids=NO_NUMBERS)
    async def test_a_name_that_is_no_generation(
        self,
        fleet: Fleet,
        zookeeper: ZooKeeperServer,
        namespace: str,
        operator: Operator,
        name: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Members go on, handoffs are completed, newcomers join; and the node, which is not ours, stays."""
        url = zookeeper.url(namespace)
        first = await member_of(fleet, url, "a", "junk", "other")
        await steady("junk", first)
        await operator.create(f"{namespace}/junk/handoff/{name}/below")
        second = await member_of(fleet, url, "b", "junk", "other")
        await steady("junk", first, second)
        await second.leave_group("junk")
        await steady("junk", first)
        await join(second, "junk")
        await steady("junk", first, second)
        await steady("other", first, second)
        assert await operator.children(f"{namespace}/junk/handoff/{name}") == ["below"]
        assert logged(caplog) == []

    async def test_one_that_cannot_be_removed(
        self,
        fleet: Fleet,
        guarded_server: ZooKeeperServer,
        administrator: Operator,
        namespace: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Or not even read: it is said once, and those beside it are removed all the same."""
        await administrator.create(namespace)
        url = url_of(guarded_server, namespace)
        first = await member_of(fleet, url, "a", "g")
        await steady("g", first)
        handoff = f"{namespace}/g/handoff"
        await administrator.create(f"{handoff}/1/x")
        await administrator.create(f"{handoff}/2", acl=[rights(AGENT, "crwda")])
        await administrator.create(f"{handoff}/3/x")
        await administrator.create(f"{handoff}/4/x")
        await administrator.set_acl(f"{handoff}/4", [rights(AGENT, "crwda")])
        await administrator.create(f"{handoff}/5/x")
        second = await member_of(fleet, url, "b", "g")
        for _ in range(4):
            await steady("g", first, second)
            await second.leave_group("g")
            await steady("g", first)
            await join(second, "g")
        await steady("g", first, second)

        async def tidied() -> bool:
            return {"1", "2", "3", "4", "5"} & set(await administrator.children(handoff)) == {"2", "4"}

        await wait_until(tidied)
        assert len(logged(caplog)) <= 6  # once for each participation
        assert all("left behind" in text for text in logged(caplog))

    async def test_acknowledgements_of_others_stay_while_their_handoff_is_not_past(
        self, fleet: Fleet, url: str, namespace: str, operator: Operator
    ) -> None:
        """Whoever tidies up removes what is older than what it has completed, and nothing else."""
        first = await member_of(fleet, url, "a", "g")
        await steady("g", first)
        handoff = f"{namespace}/g/handoff"
        await operator.create(f"{handoff}/1/somebody")
        await operator.create(f"{handoff}/{2**62}/somebody")
        second = await member_of(fleet, url, "b", "g")
        await steady("g", first, second)

        async def tidied() -> bool:
            return "1" not in await operator.children(handoff)

        await wait_until(tidied)
        assert await operator.children(f"{handoff}/{2**62}") == ["somebody"]


class TestActive:
    @pytest.mark.parametrize("text", NO_NUMBERS.values(), ids=NO_NUMBERS)
    async def test_what_is_no_generation_is_written_over(
        self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, namespace: str, operator: Operator, text: str
    ) -> None:
        """At rest, and while a handoff is under way."""
        first = await member_of(fleet, url, "a", "g")
        await steady("g", first)
        await operator.set(f"{namespace}/g/active", text.encode())
        await names(operator, f"{namespace}/g/active", first)
        second = await self.handed_over(fleet, zookeeper, namespace, operator, first, text.encode())
        await steady("g", first, second)

    @pytest.mark.parametrize(
        "data", [b"", b"\xff\xfe", b"1" * 1000, b"9" * 19, None], ids=["empty", "bytes", "long", "large", "ahead"]
    )
    async def test_neither_is_what_is_no_text(
        self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, namespace: str, operator: Operator, data: bytes | None
    ) -> None:
        """Nor a number so large that no transaction has it, nor that of a transaction that there has been, but that is
        no generation: later than the newest."""
        first = await member_of(fleet, url, "a", "g")
        await steady("g", first)
        second = await self.handed_over(fleet, zookeeper, namespace, operator, first, data)
        await steady("g", first, second)

    async def test_ahead_at_rest(self, fleet: Fleet, url: str, namespace: str, operator: Operator) -> None:
        """Nobody loses anything; it is written over at once, and the next handoff is completed."""
        first = await member_of(fleet, url, "a", "g")
        second = await member_of(fleet, url, "b", "g")
        await steady("g", first, second)
        async with first.hold("g") as view:
            await operator.set(f"{namespace}/g/active", await recent(operator, namespace))
            await names(operator, f"{namespace}/g/active", first)
            assert await first.view("g") is view
        third = await member_of(fleet, url, "c", "g")
        await steady("g", first, second, third)

    async def test_ahead_again_and_again(self, fleet: Fleet, url: str, namespace: str, operator: Operator) -> None:
        """While members come and go."""
        first = await member_of(fleet, url, "a", "g")
        second = await member_of(fleet, url, "b", "g")
        for _ in range(4):
            await steady("g", first, second)
            await second.leave_group("g")
            await operator.set(f"{namespace}/g/active", await recent(operator, namespace))
            await second.join_group("g", policy=POLICY, settle=0)
            await operator.set(f"{namespace}/g/active", await recent(operator, namespace))
        await steady("g", first, second)

    async def handed_over(
        self,
        fleet: Fleet,
        zookeeper: ZooKeeperServer,
        namespace: str,
        operator: Operator,
        first: PartitionCoordinator,
        data: bytes | None,
    ) -> PartitionCoordinator:
        """A second member, which joined when ``active`` was overwritten in the midst of the handoff to it."""
        async with first.hold("g"):
            second = await member_of(fleet, zookeeper.url(namespace), "b", "g")
            await wait_until(lambda: second.status("g").waiting_for)
            data = await recent(operator, namespace) if data is None else data
            await operator.set(f"{namespace}/g/active", data)
        return second


async def recent(operator: Operator, namespace: str) -> bytes:
    """A transaction that there has been, later than any change of the membership."""
    path = f"{namespace}/somewhere"
    with suppress(NoNodeError):
        await operator.delete(path)
    await operator.create(path)
    return b"%d" % await operator.created(path)


async def names(operator: Operator, path: str, member: PartitionCoordinator) -> None:
    """Until ``active`` names the generation that the member is at."""

    async def done() -> bool:
        return await operator.get(path) == b"%d" % (member.status("g").generation or 0)

    await wait_until(done, what=lambda: member.status("g"))
