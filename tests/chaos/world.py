"""Servers, networks and members: everything that faults befall."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Self

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError, NotEmptyError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from tests.chaos.conditions import Conditions
from tests.chaos.copies import copy_of
from tests.chaos.ledger import Ledger
from tests.chaos.member import WorkingMember
from tests.chaos.transactions import forgotten, history
from tests.chaos.workloads import CHILDREN, GROUP, NAMESPACE, WORKLOADS
from tests.support import Ensemble, Proxy, ZooKeeperServer, wait_until
from tests.support.proxy import Episode

GROUP_PATH = f"{NAMESPACE}/{GROUP}"
MEMBERS_PATH = f"{GROUP_PATH}/members"
HANDOFF_PATH = f"{GROUP_PATH}/handoff"
TREES = (NAMESPACE, CHILDREN)
"""Below these is all that members make, and the junk."""
LITTER = "litter"
"""Begins the names of nodes that are not the library's."""
LONGEST_TIMEOUT = 60.0
"""Seconds that a server grants, unless a fault has it grant less."""
OPERATOR_PATIENCE = 1.0
START_TIMEOUT = 30.0
TAKEN_FOR_LEADER = 9.6
"""Seconds for which a server that wrongly takes itself for the leader waits for followers before it looks again."""


def patient() -> KazooRetry:
    """Calls a function of the operator's client again and again: its session is at the mercy of the faults too."""
    return KazooRetry(max_tries=-1, max_delay=0.5, deadline=START_TIMEOUT)


