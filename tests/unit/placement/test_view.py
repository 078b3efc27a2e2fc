"""Views and changes: what a member sees, frozen at one generation."""

import copy
import pickle
from collections.abc import AsyncIterator, Iterator
from dataclasses import FrozenInstanceError
from functools import partial
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiopartition.placement.assign import build
from aiopartition.placement.keys import Key
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import CHUNK
from aiopartition.placement.view import Change, Member, View, require_iterable

POLICY = GroupPolicy(slots=1024)
PAIRED = GroupPolicy(slots=1024, replicas=2)
WEIGHTS = {"c": 1, "a": 2, "b": 1}


def view_of(member_id: str, policy: GroupPolicy = POLICY, generation: int = 7, **weights: int) -> View:
    return View.of("orders", generation, weights or WEIGHTS, policy, member_id)


class AsyncNumbers:
    def __aiter__(self) -> AsyncIterator[int]:
        raise NotImplementedError


class BothWays(AsyncNumbers):
    def __iter__(self) -> Iterator[int]:
        return iter(range(10))


class Indexed:
    """An iterable of the old protocol: no __iter__."""

    def __getitem__(self, index: int) -> int:
        if index >= 10:
            raise IndexError
        return index


def test_members_are_sorted() -> None:
    """A view lists its members by id, with their weights, in whatever order they are given."""
    assert view_of("a").members == (Member("a", 2), Member("b"), Member("c", 1))


def test_a_table_built_already_is_used() -> None:
    """Whoever compiled the table piece by piece hands it over, and it is not compiled again."""
    table = build(WEIGHTS, POLICY)
    assert View.of("orders", 7, WEIGHTS, POLICY, "a", table).table is table
    assert View.of("orders", 7, WEIGHTS, POLICY, "a").table == table


@given(st.lists(st.text() | st.integers() | st.uuids(), unique_by=str))
@settings(deadline=None)
def test_members_share_everything(resources: list[Key]) -> None:
    """What the members call their own is all of it, and nothing twice; owner, owns and mine say the same."""
    views = [view_of(each) for each in WEIGHTS]
    parts = [view.mine(resources) for view in views]
    assert sorted((each for part in parts for each in part), key=str) == sorted(resources, key=str)
    for view, part in zip(views, parts, strict=True):
        assert part == [each for each in resources if view.owner(each) == view.member_id]
        assert all(views[0].owns(view.member_id, each) for each in part)


def test_replicas_share_everything_twice() -> None:
    """With two replicas each resource is two members' own, the first owner first."""
    resources = range(1000)
    views = {each: view_of(each, PAIRED) for each in WEIGHTS}
    for resource in resources:
        owners = views["a"].owners(resource)
        assert len(set(owners)) == 2
        assert views["b"].owner(resource) == owners[0]
        assert {each for each in WEIGHTS if views["c"].owns(each, resource)} == set(owners)
    assert sum(len(view.mine(resources)) for view in views.values()) == 2 * len(resources)
    assert sum(views["a"].shares().values()) == 2.0


def test_shares_follow_the_weights() -> None:
    """The shares of a view are its members', by id."""
    shares = view_of("a").shares()
    assert list(shares) == ["a", "b", "c"]
    assert sum(shares.values()) == 1.0
    assert 0.4 <= shares["a"] <= 0.56
    assert not view_of("a").owns("stranger", "x")


def test_a_stranger_has_nothing() -> None:
    """A view whose member is not among its members gives it nothing; this is no error."""
    assert view_of("stranger").mine(range(1000)) == []


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_mine_takes_any_iterable(length: int) -> None:
    """A list, a generator, a set or the keys of a dict of any length: mine() keeps their order."""
    view = view_of("a")
    expected = [each for each in range(length) if view.owner(each) == "a"]
    assert view.mine(list(range(length))) == expected
    assert view.mine(range(length)) == expected
    assert view.mine(each for each in range(length)) == expected
    assert view.mine(dict.fromkeys(range(length))) == expected
    assert set(view.mine(set(range(length)))) == set(expected)


def test_mine_takes_old_and_double_iterables() -> None:
    """What can be iterated over is, with or without __iter__, and an async iterable that also is a plain one."""
    view = view_of("a")
    expected = view.mine(range(10))
    assert view.mine(cast("Any", Indexed())) == expected
    assert view.mine(BothWays()) == expected


def test_mine_by_key() -> None:
    """With key= anything can be filtered, and it is the key that decides."""
    view = view_of("a")
    resources = [{"id": number} for number in range(100)]
    assert view.mine(resources, key=lambda each: each["id"]) == [{"id": number} for number in view.mine(range(100))]
    with pytest.raises(TypeError, match="dict has no stable key"):
        view.mine(cast("Any", resources))


@pytest.mark.parametrize(
    ("single", "parts"),
    [("order-7", "characters"), ("", "characters"), (b"order-7", "bytes"), (bytearray(b"x"), "bytes")],
    ids=repr,
)
def test_a_single_text_is_no_iterable_of_resources(single: Any, parts: str) -> None:
    """mine("order-7") is a slip: its characters are not resources."""
    with pytest.raises(TypeError, match=f"a single {type(single).__name__} would be split into {parts}"):
        view_of("a").mine(single)


