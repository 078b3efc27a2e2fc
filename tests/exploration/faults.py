"""What can happen between two turns of the event loop, each fault in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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


def _fault(name: str) -> Callable[[Happening], Happening]:
    """Registers a fault that is given a member's number, whether it has a process or not."""

    def register(happening: Happening) -> Happening:
        FAULTS[name] = happening
        return happening

    return register


def _of_process(name: str) -> Callable[[Callable[[Crew, Process], object]], Happening]:
    """Registers a fault of a process that is there. It could happen unless it returns ``False``."""

    def register(happening: Callable[[Crew, Process], object]) -> Happening:
        def happen(crew: Crew, member: int) -> bool:
            process = crew.slots.get(member)
            return process is not None and not process.dead and happening(crew, process) is not False

        return _fault(name)(happen)

    return register


def _general(name: str) -> Callable[[Callable[[Crew], object]], Happening]:
    """Registers a fault that happens to no member in particular. It could happen unless it returns ``False``."""

    def register(happening: Callable[[Crew], object]) -> Happening:
        GENERAL.add(name)
        return _fault(name)(lambda crew, _: happening(crew) is not False)

    return register


# ---- processes


@_fault("start")
def start(crew: Crew, member: int) -> bool:
    process = crew.slots.get(member)
    if (process is not None and not process.dead) or len(crew.present) >= MOST_PRESENT:
        return False
    crew.start(member, f"m{member}")
    return True


@_general("join")
def join(crew: Crew) -> bool:
    """Somebody new."""
    return start(crew, max(crew.slots, default=-1) + 1)


@_of_process("second start")
def second_start(crew: Crew, process: Process) -> bool:
    """Another process starts under the id of one that goes on."""
    has_room = len(crew.present) < MOST_PRESENT
    if has_room:
        member = next(number for number, each in crew.slots.items() if each is process)
        crew.start(member, f"m{member}")
    return has_room


@_of_process("stop")
def stop(crew: Crew, process: Process) -> None:
    crew.stop(process)


@_of_process("kill")
def kill(crew: Crew, process: Process) -> None:
    crew.kill(process)


@_fault("restart")
def restart(crew: Crew, member: int) -> bool:
    """A process is killed, and started again under its id."""
    return kill(crew, member) and start(crew, member)


@_of_process("leave")
def leave(crew: Crew, process: Process) -> bool:
    present = process.present
    if present is not None:
        crew.leave(present)
    return present is not None


@_of_process("join again")
def join_again(crew: Crew, process: Process) -> bool:
    has_left = process.present is None and bool(process.participations)
    if has_left:
        crew.take_part(process)
    return has_left


@_fault("leave and join again")
def leave_and_join_again(crew: Crew, member: int) -> bool:
    return leave(crew, member) and join_again(crew, member)


@_of_process("weight")
def change_weight(crew: Crew, process: Process) -> bool:
    """A member is drained, or takes part again."""
    return process.present is not None and toggle_weight(process.coordinator, GROUP)


# ---- networks, leases and sessions


@_of_process("cut off")
def cut_off(crew: Crew, process: Process) -> None:
    crew.cut_off(process)


@_of_process("silence")
def fall_silent(crew: Crew, process: Process) -> None:
    silence(process.coordinator)


@_of_process("reconnect")
def heal(crew: Crew, process: Process) -> bool:
    was_away = not process.coordinator.connected
    if was_away:
        reconnect(process.coordinator)
    return was_away


@_fault("blink")
def blink(crew: Crew, member: int) -> bool:
    """The connection is lost and there again."""
    return cut_off(crew, member) and heal(crew, member)


@_of_process("lease over")
def lease_over(crew: Crew, process: Process) -> None:
    """A member is cut off, and nothing runs until its lease is over."""
    crew.cut_off(process)
    crew.jump(LEASE + A_MOMENT)


@_of_process("session over")
def session_over(crew: Crew, process: Process) -> None:
    """A member is cut off, and nothing runs until its session is over."""
    crew.cut_off(process)
    crew.jump(SESSION_TIMEOUT + A_MOMENT)


@_of_process("expire")
def end_session(crew: Crew, process: Process) -> None:
    """The cluster ends a session without waiting for its timeout."""
    crew.blind(process, LEASE)
    expire(process.coordinator)


@_of_process("shorter session")
def shorten_session(crew: Crew, process: Process) -> bool:
    """A member comes back to a server that grants less, and is cut off a moment later."""
    if not grant_less(process.coordinator, SHORTER):
        return False
    crew.cut_off(process)
    if not process.coordinator.connected:
        reconnect(process.coordinator)
    crew.cut_off(process, after=A_MOMENT)
    return True


# ---- time in which nothing runs

for _name, _seconds in (
    ("stall", 1.0),
    ("stall beyond the lease", LEASE + A_MOMENT),
    ("stall beyond the session", SESSION_TIMEOUT + A_MOMENT),
):
    _general(_name)(partial(Crew.jump, seconds=_seconds))


# ---- the work, and the cluster


@_general("listing changes")
def change_listing(crew: Crew) -> bool:
    """Every third resource goes; at the next time it comes back."""
    if crew.lists_once:
        return False
    whole = len(crew.listing) == len(crew.all_keys)
    crew.listing = tuple(key for number, key in enumerate(crew.all_keys) if not whole or number % 3)
    for key, claims in crew.at_work.items():
        for claim in claims:
            claim.excused = claim.excused or key not in crew.listing  # although it may come back soon
    return True


@_general("listing fails")
def fail_listing(crew: Crew) -> bool:
    def fail() -> list[str]:
        raise OSError("the database is away")

    return _list_next(crew, fail)


@_general("listing is broken")
def break_listing(crew: Crew) -> bool:
    """A defect of the user's: it returns nothing that could be iterated over."""
    return _list_next(crew, lambda: cast("list[str]", None))


def _list_next(crew: Crew, listing: Callable[[], list[str]]) -> bool:
    if not crew.lists_once:
        crew.next_listing = listing
    return not crew.lists_once


@_general("key() outlasts the lease")
def slow_key(crew: Crew) -> None:
    crew.next_key_takes = LEASE + A_MOMENT


@_general("news are lost")
def lose_news(crew: Crew) -> bool:
    exists = bool(crew.cluster.members(GROUP))
    if exists:
        crew.cluster.lose_watches(GROUP)
    return exists


@_of_process("entry deleted")
def delete_entry(crew: Crew, process: Process) -> bool:
    member_id, cluster = process.coordinator.member_id, cluster_of(crew.cluster)
    if member_id not in crew.cluster.members(GROUP):
        return False
    crew.blind(process, LEASE)
    for name in cluster.entries(GROUP):
        if name.startswith(f"{member_id};"):
            cluster.delete_entry(GROUP, name)
    return True


@_general("group deleted")
def delete_group(crew: Crew) -> bool:
    if not crew.cluster.members(GROUP):
        return False
    for process in crew.processes:
        crew.blind(process, LEASE)
    cluster_of(crew.cluster).delete_group(GROUP)
    return True
