"""Faults that one member has, or that an operator makes, and that must do no harm to the other members (P9).

While nothing else goes wrong, the members that live all along keep the work they hold.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from aiopartition.clock import now
from tests.chaos.conditions import Conditions
from tests.chaos.faults import Fault, fault
from tests.chaos.member import WorkingMember
from tests.chaos.workloads import NAMESPACE
from tests.chaos.world import GROUP_PATH, HANDOFF_PATH, MEMBERS_PATH, World
from tests.support import wait_until

NUISANCES = ("crash_loop", "fail_listing", "fork_member", "junk_node")

START = 10.0
"""Seconds for a process to start on a busy machine."""
FORGING = 0.01
"""Seconds from one forged acknowledgement to the next."""
ENTRY_OF_NOBODY = b'{"metadata": {"process": "nobody"}}'
LARGE = 3000


def nuisances_alone(schedule: Iterable[Fault]) -> bool:
    """Whether nothing strikes that may take all of its work from a member that was there before."""
    return all(fault.kind in NUISANCES for fault in schedule)


def kept_at_least(conditions: Conditions, schedule: Iterable[Fault]) -> float:
    """The part of all work that members which live all along keep, if nothing else strikes.

    A process that joins and crashes takes its share with it: in an exclusive group one at a time, in an ordinary one,
    or if somebody says for the dead that they have let go, each until its session is over. An entry of nobody is one
    more.
    """
    what = {fault.kind: fault.detail for fault in schedule} | {fault.detail: fault.kind for fault in schedule}
    one_at_a_time = conditions.exclusive and FORGED not in what
    if "crash_loop" in what:
        return 0.7 if one_at_a_time else 0.5
    return 1.0 if one_at_a_time or "entry" not in what else 0.7


@fault
async def crash_loop(world: World, fault: Fault) -> bool:
    """A process joins, lives for a while and is killed, over and over; one such loop at a time.

    ``detail``: the seconds that it lives, the seconds from one start to the next, and ``same`` if it keeps its id.
    """
    life, interval, *same = fault.detail.split()
    until = now() + fault.lasts
    if world.crashing.locked():
        return False
    async with world.crashing:
        member_id: str | None = None
        while now() < until:
            begun = now()
            visitor = await world.start_visitor(member_id)
            member_id = visitor.member_id if same else None
            try:
                await wait_until(partial(runs, visitor), timeout=START)
                await asyncio.sleep(float(life))
            finally:
                await world.end_visitor(visitor)
            await asyncio.sleep(max(0.0, min(begun + float(interval), until) - now()))
    return True


def runs(member: WorkingMember) -> bool:
    return "running" in member.told


@fault
async def fail_listing(world: World, fault: Fault) -> bool:
    """The ``resources()`` of one member's ``run()`` goes wrong in the way of ``detail``; then it is well again."""
    member = world.members.get(int(fault.target))
    if member is None or not member.alive or member.frozen or not member.told.get("joined"):
        return False
    member.say(f"listing {fault.detail}")
    await asyncio.sleep(fault.lasts)
    if member.alive:
        member.say("listing well")
    return True


@fault
async def fork_member(world: World, fault: Fault) -> bool:
    """A member's process forks a child, which ends in the way of ``detail``. The member itself looks how it ends."""
    member = world.members.get(int(fault.target))
    if member is None or not member.alive or member.frozen or not member.told.get("joined"):
        return False
    member.say(f"fork {fault.detail}")
    return True


# ---- what others may leave in the tree

Nodes = Iterator[tuple[str, bytes]]
"""Paths and data. Parents come before their children."""

NO_ENTRIES = (
    "²", "①", "9" * 4301, ";;;", "\u202e", "member", "a;1;1;0123456789abcde", "a;01;1;0123456789abcdef",
    "a;1001;1;0123456789abcdef", "%41;1;1;0123456789abcdef", "a;1;①;0123456789abcdef", "a;1;1;0123456789ABCDEF",
)  # fmt: skip
NO_GENERATIONS = ("²", "①", "9" * 4301, "-1", "+1", "01", "0", "-ready", "1-ready-ready", "9223372036854775808")
NO_DOCUMENTS = (b"", b"\xff\xfe", b"[" * 5000, b'{"format": 2}', b'{"format": NaN}', b"9" * 5000)


def among_entries(chance: random.Random) -> Nodes:
    for name in NO_ENTRIES:
        yield f"{MEMBERS_PATH}/{name}", chance.choice(NO_DOCUMENTS)
        yield f"{MEMBERS_PATH}/{name}/below", b""


def among_handoffs(chance: random.Random) -> Nodes:
    yield HANDOFF_PATH, b""
    for name in NO_GENERATIONS:
        yield f"{HANDOFF_PATH}/{name}", chance.choice(NO_DOCUMENTS)
        yield f"{HANDOFF_PATH}/{name}/below", b""


def beside_the_group(chance: random.Random) -> Nodes:
    for number, document in enumerate(NO_DOCUMENTS):
        yield f"{GROUP_PATH}/junk-{number}", document
        yield f"{NAMESPACE}/junk-{number}", document
        yield f"{NAMESPACE}/junk-{number}/members", document
        yield f"{NAMESPACE}/junk-{number}/members/{chance.choice(NO_ENTRIES)}", document


def oversized(chance: random.Random) -> Nodes:
    for number in range(100):
        yield f"{MEMBERS_PATH}/{number}-{chance.choice('x;²') * LARGE}", b""


def entry_of_nobody(chance: random.Random) -> Nodes:
    """An entry that no session owns, as a restored copy of the tree has them."""
    yield f"{MEMBERS_PATH}/nobody;1;1;{chance.getrandbits(64):016x}", ENTRY_OF_NOBODY


JUNK: dict[str, Callable[[random.Random], Nodes]] = {
    "among entries": among_entries,
    "among handoffs": among_handoffs,
    "beside": beside_the_group,
    "oversized": oversized,
    "entry": entry_of_nobody,
}
FORGED = "acknowledgements"


@fault
async def junk_node(world: World, fault: Fault) -> bool:
    """Somebody leaves nodes of the kind of ``detail`` in the tree, for a while.

    The kind ``acknowledgements`` is somebody who says for all members, at each generation, that they have let go.
    """
    if fault.detail == FORGED:
        left = await forge_acknowledgements(world, fault.lasts)
    else:
        left = []
        for path, data in JUNK[fault.detail](random.Random(str(fault))):
            if await world.leave_junk(path, data):
                left.append(path)
        await asyncio.sleep(fault.lasts)
    await world.remove_junk(left)
    return bool(left)


async def forge_acknowledgements(world: World, lasts: float) -> list[str]:
    """Those that could be made. Members delete them, and they are made again."""
    until = now() + lasts
    forged: dict[str, None] = {}
    while now() < until:
        generation = await world.generation()
        parent = f"{HANDOFF_PATH}/{generation}"
        if generation:
            await world.operate("create", parent)  # members make it and delete it as they like
            for name in await world.children(MEMBERS_PATH):
                if await world.leave_junk(path := f"{parent}/{name}", b""):
                    forged[path] = None
        await asyncio.sleep(FORGING)
    return list(forged)
