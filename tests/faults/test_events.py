"""The events of which members make their lists of members: lost, doubled, late, in the midst of a reconnection."""

import asyncio
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from aiozk import protocol

from aiopartition import BackendError, Change
from tests.support import Frame, Proxy, ZooKeeperServer, wait_until
from tests.support.admin import Operator
from tests.support.fleet import GROUP, Fleet

EXISTS = protocol.ExistsRequest.opcode
LIST = protocol.GetChildren2Request.opcode
ADD_WATCH = 106


class Tampering(ABC):
    """Does something to one event, in the stream of frames to the client."""

    def __init__(self, nth: int = 1) -> None:
        self._left = nth
        self.done = False

    def __call__(self, frame: Frame) -> Sequence[bytes] | None:
        if self.done or frame.towards == "server" or frame.is_handshake:
            return None
        if frame.is_watch_event:
            self._left -= 1
            return self.event(frame.body) if self._left == 0 else None
        return self.answer(frame.body) if self._left <= 0 else None

    @abstractmethod
    def event(self, body: bytes) -> Sequence[bytes] | None:
        """The chosen event is here."""

    def answer(self, body: bytes) -> Sequence[bytes] | None:
        """An answer that follows it."""
        return None


class Lost(Tampering):
    def event(self, body: bytes) -> Sequence[bytes]:
        self.done = True
        return ()


class Doubled(Tampering):
    def event(self, body: bytes) -> Sequence[bytes]:
        self.done = True
        return body, body


class Late(Tampering):
    """It comes right after the next answer, or that many answers later, so most likely after one that covers it."""

    def __init__(self, nth: int = 1, answers: int = 1) -> None:
        super().__init__(nth)
        self._answers = answers

    def event(self, body: bytes) -> Sequence[bytes]:
        self._event = body
        return ()

    def answer(self, body: bytes) -> Sequence[bytes] | None:
        self._answers -= 1
        self.done = self._answers == 0
        return (body, self._event) if self.done else None


class AnswerFirst(Tampering):
    """And the same event once more before it."""

    def event(self, body: bytes) -> Sequence[bytes]:
        self._event = body
        return (body,)

    def answer(self, body: bytes) -> Sequence[bytes] | None:
        self.done = True
        return self._event, body


TAMPERINGS: dict[str, Callable[[], Tampering]] = {
    "the first is lost": Lost,
    "the second is lost": lambda: Lost(2),
    "the last is lost": lambda: Lost(4),
    "the first comes twice": Doubled,
    "the second comes twice": lambda: Doubled(2),
    "the first comes after the answer": Late,
    "the second comes after the answer": lambda: Late(2),
    "the second comes after several answers": lambda: Late(2, answers=4),
    "the third comes again before the answer": lambda: AnswerFirst(3),
}


def disagreements(*changes: list[Change]) -> list[int]:
    """The generations at which not all have seen the same members."""
    seen: dict[int, set[object]] = {}
    for change in (change for each in changes for change in each):
        if change.view is not None:
            seen.setdefault(change.view.generation, set()).add(change.view.members)
    return [generation for generation, members in seen.items() if len(members) > 1]


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_all_agree_whatever_happens_to_an_event(
    fleet: Fleet, zookeeper: ZooKeeperServer, network: Proxy, namespace: str, tampering: str
) -> None:
    """At each generation, and soon at the newest; also when it is only a heartbeat that brings it to light."""
    first = await fleet.start(network.url(namespace), "a")
    second = await fleet.start(zookeeper.url(namespace), "b")
    await fleet.settle()
    changes = [fleet.changes(first), fleet.changes(second)]
    await wait_until(lambda: all(changes))
    tamper = TAMPERINGS[tampering]()
    with network.on_frame(tamper):
        third = await fleet.start(zookeeper.url(namespace), "c")
        await fleet.settle()
        await third.set_weight(GROUP, 2)
        await third.leave_group(GROUP)
        await fleet.settle(first, second)
        await wait_until(lambda: tamper.done)
        await third.join_group(GROUP)
        await fleet.settle()
    assert disagreements(*changes) == []
    assert await first.get_members(GROUP) == ("a", "b", "c")


async def test_a_reconnection_in_the_midst_of_a_burst(
    fleet: Fleet, zookeeper: ZooKeeperServer, network: Proxy, namespace: str, operator: Operator
) -> None:
    """Members come and go all the time, and the connection breaks again and again: no event counts that was missed."""
    first = await fleet.start(network.url(namespace), "a", heartbeat=60.0, session_timeout=8.0)
    second = await fleet.start(zookeeper.url(namespace), "b", heartbeat=60.0, session_timeout=8.0)
    await fleet.settle()
    changes = [fleet.changes(first), fleet.changes(second)]
    names = [f"burst-{number};1;1;{number:016x}" for number in range(8)]
    over = asyncio.Event()

    async def come_and_go() -> None:
        while not over.is_set():
            for name in names:
                await operator.create(f"{namespace}/{GROUP}/members/{name}")
            for name in names:
                await operator.delete(f"{namespace}/{GROUP}/members/{name}")

    burst = asyncio.create_task(come_and_go())
    try:
        for _ in range(5):
            connections = network.connections
            network.reset()
            await wait_until(lambda: network.connections > connections and first.connected)  # noqa: B023
            seen = len(changes[0])
            await wait_until(lambda: len(changes[0]) > seen)  # noqa: B023
    finally:
        over.set()
        await burst
    await fleet.settle()
    assert disagreements(*changes) == []


