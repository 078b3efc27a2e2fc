"""From host names to addresses, independent of the threads that the service itself needs."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

from aiopartition.backends.connection import Address

__all__ = ["Resolver"]


class Resolver:
    """Looks hosts up, each in a thread of its own, and at most one at a time for each host.

    Not with ``loop.getaddrinfo()``, which takes threads from the pool that ``asyncio.to_thread()`` uses: a service that
    keeps those busy could not reconnect, and a resolver that hangs would use them up. While a look-up takes too long or
    fails, the addresses that the host had last are used. Threads are daemons: none keeps the process from ending.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Future[list[str]]] = {}
        self._known: dict[str, list[str]] = {}

    async def resolve(self, host: str, port: int, limit: float) -> list[Address]:
        """The addresses of ``host``, after ``limit`` seconds at most.

        :raises OSError: if there are none, now or from before. May be cancelled at any time.
        """
        if _is_literal(host):
            return [Address(host, host, port)]
        look_up = self._under_way.get(host)
        if look_up is None:
            look_up = self._under_way[host] = self._look_up(host)
        # wait() rather than an await: the look-up goes on without us, for the next round.
        await asyncio.wait({look_up}, timeout=limit)
        if not look_up.done():
            error: BaseException | None = TimeoutError("the name could not be resolved in time")
        else:
            self._under_way.pop(host, None)
            error = look_up.exception()
            if error is None:
                self._known[host] = look_up.result()
        if error is not None and host not in self._known:
            raise error
        return [Address(host, ip, port) for ip in self._known[host]]

    def _look_up(self, host: str) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[list[str]] = loop.create_future()
        outcome.add_done_callback(_look_at_exception)

        def deliver(ips: list[str], error: OSError | None) -> None:
            if error is None:
                outcome.set_result(ips)
            else:
                outcome.set_exception(error)

        def look_up() -> None:
            ips: list[str] = []
            failure: OSError | None = None
            try:
                ips = _addresses_of(host)
            except OSError as error:
                failure = error
            except UnicodeError as error:  # no name that DNS could have
                failure = OSError(f"not a host name: {error}")
            with suppress(RuntimeError):  # the loop has been closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(deliver, ips, failure)

        try:
            threading.Thread(target=look_up, name=f"aiopartition looks up {host}", daemon=True).start()
        except RuntimeError as error:  # the limit of threads is reached: there may be room in the next round
            outcome.set_exception(OSError(str(error)))
        return outcome


def _look_at_exception(outcome: asyncio.Future[list[str]]) -> None:
    # A look-up may fail after everybody has stopped waiting for it; that is no error that nobody looked at.
    if not outcome.cancelled():
        outcome.exception()


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses_of(host: str) -> list[str]:
    found: Sequence[tuple[object, object, object, object, tuple[object, ...]]]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
