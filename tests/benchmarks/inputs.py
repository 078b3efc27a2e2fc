"""What all are measured on: the same keys and the same members at every run."""

import random
import uuid
from dataclasses import dataclass


def switches(count: int) -> list[str]:
    """Keys: names of hosts, 25 characters each."""
    return [f"switch-{number:06}.example.org" for number in range(count)]


def member_ids(count: int, *, seed: int = 1) -> list[str]:
    """Ids of members: UUIDs, as coordinators choose them by default."""
    chance = random.Random(seed)
    return [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]


@dataclass(frozen=True)
class Plan:
    """One fleet, and how often it is changed."""

    members: int
    changes: int
    kills: int = 0
    processes: int = 1
    session_timeout: float = 2.0