async def test_events_tell_their_generations(
    fleet: Fleet, zookeeper: ZooKeeperServer, network: Proxy, namespace: str
) -> None:
    """Since 3.9; before, they tell nothing: -1."""
    first = await fleet.start(network.url(namespace), "a")
    told: list[int] = []
    with network.on_frame(lambda frame: told.append(zxid_of(frame)) if frame.is_watch_event else None):
        await fleet.start(zookeeper.url(namespace), "b")
        await fleet.settle()
        await fleet.members[-1].set_weight(GROUP, 2)
        await fleet.settle()
    generation = (await first.view(GROUP)).generation
    assert len(told) == 3
    assert set(told) == {-1} if min(told) < 0 else told[-2:] == [generation, generation] > told[:1] * 2


def zxid_of(frame: Frame) -> int:
    zxid: int = struct.unpack_from("!q", frame.body, 4)[0]
    return zxid


async def test_a_change_costs_numbers_and_no_list(
    fleet: Fleet, zookeeper: ZooKeeperServer, network: Proxy, namespace: str
) -> None:
    """Even after a reconnection that has missed nothing. After one that has missed something it costs the list."""
    first = await fleet.start(network.url(namespace), "a", heartbeat=60.0, session_timeout=8.0)
    await fleet.settle()
    sent: Counter[int | None] = Counter()
    network.on_frame(lambda frame: sent.update([frame.opcode]) if frame.towards == "server" else None)
    second = await fleet.start(zookeeper.url(namespace), "b", heartbeat=60.0, session_timeout=8.0)
    await fleet.settle()
    await second.set_weight(GROUP, 3)
    await fleet.settle()
    assert sent[EXISTS] >= 2
    assert sent[LIST] == 0

    network.reset()
    await wait_until(lambda: network.connections == 2 and first.connected)
    await first.heartbeat()
    await second.leave_group(GROUP)
    await fleet.settle(first)
    assert sent[LIST] == 0

    with network.refuse():
        network.reset()
        await wait_until(lambda: not first.connected)
        await second.join_group(GROUP)
    await fleet.settle()
    assert sent[LIST] == 1
    assert sent[ADD_WATCH] == 0


async def test_a_group_that_was_left_is_watched_no_more(
    fleet: Fleet, zookeeper: ZooKeeperServer, network: Proxy, namespace: str
) -> None:
    """And as before when it is joined again."""
    first = await fleet.start(network.url(namespace), "a")
    events: list[Frame] = []
    network.on_frame(lambda frame: events.append(frame) if frame.is_watch_event else None)
    for _ in range(2):
        await first.leave_group(GROUP)
        await first.heartbeat()  # its answer comes after all that was on its way
        events.clear()
        second = await fleet.start(zookeeper.url(namespace), "b")
        await fleet.settle(second)
        await first.heartbeat()
        assert events == []
        await first.join_group(GROUP)
        await fleet.settle(first, second)
        await second.stop()
        await fleet.settle(first)
        assert events


async def test_what_happens_to_an_entry_and_below_it_is_no_change(
    fleet: Fleet, zookeeper: ZooKeeperServer, network: Proxy, namespace: str, operator: Operator
) -> None:
    """A watch on all nodes tells of these too: data, nodes below others, and the node of all entries itself."""
    first = await fleet.start(network.url(namespace), "a", heartbeat=60.0, session_timeout=8.0)
    await fleet.settle()
    await first.heartbeat()  # which looks once into what it has not seen before
    changes = fleet.changes(first)
    sent: Counter[int | None] = Counter()
    network.on_frame(lambda frame: sent.update([frame.opcode]) if frame.towards == "server" else None)
    members = f"{namespace}/{GROUP}/members"
    [entry] = await operator.children(members)
    await operator.set(f"{members}/{entry}", b"something else")
    await operator.set(members, b"something")
    await first.heartbeat()
    assert (sent[EXISTS], sent[LIST]) == (1, 0)  # the heartbeat

    await operator.create(f"{members}/foreign/below/that")
    second = await fleet.start(zookeeper.url(namespace), "b", heartbeat=60.0, session_timeout=8.0)
    await fleet.settle()
    assert sent[LIST] == 0
    await second.stop()
    await fleet.settle(first)
    await wait_until(lambda: changes[-1].left == ("b",))
    assert sent[LIST] == 0


async def test_a_server_that_knows_no_such_watches(
    fleet: Fleet, zookeeper: ZooKeeperServer, network: Proxy, namespace: str
) -> None:
    """It is named with the version that is needed, in the error of the call."""

    def unknown(frame: Frame) -> Sequence[bytes] | None:
        return (frame.body[:4] + b"\0\0\0\x63" + frame.body[8:],) if frame.opcode == ADD_WATCH else None

    with network.on_frame(unknown):
        member = await fleet.start(network.url(namespace), "a", join=False)
        with pytest.raises(BackendError, match=r"older than ZooKeeper 3\.6"):
            await member.join_group(GROUP)
        await member.observe(GROUP)
        with pytest.raises(BackendError, match=r"older than ZooKeeper 3\.6"):
            await member.view(GROUP)
        await member.leave_group(GROUP)
    await member.join_group(GROUP)
    await fleet.settle(member)
