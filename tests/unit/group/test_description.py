"""What members say of themselves: whatever stands there, it is an answer and no error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiopartition import GroupPolicy, Member, MemberInfo, PolicyMismatchError
from aiopartition.group.document import document_of, policy_of

MEMBER = Member("m", 3)
FACTS: dict[str, Any] = {
    "member_id": "another",
    "host": "h",
    "pid": 7,
    "started": "2026-01-01T00:00:00+00:00",
    "version": "1.0",
    "metadata": {"address": "h:80"},
}
WHOLE = MemberInfo("m", 3, "h", 7, "2026-01-01T00:00:00+00:00", "1.0", {"address": "h:80"})


def described(**changes: object) -> MemberInfo:
    return MemberInfo.described(MEMBER, json.dumps({**FACTS, **changes}).encode())


def test_what_a_member_writes() -> None:
    """The id and the weight are the entry's own, not what the document says."""
    assert described() == WHOLE
    assert described(weight=9, more="x") == WHOLE


@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b"null", b"{", b"\xff", b'{"pid": 7, "pid": 8}', b"[" * 9999])
def test_documents_that_say_nothing(document: bytes) -> None:
    """Somebody else's, or an operator's."""
    assert MemberInfo.described(MEMBER, document) == MemberInfo("m", 3)


@pytest.mark.parametrize("value", [None, 5, True, ["x"], {"a": 1}, 1.5])
def test_fields_of_other_types(value: object) -> None:
    """Each is empty for itself; the others are told."""
    info = described(host=value)
    assert (info.host, info.pid, info.metadata) == (None, 7, {"address": "h:80"})
    assert described(started=value, version=value).started is None
    assert described(metadata=value).metadata == {}


@pytest.mark.parametrize("pid", [0, -1, 2**63, True, "7", 7.0, None])
def test_process_numbers_that_are_none(pid: object) -> None:
    """No system has such processes."""
    assert described(pid=pid).pid is None


@pytest.mark.parametrize("metadata", [{"a": 1}, {"a": "b", "c": None}, {"a": "x" * 16_384}, {"x" * 16_385: ""}])
def test_metadata_that_no_member_may_have(metadata: object) -> None:
    """Half of it might mean something else: none is told."""
    assert described(metadata=metadata).metadata == {}


def test_the_longest_metadata() -> None:
    """All that a member may have, whatever JSON makes of it."""
    metadata = {"": "\U0001f600" * 16_384}
    assert described(metadata=metadata).metadata == metadata


def test_long_texts_are_cut_and_long_documents_not_read() -> None:
    """An entry may hold up to 1 MB."""
    info = described(host="h" * 1000, started="s" * 1000, version="v" * 1000)
    assert (info.host, info.started, info.version) == ("h" * 255, "s" * 64, "v" * 64)
    assert described(more="x" * 300_000) == MemberInfo("m", 3)


@given(st.binary(max_size=200))
def test_no_document_is_an_error(document: bytes) -> None:
    """Whatever its bytes are."""
    assert MemberInfo.described(MEMBER, document).id == "m"


@given(
    st.builds(
        GroupPolicy,
        replicas=st.integers(1, 16),
        load_bound=st.floats(1.0, 2.0),
        slots=st.sampled_from([16, 64, 65_536]),
        vnodes=st.integers(1, 1000),
    )
)
def test_a_policy_is_read_as_it_was_written(policy: GroupPolicy) -> None:
    """By somebody who was told nothing of it."""
    assert policy_of(document_of(policy), "g") == policy


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"slots": 17}, "slots"), ({"replicas": True}, "replicas"), ({"hue": 1}, "hue"), ({"vnodes": None}, "vnodes")],
)
def test_a_policy_that_cannot_be_followed(fields: dict[str, object], field: str) -> None:
    """The field is named."""
    with pytest.raises(PolicyMismatchError) as caught:
        policy_of(json.dumps({"format": 1, "policy": fields}).encode(), "g")
    assert list(caught.value.differences) == [field]
