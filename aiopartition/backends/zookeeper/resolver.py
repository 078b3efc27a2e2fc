"""From host names to addresses, independent of the threads that the service itself needs."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from aiopartition.backends.zookeeper.connection import Address

__all__ = ["Resolver"]


_PATIENCE: Final = 0.1
"""Seconds to wait for news of a host whose addresses are known: what cuts a connection often cuts the resolver too."""


class Resolver:
    """Looks hosts up, each in a thread of its own, and at most one at a time for each host.

    Not with ``loop.getaddrinfo()``, which takes threads from the pool that ``asyncio.to_thread()`` uses: a service that
    keeps those busy could not reconnect, and a resolver that hangs would use them up. While a look-up takes too long or
    fails, the addresses that the host had last are used. Threads are daemons: none keeps the process from ending.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Future[list[str]]] = {}
        self._known: dict[str, list[str]] = {}

    def begin(self, host: str) -> None:
        """Begin to look ``host`` up, so that several are looked up at the same time."""
        if host not in self._under_way and not _is_literal(host):
            self._under_way[host] = self._look_up(host)
            self._under_way[host].add_done_callback(lambda outcome: self._finish(host, outcome))

    async def resolve(self, host: str, port: int, limit: float) -> list[Address]:
        """The addresses of ``host``, after ``limit`` seconds at most.

        :raises OSError: if there are none, now or from before. May be cancelled at any time.
        """
        if _is_literal(host):
            return [Address(host, host, port)]
        self.begin(host)
        look_up = self._under_way[host]
        # wait() rather than an await: the look-up goes on without us, for the next round.
        await asyncio.wait({look_up}, timeout=min(limit, _PATIENCE) if host in self._known else limit)
        if host not in self._known:
            error = look_up.exception() if look_up.done() else TimeoutError("the name could not be resolved in time")
            raise error or TimeoutError("the name was resolved too late")
        return [Address(host, ip, port) for ip in self._known[host]]

    def _finish(self, host: str, outcome: asyncio.Future[list[str]]) -> None:
        del self._under_way[host]
        # Asking for the exception also says that somebody has looked at it, when nobody waits any more.
        if not outcome.cancelled() and outcome.exception() is None:
            self._known[host] = outcome.result()

    def _look_up(self, host: str) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[list[str]] = loop.create_future()

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
