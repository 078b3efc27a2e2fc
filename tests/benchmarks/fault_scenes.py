"""Faults, each befalling clients of every kind at the same moment."""

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from kazoo.client import KazooClient

from tests.benchmarks.fault_clients import KINDS, Client, Event, Scale
from tests.support import Ensemble, Proxy, ZooKeeperServer, wait_until

Outcome: TypeAlias = float | bool | str


@dataclass(frozen=True)
class Scene:
    """How long things take, and where it is noted what came of them."""

    scale: Scale
    note: Callable[[str, str, Outcome], None]

    async def wait(self, row: str, clients: list[Client], since: float, *kinds: Event) -> None:
        """Note when each of the clients met with one of these events."""
        with suppress(AssertionError):  # some never do
            await wait_until(
                lambda: all(client.first(since, *kinds) is not None for client in clients), timeout=self.scale.patience
            )
        self.look(row, clients, since, *kinds)

    def look(self, row: str, clients: list[Client], since: float, *kinds: Event) -> None:
        """The same, of what must have come by now, or does not come."""
        for client in clients:
            seconds = client.first(since, *kinds)
            self.note(row, client.name, "never" if seconds is None else seconds)

    def kept(self, row: str, clients: list[Client], before: list[int]) -> None:
        for client, session in zip(clients, before, strict=True):
            self.note(row, client.name, client.session[0] == session)

    async def last(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.scale.second)

    def server(self) -> ZooKeeperServer:
        return ZooKeeperServer(tick_time=self.scale.tick)

    @asynccontextmanager
    async def clients(self, hosts: str, *, at: int = 0, wait: bool = True) -> AsyncIterator[list[Client]]:
        """As many of each kind as the scale says, connected; ``at`` the server with that port."""
        async with AsyncExitStack() as stack:
            found: list[Client] = []
            while len(found) < len(KINDS) * self.scale.pairs:
                client = KINDS[len(found) % len(KINDS)](hosts, f"/faults-{len(found)}", self.scale.timeout)
                await client.start(wait=wait)
                if at and client.port != at:  # servers are drawn by lot
                    await client.stop()
                    continue
                stack.push_async_callback(client.stop)
                found.append(client)
            if wait:
                await wait_until(lambda: all(client.first(0.0, "back") is not None for client in found))
                await self.last(0.2)
            yield found


def sessions(clients: list[Client]) -> list[int]:
    return [client.session[0] for client in clients]


# ---- long ones, each on a server of its own


async def server_away(scene: Scene) -> None:
    async with scene.server() as server, scene.clients(server.address) as clients:
        before, begun = sessions(clients), time.monotonic()
        await server.kill()
        await scene.last(9)
        await server.start()
        up = time.monotonic()
        scene.look("away lost", clients, begun, "lost")
        await scene.wait("away back", clients, up - 0.2, "back")
        scene.kept("away kept", clients, before)


async def server_stopped(scene: Scene) -> None:
    async with scene.server() as server, scene.clients(server.address) as clients:
        begun = time.monotonic()
        await server.freeze()
        await scene.last(10)
        scene.look("frozen", clients, begun, "gone", "lost")
        await server.thaw()
        await scene.last(2)  # some learn of it only when the server speaks again
        scene.look("frozen lost", clients, begun, "lost")


async def short_silence(scene: Scene) -> None:
    async with (
        scene.server() as server,
        Proxy(server.host, server.port) as network,
        scene.clients(network.address) as clients,
    ):
        before, begun = sessions(clients), time.monotonic()
        async with network.silent():
            await scene.last(3)
        scene.look("short silence", clients, begun, "gone", "lost")
        await wait_until(lambda: all(client.last == "back" for client in clients), timeout=scene.scale.patience)
        scene.kept("short silence kept", clients, before)


async def silence(scene: Scene) -> None:
    async with (
        scene.server() as server,
        Proxy(server.host, server.port) as network,
        scene.clients(network.address) as clients,
    ):
        begun = time.monotonic()
        async with network.silent():
            await scene.last(12)
        healed = time.monotonic()
        await scene.wait("silence back", clients, healed, "back")
        scene.look("silence lost", clients, begun, "lost")


async def client_stopped(scene: Scene) -> None:
    async with scene.server() as server:
        arguments = (server.address, "/stopped", str(scene.scale.timeout))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.benchmarks.fault_clients", *arguments), stdout=PIPE
        )
        told: list[tuple[str, float, Event]] = []

        async def read() -> None:
            assert process.stdout is not None
            async for line in process.stdout:
                told.append(json.loads(line))  # noqa: PERF401  (it is looked at meanwhile)

        reader = asyncio.create_task(read())
        try:
            await wait_until(lambda: {name for name, _, event in told if event == "back"} >= {k.name for k in KINDS})
            await scene.last(1)
            process.send_signal(signal.SIGSTOP)
            await scene.last(8)
            woken = time.monotonic()
            process.send_signal(signal.SIGCONT)
            for row, kinds in (("stopped", ("gone", "lost")), ("stopped back", ("back",))):
                for kind in KINDS:

                    def heard(name: str = kind.name, kinds: tuple[str, ...] = kinds) -> list[float]:
                        return [at - woken for who, at, event in told if who == name and at > woken and event in kinds]

                    await wait_until(heard, timeout=scene.scale.patience)
                    scene.note(row, kind.name, heard()[0])
        finally:
            process.kill()
            await process.wait()
            await reader


