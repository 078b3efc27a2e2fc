"""Filtering by a table: one hash and one index a key, and never another answer than the plain question gives."""

from enum import IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiopartition.placement.assign import build
from aiopartition.placement.keys import Key, encode
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import CHUNK, Table
from tests.unit.placement.enumerations import Described


class Text(str):
    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return b"not this"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Pretender:
    """It can be encoded, and is no text."""

    def encode(self) -> bytes:
        return b"text"

    def __repr__(self) -> str:
        return "Pretender()"  # which names a test, so it is the same in every process


class Level(IntEnum):
    LOW = 1
    HIGH = 2


keys = st.one_of(
    st.text(st.characters()),
    st.binary(),
    st.integers(),
    st.uuids(),
    st.sampled_from([*Colour, *Level, *Described]),
    st.text(max_size=5).map(Text),
    st.text(st.characters(exclude_characters="\x00"), max_size=5).map(PurePosixPath),
    st.tuples(st.text(st.characters()), st.integers()),
)
key_lists = st.one_of(
    *(st.lists(kind, max_size=40) for kind in (keys, st.text(), st.text(st.characters()), st.binary(), st.integers()))
)
SMALL = build({"a": 1, "b": 2, "c": 1}, GroupPolicy(slots=16))
DOUBLE = build({"a": 1, "b": 2, "c": 1}, GroupPolicy(slots=64, replicas=2))


@pytest.mark.parametrize("table", [SMALL, DOUBLE], ids=["one owner", "two owners"])
@given(resources=key_lists)
@settings(deadline=None)
def test_select_is_the_plain_filter(table: Table, resources: list[Key]) -> None:
    """For any mixture of types, in order and with duplicates, filter() keeps what owners() gives to the member."""
    for member_id in table.members:
        mask = table.mask(member_id)
        expected = [each for each in resources if member_id in table.owners(encode(each))]
        assert table.filter(mask, resources) == expected
        assert [each for part in table.filter_chunks(mask, iter(resources)) for each in part] == expected


@given(key_lists)
@settings(deadline=None)
def test_select_by_key(resources: list[Key]) -> None:
    """With key= the resources themselves can be anything, and are given back as they came."""
    wrapped: list[list[Key]] = [[each] for each in resources]
    mask = SMALL.mask("b")
    expected = [each for each in wrapped if "b" in SMALL.owners(encode(each[0]))]
    chosen = SMALL.filter(mask, wrapped, lambda each: each[0])
    assert [id(each) for each in chosen] == [id(each) for each in expected]


def test_a_lone_surrogate_among_many() -> None:
    """One str that is no valid UTF-8 neither fails the filter nor moves any other key."""
    numbered = [f"order-{number}" for number in range(50)]
    resources = [*numbered, "\udcff", "x\ud800", *numbered]
    parts = [SMALL.filter(SMALL.mask(each), resources) for each in SMALL.members]
    assert sorted(each for part in parts for each in part) == sorted(resources)
    holders = [each for each, part in zip(SMALL.members, parts, strict=True) if "\udcff" in part]
    assert holders == list(SMALL.owners(encode("\udcff")))


@pytest.mark.parametrize(
    "resources", [[1.5], ["a", None], ["a", Pretender()], ["a", 1, True], [True, False], [1, True]], ids=repr
)
def test_select_refuses_what_has_no_key(resources: list[Any]) -> None:
    """Nothing is filtered by a guess: a resource without a stable key is an error even if it is the only one."""
    with pytest.raises(TypeError, match="key="):
        SMALL.filter(SMALL.mask("a"), resources)
    with pytest.raises(TypeError, match="key="):
        SMALL.filter(SMALL.mask("a"), resources, lambda each: each)


def test_errors_of_the_key_function_pass() -> None:
    """What the user's key= raises reaches the user, whatever it is, and the function is not called again."""
    calls: list[str] = []

    def failing(resource: str) -> str:
        calls.append(resource)
        return resource.encode("ascii").decode()

    with pytest.raises(UnicodeEncodeError):
        SMALL.filter(SMALL.mask("a"), ["é"], failing)
    assert calls == ["é"]


def test_the_key_function_is_called_once_for_each() -> None:
    """Even when it turns out late that not all keys are of the kind of the first."""
    calls: list[int] = []

    def key(number: int) -> Key:
        calls.append(number)
        return f"{number}" if number < 10 else number

    chosen = SMALL.filter(SMALL.mask("b"), range(20), key)
    assert calls == list(range(20))
    assert chosen == [number for number in range(20) if "b" in SMALL.owners(encode(number))]


def test_filter_chunks_takes_a_chunk_at_a_time() -> None:
    """A long input is neither copied whole nor read ahead of the part that is asked for."""
    read: list[int] = []

    def source() -> Any:
        for number in range(3 * CHUNK):
            read.append(number)
            yield number

    parts = SMALL.filter_chunks(SMALL.mask("b"), source())
    first = next(parts)
    assert len(read) == CHUNK
    assert first == SMALL.filter(SMALL.mask("b"), range(CHUNK))
    assert sum(map(len, parts)) + len(first) == len(SMALL.filter(SMALL.mask("b"), range(3 * CHUNK)))


def test_a_stranger_owns_nothing() -> None:
    """The mask of an id that is no member's is empty, and so is its selection."""
    mask = SMALL.mask("stranger")
    assert not any(mask)
    assert SMALL.filter(mask, range(100)) == []
