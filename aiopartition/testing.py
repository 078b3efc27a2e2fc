"""For testing a service that uses coordinators: what can happen to them, on ``memory://``.

Each function takes a started coordinator whose backend is ``memory://``, and returns at once; what follows from it (an
expiry, a rebalance) happens in the background, as it does in production::

    async with PartitionCoordinator("memory://test", session_timeout=0.5) as coordinator:
        ...
        cut_off(coordinator)
        # after a third of a second the service must notice that it owns nothing any more
        reconnect(coordinator)
"""

from __future__ import annotations

from aiopartition.backends.memory import MemoryBackend
from aiopartition.coordinator import PartitionCoordinator

__all__ = ["cut_off", "expire", "reconnect"]


def cut_off(coordinator: PartitionCoordinator) -> None:
    """Cut a coordinator's connection. It owns nothing after two thirds of its session timeout, and is given up, so that
    others take over, after the whole; unless it is reconnected before.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    _backend_of(coordinator).cut_off()


def reconnect(coordinator: PartitionCoordinator) -> None:
    """Heal what :func:`cut_off` did.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    _backend_of(coordinator).reconnect()


def expire(coordinator: PartitionCoordinator) -> None:
    """End a coordinator's session now. It loses what it owned, and joins its groups again by itself.

    :raises TypeError: if the coordinator is not on ``memory://``.
    """
    _backend_of(coordinator).expire()


def _backend_of(coordinator: PartitionCoordinator) -> MemoryBackend:
    backend = coordinator._runner.backend  # pyright: ignore[reportPrivateUsage]
    if not isinstance(backend, MemoryBackend):
        raise TypeError(f"{coordinator!r} is not on memory://: break its network or its server instead")
    return backend
