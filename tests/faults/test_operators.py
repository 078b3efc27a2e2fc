"""What people do to the tree with ZooKeeper's shell, and what other programs leave there."""

import json
import time
from typing import Any

import pytest
from kazoo.security import ACL, make_digest_acl

from aiopartition import GroupPolicy, PolicyMismatchError
from tests.faults.conftest import Measure
from tests.support import wait_until
from tests.support.admin import Operator
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.logged import logged

NONCE = "0123456789abcdef"


class TestDeleted:
    async def test_one_entry(
        self, fleet: Fleet, url: str, operator: Operator, namespace: str, measure: Measure
    ) -> None:
        """A member whose entry was deleted joins again, with the same entry, and the split is exact again."""
        for name in ("a", "b"):
            await fleet.start(url, name)
        await fleet.settle()
        members = f"{namespace}/{GROUP}/members"
        before = await operator.children(members)
        generations = {(await member.view(GROUP)).generation for member in fleet.members}
        await operator.delete(f"{members}/{before[0]}")
        deleted = time.monotonic()

        async def is_back() -> bool:
            return await operator.children(members) == before

        await wait_until(is_back)
        await wait_until(lambda: newer_and_exact(fleet, generations))
        measure("entry deleted to exact split", time.monotonic() - deleted)

    @pytest.mark.parametrize("what", ["members", "group", "namespace"])
    async def test_everything(
        self, fleet: Fleet, url: str, operator: Operator, namespace: str, what: str, measure: Measure
    ) -> None:
        """Whoever deletes the members node, the group or the namespace, with all that is below it, finds it rebuilt by
        the members, and the split exact."""
        for name in ("a", "b", "c"):
            await fleet.start(url, name)
        await fleet.settle()
        generations = {(await member.view(GROUP)).generation for member in fleet.members}
        group = f"{namespace}/{GROUP}"
        await operator.delete({"members": f"{group}/members", "group": group, "namespace": namespace}[what])
        deleted = time.monotonic()
        await wait_until(lambda: newer_and_exact(fleet, generations))
        measure(f"{what} deleted to exact split", time.monotonic() - deleted)
        assert len(await operator.children(f"{group}/members")) == 3
        assert json.loads(await operator.get(group))["format"] == 1

    async def test_everything_while_nobody_watches(
        self, fleet: Fleet, url: str, operator: Operator, namespace: str
    ) -> None:
        """A group that vanishes and that nobody else rebuilds is rebuilt by its one member."""
        member = await fleet.start(url, "a", heartbeat=60.0)
        await operator.delete(namespace)
        await wait_until(lambda: has_children(operator, f"{namespace}/{GROUP}/members"))
        await fleet.settle(member)


async def has_children(operator: Operator, path: str) -> bool:
    return bool(await operator.children(path))


async def newer_and_exact(fleet: Fleet, generations: set[int]) -> bool:
    """Whether the split is exact at a generation that is none of these."""
    if not await fleet.exact():
        return False
    return (await fleet.members[0].view(GROUP)).generation not in generations


