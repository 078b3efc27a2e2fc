"""How a group places keys: what all its members must agree on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import cast

from aiopartition.checks import require_integer, require_number, shown
from aiopartition.errors import ConfigurationError

__all__ = ["GroupPolicy", "require_policy"]


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """How a group places keys. All members must agree; the first one writes it into the group.

    :param replicas: how many members own each key, 1 to 16. With fewer members than that, all of them do.
    :param load_bound: how far above its fair share of slots a member may go, 1.0 to 2.0 (1.08 is 8 % above).
        Tighter is more even, but moves more keys with each change: 1.05 up to 1.3 times what has to move.
    :param slots: hash buckets, a power of two from 16 to 65,536.
    :param vnodes: points on the ring for each unit of weight, 1 to 1,000.
    :param exclusive: no key is ever owned by two members: who gains a key takes it up when who had it has let go. Only
        with one replica.
    """

    replicas: int = 1
    load_bound: float = 1.08
    slots: int = 16384
    vnodes: int = 160
    exclusive: bool = False

    def __post_init__(self) -> None:
        require_integer("replicas", self.replicas, 1, 16)
        require_number("load_bound", self.load_bound, 1.0, 2.0)
        require_integer("slots", self.slots, 16, 65_536)
        if self.slots & (self.slots - 1):
            raise ConfigurationError("slots", f"must be a power of two, not {self.slots}")
        require_integer("vnodes", self.vnodes, 1, 1_000)
        object.__setattr__(self, "load_bound", float(self.load_bound))
        if not isinstance(cast("object", self.exclusive), bool):
            raise ConfigurationError("exclusive", f"must be a bool, not {shown(self.exclusive)}")
        if self.exclusive and self.replicas > 1:
            raise ConfigurationError("exclusive", f"means one owner for each key, and replicas is {self.replicas}")

    def differences(self, other: GroupPolicy) -> dict[str, tuple[int | float, int | float]]:
        """The fields that differ, each with this policy's value and the other's."""
        ours, theirs = asdict(self), asdict(other)
        return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}

    def as_json(self) -> dict[str, int | float]:
        """The fields as they stand in a group's node.

        Those that later versions add must be left out while they have their default: a field that a member does not
        know is a difference to it, and members of two versions meet in every rolling upgrade.
        """
        stored = asdict(self)
        if not self.exclusive:
            del stored["exclusive"]
        return stored


def require_policy(value: object) -> GroupPolicy:
    """``value`` when it is a policy, the default one for ``None``, else :class:`ConfigurationError`."""
    if value is None:
        return GroupPolicy()
    if not isinstance(value, GroupPolicy):
        raise ConfigurationError("policy", f"must be a GroupPolicy, not {type(value).__name__}")
    return value
