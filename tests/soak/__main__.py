"""A fleet on a three-node ensemble, faults at random, and what must hold all along.

It checks many times a second that no two members at one generation own one key, that nobody's generation goes back, and
that who owns anything has a lease; and after the last fault that all converge to one generation and an exact split. The
seed repeats the schedule of faults (not the interleaving, which is the machine's).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import anyio

from aiopartition import MemberSupersededError, OwnershipUnknownError, PartitionCoordinator, View
from tests.bench import Ensemble, Proxy, wait_until
from tests.bench.admin import Operator

GROUP = "soak"
NAMESPACE = "/soak"
KEYS = [f"key-{number}" for number in range(200)]
MEMBERS = 6
SESSION_TIMEOUT = 2.0
CONVERGENCE = 10.0  # seconds


@dataclass(eq=False)
class Agent:
    """A member, and its own network to each server."""

    coordinator: PartitionCoordinator
    networks: list[Proxy]
    generation: int = -1


@dataclass
class Soak:
    """The fleet, what was done to it, and what was seen."""

    ensemble: Ensemble
    chance: random.Random
    networks: AsyncExitStack
    agents: list[Agent] = field(default_factory=list[Agent])
    started: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    checks: int = 0
    violations: list[str] = field(default_factory=list[str])
    overlapping: float = 0.0
    """Seconds in which some key had two owners, at different generations."""

    async def run(self, seconds: float) -> None:
        for _ in range(MEMBERS):
            await self.start_member()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.look_all_along)
            with anyio.move_on_after(seconds):
                while True:
                    await asyncio.sleep(self.chance.uniform(0.2, 2.0))
                    await self.strike()
            await self.heal()
            await wait_until(self.converged, timeout=CONVERGENCE, what=lambda: f"an exact split; seen: {self.views()}")
            tasks.cancel_scope.cancel()

    # ---- faults

    async def strike(self) -> None:
        fault = self.chance.choice(
            [self.kill_server, self.freeze_server, self.heal_servers, self.silence, self.cut, self.refuse,
             self.heal_network, self.heal_network, self.stop_member, self.start_member, self.delete_entry]
        )  # fmt: skip
        self.faults[fault.__name__] += 1
        await fault()

    async def kill_server(self) -> None:
        await self.chance.choice(self.ensemble.servers).kill()

    async def freeze_server(self) -> None:
        server = self.chance.choice(self.ensemble.servers)
        if server.running and not server.frozen:
            await server.freeze()

    async def heal_servers(self) -> None:
        for server in self.ensemble.servers:
            await server.heal(wait=False)

    async def silence(self) -> None:
        for network in self.random_agent().networks:
            network.silent(self.chance.choice([None, "server", "client"]))

    async def cut(self) -> None:
        for network in self.random_agent().networks:
            network.reset()

    async def refuse(self) -> None:
        for network in self.random_agent().networks:
            network.refuse()
            network.reset()

    async def heal_network(self) -> None:
        for network in self.random_agent().networks:
            network.pass_through()

    async def stop_member(self) -> None:
        if len(self.agents) > 2:
            agent = self.random_agent()
            self.agents.remove(agent)
            await agent.coordinator.stop()

    async def start_member(self) -> None:
        if len(self.agents) >= 2 * MEMBERS:
            return
        networks = [
            await self.networks.enter_async_context(Proxy(server.host, server.port)) for server in self.ensemble.servers
        ]
        hosts = ",".join(network.address for network in networks)
        self.started += 1
        coordinator = PartitionCoordinator(
            f"zookeeper://{hosts}{NAMESPACE}", member_id=f"m{self.started}", session_timeout=SESSION_TIMEOUT,
            connect_timeout=0.5, heartbeat=0.5,
        )  # fmt: skip
        await coordinator.start()
        await coordinator.join_group(GROUP)
        self.agents.append(Agent(coordinator, networks))

    async def delete_entry(self) -> None:
        with anyio.move_on_after(1), suppress(Exception):
            async with Operator(self.ensemble.hosts) as operator:
                entry = self.chance.choice(await operator.children(f"{NAMESPACE}/{GROUP}/members"))
                await operator.delete(f"{NAMESPACE}/{GROUP}/members/{entry}")

    async def heal(self) -> None:
        await self.ensemble.heal()
        for agent in self.agents:
            for network in agent.networks:
                network.pass_through()
                network.reset()  # a connection that lost something in a silence stays mute

    def random_agent(self) -> Agent:
        return self.chance.choice(self.agents)

    # ---- what must hold

    async def look_all_along(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now, overlapping = time.monotonic(), await self.look()
            self.overlapping += (now - last) if overlapping else 0.0
            last = now

    async def look(self) -> bool:
        """Compare everybody with everybody; whether some key has two owners."""
        owners: dict[str, list[tuple[str, int]]] = {}
        for agent in list(self.agents):
            view = await current(agent.coordinator)
            if view is None:
                continue
            if view.generation < agent.generation:
                self.violations.append(
                    f"{agent.coordinator.member_id}: generation {agent.generation} to {view.generation}"
                )
            agent.generation = view.generation
            if not agent.coordinator._runner.backend.lease_left() > 0:
                self.violations.append(f"{agent.coordinator.member_id}: a view without a lease")
            for key in view.mine(KEYS):
                owners.setdefault(key, []).append((agent.coordinator.member_id, view.generation))
        self.checks += len(KEYS)
        doubled = {key: each for key, each in owners.items() if len(each) > 1}
        for key, each in doubled.items():
            if len({generation for _, generation in each}) < len(each):
                self.violations.append(f"{key} has several owners at one generation: {each}")
        return bool(doubled)

    async def converged(self) -> bool:
        views = [await current(agent.coordinator) for agent in self.agents]
        known = [view for view in views if view is not None]
        return (
            len(known) == len(views)
            and len({view.generation for view in known}) == 1
            and len(known[0].members) == len(self.agents)
            and sorted(key for view in known for key in view.mine(KEYS)) == sorted(KEYS)
        )

    def views(self) -> list[object]:
        return [(agent.coordinator, agent.generation) for agent in self.agents]


async def current(coordinator: PartitionCoordinator) -> View | None:
    """The view at this moment, without waiting for a join that is under way."""
    try:
        with anyio.move_on_after(0.05):
            return await coordinator.view(GROUP)
    except (OwnershipUnknownError, MemberSupersededError):
        return None
    return None


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="which faults (default: drawn, and printed)")
    arguments = parser.parse_args()
    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed
    print(f"seed {seed}, {arguments.seconds:g} s", flush=True)
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # the operator's client has much to say about faults
    async with Ensemble() as ensemble, AsyncExitStack() as networks:
        soak = Soak(ensemble, random.Random(seed), networks)
        try:
            await soak.run(arguments.seconds)
        finally:
            for agent in soak.agents:
                await agent.coordinator.stop()
    leaked = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    print(f"{soak.faults.total()} faults: {dict(soak.faults)}")
    print(f"{soak.checks:,} checks, {len(soak.violations)} violations, {len(leaked)} tasks leaked")
    print(f"{soak.overlapping:.2f} s with a key of two owners, at different generations")
    for line in soak.violations[:20]:
        print(line)
    return 1 if soak.violations or leaked else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
