"""The hash rings of others, each used as its authors mean it to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import uhashring  # type: ignore[import-untyped]
from tooz.hashring import HashRing
from tooz.partitioner import Partitioner

CEILOMETER_PARTITIONS: Final = 100
"""Points a member in Ceilometer's ring; tooz's own default is 32."""


def uhashring_ring(member_ids: Sequence[str]) -> Any:
    """uhashring's ring with its defaults, 160 points a member and MD5: ``get_node(key)`` names the owner."""
    return uhashring.HashRing(list(member_ids))


def tooz_ring(member_ids: Sequence[str], partitions: int = HashRing.DEFAULT_PARTITION_NUMBER) -> Any:
    """tooz's ring: ``get_nodes(key)`` gives a set of owners. Keys are bytes; so are ids, as in tooz's drivers."""
    return HashRing([each.encode() for each in member_ids], partitions=partitions)


def tooz_partitioner(member_ids: Sequence[str]) -> Any:
    """What ``join_partitioned_group()`` returns: ``belongs_to_self(resource)`` for the first of ``member_ids``.

    It asks its coordinator for the members when it is made, and nothing afterwards.
    """
    coordinator: Any = _Coordinator([each.encode() for each in member_ids])
    return Partitioner(coordinator, b"group")


class _Coordinator:
    """As much of tooz's coordinator as a partitioner asks for."""

    def __init__(self, member_ids: Sequence[bytes]) -> None:
        self._members = member_ids
        self._member_id = member_ids[0]

    def get_members(self, _group_id: bytes) -> _Answer:
        return _Answer(set(self._members))

    def get_member_capabilities(self, _group_id: bytes, _member_id: bytes) -> _Answer:
        return _Answer({"weight": 1})

    def watch_join_group(self, _group_id: bytes, _callback: object) -> None: ...
    def watch_leave_group(self, _group_id: bytes, _callback: object) -> None: ...


class _Answer:
    def __init__(self, value: object) -> None:
        self._value = value

    def get(self) -> Any:
        return self._value
