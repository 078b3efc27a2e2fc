"""A group whose policy becomes known while it is joined."""

import asyncio
import json
from typing import Any

import pytest

from aiopartition import ConfigurationError, GroupPolicy, PolicyMismatchError
from aiopartition.group.document import check_document, policy_of
from aiopartition.group.handoff import Handoff
from aiopartition.group.in_flight import InFlight
from aiopartition.group.step import Step
from aiopartition.group.terms import JoinOptions
from aiopartition.group.work import Work
from tests.unit.group.driven import POLICY, build_table, found, new_group, read

EXCLUSIVE = GroupPolicy(exclusive=True, slots=16, vnodes=1)


def work() -> Work:
    return Work("work", (False,) * 16, 0.0, lambda: None, 1.0)


def in_flight() -> InFlight:
    return InFlight("g", lambda: None)


def busy() -> tuple[InFlight, Work]:
    """An earlier participation that still works."""
    earlier, working = in_flight(), work()
    earlier.adopt(Handoff(16))
    earlier.begin(working)
    return earlier, working


@pytest.mark.parametrize("policy", [EXCLUSIVE, POLICY], ids=["exclusive", "ordinary"])
def test_a_group_goes_on_by_what_it_adopts(policy: GroupPolicy) -> None:
    """As if it had been made with it, connection or not."""
    group = new_group(policy=GroupPolicy())
    group.session_opened(fresh=True)
    assert group.next_step() is Step.JOIN
    group.adopt(policy)
    assert group.next_step() is Step.JOIN
    entry = group.choose_entry(None)
    group.entered(entry)
    read(group, found(1, entry))
    build_table(group)
    assert group.view is not None
    assert group.view.policy == policy
    assert (group.handoff is not None) == policy.exclusive
    assert (group.next_step() is Step.REST) == (not policy.exclusive)
    assert len(group.view.mask) == 16
    assert any(group.view.mask) == (not policy.exclusive)


async def test_works_of_predecessors_are_remembered_until_the_policy_is_known() -> None:
    """Those that have ended by then are in nobody's way; the others have to end first."""
    earlier, working = busy()
    ended = work()
    earlier.begin(ended)
    later, handoff = in_flight(), Handoff(16)
    later.succeed(earlier)
    earlier.end(ended)
    assert later.idle
    assert later.works == []
    later.adopt(handoff)
    assert handoff.in_the_way == {working}
    earlier.end(working)
    assert handoff.in_the_way == set()


async def test_an_ordinary_group_waits_for_no_predecessor() -> None:
    """Nor does one that was left before its policy was known."""
    earlier, working = busy()
    later, never = in_flight(), in_flight()
    later.succeed(earlier)
    never.succeed(earlier)
    later.adopt(None)
    earlier.end(working)
    assert later.idle
    assert never.idle
    await asyncio.wait_for(never.until_idle(), 1)


@pytest.mark.parametrize("there", [None, POLICY])
@pytest.mark.parametrize("here", [None, POLICY])
def test_only_a_policy_that_is_given_can_differ(there: GroupPolicy | None, here: GroupPolicy | None) -> None:
    """But any other option can."""
    JoinOptions(policy=there).require_same("g", JoinOptions(policy=here))
    with pytest.raises(ConfigurationError, match="settle"):
        JoinOptions(policy=there).require_same("g", JoinOptions(policy=here, settle=1.0))


def test_policies_that_are_given_and_differ() -> None:
    """Are told field by field."""
    with pytest.raises(PolicyMismatchError) as caught:
        JoinOptions(policy=POLICY).require_same("g", JoinOptions(policy=EXCLUSIVE))
    assert caught.value.differences == {"exclusive": (False, True)}


@pytest.mark.parametrize("fields", [{"slots": 64.0}, {"replicas": 2.0, "load_bound": 2}, {"partitions": 4.0}, {}])
def test_numbers_are_read_as_numbers(fields: dict[str, Any]) -> None:
    """Other writers of JSON write 64.0: who is given that policy and who takes it are both admitted."""
    document = json.dumps({"format": 1, "policy": fields}).encode()
    policy = policy_of(document, "g")
    assert policy == GroupPolicy(**{name: type(getattr(GroupPolicy(), name))(each) for name, each in fields.items()})
    assert all(type(getattr(policy, name)) is type(getattr(GroupPolicy(), name)) for name in fields)
    check_document(document, "g", policy)


@pytest.mark.parametrize(
    "fields", ['{"slots": 64.5}', '{"slots": 1e999}', '{"slots": "64"}', '{"exclusive": 1}', '{"replicas": true}']
)
def test_what_is_no_policy(fields: str) -> None:
    """Is named, whatever it is."""
    with pytest.raises(PolicyMismatchError) as caught:
        policy_of(f'{{"format": 1, "policy": {fields}}}'.encode(), "g")
    assert caught.value.differences.keys() == json.loads(fields).keys()
