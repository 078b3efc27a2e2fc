"""From a resource to the bytes that identify it in every process, and from those to a hash.

The key of X is the UTF-8 text that anybody would write for X:

==================  ===========================================================================================
``str``             UTF-8; lone surrogates pass, so every ``str`` has a key
``bytes``           the bytes as they are
``int``             decimal digits: ``7`` and ``"7"`` are one key
``uuid.UUID``       canonical text in lower case
``enum.Enum``       the key of the member's value
``pathlib`` paths   text with forward slashes, as ``PurePath.as_posix()`` writes it
``tuple``           the items' keys, each preceded by its length in 4 bytes, big-endian; tuples may be nested
==================  ===========================================================================================

Subclasses count as the first of these types that they extend: a member of a ``StrEnum`` is its text, that of an
``IntEnum`` its number. Everything else is refused instead of being put through ``str()``: for most
objects that text holds a memory address, which gives each process another key for the same resource.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from operator import countOf
from pathlib import PurePath
from typing import Final, TypeAlias, cast
from uuid import UUID

from xxhash import xxh3_64_intdigest

__all__ = ["HASH_BITS", "Key", "encode", "hash_key", "only_kind", "slot_shift"]

Key: TypeAlias = str | bytes | int | UUID | Enum | PurePath | tuple["Key", ...]
"""What identifies a resource. Type checkers take ``bool`` for an ``int``; :func:`encode` does not."""

hash_key: Final[Callable[[bytes], int]] = xxh3_64_intdigest
"""XXH3, 64 bits, seed 0 (https://github.com/Cyan4973/xxHash): of an encoded key, or of the label of a ring point."""

HASH_BITS: Final = 64

LENGTH_BYTES: Final = 4

_WHAT_TO_DO: Final = (
    "Pass key=, a callable that returns what identifies the resource: "
    "a str, bytes, int, UUID, Enum member, PurePath or a tuple of these."
)
_WHY_NOT_STR: Final = (
    "(Its str() is no substitute: by default that is a memory address, and every agent would get another answer.)"
)


def encode(resource: object) -> bytes:
    """Return the key of ``resource``: the same bytes in every process, Python version and platform.

    :param resource: an instance of one of the types in :data:`Key`.
    :returns: its key, as the table at the top of this module defines it.
    :raises TypeError: for any other type, ``bool`` among them, also inside a tuple or as an enum member's value.
    """
    # Nearly every resource is exactly one of these; the general match costs several times as much.
    if type(resource) is str:
        try:
            return resource.encode()
        except UnicodeEncodeError:  # lone surrogates: to name their handler each time costs all others a fifth
            return resource.encode("utf-8", "surrogatepass")
    if type(resource) is bytes:
        return resource
    if type(resource) is int:
        return b"%d" % resource
    if type(resource) is UUID:
        return str(resource).encode()
    return _encode_general(resource)


def _encode_general(resource: object) -> bytes:
    # Called through the base class where a subclass may override a method: IntEnum, for one, changed its text in
    # Python 3.11. bool stands before int, which it extends.
    match resource:
        case bool():
            raise TypeError("bool is not a key: a flag can tell only two resources apart. " + _WHAT_TO_DO)
        case str():
            return str.encode(resource, "utf-8", "surrogatepass")
        case bytes():
            return bytes(resource)
        case int():
            return int.__repr__(resource).encode()
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


def _encode_item(item: object) -> bytes:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    encoded = encode(item)
    return len(encoded).to_bytes(LENGTH_BYTES, "big") + encoded


def only_kind(keys: Sequence[object]) -> type | None:
    """Return the type of all ``keys``, ``None`` if they are of several (or there are none)."""
    kind = type(keys[0]) if keys else None
    # Counting is faster than a set of the types, and this is looked at for each chunk of resources.
    return kind if countOf(map(type, keys), kind) == len(keys) else None


def slot_shift(slots: int) -> int:
    """How many low bits of a hash do not count for its slot, among ``slots``, a power of two."""
    return HASH_BITS + 1 - slots.bit_length()
