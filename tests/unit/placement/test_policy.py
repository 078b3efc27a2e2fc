"""Policies: validated once, each mistake is named, and compared by value."""

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from aiopartition import ConfigurationError, GroupPolicy
from aiopartition.placement.policy import require_policy
from aiopartition.settings import Settings
from aiopartition.url import parse_url
from tests.unit.refusals import ENDLESS, HUGE, INF, NAN, NO_INTEGERS, refusal


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(field, value) for field in ("replicas", "slots", "vnodes") for value in NO_INTEGERS],
        ("load_bound", None), ("load_bound", True), ("load_bound", "1.1"), ("load_bound", NAN), ("load_bound", INF),
        ("load_bound", -INF), ("load_bound", 0.99), ("load_bound", 2.01), ("load_bound", 0), ("load_bound", -1.1),
        ("load_bound", HUGE), ("load_bound", ENDLESS), ("load_bound", Decimal("1.1")), ("load_bound", [1.1]),
        ("replicas", 0), ("replicas", -1), ("replicas", 1_001), ("replicas", ENDLESS),
        ("slots", 0), ("slots", -16), ("slots", 8), ("slots", 15), ("slots", 17), ("slots", 24), ("slots", 16_383),
        ("slots", 65_535), ("slots", 131_072), ("slots", ENDLESS),
        ("vnodes", 0), ("vnodes", -1), ("vnodes", 1_001), ("vnodes", ENDLESS),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_bad_policy_is_named(field: str, value: object) -> None:
    """Every field is checked, and the error names the one that is wrong."""
    fields: Any = {field: value}
    error = refusal(lambda: GroupPolicy(**fields))
    assert error.part == field
    assert len(str(error)) < 200


def test_policy_bounds_are_inclusive() -> None:
    """The documented limits themselves are allowed."""
    GroupPolicy(replicas=1, load_bound=1.0, slots=16, vnodes=1)
    GroupPolicy(replicas=16, load_bound=2.0, slots=65_536, vnodes=1_000)


def test_policy_defaults_are_the_documented_ones() -> None:
    """Members that say nothing agree with those that spell the defaults out."""
    assert GroupPolicy() == GroupPolicy(replicas=1, load_bound=1.08, slots=16384, vnodes=160)


@pytest.mark.parametrize("value", [{"replicas": 2}, 2, "default", GroupPolicy, False], ids=repr)
def test_bad_policy_argument_is_named(value: object) -> None:
    """A policy is a GroupPolicy."""
    error = refusal(lambda: require_policy(value))
    assert error.part == "policy"
    assert type(value).__name__ in error.reason


def test_no_policy_is_the_default_policy() -> None:
    """And any other is taken as it is."""
    policy = GroupPolicy(replicas=2)
    assert require_policy(policy) is policy
    assert require_policy(None) is None


def test_policies_compare_by_value() -> None:
    """An integral bound is the same number."""
    assert GroupPolicy(load_bound=1) == GroupPolicy(load_bound=1.0)
    assert type(GroupPolicy(load_bound=2).load_bound) is float
    assert hash(GroupPolicy(slots=32)) == hash(GroupPolicy(slots=32))


def test_policy_differences_name_the_fields() -> None:
    """Only what differs, ours first."""
    assert GroupPolicy().differences(GroupPolicy()) == {}
    differences = GroupPolicy(slots=32, replicas=2).differences(GroupPolicy(slots=64, vnodes=5, replicas=2))
    assert differences == {"slots": (32, 64), "vnodes": (160, 5)}


def test_policy_as_json_is_complete() -> None:
    """What the first member writes says every field, so that nobody has to know its defaults; but for those that the
    first version did not have, while they are at theirs."""
    policy = GroupPolicy(load_bound=1.25, slots=64, vnodes=7, exclusive=True, partitions=24)
    assert policy.as_json() == {field.name: getattr(policy, field.name) for field in dataclasses.fields(policy)}
    assert GroupPolicy(**policy.as_json()) == policy  # type: ignore[arg-type]
    assert set(GroupPolicy().as_json()) == {"replicas", "load_bound", "slots", "vnodes"}


def test_exclusive_means_one_owner() -> None:
    """Replicas of an exclusive key would be a contradiction."""
    with pytest.raises(ConfigurationError, match="exclusive: requires replicas=1, not 2"):
        GroupPolicy(exclusive=True, replicas=2)
    with pytest.raises(ConfigurationError, match="exclusive: must be a bool, not 1"):
        GroupPolicy(exclusive=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "thing", [GroupPolicy(), parse_url("zookeeper://h"), Settings.resolve(None)], ids=lambda thing: type(thing).__name__
)
def test_settings_are_frozen(thing: Any) -> None:
    """Validated once; from then on nothing changes."""
    for field in dataclasses.fields(thing):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, field.name, None)
