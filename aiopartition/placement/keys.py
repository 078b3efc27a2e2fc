"""Encodes resources as keys, and hashes keys (``docs/reference/format-1.md``, "Keys")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from operator import countOf
from pathlib import PurePath
from typing import Final, TypeAlias, cast
from uuid import UUID

from xxhash import xxh3_64_intdigest

from aiopartition.placement.partition import Partition, PartitionKey

__all__ = ["HASH_BITS", "Key", "encode", "hash_key", "only_kind", "slot_shift"]

Key: TypeAlias = str | bytes | int | UUID | Enum | PurePath | tuple["Key", ...]
"""A value that identifies a resource. Type checkers accept ``bool`` as an ``int``; :func:`encode` rejects it."""

hash_key: Final[Callable[[bytes], int]] = xxh3_64_intdigest
"""XXH3 with 64 bits and seed 0 (https://github.com/Cyan4973/xxHash). Hashes encoded keys and labels of ring points."""

HASH_BITS: Final = 64

LENGTH_BYTES: Final = 4

_PIECE: Final = 600
"""Digits. Python's limit is 640 at the least."""

_WHAT_TO_DO: Final = (
    "Pass key=, a callable that returns what identifies the resource: "
    "a str, bytes, int, UUID, Enum member, PurePath or a tuple of these."
)
_WHY_NOT_STR: Final = (
    "(str() is not used instead: by default it contains a memory address, so each member would get a different key.)"
)


def encode(resource: object) -> bytes:
    """Encode ``resource`` as the same bytes in every process, Python version and platform.

    Equal text has equal keys: ``7`` and ``"7"`` are one key. A subclass counts as the type it extends, so a member of a
    ``StrEnum`` has the key of its text. ``docs/reference/format-1.md``, "Keys", defines the encoding of each type.

    :param resource: an instance of one of the types in :data:`Key`.
    :returns: the encoded key; of a partition, a :class:`PartitionKey`.
    :raises TypeError: for any other type, including ``bool``, also inside a tuple or as the value of an enum.
    """
    # Nearly every resource is exactly one of these; the general match costs several times as much.
    if type(resource) is str:
        try:
            return resource.encode()
        except UnicodeEncodeError:  # lone surrogates; always passing the error handler would cost all other text 20 %
            return resource.encode("utf-8", "surrogatepass")
    if type(resource) is bytes:
        return resource
    if type(resource) is int:
        try:
            return b"%d" % resource
        except ValueError:  # beyond Python's limit of digits
            return _decimal(resource)
    if type(resource) is UUID:
        return str(resource).encode()
    return _encode_general(resource)


def _encode_general(resource: object) -> bytes:
    # Methods are those of the base class because a subclass may override them: IntEnum changed its text in
    # Python 3.11. bool comes before int because it is a subclass of int.
    match resource:
        case bool():
            raise TypeError("bool is not a key: it can distinguish only two resources. " + _WHAT_TO_DO)
        case str():
            return str.encode(resource, "utf-8", "surrogatepass")
        case bytes():
            return bytes(resource)
        case Partition():
            return PartitionKey.of(resource)
        case int():
            return encode(int.__int__(resource))
        case UUID():
            return UUID.__str__(resource).encode()
        case Enum():
            return encode(resource.value)
        case PurePath():
            return resource.as_posix().encode("utf-8", "surrogatepass")
        case tuple():
            return b"".join(map(_encode_item, cast("tuple[object, ...]", resource)))
        case _:
            raise TypeError(f"{type(resource).__qualname__} has no stable key. {_WHAT_TO_DO} {_WHY_NOT_STR}")


def _decimal(number: int) -> bytes:
    """Write an int of any length, in pieces that are shorter than any limit that Python can be given."""
    pieces: list[bytes] = []
    rest = abs(number)
    while rest:
        rest, piece = divmod(rest, 10**_PIECE)
        pieces.append(b"%0*d" % (_PIECE if rest else 0, piece))
    return (b"-" if number < 0 else b"") + b"".join(reversed(pieces))


def _encode_item(item: object) -> bytes:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    encoded = encode(item)
    if type(encoded) is PartitionKey:
        raise TypeError("a Partition is a key as a whole; as a part of one, pass its number: int(partition)")
    return len(encoded).to_bytes(LENGTH_BYTES, "big") + encoded


def only_kind(keys: Sequence[object]) -> type | None:
    """Return the type that all ``keys`` share, or ``None`` if their types differ or there are no keys."""
    kind = type(keys[0]) if keys else None
    # Counting is faster than building a set of the types, and this runs for each chunk of resources.
    return kind if countOf(map(type, keys), kind) == len(keys) else None


def slot_shift(slots: int) -> int:
    """Return the shift that turns a hash into its slot.

    :param slots: the number of slots, a power of two.
    """
    return HASH_BITS + 1 - slots.bit_length()
