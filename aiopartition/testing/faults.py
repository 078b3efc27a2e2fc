"""What can happen to a coordinator on ``memory://``."""

from __future__ import annotations

from aiopartition.backends.memory.backend import MemoryBackend
from aiopartition.coordinator import PartitionCoordinator

__all__ = ["backend_of", "cut_off", "expire", "reconnect", "silence"]


def cut_off(coordinator: PartitionCoordinator) -> None:
    """Cut a coordinator's connection. It owns nothing after two thirds of its session timeout, and is given up, so that
    others take over, after the whole; unless it is reconnected before.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    backend_of(coordinator).cut_off()


def silence(coordinator: PartitionCoordinator) -> None:
    """The same as :func:`cut_off`, but the coordinator is not told: its connection seems to be there, and no request is
    answered.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    backend_of(coordinator).silence()


def reconnect(coordinator: PartitionCoordinator) -> None:
    """Heal what :func:`cut_off` or :func:`silence` did.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    backend_of(coordinator).reconnect()


def expire(coordinator: PartitionCoordinator) -> None:
    """End a coordinator's session now. It loses what it owned, and joins its groups again by itself.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    backend_of(coordinator).expire()


def backend_of(coordinator: PartitionCoordinator) -> MemoryBackend:
    """Where its faults are made."""
    backend = coordinator._runner.backend  # pyright: ignore[reportPrivateUsage]
    if not isinstance(backend, MemoryBackend):
        raise TypeError(f"{coordinator!r} is not on memory://: break its network or its server instead")
    return backend
