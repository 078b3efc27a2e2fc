"""Keys: the same bytes for the same resource in every process, and an error instead of a guess."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum, IntFlag, StrEnum
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiopartition.keys import Key, encode, encoder_of, hash_key, only_kind


def encoded_fast(keys: Sequence[object]) -> list[bytes]:
    """What the filter does with a chunk of keys."""
    return list(map(encoder_of(only_kind(keys)), keys))


SOME_UUID = UUID("12345678-ABCD-1234-5678-1234567890AB")


class Text(str):
    def __str__(self) -> str:
        return "not this"

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return b"not this"


class Number(int):
    def __repr__(self) -> str:
        return "not this"

    __str__ = __repr__


class Blob(bytes):
    pass


class Identity(UUID):
    def __str__(self) -> str:
        return "not this"


class Pair(NamedTuple):
    shard: str
    number: int


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3

    def __str__(self) -> str:
        return "not this"


class Right(IntFlag):
    READ = 1
    WRITE = 2


class OldStyle(str, Enum):  # noqa: UP042 - a mixin is what most code has instead of a StrEnum
    RED = "red"


class Mixed(Enum):
    TEXT = "text"
    NUMBER = 7
    RAW = b"\x00raw"
    IDENTITY = SOME_UUID
    SEVERAL = ("a", 1)
    NESTED = Colour.RED
    FRACTION = 0.5
    FLAG = True
    NOTHING = None


GOLDEN: list[tuple[Key, bytes]] = [
    ("", b""),
    ("order-7", b"order-7"),
    ("Zürich/東京", "Zürich/東京".encode()),
    ("a\x00b", b"a\x00b"),
    ("\udcff", b"\xed\xb3\xbf"),
    ("x\ud83d\ude00", b"x\xed\xa0\xbd\xed\xb8\x80"),
    (b"", b""),
    (b"\xff\x00", b"\xff\x00"),
    (0, b"0"),
    (-12, b"-12"),
    (10**30, b"1" + b"0" * 30),
    (SOME_UUID, b"12345678-abcd-1234-5678-1234567890ab"),
    (Colour.RED, b"red"),
    (OldStyle.RED, b"red"),
    (Level.HIGH, b"3"),
    (Right.READ | Right.WRITE, b"3"),
    (Mixed.TEXT, b"text"),
    (Mixed.NUMBER, b"7"),
    (Mixed.RAW, b"\x00raw"),
    (Mixed.IDENTITY, b"12345678-abcd-1234-5678-1234567890ab"),
    (Mixed.SEVERAL, b"\x00\x00\x00\x01a\x00\x00\x00\x011"),
    (Mixed.NESTED, b"red"),
    (PurePosixPath("/data/a b"), b"/data/a b"),
    (PurePosixPath("caf\udce9"), b"caf\xed\xb3\xa9"),
    (PureWindowsPath("C:\\data\\x"), b"C:/data/x"),
    (PurePath("a", "b"), b"a/b"),
    ((), b""),
    (("eu", 7), b"\x00\x00\x00\x02eu\x00\x00\x00\x017"),
    ((("a",), b""), b"\x00\x00\x00\x05\x00\x00\x00\x01a\x00\x00\x00\x00"),
    (Text("text"), b"text"),
    (Text("\udcff"), b"\xed\xb3\xbf"),
    (Number(5), b"5"),
    (Blob(b"raw"), b"raw"),
    (Identity(SOME_UUID.hex), b"12345678-abcd-1234-5678-1234567890ab"),
    (Pair("eu", 7), b"\x00\x00\x00\x02eu\x00\x00\x00\x017"),
]


@pytest.mark.parametrize(("resource", "expected"), GOLDEN, ids=lambda value: ascii(value)[:40])
def test_golden_keys(resource: Key, expected: bytes) -> None:
    """Each supported type has one encoding, and no release changes it; subclasses count as what they extend."""
    encoded = encode(resource)
    assert encoded == expected
    assert type(encoded) in {bytes, Blob}


def test_golden_hashes() -> None:
    """Keys are hashed by XXH3 of 64 bits with seed 0, on any version of xxhash."""
    assert hash_key(b"") == 0x2D06800538D394C2
    assert hash_key(b"order-7") == 0x52D2EB57D29F8FBB
    assert hash_key("Zürich/東京".encode()) == 0x4AD678A1EDC63A03
    assert hash_key(bytes(range(256)) * 2) == 0x1059105AD19BFA09


@pytest.mark.parametrize(
    "resource",
    [None, 1.5, 1j, bytearray(b"x"), memoryview(b"x"), ["a"], {"a": 1}, {"a"}, frozenset("a"), object(), Colour, len],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused(resource: object) -> None:
    """A resource without a stable encoding is an error that names its type, the way out and the reason."""
    with pytest.raises(TypeError) as caught:
        encode(resource)
    text = str(caught.value)
    assert text.startswith(f"{type(resource).__qualname__} has no stable key.")
    assert "Pass key=, a callable that returns" in text
    assert "memory address" in text


@pytest.mark.parametrize("resource", [True, False, (1, True), Mixed.FLAG], ids=repr)
def test_flags_are_refused(resource: object) -> None:
    """Partitioning by a bool is a bug, wherever the bool stands, although it is an int."""
    with pytest.raises(TypeError, match=r"^bool is not a key: .* Pass key="):
        encode(resource)


@pytest.mark.parametrize("resource", [Mixed.FRACTION, Mixed.NOTHING, ("a", 0.5), (("a", (None,)),)], ids=repr)
def test_what_is_inside_counts(resource: object) -> None:
    """The value of an enum member and the items of a tuple must have keys themselves."""
    with pytest.raises(TypeError, match=r"^(float|NoneType) has no stable key"):
        encode(resource)


@given(st.text(st.characters()))
@settings(deadline=None)
def test_every_str_has_its_own_key(text: str) -> None:
    """Lone surrogates included, no two str share a key, and valid text is plain UTF-8."""
    assert encode(text).decode("utf-8", "surrogatepass") == text


plain = st.text(st.characters()) | st.binary() | st.integers() | st.uuids()


@given(st.lists(st.text()), st.lists(st.text()))
@settings(deadline=None)
def test_tuples_of_text_never_collide(left: list[str], right: list[str]) -> None:
    """The border between two items belongs to the key: ("ab", "c") is not ("a", "bc")."""
    assert (encode(tuple(left)) == encode(tuple(right))) == (left == right)


@pytest.mark.parametrize(
    "some", [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), (("ab",), "c")], ids=repr
)
def test_tuples_that_look_alike_differ(some: tuple[Key, ...]) -> None:
    """Tuples whose items join to the same text have keys of their own."""
    others: list[tuple[Key, ...]] = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), (("ab",), "c")]
    assert [other for other in others if encode(other) == encode(some)] == [some]


@given(st.lists(plain) | st.lists(st.text(st.characters())) | st.lists(st.binary()) | st.lists(st.integers()))
@settings(deadline=None)
def test_encoding_many_at_once_agrees(keys: list[object]) -> None:
    """A list of keys is encoded as each of them is by itself, or fails loudly on a lone surrogate."""
    try:
        encoded = encoded_fast(keys)
    except UnicodeEncodeError:
        assert any(isinstance(key, str) and not key.isascii() for key in keys)
    else:
        assert encoded == list(map(encode, keys))


@pytest.mark.parametrize(
    "keys",
    [["a", 1, b"b"], [Text("a")], [Number(1), Number(2)], [Blob(b"a")], [Colour.RED], [Level.HIGH, 3], [SOME_UUID], []],
    ids=repr,
)
def test_only_exact_types_are_encoded_fast(keys: list[object]) -> None:
    """Subclasses and mixtures get what encode() gives to each of them."""
    assert encoded_fast(keys) == list(map(encode, keys))


@pytest.mark.parametrize("keys", [[True], [1, True], [None], ["a", 0.5]], ids=repr)
def test_no_list_is_too_uniform_to_be_checked(keys: list[object]) -> None:
    """What encode() refuses is refused among many as well."""
    with pytest.raises(TypeError, match="Pass key="):
        encoded_fast(keys)
