"""The network between the servers of an ensemble, which can be broken between any two of them."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from itertools import permutations
from typing import NamedTuple

from tests.support.ports import LOOPBACK, free_ports
from tests.support.proxy import Episode, Proxy


class _Way(NamedTuple):
    """From one server to another: what it says to it as a follower to its leader, and what it says in an election."""

    quorum: Proxy
    election: Proxy


class Backbone:
    """A proxy for each way from one server to another. Servers go by their places, from 0.

    A server knows of each other one the address of the proxy on the way there. In an election it also tells its own
    address, where the other may call it back: on the way that becomes the address of the proxy on the way back, as a
    router would do it that translates addresses.
    """

    def __init__(self, size: int) -> None:
        ports = iter(free_ports(2 * size))
        self._own = [(next(ports), next(ports)) for _ in range(size)]
        self._ways = {way: self._make_way(*way) for way in permutations(range(size), 2)}
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Listen."""
        for way in self._ways.values():
            for network in way:
                await self._stack.enter_async_context(network)

    async def close(self) -> None:
        """Reset every connection and stop listening."""
        await self._stack.aclose()

    def addresses(self, place: int) -> dict[str, str]:
        """The lines of a server's configuration that name all servers."""
        ports = {place: self._own[place]} | {
            other: (way.quorum.port, way.election.port) for (here, other), way in self._ways.items() if here == place
        }
        return {f"server.{other + 1}": f"{LOOPBACK}:{quorum}:{election}" for other, (quorum, election) in ports.items()}

    def part(self, places: Iterable[int]) -> Episode:
        """Cut these servers off from all others: what they say to one another is lost, in both directions."""
        apart = set(places)
        return self._silence(
            network
            for (here, other), way in self._ways.items()
            if (here in apart) != (other in apart)
            for network in way
        )

    def _silence(self, networks: Iterable[Proxy]) -> Episode:
        silenced = list(networks)
        for network in silenced:
            network.silent()

        def end() -> None:
            for network in silenced:
                network.pass_through()
                network.reset()  # what has lost something can only be closed

        return Episode(end)

    def _make_way(self, here: int, other: int) -> _Way:
        quorum, election = self._own[other]
        return _Way(
            Proxy(LOOPBACK, quorum, rewrite=lambda data: data),
            Proxy(LOOPBACK, election, rewrite=lambda data: self._translate(here, other, data)),
        )

    def _translate(self, here: int, other: int, data: bytes) -> bytes:
        # Of the same length, as all ports have five digits.
        _, own = self._own[here]
        return data.replace(f"{LOOPBACK}:{own}".encode(), self._ways[other, here].election.address.encode())
