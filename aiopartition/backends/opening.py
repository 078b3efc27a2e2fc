"""Chooses a backend by its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiopartition.backends.base import Backend, Listener
from aiopartition.clock import Clock, now

if TYPE_CHECKING:
    from aiopartition.settings import Settings

__all__ = ["open_backend"]


def open_backend(settings: Settings, listener: Listener, clock: Clock = now) -> Backend:
    """Return the backend that ``settings.url`` names. Without a URL it is a cluster of this coordinator alone.

    Does no I/O.
    """
    # Imported here so that a process loads only the backend that it uses.
    if settings.url is not None and settings.url.scheme == "zookeeper":
        from aiopartition.backends.zookeeper.backend import ZooKeeperBackend

        return ZooKeeperBackend(settings, listener, clock)
    from aiopartition.backends.memory.backend import MemoryBackend
    from aiopartition.backends.memory.store import MemoryCluster

    if settings.url is None:
        return MemoryBackend(MemoryCluster(clock=clock), float("inf"), listener)
    return MemoryBackend(MemoryCluster.named(settings.url.cluster), settings.session_timeout, listener)
