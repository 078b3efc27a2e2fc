"""Keys: the same bytes for the same resource in every process, and an error instead of a guess."""

import sys
from enum import Enum, IntEnum, IntFlag, StrEnum
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiopartition.placement.keys import Key, encode, hash_key, only_kind
from tests.unit.placement.enumerations import Described

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


class Place(tuple[str, int], Enum):
    """Members that are tuples, whose values are these."""

    FIRST = "eu", 7


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
    (Described.RED, b"red"),
    (Place.FIRST, b"\x00\x00\x00\x02eu\x00\x00\x00\x017"),
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


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["a", "b"], str), ([1, 2], int), ([b"a"], bytes),
        (["a", 1], None), ([1, True], None), ([Text("a"), "a"], None), ([], None),
    ],
)  # fmt: skip
def test_only_kind_takes_types_exactly(keys: list[object], kind: type | None) -> None:
    """A subclass, or a flag among numbers, is another kind."""
    assert only_kind(keys) is kind


@pytest.mark.parametrize("digits", [1, 599, 600, 601, 640, 1199, 1200, 1201, 4299, 4300, 4301, 5000, 20_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_ints_of_any_length(digits: int, sign: int) -> None:
    """Their key is their decimal digits, also beyond Python's limit for such conversions."""
    before = sys.get_int_max_str_digits()
    for number in (10 ** (digits - 1), 10**digits - 1, 10 ** (digits - 1) + 7):
        sys.set_int_max_str_digits(0)
        expected = str(sign * number).encode()
        for limit in (640, before):
            sys.set_int_max_str_digits(limit)
            try:
                assert encode(sign * number) == expected
            finally:
                sys.set_int_max_str_digits(before)
