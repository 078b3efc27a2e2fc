"""A cluster on ``memory://`` for one test, with other members and simulated faults."""

from __future__ import annotations

import asyncio
import uuid
from typing import Final, Self

import anyio

from aiopartition.backends.memory.backend import MemoryBackend
from aiopartition.backends.memory.store import MemoryCluster
from aiopartition.coordinator import PartitionCoordinator
from aiopartition.group.entry import Entry
from aiopartition.group.registry import Registry
from aiopartition.placement.policy import GroupPolicy
from aiopartition.testing.faults import backend_of
from aiopartition.testing.virtual_time import VirtualTimeLoop

__all__ = ["PartitionCluster"]

_INTERVAL: Final = 0.01
"""Seconds between two checks whether a group has settled."""


class PartitionCluster:
    """An in-memory cluster. The service under test connects by :attr:`url`; :meth:`join` adds other members.

    All members run in one event loop. Methods refer to them by member id; if several coordinators have the same id, the
    one started last is meant. As an async context manager, the cluster stops the members that it has started.

    :param session_timeout: the session timeout of members that :meth:`join` starts, in seconds.
    :param heartbeat: the heartbeat interval of these members, in seconds.
    """

    def __init__(self, *, session_timeout: float = 10.0, heartbeat: float = 1.0) -> None:
        self.session_timeout = session_timeout
        self.heartbeat = heartbeat
        self.url: Final = f"memory://test-{uuid.uuid4().hex}"
        """The backend URL for coordinators of the service under test."""
        self._clock = _LoopClock()
        # Holds a reference, because a named cluster is discarded with its last user.
        self._cluster = MemoryCluster.named(self.url.removeprefix("memory://"), self._clock)
        self._joined: dict[str, PartitionCoordinator] = {}
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<PartitionCluster {self.url}: {[_registry(client).member_id for client in self._clients]}>"

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
        """Start a member and join it to a group. If a member of that id was started before, it joins this group too.

        :param weight: as for :meth:`PartitionCoordinator.join_group`, like ``policy`` and ``min_members``.
        :param settle: seconds, as for :meth:`PartitionCoordinator.join_group`.
        :returns: the member's coordinator.
        :raises PartitionError: as :meth:`PartitionCoordinator.join_group` does.
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
        """Stop a member that :meth:`join` started. The other members take over its keys at once.

        :raises LookupError: if :meth:`join` has started no member of that id.
        """
        await self._require_joined(member_id).stop()
        self._joined.pop(member_id, None)

    async def kill(self, member_id: str) -> None:
        """Crash a member that :meth:`join` started. Others take over its keys after its session timeout.

        :raises LookupError: if :meth:`join` has started no member of that id.
        """
        coordinator = self._require_joined(member_id)
        backend_of(coordinator).crash()  # so that stop() cannot announce that the member leaves
        await coordinator.stop()
        self._joined.pop(member_id, None)

    def members(self, group_id: str) -> tuple[str, ...]:
        """Return the sorted ids of a group's members as the cluster has them now. Members may not know of them yet."""
        if self._cluster.newest(group_id) is None:
            return ()
        entries = [Entry.parse(name) for name in self._cluster.entries(group_id)]
        return tuple(sorted({entry.member_id for entry in entries if entry is not None}))

    # ---- faults, of any member

    def cut_off(self, member_id: str) -> None:
        """Cut a member's connection.

        Unless it is reconnected earlier, it stops owning its keys after two thirds of its session timeout, and other
        members take over after the full timeout.

        :raises LookupError: if no started coordinator has that id. So do the other faults of a member.
        """
        self._client(member_id).cut_off()

    def silence(self, member_id: str) -> None:
        """Stop all responses to a member, while its connection appears to stay open. Otherwise like :meth:`cut_off`."""
        self._client(member_id).silence()

    def reconnect(self, member_id: str) -> None:
        """Undo :meth:`cut_off` or :meth:`silence`."""
        self._client(member_id).reconnect()

    def expire(self, member_id: str) -> None:
        """End a member's session now. The member loses its keys, and rejoins its groups by itself."""
        self._client(member_id).expire()

    def lag(self, member_id: str, seconds: float) -> None:
        """Delay all further notifications of changes to a member by ``seconds``."""
        self._client(member_id).network.news_delay = seconds

    def lose_watches(self, group_id: str) -> None:
        """Lose the notifications of the group's next change, so that only heartbeats can detect it."""
        self._cluster.lose_watches(group_id)

    # ---- time

    def stall(self, seconds: float) -> None:
        """Let time pass while nothing in this process runs, as if the event loop were blocked, the process stopped or
        the laptop suspended.

        On a :class:`VirtualTimeLoop`, timers due in that time fire afterwards. On any other loop only the clock of the
        leases jumps, as on a laptop that wakes up.

        :param seconds: how long nothing runs.
        """
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualTimeLoop):
            loop.jump(seconds)
        else:
            self._clock.ahead += seconds

    async def step(self, seconds: float) -> None:
        """Sleep for ``seconds`` while all members run. It takes no real time on a :class:`VirtualTimeLoop`.

        Safe to cancel.
        """
        await anyio.sleep(seconds)

    async def settle(self, group_id: str, *, timeout: float = 60.0) -> None:
        """Wait until the group consists of the connected members and all of them have reached the newest generation.

        If a member was killed or cut off, this includes waiting for the end of its session. Safe to cancel.

        :param timeout: seconds on the clock of the event loop.
        :raises TimeoutError: if it takes longer. The message has the generation of each member.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while asyncio.get_running_loop().time() < deadline:
            if self._settled(group_id):
                return
            await anyio.sleep(_INTERVAL)
        raise TimeoutError(f"group {group_id!r} has not settled within {timeout:g} s: {self._standing(group_id)}")

    # ---- the end

    async def close(self) -> None:
        """Stop the members that :meth:`join` started. Further calls do nothing."""
        while self._joined:
            _, coordinator = self._joined.popitem()
            await coordinator.stop()

    def close_outside(self) -> None:
        """Call :meth:`close` from a synchronous fixture, while the event loop is not running."""
        loop = self._clock.loop
        if self._joined and loop is not None and not loop.is_closed():
            loop.run_until_complete(self.close())

    # ---- inside

    @property
    def _clients(self) -> list[MemoryBackend]:
        return [client for client in self._cluster.clients if isinstance(client, MemoryBackend)]

    def _require_joined(self, member_id: str) -> PartitionCoordinator:
        if member_id not in self._joined:
            raise LookupError(f"join() has started no member {member_id!r}, or it has ended: {sorted(self._joined)}")
        return self._joined[member_id]

    def _client(self, member_id: str) -> MemoryBackend:
        for client in reversed(self._clients):
            if _registry(client).member_id == member_id:
                return client
        raise LookupError(f"no started coordinator on {self!r} has the id {member_id!r}")

    def _settled(self, group_id: str) -> bool:
        generation = self._cluster.newest(group_id)
        standing = self._standing(group_id)
        return self.members(group_id) == tuple(sorted(standing)) and all(
            each == generation for each in standing.values()
        )

    def _standing(self, group_id: str) -> dict[str, int | None]:
        """Return the generation that each connected member has reached; ``None`` without a view or during a handoff."""
        standing: dict[str, int | None] = {}
        for client in self._clients:
            membership = _registry(client).memberships.get(group_id)
            if membership is None or not client.connected or client.network.is_silent or membership.error is not None:
                continue
            view = membership.view
            # In an exclusive group, a member owns the keys it gains only when their previous owners have released them.
            arrived = view is not None and tuple(view.mask) == tuple(view.table.mask(view.member_id))
            standing[_registry(client).member_id] = view.generation if view is not None and arrived else None
        return standing


class _LoopClock:
    """The clock of the test's event loop, plus the time that :meth:`PartitionCluster.stall` has added."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.loop: asyncio.AbstractEventLoop | None = None

    def __call__(self) -> float:
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
        return self.loop.time() + self.ahead


def _registry(client: MemoryBackend) -> Registry:
    """Return the registry that uses this client."""
    assert isinstance(client.listener, Registry)
    return client.listener