class TestForeignChildren:
    FOREIGN = (
        "lost+found",
        ";",
        ";;;",
        "a;1;1",
        f"a;1;1;{NONCE};",
        f";1;1;{NONCE}",
        f"a;-1;1;{NONCE}",
        f"a;01;1;{NONCE}",
        f"a;1001;1;{NONCE}",
        f"a;{'9' * 30};1;{NONCE}",
        f"a;1;{'9' * 30};{NONCE}",
        f"a;1;x;{NONCE}",
        f"a;1;1;{NONCE.upper()}",
        f"a;1;1;{NONCE}0",
        f"%zz;1;1;{NONCE}",
        f"%;1;1;{NONCE}",
        f"%ff%fe;1;1;{NONCE}",
        f"%61;1;1;{NONCE}",
        f"a%2fb;1;1;{NONCE}",
        f"ä;1;1;{NONCE}",
        f"a b;1;1;{NONCE}",
        f"٣;٣;٣;{NONCE}",
        "x" * 5000,
    )

    async def test_are_passed_over_and_told_of(
        self, fleet: Fleet, url: str, operator: Operator, namespace: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whatever else stands among the entries takes no keys, is told of in a warning, and disturbs nobody: not those
        who are there, not those who come."""
        members = f"{namespace}/{GROUP}/members"
        first = await fleet.start(url, "a")
        view = await first.view(GROUP)
        for name in self.FOREIGN:
            await operator.create(f"{members}/{name}", b"\xff\x00")
        await operator.create(f"{members}/lost+found/below")
        await wait_until(lambda: any("ignoring" in message for message in logged(caplog)))
        second = await fleet.start(url, "b")
        await fleet.settle()
        assert await first.get_members(GROUP) == ("a", "b")
        await first.heartbeat()
        await second.heartbeat()
        told = [message for message in logged(caplog) if "ignoring" in message]
        assert len(told) == 2, told  # one a minute at each member
        assert all("which are not entries of members" in each for each in told), told
        for name in self.FOREIGN:
            await operator.delete(f"{members}/{name}")
        await second.stop()
        await fleet.settle(first)
        assert (await first.view(GROUP)).members == view.members

    async def test_that_look_like_a_member_are_one(
        self, fleet: Fleet, url: str, operator: Operator, namespace: str
    ) -> None:
        """An entry in good order counts, whoever made it, with the weight that it names; deleted, it is forgotten."""
        members = f"{namespace}/{GROUP}/members"
        member = await fleet.start(url, "a")
        await operator.create(f"{members}/ghost;1000;1;{NONCE}")
        await wait_until(lambda: sees(fleet, 2))
        assert 0 <= len(await member.extract_my_subset(GROUP, KEYS)) < len(KEYS) / 20
        await operator.delete(f"{members}/ghost;1000;1;{NONCE}")
        await fleet.settle()

    async def test_that_cannot_be_read_need_not_be(
        self, fleet: Fleet, url: str, operator: Operator, namespace: str
    ) -> None:
        """Only names count: children, entries and others, that nobody may read do no harm."""
        members, nobody = f"{namespace}/{GROUP}/members", [acl_of_nobody()]
        await fleet.start(url, "a")
        await operator.create(f"{members}/secret", acl=nobody)
        await operator.set_acl(f"{members}/{(await operator.children(members))[0]}", nobody)
        await fleet.start(url, "b")
        await fleet.settle()
        await fleet.members[0].stop()
        await fleet.settle(fleet.members[1])


async def sees(fleet: Fleet, count: int) -> bool:
    return len(await fleet.members[0].get_members(GROUP)) == count


def acl_of_nobody() -> ACL:
    return make_digest_acl("nobody", "knows", all=True)


POLICY = GroupPolicy().as_json()


def document(**changes: object) -> bytes:
    return json.dumps({"format": 1, "policy": POLICY, **changes}).encode()


class TestGroupDocument:
    @pytest.mark.parametrize(
        ("data", "field"),
        [
            (b"\xff\xfe\x00", "document"),
            (b"hello", "document"),
            (b"null", "document"),
            (b"[]", "document"),
            (b"{}", "document"),
            (b"1e999", "document"),
            (b"[" * 100_000, "document"),
            (b"9" * 10_000, "document"),
            (b'{"format": 1}', "document"),
            (document(policy=None), "document"),
            (document(policy=[]), "document"),
            (document(policy="x"), "document"),
            (document(format=2), "format"),
            (document(format="1"), "format"),
            (document(format=None), "format"),
            (document(policy={**POLICY, "slots": 1000}), "slots"),
            (document(policy={**POLICY, "slots": "many"}), "slots"),
            (document(policy={**POLICY, "slots": [1]}), "slots"),
            (document(policy={**POLICY, "placement": "other"}), "placement"),
        ],
        ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else value,
    )
    async def test_that_is_not_ours(
        self, fleet: Fleet, url: str, operator: Operator, namespace: str, data: bytes, field: str
    ) -> None:
        """Whoever finds something else in the group's node than its own policy is refused with an error that names
        what differs. Members that are there go on, and when the document is restored everybody can join."""
        group = f"{namespace}/{GROUP}"
        first = await fleet.start(url, "a")
        good = await operator.get(group)
        await operator.set(group, data)
        second = await fleet.start(url, "b", join=False)
        with pytest.raises(PolicyMismatchError, match=field) as refused:
            await second.join_group(GROUP)
        assert field in refused.value.differences
        assert len(str(refused.value)) < 300
        with pytest.raises(PolicyMismatchError):
            await second.extract_my_subset(GROUP, KEYS)
        await first.heartbeat()
        await fleet.settle(first)
        await operator.set(group, good)
        await fleet.settle()

    async def test_that_is_empty(self, fleet: Fleet, url: str, operator: Operator, namespace: str) -> None:
        """A node that somebody made by hand, or emptied, becomes a group with the next one who joins."""
        await operator.create(f"{namespace}/{GROUP}")
        await fleet.start(url, "a")
        await operator.set(f"{namespace}/{GROUP}", b"")
        await fleet.start(url, "b")
        await fleet.settle()
        assert json.loads(await operator.get(f"{namespace}/{GROUP}")) == json.loads(document())

    async def test_that_lacks_what_has_a_default(
        self, fleet: Fleet, url: str, operator: Operator, namespace: str
    ) -> None:
        """A field that is not there counts as its default, so a policy can grow."""
        await operator.create(f"{namespace}/{GROUP}", document(policy={"replicas": 1}))
        await fleet.start(url, "a")
        await fleet.settle()

    async def test_changed_under_a_member_that_comes_back(
        self, fleet: Fleet, url: str, operator: Operator, namespace: str
    ) -> None:
        """A member that has to join again and finds another policy hands out nothing, says why, and goes on when
        the policy is as before."""
        member = await fleet.start(url, "a", heartbeat=0.2)
        group = f"{namespace}/{GROUP}"
        good = await operator.get(group)
        await operator.set(group, document(policy={**POLICY, "vnodes": 7}))
        [entry] = await operator.children(f"{group}/members")
        await operator.delete(f"{group}/members/{entry}")

        async def refused() -> Any:
            try:
                await member.extract_my_subset(GROUP, KEYS)
            except PolicyMismatchError as error:
                return error.differences
            return None

        assert await wait_until(refused) == {"vnodes": (7, POLICY["vnodes"])}
        assert await operator.children(f"{group}/members") == []
        await operator.set(group, good)

        async def admitted() -> bool:
            return await refused() is None

        await wait_until(admitted)
        await fleet.settle()
        assert await has_children(operator, f"{group}/members")
