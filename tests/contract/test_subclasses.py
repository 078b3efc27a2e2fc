"""Arguments whose types extend ``str`` and ``int``, as members of enumerations do: their value counts."""

from enum import Enum

import pytest

from aiopartition import GroupPolicy
from tests.contract.cluster import Cluster
from tests.support import wait_until


class Name(str, Enum):  # noqa: UP042 -- its str() is not its value
    POLLERS = "pollers"
    ONE = "one"


class Strange(str):
    """Its value differs from what it is formatted as."""

    __slots__ = ()

    def __str__(self) -> str:
        return "strange"

    def __format__(self, _: str) -> str:
        return "strange"


class Size(int, Enum):
    NONE = 0
    SMALL = 1
    GREAT = 3


class Mute(int):
    """Its value differs from what it is formatted as."""

    def __str__(self) -> str:
        return "mute"

    def __format__(self, _: str) -> str:
        return "mute"


async def weights(cluster: Cluster, group_id: str) -> dict[str, int]:
    """The weights of the members, as they stand in the names of the entries."""
    return {name.split(";")[0]: int(name.split(";")[1]) for name in await cluster.entries(group_id)}


@pytest.mark.parametrize("weight", [Size.GREAT, Mute(3)], ids=["enumeration", "other"])
async def test_weights(cluster: Cluster, weight: int) -> None:
    """A member joins with the number, and changes to another."""
    one, two = await cluster.started("one"), await cluster.started("two")
    await one.join_group("g", weight=weight, settle=0)
    await two.join_group("g", settle=0)
    assert await weights(cluster, "g") == {"one": 3, "two": 1}
    await two.set_weight("g", weight)
    assert await weights(cluster, "g") == {"one": 3, "two": 3}
    await one.set_weight("g", Size.NONE)
    await wait_until(lambda: two.status("g").shares == {"one": 0.0, "two": 1.0})


@pytest.mark.parametrize("group_id", [Name.POLLERS, Strange("pollers")], ids=["enumeration", "other"])
@pytest.mark.parametrize("call", ["join_group", "view", "observe"])
async def test_groups_and_members(cluster: Cluster, group_id: str, call: str) -> None:
    """Ids are the texts, and are shown as such."""
    one, two = await cluster.started(Name.ONE), await cluster.started("two")
    await two.join_group("pollers", settle=0)
    await getattr(one, call)(group_id)
    status = one.status("pollers")
    assert (type(status.group_id), status.group_id) == (str, "pollers")
    assert (type(one.member_id), one.member_id) == (str, "one")
    if call != "observe":
        await wait_until(lambda: set(two.status("pollers").shares) == {"one", "two"})
        assert one.groups == ("pollers",)
        await one.set_weight(group_id, 2)
    await one.leave_group(group_id)
    assert one.groups == ()


async def test_policies(cluster: Cluster) -> None:
    """They are the same as with plain numbers, in the group and in text."""
    policy = GroupPolicy(replicas=Size.SMALL, partitions=Mute(5), load_bound=Mute(2))
    assert repr(policy) == repr(GroupPolicy(partitions=5, load_bound=2.0))
    one, two = await cluster.started("one"), await cluster.started("two")
    await one.join_group("g", policy=policy)
    await two.join_group("g", policy=GroupPolicy(partitions=5, load_bound=2.0))
