"""A table that follows its members is that of a fresh build, whatever has happened before; and few are followed."""

import asyncio
import gc
import random
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiopartition.errors import GroupTooLargeError
from aiopartition.placement import builder as builder_module
from aiopartition.placement import following as following_module
from aiopartition.placement.assign import build
from aiopartition.placement.builder import FOLLOWED, TableBuilder
from aiopartition.placement.following import Following
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.ring import POINTS_PER_STEP
from aiopartition.placement.table import Table

SMALL = GroupPolicy(slots=64, vnodes=8)


def alike(count: int) -> dict[str, int]:
    return {f"member-{number}": 1 for number in range(count)}


policies = st.builds(
    GroupPolicy,
    slots=st.sampled_from([16, 64, 256]),
    vnodes=st.integers(1, 20),
    load_bound=st.sampled_from([1.0, 1.01, 1.08, 1.5, 2.0]),
)
weights = st.dictionaries(st.sampled_from([f"m{number}" for number in range(12)]), st.integers(0, 6), min_size=1)
histories = st.lists(weights.filter(lambda members: any(members.values())), min_size=2, max_size=8)


def follow(following: Following, members: Mapping[str, int]) -> Table:
    steps = following.steps(members)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            table: Table = finished.value
            return table


@given(policies, histories)
@settings(max_examples=300, deadline=None)
def test_it_is_the_table_of_a_fresh_build(policy: GroupPolicy, history: list[dict[str, int]]) -> None:
    """Joins, leaves, other weights, several at once; with it the masks, of which every other one was made before."""
    following = Following(policy)
    for members in history:
        table = follow(following, members)
        fresh = build(members, policy)
        assert following.exact
        assert table == fresh
        for member_id in [*members, "nobody"]:
            assert table.masks.get(member_id, fresh.mask(member_id)) == fresh.mask(member_id)
        for member_id in list(members)[::2]:
            table.mask(member_id)


@pytest.mark.parametrize("count", [65, 200])
def test_one_change_after_the_other_in_a_large_group(count: int) -> None:
    """At the default policy, where walks cross many slots and where they cross few."""
    chance, policy = random.Random(count), GroupPolicy()
    members = alike(count)
    following = Following(policy)
    assert follow(following, members) == build(members, policy)
    for number in range(8):
        members = dict(members)
        if number % 2:
            del members[chance.choice(list(members))]
        else:
            members[f"new-{number}"] = 1
        assert follow(following, members) == build(members, policy)


def test_what_a_change_does_not_concern_stays_as_it_was() -> None:
    """Members whose slots are the same keep their masks, the very objects, and few turns are taken."""
    policy = GroupPolicy()
    members = alike(100)
    following = Following(policy)
    before = follow(following, members)
    masks = {each: before.mask(each) for each in members}
    after = follow(following, members | {"new": 1})
    kept = [each for each in members if after.masks[each] is masks[each]]
    assert kept
    for each in members:
        assert (each in kept) == (masks[each] == build(members | {"new": 1}, policy).mask(each))
        assert after.mask(each) == build(members | {"new": 1}, policy).mask(each)


def test_each_step_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heavy member joins and leaves in steps of so many points, and slots get their owners in steps of so many."""
    done: Counter[str] = Counter()

    def counted(name: str) -> None:
        method = getattr(Following, name)

        def count(*arguments: object) -> object:
            done[name] += 1
            return method(*arguments)

        monkeypatch.setattr(Following, name, count)

    for name in ("_add", "_remove", "_walk"):
        counted(name)
    following = Following(GroupPolicy(slots=4096, vnodes=100))
    for members in (alike(50) | {"heavy": 1000}, alike(50), alike(51) | {"heavy": 1000}):
        for _ in following.steps(members):
            assert max(done["_add"], done["_remove"]) <= POINTS_PER_STEP
            assert done["_walk"] <= following_module.TURNS_PER_STEP
            done.clear()
        assert following.members == members


def test_points_that_coincide_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their order on the ring is that of the members' ids, of which a following knows nothing."""
    monkeypatch.setattr(following_module, "numbered_points", lambda member_id, first, last: iter(range(first, last)))
    following = Following(SMALL)
    follow(following, {"a": 1})
    assert following.exact
    follow(following, {"a": 1, "b": 1})
    assert not following.exact


