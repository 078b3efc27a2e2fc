"""What can happen between two turns of the event loop, each fault in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from aiopartition.testing import expire, reconnect, silence
from tests.exploration.crew import GROUP, LEASE, SESSION_TIMEOUT, Crew, Process
from tests.exploration.internals import cluster_of, grant_less, toggle_weight

MOST_PRESENT: Final = 4
A_MOMENT: Final = 0.01
SHORTER: Final = SESSION_TIMEOUT * 2 / 3
"""Seconds that a session has after a server has granted less: its last third is as long as the slowest work."""

Happening: TypeAlias = Callable[[Crew, int], bool]
"""Given the crew and a member's number; whether it could happen."""

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


def inject(crew: Crew, injection: Injection) -> bool:
    """Let a fault happen. ``False`` if it cannot at this moment."""
    return FAULTS[injection.fault](crew, injection.member)


def _fault(name: str, *, general: bool = False) -> Callable[[Happening], Happening]:
    def register(happening: Happening) -> Happening:
        FAULTS[name] = happening
        if general:
            GENERAL.add(name)
        return happening

    return register


def _process(crew: Crew, member: int) -> Process | None:
    """The latest process of that number, while it is there."""
    process = crew.slots.get(member)
    return None if process is None or process.dead else process


# ---- processes


@_fault("start")
def start(crew: Crew, member: int) -> bool:
    if _process(crew, member) is not None or len(crew.present) >= MOST_PRESENT:
        return False
    crew.start(member, f"m{member}")
    return True


@_fault("join", general=True)
def join(crew: Crew, _: int) -> bool:
    """Somebody new."""
    return start(crew, max(crew.slots, default=-1) + 1)


@_fault("second start")
def second_start(crew: Crew, member: int) -> bool:
    """Another process starts under the id of one that goes on."""
    if _process(crew, member) is None or len(crew.present) >= MOST_PRESENT:
        return False
    crew.start(member, f"m{member}")
    return True


@_fault("stop")
def stop(crew: Crew, member: int) -> bool:
    process = _process(crew, member)
    if process is None:
        return False
    crew.stop(process)
    return True


@_fault("kill")
def kill(crew: Crew, member: int) -> bool:
    process = _process(crew, member)
    if process is None:
        return False
    crew.kill(process)
    return True


@_fault("restart")
def restart(crew: Crew, member: int) -> bool:
    """A process is killed, and started again under its id."""
    return kill(crew, member) and start(crew, member)


@_fault("leave")
def leave(crew: Crew, member: int) -> bool:
    process = _process(crew, member)
    if process is None or process.present is None:
        return False
    crew.leave(process.present)
    return True


@_fault("join again")
def join_again(crew: Crew, member: int) -> bool:
    process = _process(crew, member)
    if process is None or process.present is not None or not process.participations:
        return False
    crew.take_part(process)
    return True


@_fault("leave and join again")
def leave_and_join_again(crew: Crew, member: int) -> bool:
    return leave(crew, member) and join_again(crew, member)


@_fault("weight")
def change_weight(crew: Crew, member: int) -> bool:
    """A member is drained, or takes part again."""
    process = _process(crew, member)
    return process is not None and process.present is not None and toggle_weight(process.coordinator, GROUP)


# ---- networks, leases and sessions


@_fault("cut off")
def cut_off(crew: Crew, member: int) -> bool:
    process = _process(crew, member)
    if process is None:
        return False
    crew.cut_off(process)
    return True


@_fault("silence")
def fall_silent(crew: Crew, member: int) -> bool:
    process = _process(crew, member)
    if process is None:
        return False
    silence(process.coordinator)
    return True


@_fault("reconnect")
def heal(crew: Crew, member: int) -> bool:
    process = _process(crew, member)
    if process is None or process.coordinator.connected:
        return False
    reconnect(process.coordinator)
    return True


@_fault("blink")
def blink(crew: Crew, member: int) -> bool:
    """The connection is lost and there again."""
    return cut_off(crew, member) and heal(crew, member)


