"""The coordinators of one test, in its own process."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from ssl import SSLContext
from typing import Self

from aiopartition import Acl, Change, GroupPolicy, PartitionCoordinator
from aiopartition.credentials import Auth
from aiopartition.settings import OnUnknown
from tests.support.admin import session_of
from tests.support.lookout import Lookout
from tests.support.split import is_split_among
from tests.support.waiting import wait_until
from tests.support.watched import WatchedMember

GROUP = "switches"
KEYS = [f"switch-{number}" for number in range(400)]


class Fleet:
    """Starts members, watches them, and stops them all at the end."""

    def __init__(self) -> None:
        self.members: list[PartitionCoordinator] = []
        """The coordinators, in the order in which they were started."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(
        self,
        url: str,
        member_id: str,
        *,
        join: bool = True,
        session_timeout: float = 2.0,
        heartbeat: float = 0.25,
        connect_timeout: float = 5.0,
        on_unknown: OnUnknown = "empty",
        auth: Auth | None = None,
        acl: Acl | None = None,
        strict_acl: bool = False,
        ssl: SSLContext | None = None,
        policy: GroupPolicy | None = None,
    ) -> PartitionCoordinator:
        """A coordinator that is started and, unless ``join`` is false, has joined the group."""
        coordinator = PartitionCoordinator(
            url,
            member_id=member_id,
            session_timeout=session_timeout,
            heartbeat=heartbeat,
            connect_timeout=connect_timeout,
            on_unknown=on_unknown,
            auth=auth,
            acl=acl,
            strict_acl=strict_acl,
            ssl=ssl,
        )
        self._stack.push_async_callback(coordinator.stop)
        await coordinator.start()
        if join:
            await coordinator.join_group(GROUP, policy=policy)
        self.members.append(coordinator)
        return coordinator

    async def process(
        self, url: str, member_id: str, *, session_timeout: float = 2.0, heartbeat: float = 0.5
    ) -> WatchedMember:
        """A member in a process of its own; this does not wait for it to come up."""
        directory = self._stack.enter_context(tempfile.TemporaryDirectory())
        member = WatchedMember(member_id, Path(directory, "journal"))
        await member.start(url, session_timeout=session_timeout, heartbeat=heartbeat)
        self._stack.push_async_callback(member.close)
        return member

    async def watch(self, member: PartitionCoordinator, *, interval: float = 0.002) -> Lookout:
        """Look at what ``member`` hands out, from now to the end."""
        return await self._stack.enter_async_context(Lookout(member, GROUP, KEYS, interval=interval))

    def changes(self, member: PartitionCoordinator) -> list[Change]:
        """What ``changes()`` of ``member`` yields, from now to the end; the list grows."""
        seen: list[Change] = []

        async def listen() -> None:
            async for change in member.changes(GROUP):
                seen.append(change)  # noqa: PERF401  (it is looked at meanwhile)

        task = asyncio.create_task(listen(), name=f"changes of {member.member_id}")

        async def end() -> None:
            task.cancel()
            await asyncio.wait({task})

        self._stack.push_async_callback(end)
        return seen

    async def exact(self, *members: PartitionCoordinator) -> bool:
        """Whether these (all of them, when none is named) share the keys exactly, at one generation."""
        return await is_split_among(members or self.members, GROUP, KEYS)

    async def settle(self, *members: PartitionCoordinator, timeout: float = 10.0) -> None:
        """Wait until these, or all, share the keys exactly."""
        chosen = members or tuple(self.members)
        await wait_until(
            lambda: self.exact(*chosen),
            timeout=timeout,
            interval=0.005,
            what=lambda: f"an exact split among {[describe(member) for member in chosen]}",
        )


def describe(member: PartitionCoordinator) -> str:
    """Where a member stands, for the text of a failure."""
    membership = member._registry.memberships.get(GROUP)
    session = session_of(member)
    return (
        f"{member!r} connected={member.connected} session=0x{session.session_id & (1 << 64) - 1:x} "
        f"error={session.last_error!r} view={membership and membership.view} "
        f"group error={membership and membership.error!r}"
    )
