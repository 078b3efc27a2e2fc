"""Numbered partitions: pieces of work that are known by their numbers, of which each member has its exact quota."""

from __future__ import annotations

from typing import Final

from aiopartition.checks import require_integer

__all__ = ["MAX_PARTITIONS", "Partition", "PartitionKey", "partitions", "require_in_range"]

MAX_PARTITIONS: Final = 4_096


class Partition(int):
    """One of the numbered pieces of work of a group whose policy has ``partitions``.

    It is its own key, and its number as an integer and in text: ``f"queue-{partition}"`` is ``"queue-3"``. In a group
    without ``partitions`` it has no owner: each use of it is a :class:`TypeError`, and so is a number out of range.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Partition({int(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


def partitions(count: int) -> tuple[Partition, ...]:
    """Return the partitions of a group with the policy ``GroupPolicy(partitions=count)``.

    :param count: how many there are, 1 to 4,096.
    :raises ConfigurationError: if ``count`` is out of range or no ``int``.
    """
    return tuple(map(Partition, range(require_integer("partitions", count, 1, MAX_PARTITIONS))))


class PartitionKey(bytes):
    """A partition's encoded key. No other key equals it: what it says is not hashed, but is the number itself."""

    number: int

    @classmethod
    def of(cls, partition: Partition) -> PartitionKey:
        """Return the key of ``partition``."""
        key = cls(b"partition %d" % partition)
        key.number = int(partition)
        return key

    def __eq__(self, other: object) -> bool:
        return type(other) is PartitionKey and bytes.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return bytes.__hash__(self)


def require_in_range(encoded: bytes, count: int) -> None:
    """Accept any key that can have an owner in a group with ``count`` partitions, or without any if it is 0.

    :raises TypeError: if it is that of a partition that the group does not have.
    """
    if type(encoded) is not PartitionKey or 0 <= encoded.number < count:
        return
    if count == 0:
        raise TypeError(
            f"Partition({encoded.number}) has no owner in a group without partitions: "
            "its first member has to join it with policy=GroupPolicy(partitions=...)"
        )
    raise TypeError(f"Partition({encoded.number}) is out of range: the group has partitions 0 to {count - 1}")
