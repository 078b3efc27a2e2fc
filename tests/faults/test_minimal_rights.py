"""The table of rights in the documentation: each role works with exactly those, and without one of them it says which.

The nodes of the group exist, and have the ACL of the table. Members make all others, with ``acl=``.
"""

import re
from pathlib import Path

import pytest
from kazoo.security import ACL

from aiopartition import Acl, AuthenticationError, GroupPolicy, PartitionCoordinator
from tests.faults.rights import SUPER_USER, url_of
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator, rights
from tests.support.fleet import GROUP, Fleet
from tests.support.joining import enter

MEMBER, READER = ("member", "secret"), ("reader", "looks")
BOTH = Acl((Acl.digest_id(*MEMBER),), (Acl.digest_id(*READER),))
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "security.md"
EXCLUSIVE = GroupPolicy(exclusive=True, slots=64, vnodes=16)
ORDINARY = GroupPolicy(slots=64, vnodes=16)

NODES = {"": b"", "/members": b"", "/handoff": b"", "/active": b"0"}
ORDINARY_RIGHTS = {"": "r", "/members": "rcd", "/handoff": "", "/active": ""}
HANDOFF_RIGHTS = {"/handoff": "rcd", "/active": "rw"}
EXCLUSIVE_RIGHTS = ORDINARY_RIGHTS | HANDOFF_RIGHTS
OBSERVER_RIGHTS = {"": "r", "/members": "r", "/handoff": "r", "/active": "r"}
NAMES = {"r": "READ", "w": "WRITE", "c": "CREATE", "d": "DELETE"}


def acl_of(user: tuple[str, str], letters: str) -> list[ACL]:
    return [rights(SUPER_USER, "crwda"), *([rights(user, letters)] if letters else [])]


async def make_group(
    fleet: Fleet, server: ZooKeeperServer, administrator: Operator, namespace: str, policy: GroupPolicy
) -> str:
    """Have a member of all rights make the group, and go. Return the path."""
    first = await fleet.start(url_of(server, namespace), "first", auth=SUPER_USER, policy=policy)
    await first.stop()
    fleet.members.clear()
    path = f"{namespace}/{GROUP}"
    for node, data in NODES.items():
        if node.removeprefix("/") not in ("", *await administrator.children(path)):
            await administrator.create(f"{path}{node}", data)
    for marks in await administrator.children(f"{path}/handoff"):
        await administrator.delete(f"{path}/handoff/{marks}")
    await administrator.set_acl(namespace, acl_of(MEMBER, ""))
    return path


async def grant(administrator: Operator, path: str, user: tuple[str, str], given: dict[str, str]) -> None:
    for node, letters in given.items():
        await administrator.set_acl(f"{path}{node}", acl_of(user, letters))


def without_one(given: dict[str, str]) -> list[tuple[str, str]]:
    return [(node, letter) for node, letters in given.items() for letter in letters]


async def live(fleet: Fleet, url: str) -> None:
    """All that members do: join, follow, change the weight, leave, come back, stop."""
    members = [await fleet.start(url, name, auth=MEMBER, acl=BOTH, heartbeat=0.1) for name in ("a", "b", "c")]
    await fleet.settle()
    await members[0].set_weight(GROUP, 3)
    await fleet.settle()
    await members[1].leave_group(GROUP)
    await fleet.settle(members[0], members[2])
    await members[1].join_group(GROUP)
    await members[2].stop()
    await fleet.settle(*members[:2])


@pytest.mark.parametrize(
    ("policy", "given"), [(ORDINARY, ORDINARY_RIGHTS), (EXCLUSIVE, EXCLUSIVE_RIGHTS)], ids=["ordinary", "exclusive"]
)
async def test_these_are_enough_for_members(
    fleet: Fleet,
    guarded_server: ZooKeeperServer,
    administrator: Operator,
    namespace: str,
    policy: GroupPolicy,
    given: dict[str, str],
) -> None:
    """With them members join, follow one another, change their weights, leave, and stop."""
    path = await make_group(fleet, guarded_server, administrator, namespace, policy)
    await grant(administrator, path, MEMBER, given)
    await live(fleet, url_of(guarded_server, namespace))


@pytest.mark.parametrize(("node", "letter"), without_one(ORDINARY_RIGHTS))
async def test_each_is_needed_by_members(
    fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str, node: str, letter: str
) -> None:
    """Without it, joining or leaving says which is missing where."""
    path = await make_group(fleet, guarded_server, administrator, namespace, ORDINARY)
    given = ORDINARY_RIGHTS | {node: ORDINARY_RIGHTS[node].replace(letter, "")}
    await grant(administrator, path, MEMBER, given)
    member = await fleet.start(url_of(guarded_server, namespace), "a", auth=MEMBER, acl=BOTH, join=False)
    with pytest.raises(AuthenticationError) as refused:
        await member.join_group(GROUP)
        await member.leave_group(GROUP)
    assert str(refused.value) == (f"{path}{node}: permission {NAMES[letter]} denied: these credentials do not have it")