@pytest.mark.parametrize("members", [{}, {"a": 0}, {"a": -1, "b": 1}])
def test_what_has_no_table(members: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="weight"):
        follow(Following(SMALL), members)


def test_too_many_members() -> None:
    with pytest.raises(GroupTooLargeError):
        follow(Following(GroupPolicy(vnodes=1000)), dict.fromkeys(map(str, range(2001)), 1))


# ---- the builder


@pytest.fixture
def fresh_builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the groups for which a new following has begun. Small groups are followed here too."""
    begun: list[int] = []
    steps = Following.steps

    def counted(following: Following, members: Mapping[str, int]) -> Iterator[None]:
        if not following.members:
            begun.append(len(members))
        return steps(following, members)

    monkeypatch.setattr(Following, "steps", counted)
    monkeypatch.setattr(builder_module, "FOLLOWED_FROM", 8)
    return begun


def always() -> bool:
    return True


async def table_of(builder: TableBuilder, members: Mapping[str, int], policy: GroupPolicy = SMALL) -> Table:
    table = await builder.table_of(members, policy, always)
    assert table is not None
    assert table == build(members, policy)
    return table


async def test_a_change_is_followed(fresh_builds: list[int]) -> None:
    builder = TableBuilder()
    tables = [
        await table_of(builder, alike(16)),
        await table_of(builder, alike(17)),
        await table_of(builder, alike(16) | {"b": 2}),
    ]
    assert fresh_builds == [16]
    assert len(builder._followings) == 1
    del tables


async def test_many_changes_at_once_and_other_policies_are_built_anew(fresh_builds: list[int]) -> None:
    builder = TableBuilder()
    tables = [await table_of(builder, alike(16)), await table_of(builder, alike(30))]
    tables.append(await table_of(builder, alike(17), GroupPolicy(slots=64, vnodes=9)))
    tables.append(await table_of(builder, alike(17)))  # follows the first
    assert fresh_builds == [16, 30, 17]
    for policy in (GroupPolicy(slots=64, replicas=2), GroupPolicy(slots=64, partitions=24)):
        tables += [await table_of(builder, alike(17), policy)]
    tables.append(await table_of(builder, alike(7)))
    assert fresh_builds == [16, 30, 17]


async def test_what_is_followed_goes_with_the_table(fresh_builds: list[int]) -> None:
    builder = TableBuilder()
    table = await table_of(builder, alike(16))
    later = await table_of(builder, alike(17))
    del table
    gc.collect()
    assert len(builder._followings) == 1
    del later
    gc.collect()
    assert not builder._followings


async def test_few_are_kept(fresh_builds: list[int]) -> None:
    builder = TableBuilder()
    tables = [await table_of(builder, alike(16), GroupPolicy(slots=64, vnodes=each)) for each in range(1, 9)]
    assert [key[1].vnodes for key in builder._followings] == list(range(9 - FOLLOWED, 9))
    del tables


async def test_what_was_given_up_in_the_middle_is_not_used(fresh_builds: list[int]) -> None:
    """Cancelled, or not wanted any more, at each step: the next table is right all the same."""
    for way in ("cancelled", "not wanted"):
        for step in range(12):
            builder = TableBuilder()
            first = await table_of(builder, alike(16))
            left = step

            def wanted() -> bool:
                nonlocal left
                left -= 1
                return left >= 0

            if way == "cancelled":
                task = asyncio.create_task(builder.table_of(alike(17), SMALL, always))
                for _ in range(step):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            else:
                await builder.table_of(alike(17), SMALL, wanted)
            await table_of(builder, alike(18))
            await table_of(builder, alike(17))
            del first


async def test_two_that_follow_the_same_at_once(fresh_builds: list[int]) -> None:
    """One of them takes what there is, the other begins anew."""
    builder = TableBuilder()
    first = await table_of(builder, alike(16))
    await asyncio.gather(table_of(builder, alike(17)), table_of(builder, alike(16) | {"b": 1}))
    assert fresh_builds == [16, 17]
    del first


async def test_points_that_coincide_are_built_anew(fresh_builds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    add = Following._add

    def coinciding(following: Following, point: int, number: int) -> None:
        add(following, point, number)
        following.exact = False

    monkeypatch.setattr(Following, "_add", coinciding)
    builder = TableBuilder()
    table = await table_of(builder, alike(16))
    assert not builder._followings
    del table
