"""An observer needs the right to read, and no other."""

import pytest

from aiopartition import AuthenticationError, GroupPolicy, PartitionCoordinator
from tests.faults.rights import url_of
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator, rights
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.joining import enter

MEMBER = ("member", "secret")
READER = ("reader", "looks")
POLICY = GroupPolicy(exclusive=True, slots=64, vnodes=16)
READABLE = [rights(MEMBER, "crwd"), rights(READER, "r")]


@pytest.fixture
async def group(administrator: Operator, namespace: str) -> str:
    """The path of a group in which members may do everything, and one user may read."""
    path = f"{namespace}/{GROUP}"
    for node in (namespace, path, f"{path}/members", f"{path}/handoff"):
        await administrator.create(node, acl=READABLE)
    await administrator.create(f"{path}/active", b"0", acl=READABLE)
    return path


async def observer_of(fleet: Fleet, url: str) -> PartitionCoordinator:
    observer = await fleet.start(url, "observer", heartbeat=0.1, join=False)
    await observer.observe(GROUP)
    return observer


async def test_the_right_to_read_is_enough(
    fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, group: str, namespace: str
) -> None:
    """For members, policy, generations, for who is waited for, and for what the members say of themselves."""
    first = await fleet.start(url_of(guarded_server, namespace, MEMBER), "first", policy=POLICY)
    observer = await observer_of(fleet, url_of(guarded_server, namespace, READER))
    view = await observer.view(GROUP)
    assert (view.policy, await observer.get_members(GROUP)) == (POLICY, ("first",))
    await wait_until(lambda: observer.status(GROUP).active_generation == first.status(GROUP).generation)

    second = await fleet.start(url_of(guarded_server, namespace, MEMBER), "second", join=False)
    async with first.hold(GROUP, drain_timeout=30):
        await enter(second, GROUP, policy=POLICY)
        await wait_until(lambda: observer.status(GROUP).generation == second.status(GROUP).generation)
        # Members make these nodes for themselves alone, whatever the nodes above them admit.
        refusal = f"{group}/handoff/{second.status(GROUP).generation}: permission READ denied"
        await wait_until(lambda: observer.status(GROUP).reason.startswith(refusal))
        status = observer.status(GROUP)
        assert (status.state, status.generation) == ("observing", second.status(GROUP).generation)
        assert status.waiting_for == ()
        for marks in await administrator.children(f"{group}/handoff"):
            await administrator.set_acl(f"{group}/handoff/{marks}", READABLE)
        await wait_until(lambda: [each.member_id for each in observer.status(GROUP).waiting_for] == ["first"])
        [entry] = [name for name in await administrator.children(f"{group}/members") if name.startswith("first;")]
        await wait_until(lambda: observer.status(GROUP).reason.startswith(f"{group}/members/{entry}: permission READ"))
        with pytest.raises(AuthenticationError, match="permission READ denied") as refused:
            await observer.describe_member(GROUP, "first")
        assert refused.value.path == f"{group}/members/{entry}"
        await administrator.set_acl(f"{group}/members/{entry}", READABLE)
        await wait_until(lambda: observer.status(GROUP).waiting_for[0].pid is not None)
        assert (await observer.describe_member(GROUP, "first")).host
        await wait_until(lambda: observer.status(GROUP).reason == "")
    await wait_until(lambda: observer.status(GROUP).active_generation == second.status(GROUP).generation)
    await wait_until(lambda: second.status(GROUP).state == "steady")
    assert await observer.extract_my_subset(GROUP, KEYS) == []
    await observer.leave_group(GROUP)


@pytest.mark.parametrize("node", ["", "/members"], ids=["document", "members"])
async def test_what_may_not_be_read(
    fleet: Fleet, guarded_server: ZooKeeperServer, administrator: Operator, group: str, namespace: str, node: str
) -> None:
    """It is said which right is missing where, at the beginning and later; once it is given, the group is seen."""
    first = await fleet.start(url_of(guarded_server, namespace, MEMBER), "first", policy=POLICY)
    path = f"{group}{node}"
    await administrator.set_acl(path, [rights(MEMBER, "crwd")])
    observer = await observer_of(fleet, url_of(guarded_server, namespace, READER))
    for _ in range(2):
        await wait_until(lambda: observer.status(GROUP).state == "refused")
        assert f"{path}: permission READ denied" in observer.status(GROUP).reason
        with pytest.raises(AuthenticationError) as refused:
            await observer.view(GROUP)
        assert (refused.value.path, refused.value.permission) == (path, "READ")
        await administrator.set_acl(path, READABLE)
        await wait_until(lambda: observer.status(GROUP).state == "observing")
        assert await observer.get_members(GROUP) == ("first",)
        await administrator.set_acl(path, [rights(MEMBER, "crwd")])
        await first.leave_group(GROUP)  # news, which cannot be read
        await first.join_group(GROUP, policy=POLICY)
