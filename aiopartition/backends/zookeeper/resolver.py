"""Resolves host names without using the threads of ``asyncio.to_thread()``."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from functools import partial
from typing import Final

from aiopartition.backends.zookeeper.connection import Address
from aiopartition.backends.zookeeper.daemons import in_daemon

__all__ = ["Resolver"]


_PATIENCE: Final = 0.1
"""Seconds to wait if a host's addresses are known: a network failure often affects the resolver too."""


class Resolver:
    """Resolves host names, each in a thread of its own, with at most one look-up per host at a time.

    ``docs/explanation/decisions.md``, "Connection and session", says why it does not use ``loop.getaddrinfo()``. If a
    look-up fails or takes too long, the host's last known addresses are used. The threads are daemons, so they do not
    delay exit.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Future[list[str]]] = {}
        self._known: dict[str, list[str]] = {}

    def begin(self, host: str) -> None:
        """Start resolving ``host`` in the background, so that several hosts can be resolved concurrently."""
        if host not in self._under_way and not _is_literal(host):
            self._under_way[host] = in_daemon(partial(_addresses_of, host), f"aiopartition looks up {host}")
            self._under_way[host].add_done_callback(lambda outcome: self._finish(host, outcome))

    async def resolve(self, host: str, port: int, limit: float) -> list[Address]:
        """Return the addresses of ``host``. Safe to cancel.

        :param limit: the longest time to wait, in seconds.
        :raises OSError: if no addresses are known by then.
        """
        if _is_literal(host):
            return [Address(host, host, port)]
        self.begin(host)
        look_up = self._under_way[host]
        # wait() does not cancel the look-up on a timeout, so the next attempt can use its result.
        await asyncio.wait({look_up}, timeout=min(limit, _PATIENCE) if host in self._known else limit)
        if host not in self._known:
            error = look_up.exception() if look_up.done() else TimeoutError("the name could not be resolved in time")
            raise error or TimeoutError("the name was resolved too late")
        return [Address(host, ip, port) for ip in self._known[host]]

    def _finish(self, host: str, outcome: asyncio.Future[list[str]]) -> None:
        del self._under_way[host]
        if not outcome.cancelled() and outcome.exception() is None:
            self._known[host] = outcome.result()


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses_of(host: str) -> list[str]:
    found: Sequence[tuple[object, object, object, object, tuple[object, ...]]]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # not a valid name in DNS
        raise OSError(f"not a host name: {error}") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
