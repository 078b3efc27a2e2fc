"""What operators are told: whatever stands in an entry, it is only shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiopartition import Awaited, GroupStatus, Member, Rebalance

FACTS = {"member_id": "m", "host": "zk1", "pid": 7, "started": "2026-01-01T00:00:00+00:00", "version": "1"}


def test_the_document_of_an_entry() -> None:
    """Host, process and start are taken from it; the id is the entry's own, not what the document says."""
    assert Awaited.described("n", json.dumps(FACTS).encode()) == Awaited("n", "zk1", 7, "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    "document",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"{",
        b"\xff",
        b'{"pid": 7, "pid": 8}',
        b'{"pid": NaN}',
        b'{"host": 5, "pid": "x", "started": null}',
    ],
)
def test_documents_that_say_nothing(document: bytes | None) -> None:
    """Somebody else's, or an older version's: then only the id is known."""
    assert Awaited.described("m", document) == Awaited("m")


def test_long_texts_are_cut() -> None:
    """An entry may hold up to 1 MB, and this goes into a log line."""
    described = Awaited.described("m", json.dumps({"host": "h" * 100_000, "started": "s" * 100_000}).encode())
    assert len(str(described)) < 500


@given(st.binary(max_size=200))
def test_no_document_is_an_error(document: bytes) -> None:
    """Any bytes at all."""
    assert Awaited.described("m", document).member_id == "m"


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda each: st.dictionaries(st.text(), each)))
def test_no_json_is_an_error(value: object) -> None:
    """Nor any JSON, under the names that count."""
    document = json.dumps({"host": value, "pid": value, "started": value}).encode()
    assert str(Awaited.described("m", document)).startswith("'m'")


@pytest.mark.parametrize("pid", [-1, 0, 10**4000, 1.5, "7", True])
def test_what_can_be_no_process(pid: object) -> None:
    """It would only be confusing."""
    assert Awaited.described("m", json.dumps({"pid": pid}).encode()).pid is None


def test_deeply_nested_documents() -> None:
    """Python's own parser gives up on those with another error than on bad syntax."""
    assert Awaited.described("m", b"[" * 100_000) == Awaited("m")


def test_as_text() -> None:
    """As it stands in the log."""
    assert str(Awaited("m")) == "'m'"
    assert str(Awaited("m", "zk1", 7, "now")) == "'m' (host 'zk1', pid 7, started 'now')"
    assert str(Awaited("m", works=("a hold() for 1.0 s",))) == "'m': a hold() for 1.0 s"
    assert str(Awaited("m", works=tuple("abcdefg"))) == "'m': a, b, c, d, e …"
    assert "\n" not in str(Awaited("m\nn", "a\nb", 7, "c\nd"))


def test_a_status_is_a_value() -> None:
    """Equal by content, and frozen."""
    rebalance = Rebalance(1.0, ("b",), (), 0.5)
    one, other = (
        GroupStatus("g", "a", "steady", "", 5, None, (Member("a"),), {"a": 1.0}, (), 0.0, 0, 1.0, "zk1:2181", rebalance)
        for _ in range(2)
    )
    assert one == other
    with pytest.raises(AttributeError):
        one.state = "left"  # type: ignore[misc]