@_fault("lease over")
def lease_over(crew: Crew, member: int) -> bool:
    """A member is cut off, and nothing runs until its lease is over."""
    if not cut_off(crew, member):
        return False
    crew.jump(LEASE + A_MOMENT)
    return True


@_fault("session over")
def session_over(crew: Crew, member: int) -> bool:
    """A member is cut off, and nothing runs until its session is over."""
    if not cut_off(crew, member):
        return False
    crew.jump(SESSION_TIMEOUT + A_MOMENT)
    return True


@_fault("expire")
def end_session(crew: Crew, member: int) -> bool:
    """The cluster ends a session without waiting for its timeout."""
    process = _process(crew, member)
    if process is None:
        return False
    crew.blind(process, LEASE)
    expire(process.coordinator)
    return True


@_fault("shorter session")
def shorten_session(crew: Crew, member: int) -> bool:
    """A member comes back to a server that grants less, and is cut off a moment later."""
    process = _process(crew, member)
    if process is None or not grant_less(process.coordinator, SHORTER):
        return False
    blink(crew, member)
    crew.cut_off(process, after=A_MOMENT)
    return True


# ---- time in which nothing runs


@_fault("stall", general=True)
def stall(crew: Crew, _: int) -> bool:
    crew.jump(1.0)
    return True


@_fault("stall beyond the lease", general=True)
def stall_beyond_the_lease(crew: Crew, _: int) -> bool:
    crew.jump(LEASE + A_MOMENT)
    return True


@_fault("stall beyond the session", general=True)
def stall_beyond_the_session(crew: Crew, _: int) -> bool:
    crew.jump(SESSION_TIMEOUT + A_MOMENT)
    return True


# ---- the work, and the cluster


@_fault("listing changes", general=True)
def change_listing(crew: Crew, _: int) -> bool:
    """Every third resource goes; at the next time it comes back."""
    if crew.lists_once:
        return False
    whole = len(crew.listing) == len(crew.all_keys)
    crew.listing = tuple(key for number, key in enumerate(crew.all_keys) if not whole or number % 3)
    for key, claims in crew.at_work.items():
        for claim in claims:
            claim.excused = claim.excused or key not in crew.listing  # although it may come back soon
    return True


@_fault("listing fails", general=True)
def fail_listing(crew: Crew, _: int) -> bool:
    def fail() -> list[str]:
        raise OSError("the database is away")

    return _list_next(crew, fail)


@_fault("listing is broken", general=True)
def break_listing(crew: Crew, _: int) -> bool:
    """A defect of the user's: it returns nothing that could be iterated over."""
    return _list_next(crew, lambda: cast("list[str]", None))


def _list_next(crew: Crew, listing: Callable[[], list[str]]) -> bool:
    if crew.lists_once:
        return False
    crew.next_listing = listing
    return True


@_fault("key() outlasts the lease", general=True)
def slow_key(crew: Crew, _: int) -> bool:
    crew.next_key_takes = LEASE + A_MOMENT
    return True


@_fault("news are lost", general=True)
def lose_news(crew: Crew, _: int) -> bool:
    if not crew.cluster.members(GROUP):
        return False
    crew.cluster.lose_watches(GROUP)
    return True


@_fault("entry deleted")
def delete_entry(crew: Crew, member: int) -> bool:
    process = _process(crew, member)
    if process is None or process.coordinator.member_id not in crew.cluster.members(GROUP):
        return False
    cluster = cluster_of(crew.cluster)
    crew.blind(process, LEASE)
    for name in cluster.entries(GROUP):
        if name.startswith(f"{process.coordinator.member_id};"):
            cluster.delete_entry(GROUP, name)
    return True


@_fault("group deleted", general=True)
def delete_group(crew: Crew, _: int) -> bool:
    if not crew.cluster.members(GROUP):
        return False
    for process in crew.processes:
        crew.blind(process, LEASE)
    cluster_of(crew.cluster).delete_group(GROUP)
    return True
