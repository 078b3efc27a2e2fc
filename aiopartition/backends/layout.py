"""The paths of a group's nodes. ``docs/reference/format-1.md``, "Layout in ZooKeeper", says what each node is for."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from aiopartition.backends.base import Mark
from aiopartition.checks import MAX_ID_BYTES
from aiopartition.quoting import quote_component, unquote_component

__all__ = [
    "READY",
    "active_path",
    "entry_path",
    "group_ids",
    "group_path",
    "handoffs_path",
    "mark_path",
    "marks_path",
    "members_path",
]

READY: Final = "-ready"
"""Follows the generation in the name of the node below which entries are ready."""


def group_path(namespace: str, group_id: str) -> str:
    return f"{namespace}/{quote_component(group_id)}"


def group_ids(components: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the groups whose nodes have these names, sorted. Names that no group can have are left out."""
    ids: list[str] = []
    for component in components:
        with suppress(UnicodeDecodeError):
            group_id = unquote_component(component)
            length = len(group_id.encode("utf-8", "surrogatepass"))
            if quote_component(group_id) == component and 0 < length <= MAX_ID_BYTES:
                ids.append(group_id)
    return tuple(sorted(ids))


def members_path(group: str) -> str:
    """``group`` is the path of the group, here and below."""
    return f"{group}/members"


def entry_path(group: str, name: str) -> str:
    return f"{members_path(group)}/{name}"


def handoffs_path(group: str) -> str:
    return f"{group}/handoff"


def marks_path(group: str, generation: int, *, ready: bool) -> str:
    return f"{handoffs_path(group)}/{generation}{READY if ready else ''}"


def mark_path(group: str, mark: Mark) -> str:
    return f"{marks_path(group, mark.generation, ready=mark.ready)}/{mark.name}"


def active_path(group: str) -> str:
    """Return the path of the node that holds the :class:`~aiopartition.backends.base.Progress` of the group."""
    return f"{group}/active"