class World:
    """An ensemble, and seats for members: in each at most one process that is meant to be there.

    :param directory: for the journals.
    """

    def __init__(self, conditions: Conditions, directory: Path) -> None:
        self.conditions = conditions
        self.ensemble = Ensemble(
            conditions.servers,
            tick_time=conditions.tick_time,
            settings=self._settings(conditions),
            partitions=conditions.servers_fail,
        )
        self.partition: Episode | None = None
        """While a server is cut off from the others."""
        self.members: dict[int, WorkingMember] = {}
        """By seat."""
        self.elders: list[WorkingMember] = []
        """Those in whose place another process with the same id was started while they were alive."""
        self.departed: list[WorkingMember] = []
        """Those that have ended, until their journals are judged."""
        self.visitors: list[WorkingMember] = []
        """Those that are in no seat, and crash soon."""
        self.crashing = asyncio.Lock()
        """Held while visitors come and crash."""
        self._junk: dict[str, None] = {}  # in the order of its creation
        self.moved = asyncio.Lock()
        """Held while members are started and ended."""
        self.server_locks = {server: asyncio.Lock() for server in self.ensemble.servers}
        self._directory = directory
        self._started = 0
        self._operator: Any = None
        self._stack = AsyncExitStack()

    @staticmethod
    def _settings(conditions: Conditions) -> dict[str, object]:
        return {
            "initLimit": round(TAKEN_FOR_LEADER * 1000) // conditions.tick_time,
            "syncLimit": conditions.sync_limit,
            "maxSessionTimeout": round(LONGEST_TIMEOUT * 1000),
            "minSessionTimeout": 100,
        }

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.ensemble)
            stack.push_async_callback(self._close_members)
            # Without a limit it pauses for longer after each failure, and stays away long after all is well again.
            persistent = KazooRetry(max_tries=-1, max_delay=OPERATOR_PATIENCE)
            self._operator = KazooClient(self.ensemble.hosts, timeout=10.0, connection_retry=persistent)
            stack.push_async_callback(asyncio.to_thread, self._operator.close)
            await asyncio.to_thread(self._operator.start, timeout=START_TIMEOUT)
            stack.push_async_callback(asyncio.to_thread, self._operator.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _close_members(self) -> None:
        for member in self.processes:
            await member.close()

    # ---- members

    @property
    def processes(self) -> list[WorkingMember]:
        """All that are alive, and those that have ended since the last judgement."""
        return [*self.members.values(), *self.elders, *self.departed, *self.visitors]

    @property
    def holders(self) -> list[WorkingMember]:
        """Those that must share the work when nothing is amiss."""
        expected = [*self.members.values(), *self.elders]
        return [member for member in expected if member.alive and not member.superseded and not member.out_of_group]

    async def start_member(self, seat: int, member_id: str | None = None) -> WorkingMember:
        """A new process in a seat that is free, with a network of its own.

        :param member_id: default: one that nobody has had.
        """
        member = self.members[seat] = await self._start_process(seat, member_id)
        return member

    async def start_visitor(self, member_id: str | None = None) -> WorkingMember:
        """A new process in no seat, of weight 1."""
        visitor = await self._start_process(0, member_id)
        self.visitors.append(visitor)
        return visitor

    async def end_visitor(self, visitor: WorkingMember) -> None:
        """Kill it."""
        await visitor.kill()
        self.visitors.remove(visitor)
        self.departed.append(visitor)

    async def _start_process(self, seat: int, member_id: str | None) -> WorkingMember:
        self._started += 1
        name = str(self._started)
        network = [Proxy(server.host, server.port) for server in self.ensemble.servers]
        journal = self._directory / f"{name}.jsonl"
        member = WorkingMember(member_id or f"member-{name}", name, seat, network, journal)
        await member.start(self.conditions)
        return member

    async def end_member(self, seat: int, *, gracefully: bool) -> WorkingMember:
        """Have the process in a seat end, one way or the other."""
        member = self.members[seat]
        if gracefully:
            member.say("stop")
            await wait_until(lambda: not member.alive, timeout=START_TIMEOUT, what=lambda: f"the end of {member!r}")
        await member.kill()
        del self.members[seat]
        self.departed.append(member)
        return member

    async def bury(self) -> None:
        """Forget those that have ended and are judged. Elders end here, and whoever gave way to one.

        That is right where the elder found no connection when it started, and came to join only after the other; or
        where both of them found the group deleted and joined at one moment.
        """
        for seat in [seat for seat, member in self.members.items() if member.superseded]:
            await self.end_member(seat, gracefully=False)
        for member in [*self.departed, *self.elders]:
            await member.close()
        self.departed.clear()
        self.elders.clear()

    def read(self) -> None:
        """Take in what all have written."""
        for member in self.processes:
            member.read()

    # ---- servers

    async def server(self, target: str) -> ZooKeeperServer | None:
        """``leader``, ``follower`` (the first of them) or a number; ``None`` when there is none such now."""
        if target.isdigit():
            return self.ensemble.servers[int(target)]
        modes = await asyncio.gather(*(server.mode(timeout=0.5) for server in self.ensemble.servers))
        for server, mode in zip(self.ensemble.servers, modes, strict=True):
            if mode == target:
                return server
        return None

    @property
    def servers_apart(self) -> bool:
        """Whether some server hears nothing of the others now: it stands still, or is cut off."""
        return self.partition is not None or any(server.frozen for server in self.ensemble.servers)

    async def heal(self) -> None:
        """End everything that may still be amiss, and wait until the servers are one ensemble again."""
        for member in [*self.members.values(), *self.elders]:
            member.thaw()
            for proxy in member.network:
                proxy.pass_through()
        await self.ensemble.heal()

    # ---- what the servers know

    async def ledger(self) -> Ledger:
        """Everything that the ensemble has agreed on so far."""
        policy = WORKLOADS[self.conditions.workload].policy

        def compile_ledger() -> Ledger:
            found, epochs = history(self.ensemble.servers)
            lost = forgotten(found, epochs)
            ledger = Ledger.of([found[zxid] for zxid in sorted(found.keys() - lost)], MEMBERS_PATH, policy)
            ledger.epochs, ledger.forgotten = epochs, len(lost)
            return ledger

        return await asyncio.to_thread(compile_ledger)

    async def tree(self, path: str = NAMESPACE) -> list[str]:
        """All nodes from a path downwards."""
        try:
            names = await asyncio.to_thread(patient(), self._operator.get_children, path)
        except NoNodeError:
            return []
        below = [await self.tree(f"{path}/{name}") for name in sorted(names)]
        return [path, *(each for some in below for each in some)]

    async def figures(self) -> dict[str, int]:
        """Of the whole ensemble: watches, and sessions, but for the operator's.

        Of sessions the leader's count is the one: it is the leader that expires them. A follower of 3.8.0 was seen to
        keep two for ever that it had learnt of in an epoch of which the leader knew nothing.
        """
        answers = [await server.mntr() for server in self.ensemble.servers]
        leaders = [answer for answer in answers if answer.get("zk_server_state") in ("leader", "standalone")]
        sessions = max((int(answer.get("zk_global_sessions", 0)) for answer in leaders), default=0) - 1
        return {"watches": len(await self.watches()), "sessions": sessions}

    async def watches(self) -> list[str]:
        """Who watches what at which server. Servers before 3.9 would count a recursive watch twice."""
        found: list[str] = []
        for number, server in enumerate(self.ensemble.servers):
            session = ""
            for line in (await server.four_letter_word("wchc")).splitlines():
                if line.startswith("0x"):
                    session = line
                elif line:
                    found.append(f"server {number}: {session} watches {line.strip()}")
        return found

    async def agree(self) -> bool:
        """Whether the servers' copies of the tree are the same, node by node."""
        copies = await asyncio.gather(
            *(asyncio.to_thread(copy_of, server.address, TREES) for server in self.ensemble.servers)
        )
        return copies[0] is not None and all(copy == copies[0] for copy in copies)

    async def copy_leader(self) -> None:
        """Make all copies of the tree the leader's, which deleting nodes cannot do: a server keeps those of which its
        leader knows nothing."""
        leader = await self.ensemble.wait_quorum()
        for server in self.ensemble.servers:
            if server is not leader:
                await server.stop()
                server.forget_tree()
                await server.start()
                await self.ensemble.wait_quorum()

    # ---- an operator at the shell

    async def operate(self, operation: str, path: str, data: bytes = b"") -> bool:
        """``create`` or ``delete`` a node, with all that is below it. Whether that was possible now."""
        if not self._operator.connected:
            return False
        return await asyncio.to_thread(self._operate, operation, path, data)

    async def leave_junk(self, path: str, data: bytes) -> bool:
        """Create a node that is to be removed again. Whether that was possible now, as far as it is known."""
        self._junk[path] = None
        return await self.operate("create", path, data)

    async def remove_junk(self, paths: Sequence[str]) -> None:
        """Delete these nodes, with all that is below them, as far as that is possible now."""
        for path in reversed(paths):
            if await self.operate("delete", path) and self._may_be_of_members(path):
                self._junk.pop(path, None)

    async def _junk_is_gone(self) -> bool:
        """Delete what is left of it. What was deleted before may have come back: the ensemble forgets deletions too."""
        await self._catch_up()
        tree = set(await self.tree())
        left = [path for path in self._junk if path in tree or self._may_be_of_members(path)]
        await self.remove_junk(left)
        return not left

    def _may_be_of_members(self, path: str) -> bool:
        """Whether members make such a node as well, an acknowledgement say: that it is there says nothing."""
        nodes = WORKLOADS[self.conditions.workload].nodes
        made = rf"{nodes}|/handoff/\d+/[^/]+" if nodes else ""
        return re.fullmatch(made, path.removeprefix(GROUP_PATH)) is not None

    async def generation(self) -> int:
        """The group's generation; 0 if there is no group, or nobody to ask."""
        if not self._operator.connected:
            return 0
        try:
            stat = await asyncio.to_thread(self._operator.exists_async(MEMBERS_PATH).get, True, OPERATOR_PATIENCE)
        except (KazooException, KazooTimeoutError):
            return 0
        return 0 if stat is None else int(stat.pzxid)

    async def children(self, path: str) -> list[str]:
        """The names below a node; none if there is no such node, or nobody to ask."""
        if not self._operator.connected:
            return []
        try:
            pending = self._operator.get_children_async(path)
            return sorted(await asyncio.to_thread(pending.get, True, OPERATOR_PATIENCE))
        except (KazooException, KazooTimeoutError):
            return []

    def _operate(self, operation: str, path: str, data: bytes) -> bool:
        if operation == "create":
            return self._succeeds(self._operator.create_async(path, data))
        for _ in range(20):  # what grows again meanwhile is deleted again
            try:
                names = self._operator.get_children_async(path).get(timeout=OPERATOR_PATIENCE)
                if not all(self._operate("delete", f"{path}/{name}", b"") for name in names):
                    return False
                self._operator.delete_async(path).get(timeout=OPERATOR_PATIENCE)
            except NotEmptyError:
                continue
            except NoNodeError:
                return True
            except (KazooException, KazooTimeoutError):
                return False
            return True
        return False

    def _succeeds(self, pending: Any) -> bool:
        try:
            pending.get(timeout=OPERATOR_PATIENCE)
        except (KazooException, KazooTimeoutError):
            return False
        return True

    async def tidy_up(self) -> None:
        """Wait until nothing that was asked of the operator is still to be done, and delete what was to be deleted."""
        await self._catch_up()
        # One server alone may go on showing what no other has. That is found out, as copies that differ.
        with suppress(AssertionError):
            await wait_until(self._junk_is_gone, timeout=START_TIMEOUT)
            self._junk.clear()

    async def _catch_up(self) -> None:
        await asyncio.to_thread(patient(), self._operator.sync, "/")