def test_an_async_iterable_is_sent_elsewhere() -> None:
    """An async iterable cannot be filtered by a plain call; the error names the one that can."""
    with pytest.raises(TypeError, match=r"AsyncNumbers is an async iterable: use my_subset\(\) instead"):
        view_of("a").mine(cast("Any", AsyncNumbers()))


@pytest.mark.parametrize("nothing", [7, None, object()], ids=lambda value: type(value).__name__)
def test_what_is_no_iterable_is_an_error(nothing: Any) -> None:
    """What cannot be iterated over is said to be that, by its type."""
    with pytest.raises(TypeError, match="expected an iterable of resources, not "):
        view_of("a").mine(nothing)


def test_require_iterable_gives_back_what_it_gets() -> None:
    """The check neither copies nor consumes."""
    source = iter(range(3))
    assert require_iterable(source) is source
    assert list(source) == [0, 1, 2]


@pytest.mark.parametrize("resource", [None, 1.5, True, ["a"]], ids=repr)
def test_questions_need_a_key(resource: Any) -> None:
    """Who owns something without a stable key is a question without an answer."""
    view = view_of("a")
    for ask in (view.owner, view.owners, partial(view.owns, "a")):
        with pytest.raises(TypeError, match="Pass key="):
            ask(resource)


def test_views_are_values() -> None:
    """Views cannot be changed, and are equal and hash alike if they say the same of one group at one generation."""
    view = view_of("a")
    with pytest.raises(FrozenInstanceError):
        view.generation = 8  # type: ignore[misc]
    assert {view, view_of("a")} == {view}
    others = [view_of("b"), view_of("a", generation=8), view_of("a", PAIRED), view_of("a", a=1)]
    assert all(view != other for other in others)
    assert len({view, *others}) == 5
    # The table follows from the rest: to compare or hash its thousands of entries would be for nothing.
    assert View.of("orders", 7, WEIGHTS, POLICY, "a", build({"a": 1}, POLICY)) == view


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_views_and_changes_can_be_pickled(used: bool) -> None:
    """Views travel to other processes and answer the same there."""
    view = view_of("a", PAIRED)
    expected = view_of("a", PAIRED).mine(range(100))
    if used:
        view.mine(range(100))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        restored = pickle.loads(pickle.dumps(view, protocol))
        assert restored == view
        assert restored.table == view.table
        assert restored.mine(range(100)) == expected
    change = Change.between(view, view_of("a", generation=8))
    assert pickle.loads(pickle.dumps(change)) == change
    assert copy.deepcopy(change) == change


def test_a_repr_fits_a_log_line() -> None:
    """However many members and slots there are, a view is one short line."""
    assert repr(view_of("a")) == "<View of 'orders' at generation 7, 3 members, seen by 'a'>"
    assert len(repr(Change.between(None, view_of("a")))) < 300


def test_the_first_change() -> None:
    """From nothing to a view everybody joins, and every slot is somewhere else than before."""
    view = view_of("a")
    assert Change.between(None, view) == Change(view, None, ("a", "b", "c"), (), 1.0)


def test_a_change_of_members() -> None:
    """A change names who came and who went, and the share of slots that moved with them."""
    before, after = view_of("a", a=1, b=1, x=1, c=1), view_of("a", generation=8, a=1, z=1, y=1, c=1)
    change = Change.between(before, after)
    assert (change.view, change.previous) == (after, before)
    assert change.joined == ("y", "z")
    assert change.left == ("b", "x")
    assert change.moved == after.table.moved(before.table)
    assert 0.4 < change.moved < 0.8


def test_a_change_of_weight() -> None:
    """A new weight moves slots although nobody joins or leaves."""
    change = Change.between(view_of("a", a=1, b=1), view_of("a", generation=8, a=2, b=1))
    assert (change.joined, change.left) == ((), ())
    assert 0.1 < change.moved < 0.3


def test_a_restart_moves_nothing() -> None:
    """At a new generation with the same members no slot moves."""
    change = Change.between(view_of("a"), view_of("a", generation=8))
    assert (change.joined, change.left, change.moved) == ((), (), 0.0)


@pytest.mark.parametrize("previous", [None, view_of("a")], ids=["from nothing", "from a view"])
def test_into_the_unknown(previous: View | None) -> None:
    """While ownership is unknown nobody is said to have joined or left, and nothing to have moved."""
    assert Change.between(previous, None) == Change(None, previous, (), (), 0.0)


def test_answers_do_not_depend_on_who_asks() -> None:
    """All members give one resource the same owners, by any of its spellings."""
    identity = UUID("12345678-abcd-1234-5678-1234567890ab")
    answers = {view_of(each, PAIRED).owners(spelled) for each in WEIGHTS for spelled in (identity, str(identity))}
    assert len(answers) == 1
