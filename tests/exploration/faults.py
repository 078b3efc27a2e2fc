"""What can happen between two turns of the event loop, each fault in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from aiopartition.testing import expire, reconnect, silence
from tests.exploration.fleet import GROUP, LEASE, SESSION_TIMEOUT, Fleet, Process
from tests.exploration.internals import cluster_of, grant_less, toggle_weight

MOST_PRESENT: Final = 4
A_MOMENT: Final = 0.01
SHORTER: Final = SESSION_TIMEOUT * 2 / 3
"""Seconds that a session has after a server has granted less: its last third is as long as the slowest work."""

Happening: TypeAlias = Callable[[Fleet, int], bool]
"""Given the fleet and a member's number; whether it could happen."""

FAULTS: Final[dict[str, Happening]] = {}
GENERAL: Final[set[str]] = set()
"""Those that happen to no member in particular."""


@dataclass(frozen=True)
class Injection:
    """A fault that happens to a member before a turn of the event loop."""

    turn: int
    fault: str
    member: int

    def __str__(self) -> str:
        return f"{self.turn}:{self.fault}:{self.member}"

    @classmethod
    def parse(cls, text: str) -> Injection:
        turn, fault, member = text.split(":")
        return cls(int(turn), fault, int(member))


def inject(fleet: Fleet, injection: Injection) -> bool:
    """Let a fault happen. ``False`` if it cannot at this moment."""
    return FAULTS[injection.fault](fleet, injection.member)


def _fault(name: str, *, general: bool = False) -> Callable[[Happening], Happening]:
    def register(happening: Happening) -> Happening:
        FAULTS[name] = happening
        if general:
            GENERAL.add(name)
        return happening

    return register


def _process(fleet: Fleet, member: int) -> Process | None:
    """The latest process of that number, while it is there."""
    process = fleet.slots.get(member)
    return None if process is None or process.dead else process


# ---- processes


@_fault("start")
def start(fleet: Fleet, member: int) -> bool:
    if _process(fleet, member) is not None or len(fleet.present) >= MOST_PRESENT:
        return False
    fleet.start(member, f"m{member}")
    return True


@_fault("join", general=True)
def join(fleet: Fleet, _: int) -> bool:
    """Somebody new."""
    return start(fleet, max(fleet.slots, default=-1) + 1)


@_fault("second start")
def second_start(fleet: Fleet, member: int) -> bool:
    """Another process starts under the id of one that goes on."""
    if _process(fleet, member) is None or len(fleet.present) >= MOST_PRESENT:
        return False
    fleet.start(member, f"m{member}")
    return True


@_fault("stop")
def stop(fleet: Fleet, member: int) -> bool:
    process = _process(fleet, member)
    if process is None:
        return False
    fleet.stop(process)
    return True


@_fault("kill")
def kill(fleet: Fleet, member: int) -> bool:
    process = _process(fleet, member)
    if process is None:
        return False
    fleet.kill(process)
    return True


@_fault("restart")
def restart(fleet: Fleet, member: int) -> bool:
    """A process is killed, and started again under its id."""
    return kill(fleet, member) and start(fleet, member)


@_fault("leave")
def leave(fleet: Fleet, member: int) -> bool:
    process = _process(fleet, member)
    if process is None or process.present is None:
        return False
    fleet.leave(process.present)
    return True


@_fault("join again")
def join_again(fleet: Fleet, member: int) -> bool:
    process = _process(fleet, member)
    if process is None or process.present is not None or not process.participations:
        return False
    fleet.take_part(process)
    return True


@_fault("leave and join again")
def leave_and_join_again(fleet: Fleet, member: int) -> bool:
    return leave(fleet, member) and join_again(fleet, member)


@_fault("weight")
def change_weight(fleet: Fleet, member: int) -> bool:
    """A member is drained, or takes part again."""
    process = _process(fleet, member)
    return process is not None and process.present is not None and toggle_weight(process.coordinator, GROUP)


# ---- networks, leases and sessions


@_fault("cut off")
def cut_off(fleet: Fleet, member: int) -> bool:
    process = _process(fleet, member)
    if process is None:
        return False
    fleet.cut_off(process)
    return True


@_fault("silence")
def fall_silent(fleet: Fleet, member: int) -> bool:
    process = _process(fleet, member)
    if process is None:
        return False
    silence(process.coordinator)
    return True


