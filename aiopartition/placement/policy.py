"""The policy of a group."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from aiopartition.checks import require_bool, require_integer, require_number
from aiopartition.errors import ConfigurationError
from aiopartition.placement.partition import MAX_PARTITIONS

__all__ = ["GroupPolicy", "require_policy"]


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """How a group assigns keys to members. The first member stores it in the group.

    All members follow it. Later ones need not give it: they take what the group has. One that gives another is
    refused.

    :param replicas: the number of owners of each key, 1 to 16. A group with fewer members assigns each key to all.
    :param load_bound: a member's greatest load as a multiple of its fair share, 1.0 to 2.0 (1.08 allows 8 % more).
        A lower bound spreads keys more evenly but moves more of them at each change: 1.05 moves up to 1.3 times the
        minimum.
    :param slots: the number of hash buckets, a power of two from 16 to 65,536.
    :param vnodes: the number of points on the ring for each unit of weight, 1 to 1,000.
    :param exclusive: a key never has two owners, not even for a moment: its new owner starts only when the previous
        one has stopped. Requires ``replicas=1``.
    :param partitions: the number of numbered partitions, 1 to 4,096 and at most ``slots``, or 0 for none. With them
        each member has its exact quota of partitions, rounded down or up, and keys are hashed onto partitions;
        ``load_bound`` and ``vnodes`` do not matter then.
    :raises ConfigurationError: if a value is out of range or of the wrong type.
    """

    replicas: int = 1
    load_bound: float = 1.08
    slots: int = 16384
    vnodes: int = 160
    exclusive: bool = False
    partitions: int = 0

    def __post_init__(self) -> None:
        checked = {
            "replicas": require_integer("replicas", self.replicas, 1, 16),
            "load_bound": require_number("load_bound", self.load_bound, 1.0, 2.0),
            "slots": require_integer("slots", self.slots, 16, 65_536),
            "vnodes": require_integer("vnodes", self.vnodes, 1, 1_000),
        }
        if self.slots & (self.slots - 1):
            raise ConfigurationError("slots", f"must be a power of two, not {self.slots}")
        require_bool("exclusive", self.exclusive)
        if self.exclusive and self.replicas > 1:
            raise ConfigurationError("exclusive", f"requires replicas=1, not {self.replicas}")
        checked["partitions"] = require_integer("partitions", self.partitions, 0, min(MAX_PARTITIONS, self.slots))
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def differences(self, other: GroupPolicy) -> dict[str, tuple[int | float, int | float]]:
        """Return the fields that differ, each with this policy's value and the value of ``other``."""
        ours, theirs = asdict(self), asdict(other)
        return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}

    def as_json(self) -> dict[str, int | float]:
        """Return the fields to store in the group's document (``docs/reference/format-1.md``, "The document").

        Fields added after the first version are omitted while they have their default, because an older member
        rejects a policy with a field that it does not know, and rolling upgrades mix versions.
        """
        stored = asdict(self)
        if not self.exclusive:
            del stored["exclusive"]
        if not self.partitions:
            del stored["partitions"]
        return stored


def require_policy(value: object) -> GroupPolicy | None:
    """Return ``value`` if it is a policy, or ``None`` for the group's.

    :raises ConfigurationError: if it is neither.
    """
    if value is None:
        return None
    if not isinstance(value, GroupPolicy):
        raise ConfigurationError("policy", f"must be a GroupPolicy, not {type(value).__name__}")
    return value
