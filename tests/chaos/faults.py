"""What can go wrong. A schedule is data: when, what, to whom, for how long; :func:`play` makes it happen."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tests.chaos.member import WorkingMember
from tests.chaos.world import GROUP_PATH, LITTER, LONGEST_TIMEOUT, MEMBERS_PATH, World
from tests.support import Frame, Proxy, ZooKeeperServer

CREATE = 1
EVERYBODY = "all"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    :ivar at: seconds from the beginning of the schedule.
    :ivar kind: its name in :data:`KINDS`.
    :ivar target: a seat's or a server's number; ``leader`` and ``follower`` are found out at the time, ``all`` are all
        members.
    :ivar lasts: seconds until it is over, where it is over some time.
    :ivar detail: whatever else the kind wants.
    """

    at: float
    kind: str
    target: str
    lasts: float = 0.0
    detail: str = ""


Strike = Callable[[World, Fault], Awaitable[bool]]
"""Makes a fault happen and waits until it is over. Whether it was possible."""

KINDS: dict[str, Strike] = {}


def fault(strike: Strike) -> Strike:
    """Gives a kind of fault its name."""
    KINDS[strike.__name__] = strike
    return strike


async def play(world: World, schedule: Sequence[Fault], struck: Counter[str], missed: Counter[str]) -> None:
    """Strike with each fault in its time; back when the last is over."""
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def strike(each: Fault) -> None:
        await asyncio.sleep(begun + each.at - loop.time())
        (struck if await KINDS[each.kind](world, each) else missed)[each.kind] += 1

    async with asyncio.TaskGroup() as tasks:
        for each in schedule:
            tasks.create_task(strike(each), name=str(each))


# ---- servers


ToServer = Callable[[ZooKeeperServer], Awaitable[None]]


async def befall(
    world: World, fault: Fault, begin: ToServer, end: ToServer | None = None, *, parts: bool = False
) -> bool:
    """What happens to a server that runs, and how it ends; meanwhile other things may happen to it.

    :param parts: whether it keeps the server from hearing the others, which only one of them may be at a time: see
        :class:`~tests.chaos.conditions.Conditions`.
    """
    server = await world.server(fault.target)
    if server is None:
        return False
    async with world.server_locks[server]:
        if not server.running or (parts and world.servers_apart):
            return False
        await begin(server)
    if end is not None:
        await asyncio.sleep(fault.lasts)
        async with world.server_locks[server]:
            await end(server)
    return True


@fault
async def kill_server(world: World, fault: Fault) -> bool:
    return await befall(world, fault, ZooKeeperServer.kill, partial(ZooKeeperServer.heal, wait=False))


@fault
async def freeze_server(world: World, fault: Fault) -> bool:
    async def thaw(server: ZooKeeperServer) -> None:
        if server.frozen:
            await server.thaw()

    return await befall(world, fault, ZooKeeperServer.freeze, thaw, parts=True)


@fault
async def restart_server(world: World, fault: Fault) -> bool:
    return await befall(world, fault, partial(ZooKeeperServer.restart, wait=False))


@fault
async def part_server(world: World, fault: Fault) -> bool:
    """A server is cut off from the other servers, not from its clients."""

    async def part(server: ZooKeeperServer) -> None:
        world.partition = world.ensemble.part(server)

    async def join(server: ZooKeeperServer) -> None:
        if world.partition is not None:
            world.partition.end()
            world.partition = None

    return await befall(world, fault, part, join, parts=True)


@fault
async def grant_less(world: World, fault: Fault) -> bool:
    """A server comes back with another configuration, and grants sessions no more than ``detail`` seconds."""

    async def granting(server: ZooKeeperServer, seconds: float) -> None:
        await server.restart_granting(seconds, wait=False)

    less, more = (partial(granting, seconds=seconds) for seconds in (float(fault.detail), LONGEST_TIMEOUT))
    return await befall(world, fault, less, more)


# ---- networks: those of one member or of all, towards all servers or, by ``detail``, one of them


def members_of(world: World, fault: Fault) -> list[WorkingMember]:
    if fault.target == EVERYBODY:
        return list(world.members.values())
    member = world.members.get(int(fault.target))
    return [] if member is None else [member]


def proxies_of(world: World, fault: Fault) -> list[Proxy]:
    """Towards all servers, or the one whose number stands in ``detail``."""
    digits = [int(word) for word in fault.detail.split() if word.isdigit()]
    return [
        proxy
        for member in members_of(world, fault)
        for number, proxy in enumerate(member.network)
        if not digits or number in digits
    ]


def network_fault(name: str, begin: Callable[[Proxy, Fault], object], end: Callable[[Proxy], object] | None) -> None:
    """A kind of fault that befalls each proxy alike."""

    async def strike(world: World, fault: Fault) -> bool:
        proxies = proxies_of(world, fault)
        for proxy in proxies:
            begin(proxy, fault)
        if end is not None:
            await asyncio.sleep(fault.lasts)
            for proxy in proxies:
                if proxy in every_proxy(world):  # that of one who has ended is closed
                    end(proxy)
        return bool(proxies)

    strike.__name__ = name
    KINDS[name] = strike


def every_proxy(world: World) -> set[Proxy]:
    return {proxy for member in [*world.members.values(), *world.elders] for proxy in member.network}


def word_of(fault: Fault) -> str | None:
    return next((word for word in fault.detail.split() if not word.isdigit()), None)


def refuse(proxy: Proxy, fault: Fault) -> None:
    proxy.refuse()
    proxy.reset()