@_fault("reconnect")
def heal(fleet: Fleet, member: int) -> bool:
    process = _process(fleet, member)
    if process is None or process.coordinator.connected:
        return False
    reconnect(process.coordinator)
    return True


@_fault("blink")
def blink(fleet: Fleet, member: int) -> bool:
    """The connection is lost and there again."""
    return cut_off(fleet, member) and heal(fleet, member)


@_fault("lease over")
def lease_over(fleet: Fleet, member: int) -> bool:
    """A member is cut off, and nothing runs until its lease is over."""
    if not cut_off(fleet, member):
        return False
    fleet.jump(LEASE + A_MOMENT)
    return True


@_fault("session over")
def session_over(fleet: Fleet, member: int) -> bool:
    """A member is cut off, and nothing runs until its session is over."""
    if not cut_off(fleet, member):
        return False
    fleet.jump(SESSION_TIMEOUT + A_MOMENT)
    return True


@_fault("expire")
def end_session(fleet: Fleet, member: int) -> bool:
    """The cluster ends a session without waiting for its timeout."""
    process = _process(fleet, member)
    if process is None:
        return False
    fleet.blind(process, LEASE)
    expire(process.coordinator)
    return True


@_fault("shorter session")
def shorten_session(fleet: Fleet, member: int) -> bool:
    """A member comes back to a server that grants less, and is cut off a moment later."""
    process = _process(fleet, member)
    if process is None or not grant_less(process.coordinator, SHORTER):
        return False
    blink(fleet, member)
    fleet.cut_off(process, after=A_MOMENT)
    return True


# ---- time in which nothing runs


@_fault("stall", general=True)
def stall(fleet: Fleet, _: int) -> bool:
    fleet.jump(1.0)
    return True


@_fault("stall beyond the lease", general=True)
def stall_beyond_the_lease(fleet: Fleet, _: int) -> bool:
    fleet.jump(LEASE + A_MOMENT)
    return True


@_fault("stall beyond the session", general=True)
def stall_beyond_the_session(fleet: Fleet, _: int) -> bool:
    fleet.jump(SESSION_TIMEOUT + A_MOMENT)
    return True


# ---- the work, and the cluster


@_fault("listing changes", general=True)
def change_listing(fleet: Fleet, _: int) -> bool:
    """Every third resource goes; at the next time it comes back."""
    if fleet.lists_once:
        return False
    whole = len(fleet.listing) == len(fleet.all_keys)
    fleet.listing = tuple(key for number, key in enumerate(fleet.all_keys) if not whole or number % 3)
    for key, claims in fleet.at_work.items():
        for claim in claims:
            claim.excused = claim.excused or key not in fleet.listing  # although it may come back soon
    return True


@_fault("listing fails", general=True)
def fail_listing(fleet: Fleet, _: int) -> bool:
    def fail() -> list[str]:
        raise OSError("the database is away")

    return _list_next(fleet, fail)


@_fault("listing is broken", general=True)
def break_listing(fleet: Fleet, _: int) -> bool:
    """A defect of the user's: it returns nothing that could be iterated over."""
    return _list_next(fleet, lambda: cast("list[str]", None))


def _list_next(fleet: Fleet, listing: Callable[[], list[str]]) -> bool:
    if fleet.lists_once:
        return False
    fleet.next_listing = listing
    return True


@_fault("key() outlasts the lease", general=True)
def slow_key(fleet: Fleet, _: int) -> bool:
    fleet.next_key_takes = LEASE + A_MOMENT
    return True


@_fault("news are lost", general=True)
def lose_news(fleet: Fleet, _: int) -> bool:
    if not fleet.cluster.members(GROUP):
        return False
    fleet.cluster.lose_watches(GROUP)
    return True


@_fault("entry deleted")
def delete_entry(fleet: Fleet, member: int) -> bool:
    process = _process(fleet, member)
    if process is None or process.coordinator.member_id not in fleet.cluster.members(GROUP):
        return False
    cluster = cluster_of(fleet.cluster)
    fleet.blind(process, LEASE)
    for name in cluster.entries(GROUP):
        if name.startswith(f"{process.coordinator.member_id};"):
            cluster.delete_entry(GROUP, name)
    return True


@_fault("group deleted", general=True)
def delete_group(fleet: Fleet, _: int) -> bool:
    if not fleet.cluster.members(GROUP):
        return False
    for process in fleet.processes:
        fleet.blind(process, LEASE)
    cluster_of(fleet.cluster).delete_group(GROUP)
    return True
