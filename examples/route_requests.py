"""HTTP requests go to the owner of their key: any replica answers, and one of them does the work.

python examples/route_requests.py                                 three replicas and a gateway, all in this process
python examples/route_requests.py zookeeper://localhost/carts     with a ZooKeeper server

Each replica tells its address as metadata. One that gets a request for a cart that is another's passes it on. The
gateway is no member: it only observes the group, and sends each request to the owner at once.
"""

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Self

from aiopartition import ConfigurationError, OwnershipUnknownError, PartitionCoordinator, stop_on_signal

GROUP = "carts"
CARTS = [f"cart-{number}" for number in range(12)]


async def get(address: str, path: str) -> str:
    """The body of the answer to a GET request."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer.partition("\r\n\r\n")[2]


async def address_of_owner(coordinator: PartitionCoordinator, key: str) -> str:
    """Where the requests for a key are to be sent."""
    while True:
        try:
            view = await coordinator.view(GROUP)
            # Whoever may write into the group has written this: do not send secrets there that are not theirs.
            return (await coordinator.describe_member(GROUP, view.owner(key))).metadata["address"]
        except (OwnershipUnknownError, ConfigurationError):
            await asyncio.sleep(0.05)  # nobody is there yet, or the owner has just left


class Replica:
    """Serves ``GET /<cart>`` for all carts, and keeps those that are its own."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self.address = ""
        self.visits: dict[str, int] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        await self._stack.enter_async_context(server)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        coordinator = PartitionCoordinator(self.url, member_id=self.name, metadata={"address": self.address})
        self.coordinator = await self._stack.enter_async_context(coordinator)
        await coordinator.join_group(GROUP)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cart = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().removeprefix("/")
        body = await self.answer(cart)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    async def answer(self, cart: str) -> str:
        owner = await address_of_owner(self.coordinator, cart)
        if owner != self.address:
            return f"{await get(owner, f'/{cart}')}, passed on by {self.name}"
        self.visits[cart] = self.visits.get(cart, 0) + 1
        return f"{cart}: visit {self.visits[cart]} at {self.name}"


async def main(url: str) -> None:
    async with stop_on_signal(), AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(Replica(url, f"replica-{number}")) for number in (1, 2, 3)]
        gateway = await stack.enter_async_context(PartitionCoordinator(url, member_id="gateway"))
        await gateway.observe(GROUP)
        await everybody_sees(3, gateway, *[replica.coordinator for replica in replicas])
        print("through any replica:")
        for number, cart in enumerate(CARTS):
            print(f"    {await get(replicas[number % 3].address, f'/{cart}')}")
        print("through the gateway, which knows the owners:")
        for cart in CARTS:
            print(f"    {await get(await address_of_owner(gateway, cart), f'/{cart}')}")
        kept = sum(set(replica.visits.values()) <= {2} for replica in replicas)
        print(f"each cart was at one replica both times: {kept == len(replicas)}; the gateway owns nothing:", end=" ")
        print(await gateway.extract_my_subset(GROUP, CARTS))


async def everybody_sees(members: int, *coordinators: PartitionCoordinator) -> None:
    """So that no cart moves while it is visited."""
    while any(len(each.status(GROUP).members) != members for each in coordinators):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        asyncio.run(main(parser.parse_args().url))
    except KeyboardInterrupt:
        sys.exit("interrupted")
