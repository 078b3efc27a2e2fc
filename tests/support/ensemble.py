"""Servers that form a quorum."""

import asyncio
from collections.abc import Mapping

from tests.support.backbone import Backbone
from tests.support.ports import LOOPBACK, free_ports
from tests.support.proxy import Episode
from tests.support.server import ZooKeeperServer
from tests.support.started import Started
from tests.support.waiting import wait_until


class Ensemble(Started):
    """``size`` servers on this machine, one of which they elect their leader.

    Members are killed, frozen and restarted by their own methods; :meth:`heal` brings all of them back.

    :param partitions: put a network between the members, so that :meth:`part` can be asked for.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        tick_time: int = 200,
        settings: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        partitions: bool = False,
    ) -> None:
        self._backbone = Backbone(size) if partitions else None
        ports = iter(free_ports(2 * size))
        members = {f"server.{number + 1}": f"{LOOPBACK}:{next(ports)}:{next(ports)}" for number in range(size)}
        self.servers = tuple(
            ZooKeeperServer(
                tick_time=tick_time,
                settings={
                    **(members if self._backbone is None else self._backbone.addresses(number)),
                    **(settings or {}),
                },
                properties=properties,
                identity=number + 1,
            )
            for number in range(size)
        )

    def __repr__(self) -> str:
        return f"<Ensemble {', '.join(map(repr, self.servers))}>"

    @property
    def hosts(self) -> str:
        """The connection string: every member's ``host:port``, with commas between."""
        return ",".join(server.address for server in self.servers)

    def url(self, namespace: str = "") -> str:
        """The backend URL that names every member; ``namespace`` begins with a slash."""
        return f"zookeeper://{self.hosts}{namespace}"

    def server_of(self, port: int) -> ZooKeeperServer:
        """The member that serves clients on ``port``."""
        for server in self.servers:
            if server.port == port:
                return server
        raise LookupError(f"no member on port {port} in {self!r}")

    async def start(self) -> None:
        """Start every member and wait until one leads and the others follow."""
        if self._backbone is not None:
            await self._backbone.start()
        for server in self.servers:
            await server.start(wait=False)
        await self.wait_quorum()

    async def heal(self) -> None:
        """Bring back whatever was killed, stopped or frozen, and wait until one leads and the others follow."""
        for server in self.servers:
            await server.heal(wait=False)
        await self.wait_quorum()

    async def close(self) -> None:
        """Kill every member and remove its files."""
        for server in self.servers:
            await server.close()
        if self._backbone is not None:
            await self._backbone.close()

    def part(self, *servers: ZooKeeperServer) -> Episode:
        """Cut these members off from all others. Clients still reach each of them."""
        if self._backbone is None:
            raise RuntimeError("an ensemble without partitions=True has no network between its members")
        return self._backbone.part(map(self.servers.index, servers))

    async def modes(self) -> dict[ZooKeeperServer, str | None]:
        """What each member says that it is: ``leader``, ``follower``, or None when it does not serve clients."""
        modes = await asyncio.gather(*(server.mode() for server in self.servers))
        return dict(zip(self.servers, modes, strict=True))

    async def leader(self) -> ZooKeeperServer:
        """The one member that leads now; LookupError during an election."""
        modes = await self.modes()
        leaders = [server for server, mode in modes.items() if mode == "leader"]
        if len(leaders) != 1:
            raise LookupError(f"there is no one leader now: {modes}")
        return leaders[0]

    async def followers(self) -> list[ZooKeeperServer]:
        """The members that follow a leader now."""
        return [server for server, mode in (await self.modes()).items() if mode == "follower"]

    async def wait_quorum(self, *, timeout: float = 30.0) -> ZooKeeperServer:
        """Wait until one running member leads and all the other running ones follow, and return the leader.

        Members that are down or frozen are left out, so this also waits for the election after a leader was lost.
        """
        modes: dict[ZooKeeperServer, str | None] = {}

        async def settled() -> bool:
            modes.update(await self.modes())
            roles = sorted(str(mode) for server, mode in modes.items() if server.running)
            return 2 * len(roles) > len(self.servers) and roles == ["follower"] * (len(roles) - 1) + [leads]

        leads = "leader" if len(self.servers) > 1 else "standalone"
        await wait_until(settled, timeout=timeout, what=lambda: f"a quorum; members: {modes}")
        return next(server for server, mode in modes.items() if mode == leads)