def lose_answer(proxy: Proxy, fault: Fault) -> None:
    """The next create arrives at the server, but its answer does not come back: the connection breaks instead."""
    asked: tuple[int, int | None] | None = None
    loop = asyncio.get_running_loop()

    def look(frame: Frame) -> bool:
        nonlocal asked
        if asked is None and frame.opcode == CREATE:
            asked = frame.connection, frame.xid
        if frame.towards == "client" and (frame.connection, frame.xid) == asked:
            loop.call_soon(episode.end)
            loop.call_soon(proxy.reset)
            return False
        return True

    episode = proxy.on_frame(look)


network_fault("silence", lambda proxy, fault: proxy.silent(word_of(fault)), lambda proxy: proxy.silent().end())  # type: ignore[arg-type]
network_fault("hold", lambda proxy, fault: proxy.hold(word_of(fault)), lambda proxy: proxy.hold().end())  # type: ignore[arg-type]
network_fault("delay", lambda proxy, fault: proxy.delay(float(fault.detail)), lambda proxy: proxy.delay(0).end())
network_fault("refuse", refuse, Proxy.pass_through)
network_fault("reset", lambda proxy, fault: proxy.reset(), None)
network_fault("half_close", lambda proxy, fault: proxy.half_close(word_of(fault) or "client"), None)  # type: ignore[arg-type]
network_fault("cut_in_frame", lambda proxy, fault: proxy.cut_mid_frame(), None)
network_fault("lose_event", lambda proxy, fault: proxy.drop_next_event(), None)
network_fault("lose_answer", lose_answer, None)


@fault
async def handshakes_only(world: World, fault: Fault) -> bool:
    """Connections come about, and then nothing gets through; by ``detail`` this happens only ``once``."""
    proxies = proxies_of(world, fault)
    answered = 0

    def passes(frame: Frame) -> bool:
        nonlocal answered
        if not frame.is_handshake or (answered and word_of(fault) == "once"):
            return False
        answered += frame.towards == "client"
        return True

    episodes = [proxy.on_frame(passes) for proxy in proxies]
    await asyncio.sleep(fault.lasts)
    for episode in episodes:
        episode.end()
    for proxy in proxies:
        proxy.reset()  # the middle of a stream is lost
    return bool(proxies)


@fault
async def confine(world: World, fault: Fault) -> bool:
    """Members reach one server alone: a number, ``leader`` or ``follower`` in ``detail``."""
    server = await world.server(fault.detail)
    if server is None:
        return False
    others = [
        proxy for member in members_of(world, fault) for proxy in member.network if proxy.upstream_port != server.port
    ]
    for proxy in others:
        refuse(proxy, fault)
    await asyncio.sleep(fault.lasts)
    for proxy in every_proxy(world).intersection(others):
        proxy.pass_through()
    return True


# ---- members


@fault
async def kill_member(world: World, fault: Fault) -> bool:
    """Another process takes its place after a while, with its id or, by ``detail``, with a new one."""
    return await replace(world, fault, gracefully=False)


@fault
async def stop_member(world: World, fault: Fault) -> bool:
    return await replace(world, fault, gracefully=True)


async def replace(world: World, fault: Fault, *, gracefully: bool) -> bool:
    seat = int(fault.target)
    async with world.moved:
        member = world.members.get(seat)
        if member is None or (gracefully and (member.frozen or not member.told.get("joined"))):
            return False
        await world.end_member(seat, gracefully=gracefully)
    await asyncio.sleep(fault.lasts)
    if fault.detail == "gone":
        return True
    async with world.moved:
        if seat not in world.members:
            await world.start_member(seat, None if fault.detail == "new" else member.member_id)
    return True


@fault
async def pause_member(world: World, fault: Fault) -> bool:
    members = [member for member in members_of(world, fault) if member.alive and not member.frozen]
    for member in members:
        member.freeze()
    await asyncio.sleep(fault.lasts)
    for member in members:
        member.thaw()
    return bool(members)


@fault
async def start_member(world: World, fault: Fault) -> bool:
    async with world.moved:
        if int(fault.target) in world.members:
            return False
        await world.start_member(int(fault.target))
    return True


@fault
async def start_twin(world: World, fault: Fault) -> bool:
    """A second process with the id of one that is alive."""
    async with world.moved:
        elder = world.members.get(int(fault.target))
        if elder is None or elder.out_of_group or not elder.told.get("joined"):
            return False
        if any(other.member_id == elder.member_id for other in world.elders):
            return False
        world.elders.append(world.members.pop(elder.seat))
        await world.start_member(elder.seat, elder.member_id)
    return True


@fault
async def leave_group(world: World, fault: Fault) -> bool:
    """It leaves the group, and joins it again in its session: after a while or, by ``detail``, in a later round."""
    member = world.members.get(int(fault.target))
    if member is None or not member.alive or member.out_of_group or not member.told.get("joined"):
        return False
    member.out_of_group = True
    member.say("leave")
    await asyncio.sleep(fault.lasts)
    if fault.detail != "for long":
        member.join_again()
    return True


# ---- operators


@fault
async def delete_entry(world: World, fault: Fault) -> bool:
    names = await world.children(MEMBERS_PATH)
    return bool(names) and await world.operate("delete", f"{MEMBERS_PATH}/{names[int(fault.target) % len(names)]}")


@fault
async def delete_members(world: World, fault: Fault) -> bool:
    return await world.operate("delete", MEMBERS_PATH)


@fault
async def delete_group(world: World, fault: Fault) -> bool:
    return await world.operate("delete", GROUP_PATH)


@fault
async def foreign_node(world: World, fault: Fault) -> bool:
    """Somebody leaves a node among the entries, for a while."""
    path = f"{MEMBERS_PATH}/{LITTER}-{fault.at:.3f}"
    done = await world.leave_junk(path, b"not ours")
    await asyncio.sleep(fault.lasts)
    return await world.operate("delete", path) and done
