"""Calls that are written wrongly: each is refused with the mistake and the remedy, before anything is begun."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from operator import attrgetter
from typing import Any

import pytest

from aiopartition import ConfigurationError, GroupPolicy, PartitionCoordinator
from tests.contract.cluster import Cluster
from tests.contract.working import running
from tests.support import wait_until

Call = Callable[[PartitionCoordinator, Any], Awaitable[object]]


@dataclass(frozen=True)
class Device:
    name: str


DEVICES = [Device("a"), Device("b")]


async def iterate(member: PartitionCoordinator, key: Any) -> list[Any]:
    return [each async for each in member.my_subset("g", DEVICES, key=key)]


async def attend(_device: Device) -> None:
    raise AssertionError("no work begins")


async def view_mine(member: PartitionCoordinator, key: Any) -> list[Any]:
    return (await member.view("g")).mine(DEVICES, key=key)


KEY_CALLS: dict[str, Call] = {
    "extract_my_subset": lambda member, key: member.extract_my_subset("g", DEVICES, key=key),
    "everything mine": lambda member, key: member.extract_my_subset(None, DEVICES, key=key),
    "my_subset": iterate,
    "run": lambda member, key: member.run("g", DEVICES, attend, key=key),
    "view.mine": view_mine,
}


@pytest.mark.parametrize("call", KEY_CALLS.values(), ids=KEY_CALLS)
async def test_a_key_that_cannot_be_called(cluster: Cluster, call: Call) -> None:
    """A name is taken for the attribute that somebody meant."""
    member = await cluster.joined("m")
    with pytest.raises(TypeError) as caught:
        await call(member, "name")
    assert str(caught.value) == (
        "key must be a function that returns the key of a resource, not 'name'; for an attribute of that name give "
        "operator.attrgetter('name'), for an item operator.itemgetter('name')"
    )
    with pytest.raises(TypeError, match="key must be a plain function, not an async one: <function attend at "):
        await call(member, attend)
    for wrong in (5, DEVICES[0], ("name",)):
        with pytest.raises(TypeError, match="key must be a function that returns the key of a resource, not "):
            await call(member, wrong)
    assert await member.extract_my_subset("g", DEVICES, key=attrgetter("name")) == DEVICES


GROUP_CALLS: dict[str, Call] = {
    "join_group": lambda member, group: member.join_group(group),
    "leave_group": lambda member, group: member.leave_group(group),
    "view": lambda member, group: member.view(group),
    "get_members": lambda member, group: member.get_members(group),
}


@pytest.mark.parametrize("call", GROUP_CALLS.values(), ids=GROUP_CALLS)
async def test_no_group(cluster: Cluster, call: Call) -> None:
    """Where there has to be one, all calls refuse to do without, in the same words."""
    member = await cluster.joined("m")
    messages = {}
    for nothing in (None, "", 5, b"g"):
        with pytest.raises(ConfigurationError) as caught:
            await call(member, nothing)
        assert caught.value.part == "group_id"
        messages[nothing] = caught.value.reason
    assert messages[None] == (
        "must be a str; None stands for no group only where everything can be mine, as in extract_my_subset()"
    )
    assert messages[""] == "must not be empty"
    assert member.groups == ("g",)


class Number(IntEnum):
    LONG = 10**5000 + 7


LONG_NUMBERS: list[Any] = [10**5000 + 7, -(10**4999), 10**600, 10**4300, Number.LONG, (10**5000, 1)]


@pytest.mark.parametrize("limit", [640, 4300, 0])
@pytest.mark.parametrize("exclusive", [False, True])
async def test_numbers_of_any_length_are_keys(cluster: Cluster, limit: int, exclusive: bool) -> None:
    """Whatever limit of digits Python was given."""
    member = await cluster.started("m")
    await member.join_group("g", policy=GroupPolicy(exclusive=exclusive))
    here: list[Any] = []

    async def worker(number: Any) -> None:
        here.append(number)

    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(limit)
    try:
        async with running(member.run("g", LONG_NUMBERS, worker)):
            await wait_until(lambda: len(here) == len(LONG_NUMBERS) - 1)  # Number.LONG is the first one
        numbers = LONG_NUMBERS[:4]
        assert await member.extract_my_subset("g", numbers) == numbers
        assert await member.extract_my_subset("g", numbers, key=lambda number: -number) == numbers
        assert [each async for each in member.my_subset("g", LONG_NUMBERS)] == LONG_NUMBERS
        assert (await member.view("g")).mine([1, *LONG_NUMBERS]) == [1, *LONG_NUMBERS]
    finally:
        sys.set_int_max_str_digits(before)