@pytest.mark.parametrize(("node", "letter"), without_one(HANDOFF_RIGHTS))
async def test_each_is_needed_by_members_of_exclusive_groups(
    fleet: Fleet,
    guarded_server: ZooKeeperServer,
    administrator: Operator,
    namespace: str,
    node: str,
    letter: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without it a handoff does not end, and the log and the status say which is missing where. The right to delete
    past handoffs is missed by nobody but the tree, and said as well."""
    path = await make_group(fleet, guarded_server, administrator, namespace, EXCLUSIVE)
    given = EXCLUSIVE_RIGHTS | {node: EXCLUSIVE_RIGHTS[node].replace(letter, "")}
    await grant(administrator, path, MEMBER, given)
    url = url_of(guarded_server, namespace)
    first = await fleet.start(url, "a", auth=MEMBER, acl=BOTH, heartbeat=0.1, connect_timeout=0.5)
    second = await fleet.start(url, "b", auth=MEMBER, acl=BOTH, heartbeat=0.1, connect_timeout=0.5)
    refusal = f"{path}{node}: permission {NAMES[letter]} denied: these credentials do not have it"

    def is_said() -> bool:
        reasons = [member.status(GROUP).reason for member in (first, second)]
        return refusal in reasons or any(refusal in record.getMessage() for record in caplog.records)

    await wait_until(is_said, what=lambda: str((first.status(GROUP), second.status(GROUP))))


async def observer_of(fleet: Fleet, server: ZooKeeperServer, namespace: str) -> PartitionCoordinator:
    observer = await fleet.start(url_of(server, namespace, READER), "o", heartbeat=0.1, join=False)
    await observer.observe(GROUP)
    fleet.members.remove(observer)
    return observer


async def test_these_are_enough_for_observers(
    fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str
) -> None:
    """An observer sees the handoff of members whose ``acl`` has readers, and what the members say of themselves."""
    path = await make_group(fleet, guarded_server, administrator, namespace, EXCLUSIVE)
    for node in NODES:
        await administrator.set_acl(
            f"{path}{node}", [*acl_of(MEMBER, EXCLUSIVE_RIGHTS[node]), rights(READER, OBSERVER_RIGHTS[node])]
        )
    url = url_of(guarded_server, namespace)
    observer = await observer_of(fleet, guarded_server, namespace)
    first = await fleet.start(url, "a", auth=MEMBER, acl=BOTH, heartbeat=0.1)
    second = await fleet.start(url, "b", auth=MEMBER, acl=BOTH, heartbeat=0.1, join=False)
    async with first.hold(GROUP, drain_timeout=30):
        await enter(second, GROUP)
        await wait_until(lambda: [each.member_id for each in observer.status(GROUP).waiting_for] == ["a"])
        await wait_until(lambda: observer.status(GROUP).waiting_for[0].pid is not None)
    assert (await observer.describe_member(GROUP, "b")).host
    await wait_until(lambda: observer.status(GROUP).active_generation == second.status(GROUP).generation)
    assert observer.status(GROUP).reason == ""


@pytest.mark.parametrize("node", ["", "/members", "/active"])
async def test_each_is_needed_by_observers(
    fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, namespace: str, node: str
) -> None:
    """Without it the status says which is missing where. (What is below ``handoff``: ``test_observer_rights.py``.)"""
    path = await make_group(fleet, guarded_server, administrator, namespace, EXCLUSIVE)
    await grant(administrator, path, READER, OBSERVER_RIGHTS | {node: ""})
    await fleet.start(url_of(guarded_server, namespace), "a", auth=SUPER_USER)
    observer = await observer_of(fleet, guarded_server, namespace)
    refusal = f"{path}{node}: permission READ denied: these credentials do not have it"
    await wait_until(lambda: observer.status(GROUP).reason == refusal, what=lambda: str(observer.status(GROUP)))


def test_the_page_has_this_table() -> None:
    """Row by row, what is tested here is what is documented."""
    rows = re.findall(r"^\| `<group>(/?[a-z]*)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE)

    def documented(letters: str) -> set[str]:
        return {NAMES[letter] for letter in letters}

    told = {node: [set(re.findall("[A-Z]{4,}", cell)) for cell in cells] for node, *cells in rows}
    assert told == {
        node: [documented(given[node]) for given in (ORDINARY_RIGHTS, EXCLUSIVE_RIGHTS, OBSERVER_RIGHTS)]
        for node in NODES
    }
