"""The document of a group: what is written, and what is made of whatever stands there."""

import json
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiopartition.errors import PolicyMismatchError
from aiopartition.group.document import FORMAT, check_document, document_of, policy_of
from aiopartition.placement.policy import GroupPolicy

POLICY: Final = GroupPolicy(slots=16, vnodes=1)


def document(**changes: object) -> bytes:
    """What another member has written."""
    return json.dumps({"format": FORMAT, "policy": POLICY.as_json()} | changes).encode()


def policy_with(**fields: object) -> dict[str, object]:
    return POLICY.as_json() | fields


def mismatch(stored: bytes, policy: GroupPolicy = POLICY) -> PolicyMismatchError:
    with pytest.raises(PolicyMismatchError) as caught:
        check_document(stored, "g", policy)
    assert caught.value.group_id == "g"
    assert str(caught.value).startswith("group 'g' has another policy: ")
    return caught.value


def test_document_is_the_documented_one() -> None:
    """Pinned: members of other versions read it."""
    stored = json.loads(document_of(GroupPolicy(replicas=2, load_bound=1.25, slots=64, vnodes=7)))
    assert stored["format"] == 1
    assert {"replicas": 2, "load_bound": 1.25, "slots": 64, "vnodes": 7}.items() <= stored["policy"].items()
    assert set(stored) == {"format", "policy"}


@pytest.mark.parametrize("policy", [POLICY, GroupPolicy(), GroupPolicy(replicas=3, load_bound=1.0, slots=65_536)])
def test_own_document_is_accepted(policy: GroupPolicy) -> None:
    """What the first member writes the next one of the same policy takes."""
    check_document(document_of(policy), "g", policy)


@pytest.mark.parametrize(("field", "there"), [("replicas", 2), ("load_bound", 1.2), ("slots", 32), ("vnodes", 2)])
def test_each_difference_is_named(field: str, there: object) -> None:
    """The stored value comes first, ours second."""
    error = mismatch(document(policy=policy_with(**{field: there})))
    assert error.differences == {field: (there, getattr(POLICY, field))}
    assert f"{field} is {there!r} there and {getattr(POLICY, field)!r} here" in str(error)


def test_all_differences_are_named_at_once() -> None:
    """So that one look is enough to mend the configuration."""
    error = mismatch(document(policy=policy_with(slots=32, vnodes=2, replicas=5)))
    assert error.differences == {"slots": (32, 16), "vnodes": (2, 1), "replicas": (5, 1)}


def test_fields_that_an_older_version_did_not_know_have_their_defaults() -> None:
    """A document need not say what was not there to be said."""
    check_document(b'{"format": 1, "policy": {}}', "g", GroupPolicy())
    check_document(b'{"format": 1, "policy": {"slots": 64}}', "g", GroupPolicy(slots=64))
    assert mismatch(b'{"format": 1, "policy": {}}', GroupPolicy(slots=64)).differences == {"slots": (16384, 64)}


def test_numbers_compare_as_numbers() -> None:
    """Another language may write them otherwise."""
    stored = b'{"policy":{"vnodes":1.0,"slots":1.6e1,"load_bound":2},"format":1.0}'
    check_document(stored, "g", GroupPolicy(load_bound=2.0, slots=16, vnodes=1))


def test_fields_that_only_a_newer_version_knows_are_a_difference() -> None:
    """They were written because they matter: who does not know them would place keys otherwise."""
    assert mismatch(document(policy=policy_with(zones=True))).differences == {"zones": (True, None)}


def test_unknown_facts_beside_the_policy_are_none_of_ours() -> None:
    """A newer version may add what has no influence on placement."""
    check_document(document(created="today"), "g", POLICY)


@pytest.mark.parametrize("number", [0, 2, "1", None, [1], 1.5])
def test_other_format_is_a_difference(number: object) -> None:
    """Members of different formats must not share a group, even with one policy."""
    assert mismatch(document(format=number)).differences == {"format": (number, FORMAT)}


CORRUPT: Final = [
    b"",
    b" ",
    b"{",
    b"null",
    b"1",
    b'"text"',
    b"[]",
    b"[1, 2]",
    b"{}",
    b'{"format": 1}',
    b'{"policy": {}}',
    b'{"format": 1, "policy": null}',
    b'{"format": 1, "policy": 5}',
    b'{"format": 1, "policy": "slots"}',
    b'{"format": 1, "policy": [["slots", 16], 5]}',
    b"\xff\xfe\xff",
    b"\x80",
    b'{"format": 2, "format": 1, "policy": {}}',
    b'{"format": 1, "policy": {"slots": 64, "slots": 16}}',
    b'{"format": 1, "policy": {"load_bound": NaN}}',
    b'{"format": 1, "policy": {"load_bound": -Infinity}}',
    '{"format": 1, "policy": {}}'.encode("utf-16"),
    b'\xef\xbb\xbf{"format": 1, "policy": {}}',
    b'{"format": 1, "policy": {"slots": ' + 5000 * b"1" + b"}}",
    100_000 * b"[",
    100_000 * b'{"policy":',
    b'{"format": 1, "policy": {"slots": ' + 100_000 * b"[" + 100_000 * b"]" + b"}}",
    50_000 * b"x",
    "Ünïcödé".encode() * 100,
]


@pytest.mark.parametrize("stored", CORRUPT, ids=lambda stored: repr(stored)[:30])
def test_corrupt_document_is_a_mismatch(stored: bytes) -> None:
    """Whatever somebody has put into the node: an error that shows its beginning, and no other error."""
    error = mismatch(stored)
    assert list(error.differences) == ["document"]
    assert len(str(error)) < 400


json_values: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
documents: Final = st.one_of(
    st.binary(max_size=50),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"format": st.just(1) | json_values},
        optional={
            "policy": json_values
            | st.dictionaries(st.sampled_from([*POLICY.as_json(), "exclusive"]), json_values | st.just(16), max_size=5)
        },
    ).map(lambda value: json.dumps(value).encode()),
)


@given(stored=documents)
@example(b'{"format": 1, "policy": {"slots": NaN}}')
@example(b'{"format": 1, "policy": {"slots": ' + 400 * b"[" + 400 * b"]" + b"}}")
@settings(max_examples=200, deadline=None)
def test_any_document_is_accepted_or_a_mismatch(stored: bytes) -> None:
    """There is no third outcome, and the error can always be shown."""
    try:
        check_document(stored, "g", POLICY)
    except PolicyMismatchError as error:
        assert error.differences
        assert str(error)


@pytest.mark.parametrize("field", ["replicas", "partitions", "load_bound", "exclusive", "format"])
def test_truth_values_are_no_numbers(field: str) -> None:
    """What one who gives the policy takes, one who follows the group's takes too, and nobody else."""
    policy = GroupPolicy(load_bound=1.0)
    fields = policy.as_json() | {"exclusive": False, "partitions": 0}
    facts: dict[str, object] = {"format": FORMAT, "policy": fields}
    (facts if field == "format" else fields)[field] = 0 if field == "exclusive" else field != "partitions"
    stored = json.dumps(facts).encode()
    assert set(mismatch(stored, policy).differences) == {field}
    with pytest.raises(PolicyMismatchError):
        policy_of(stored, "g")
