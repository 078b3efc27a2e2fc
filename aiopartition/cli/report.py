"""The result of a command: data for programs, text for people, and an exit status."""

from __future__ import annotations

from typing import Any, Protocol

from aiopartition.cli.text import Block
from aiopartition.placement.policy import GroupPolicy

__all__ = ["Report", "policy_text"]


class Report(Protocol):
    """The result of a command: an immutable value."""

    @property
    def healthy(self) -> bool:
        """Whether the exit status is 0."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the data that ``--json`` prints, see ``docs/reference/json-schemas.md``."""
        ...

    def blocks(self) -> list[Block]:
        """Return the text that people are shown."""
        ...


def policy_text(policy: GroupPolicy) -> str:
    """Describe a policy in a few words: what keys are placed onto, and which values are not the defaults."""
    default = GroupPolicy()
    words = [f"{policy.partitions} partitions" if policy.partitions else f"{policy.slots} slots"]
    if policy.replicas != default.replicas:
        words.append(f"{policy.replicas} replicas")
    if policy.exclusive:
        words.append("exclusive")
    if not policy.partitions and policy.load_bound != default.load_bound:
        words.append(f"load bound {policy.load_bound:g}")
    if not policy.partitions and policy.vnodes != default.vnodes:
        words.append(f"{policy.vnodes} vnodes")
    return ", ".join(words)