async def refused(scene: Scene) -> None:
    server = scene.server()
    try:
        async with scene.clients(server.address, wait=False) as clients:
            await scene.last(6)
            await server.start()
            up = time.monotonic()
            await scene.wait("refused", clients, up - 0.2, "back")
    finally:
        await server.close()


LONG: list[Callable[[Scene], Coroutine[Any, Any, None]]] = [
    short_silence,
    server_away,
    server_stopped,
    silence,
    client_stopped,
    refused,
]


# ---- quick ones


async def server_killed(scene: Scene) -> None:
    async with scene.server() as server, scene.clients(server.address) as clients:
        begun = time.monotonic()
        await server.kill()
        await asyncio.sleep(0.05)
        questions = [asyncio.create_task(question(client)) for client in clients]
        await scene.last(0.5)
        await server.start()
        up = time.monotonic()
        scene.look("killed", clients, begun, "gone", "lost")
        await scene.wait("killed back", clients, up - 0.2, "back")
        for client, (answered, seconds) in zip(clients, await asyncio.gather(*questions), strict=True):
            # Who answers has waited for the server: how long is a matter of the server alone.
            scene.note("asked", client.name, "answered when it is back" if answered else seconds)


async def question(client: Client) -> tuple[bool, float]:
    begun = time.monotonic()
    return await client.ask(), time.monotonic() - begun


async def ended_with_the_server_down(scene: Scene) -> None:
    async with scene.server() as server, scene.clients(server.address) as clients:
        await server.kill()
        await scene.last(0.5)
        for client in clients:
            begun = time.monotonic()
            await client.stop()
            scene.note("ended", client.name, time.monotonic() - begun)


async def connection_reset(scene: Scene) -> None:
    async with (
        scene.server() as server,
        Proxy(server.host, server.port) as network,
        scene.clients(network.address) as clients,
    ):
        begun = time.monotonic()
        network.reset()
        await scene.wait("reset", clients, begun, "gone", "lost")


async def expired(scene: Scene) -> None:
    async with scene.server() as server, scene.clients(server.address) as clients:
        for client in clients:
            begun = await end_session(server.address, *client.session)
            await scene.wait("expired", [client], begun, "lost")
            await scene.wait("expired back", [client], begun + (client.first(begun, "lost") or 0.0), "back")


async def end_session(hosts: str, session: int, password: bytes) -> float:
    """Take a session over and close it; when it was about to be."""
    thief: Any = KazooClient(hosts, client_id=(session, password), timeout=4.0)
    await asyncio.to_thread(thief.start)
    begun = time.monotonic()
    await asyncio.to_thread(thief.stop)
    await asyncio.to_thread(thief.close)
    return begun


ALONE: list[Callable[[Scene], Coroutine[Any, Any, None]]] = [
    server_killed,
    ended_with_the_server_down,
    connection_reset,
    expired,
]


# ---- on an ensemble


async def on_ensemble(scene: Scene) -> None:
    async with Ensemble(tick_time=scene.scale.tick) as ensemble:
        follower = (await ensemble.followers())[0]
        await lose(scene, ensemble, follower, "follower killed", follower.kill)
        follower, leader = (await ensemble.followers())[0], await ensemble.leader()
        await lose(scene, ensemble, follower, "leader from follower", leader.kill)
        leader = await ensemble.leader()
        await lose(scene, ensemble, leader, "leader", leader.kill)
        follower = (await ensemble.followers())[0]
        await lose(scene, ensemble, follower, "follower frozen", follower.freeze)
        async with scene.clients(ensemble.hosts) as clients:
            before, begun = sessions(clients), time.monotonic()
            lost = await ensemble.followers()
            for server in lost:
                await server.kill()
            await scene.last(6)
            await ensemble.heal()
            healed = time.monotonic()
            assert all(client.first(begun, "gone", "lost") is not None for client in clients)
            await scene.wait("quorum back", clients, healed - 0.2, "back")
            scene.kept("quorum kept", clients, before)


async def lose(
    scene: Scene, ensemble: Ensemble, server: ZooKeeperServer, row: str, fault: Callable[[], Awaitable[None]]
) -> None:
    """Have a fault befall clients at that server, and wait until they are well."""
    async with scene.clients(ensemble.hosts, at=server.port) as clients:
        begun = time.monotonic()
        await fault()
        await scene.wait(row, clients, begun, "back")
        await ensemble.heal()
