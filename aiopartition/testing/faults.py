"""Simulates faults of a coordinator on ``memory://``."""

from __future__ import annotations

from aiopartition.backends.memory.backend import MemoryBackend
from aiopartition.coordinator import PartitionCoordinator

__all__ = ["backend_of", "cut_off", "expire", "reconnect", "silence"]


def cut_off(coordinator: PartitionCoordinator) -> None:
    """Cut a coordinator's connection.

    Unless it is reconnected earlier, it stops owning its keys after two thirds of its session timeout, and others take
    over after the full timeout.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    backend_of(coordinator).cut_off()


def silence(coordinator: PartitionCoordinator) -> None:
    """Stop all responses to a coordinator, while its connection appears to stay open.

    The consequences are those of :func:`cut_off`.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    backend_of(coordinator).silence()


def reconnect(coordinator: PartitionCoordinator) -> None:
    """Undo :func:`cut_off` or :func:`silence`.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    backend_of(coordinator).reconnect()


def expire(coordinator: PartitionCoordinator) -> None:
    """End a coordinator's session now. The coordinator loses its keys, and rejoins its groups by itself.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    backend_of(coordinator).expire()


def backend_of(coordinator: PartitionCoordinator) -> MemoryBackend:
    """Return the backend of a coordinator.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    backend = coordinator._registry.backend  # pyright: ignore[reportPrivateUsage]
    if not isinstance(backend, MemoryBackend):
        raise TypeError(f"{coordinator!r} is not on memory://: break its network or server instead")
    return backend
