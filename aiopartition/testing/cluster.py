"""A cluster on ``memory://`` for one test: its other members, and what can happen to all of them."""

from __future__ import annotations

import asyncio
import uuid
from typing import Final, Self

import anyio

from aiopartition.backends.memory.backend import MemoryBackend
from aiopartition.backends.memory.store import MemoryCluster
from aiopartition.coordinator import PartitionCoordinator
from aiopartition.group.entry import Entry
from aiopartition.placement.policy import GroupPolicy
from aiopartition.runner import Runner
from aiopartition.testing.faults import backend_of
from aiopartition.testing.virtual_time import VirtualTimeLoop

__all__ = ["PartitionCluster"]

_INTERVAL: Final = 0.01
"""Seconds between two looks whether things have settled."""


class PartitionCluster:
    """Coordinators find it by :attr:`url`, those of the service under test as well as those that :meth:`join` starts.

    All members live in one event loop. They are named by their ids; of several coordinators with one id the latest is
    meant. It is an async context manager that stops what it has started.

    :param session_timeout: seconds, of the members that :meth:`join` starts.
    :param heartbeat: seconds, likewise.
    """

    def __init__(self, *, session_timeout: float = 10.0, heartbeat: float = 1.0) -> None:
        self.session_timeout = session_timeout
        self.heartbeat = heartbeat
        self.url: Final = f"memory://test-{uuid.uuid4().hex}"
        """For the coordinators of the service under test."""
        self._clock = _LoopClock()
        # Kept here, as clusters are forgotten with whoever uses them last.
        self._cluster = MemoryCluster.named(self.url.removeprefix("memory://"), self._clock)
        self._joined: dict[str, PartitionCoordinator] = {}
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return (
            f"<PartitionCluster {self.url}: {[_runner(client).settings.member_id for client in self._cluster.clients]}>"
        )

    # ---- members

    async def join(
        self,
        member_id: str,
        group_id: str,
        *,
        weight: int = 1,
        policy: GroupPolicy | None = None,
        min_members: int = 1,
        settle: float = 0.05,
    ) -> PartitionCoordinator:
        """Another member joins a group. With an id that was joined before, the same coordinator joins a further one.

        :returns: its coordinator, to ask what is its own.
        :raises PartitionError: whatever :meth:`PartitionCoordinator.join_group` raises.
        """
        async with self._starting:
            coordinator = self._joined.get(member_id)
            if coordinator is None:
                coordinator = PartitionCoordinator(
                    self.url, member_id=member_id, session_timeout=self.session_timeout, heartbeat=self.heartbeat
                )
                await coordinator.start()
                self._joined[member_id] = coordinator
        await coordinator.join_group(group_id, weight=weight, policy=policy, min_members=min_members, settle=settle)
        return coordinator

    async def leave(self, member_id: str) -> None:
        """A member that :meth:`join` started says farewell: the others have its share at once.

        :raises LookupError: if there is none of that id.
        """
        await self._require_joined(member_id).stop()
        self._joined.pop(member_id, None)

    async def kill(self, member_id: str) -> None:
        """A member that :meth:`join` started falls dead: the others have its share after its session timeout.

        :raises LookupError: if there is none of that id.
        """
        coordinator = self._require_joined(member_id)
        backend_of(coordinator).crash()  # so the farewell of the next line does not arrive
        await coordinator.stop()
        self._joined.pop(member_id, None)

    def members(self, group_id: str) -> tuple[str, ...]:
        """The sorted ids of a group's members, as the cluster has them at this moment; the members may lag behind."""
        if self._cluster.newest(group_id) is None:
            return ()
        entries = [Entry.parse(name) for name in self._cluster.entries(group_id)]
        return tuple(sorted({entry.member_id for entry in entries if entry is not None}))

    # ---- faults, of any member

    def cut_off(self, member_id: str) -> None:
        """Cut a member's connection. It owns nothing after two thirds of its session timeout, and is given up after the
        whole; unless it is reconnected before.

        :raises LookupError: if no started coordinator has that id; likewise all below.
        """
        self._client(member_id).cut_off()

    def silence(self, member_id: str) -> None:
        """The same as :meth:`cut_off`, but the member is not told: no request is answered."""
        self._client(member_id).silence()

    def reconnect(self, member_id: str) -> None:
        """Heal what :meth:`cut_off` or :meth:`silence` did."""
        self._client(member_id).reconnect()

    def expire(self, member_id: str) -> None:
        """End a member's session now. It loses what it owned, and joins its groups again by itself."""
        self._client(member_id).expire()

    def lag(self, member_id: str, seconds: float) -> None:
        """From now on a member is told of changes that many seconds late; 0: at once."""
        self._client(member_id).network.news_delay = seconds

    def lose_watches(self, group_id: str) -> None:
        """The members are not told of the group's next change; their heartbeats have to find it."""
        self._cluster.lose_watches(group_id)

    # ---- time

    def stall(self, seconds: float) -> None:
        """Time passes in which nothing of this process runs, as when the event loop is blocked, the process stopped or
        the laptop suspended. On a :class:`VirtualTimeLoop` timers that were due meanwhile go off afterwards; on any
        other only the clock of the leases jumps, as it does on a laptop that wakes up."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualTimeLoop):
            loop.jump(seconds)
        else:
            self._clock.ahead += seconds

    async def step(self, seconds: float) -> None:
        """Let time pass, with everybody at work: at once on a :class:`VirtualTimeLoop`, else it is a sleep."""
        await anyio.sleep(seconds)

    async def settle(self, group_id: str, *, timeout: float = 60.0) -> None:
        """Wait until the group is at rest: its entries are those of members that are connected, and all of them are at
        the newest generation. So a member that was killed or cut off is waited for until it is given up.

        :param timeout: seconds of the event loop.
        :raises TimeoutError: saying where each member stands.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while asyncio.get_running_loop().time() < deadline:
            if self._settled(group_id):
                return
            await anyio.sleep(_INTERVAL)
        raise TimeoutError(f"group {group_id!r} has not settled within {timeout:g} s: {self._standing(group_id)}")

    # ---- the end

    async def close(self) -> None:
        """Stop what :meth:`join` started. May be called several times."""
        while self._joined:
            _, coordinator = self._joined.popitem()
            await coordinator.stop()

    def close_outside(self) -> None:
        """:meth:`close`, for fixtures: when the event loop stands still, or was closed, which ended every task."""
        loop = self._clock.loop
        if self._joined and loop is not None and not loop.is_closed():
            loop.run_until_complete(self.close())

    # ---- inside

    def _require_joined(self, member_id: str) -> PartitionCoordinator:
        if member_id not in self._joined:
            raise LookupError(f"join() has started no member {member_id!r}, or it has ended: {sorted(self._joined)}")
        return self._joined[member_id]

    def _client(self, member_id: str) -> MemoryBackend:
        for client in reversed(self._cluster.clients):
            if _runner(client).settings.member_id == member_id:
                return client
        raise LookupError(f"no started coordinator on {self!r} has the id {member_id!r}")

    def _settled(self, group_id: str) -> bool:
        generation = self._cluster.newest(group_id)
        standing = self._standing(group_id)
        return self.members(group_id) == tuple(sorted(standing)) and all(
            each == generation for each in standing.values()
        )

    def _standing(self, group_id: str) -> dict[str, int | None]:
        """For each connected member the generation that it has arrived at, as far as anything can be its own there."""
        standing: dict[str, int | None] = {}
        for client in self._cluster.clients:
            membership = _runner(client).memberships.get(group_id)
            if membership is None or not client.connected or client.network.is_silent or membership.error is not None:
                continue
            view = membership.view
            # In an exclusive group what a member gains becomes its own only when the members before have let go of it.
            arrived = view is not None and tuple(view.mask) == tuple(view.table.mask(view.member_id))
            standing[_runner(client).settings.member_id] = view.generation if view is not None and arrived else None
        return standing


class _LoopClock:
    """The time of the event loop that the test runs on, and what :meth:`PartitionCluster.stall` has added to it."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.loop: asyncio.AbstractEventLoop | None = None

    def __call__(self) -> float:
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
        return self.loop.time() + self.ahead


def _runner(client: MemoryBackend) -> Runner:
    """Who it is that uses the cluster."""
    assert isinstance(client.listener, Runner)
    return client.listener
