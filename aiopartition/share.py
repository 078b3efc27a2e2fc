"""This member's share of the work: the calls that tell what it is, and those that work on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, overload

from aiopartition.checks import require_id, require_key, require_run_arguments, require_seconds
from aiopartition.lifecycle import Lifecycle
from aiopartition.placement.keys import Key
from aiopartition.placement.view import View, require_iterable
from aiopartition.work.hold import Hold
from aiopartition.work.iteration import Iteration
from aiopartition.work.listing import Resources
from aiopartition.work.run import OnChange, Supervisor
from aiopartition.work.subset import filter_list, filter_stream
from aiopartition.work.workers import OnError, Worker

__all__ = ["Share"]

T = TypeVar("T")
K = TypeVar("K", bound=Key)
"""A resource that is its own key. For any other, type checkers ask for ``key=``."""


class Share(Lifecycle):
    """This member's share of the work, in all its groups."""

    # ---- what is mine

    @overload
    async def extract_my_subset(self, group_id: str | None, iterable: Iterable[K], *, key: None = None) -> list[K]: ...
    @overload
    async def extract_my_subset(
        self, group_id: str | None, iterable: Iterable[T], *, key: Callable[[T], Key]
    ) -> list[T]: ...
    async def extract_my_subset(
        self, group_id: str | None, iterable: Iterable[Any], *, key: Callable[[Any], Key] | None = None
    ) -> list[Any]:
        """Return the resources of ``iterable`` that are mine, in order, according to one view of the group.

        The group is joined if necessary. From then on this is a local calculation, without the network, and without a
        suspension unless the input is long. If it is, other tasks get their turn every 2,048 resources, and
        ``iterable`` must not be changed meanwhile. Safe to cancel.

        In an exclusive group these are the resources whose handoff to this member is complete. They may pass to another
        member as soon as the list is returned; :meth:`hold`, :meth:`run` and :meth:`my_subset` prevent that.

        :param group_id: with ``None`` or ``""`` all resources are mine.
        :param key: returns what identifies a resource: a ``str``, ``bytes``, ``int``, ``UUID``, ``Enum`` member, path,
            or a tuple of these. Without it, the resources themselves must be of these types.
        :raises OwnershipUnknownError: with ``on_unknown="raise"``, if ownership is unknown. Otherwise the list is
            empty.
        :raises TypeError: for a resource or key without a stable encoding, or a ``key`` that is not callable.
        :raises PartitionError: if this member cannot take part, as :meth:`join_group` does, whatever ``on_unknown``
            says.
        """
        self._runner.require_started("extract_my_subset")
        require_iterable(iterable)
        require_key(key)
        if (group_id := self._shared(group_id)) is None:
            return list(iterable)
        return await filter_list(self._registry, group_id, iterable, key)

    @overload
    def my_subset(
        self, group_id: str | None, source: Iterable[K] | AsyncIterable[K], *, key: None = None
    ) -> AsyncGenerator[K, None]: ...
    @overload
    def my_subset(
        self, group_id: str | None, source: Iterable[T] | AsyncIterable[T], *, key: Callable[[T], Key]
    ) -> AsyncGenerator[T, None]: ...
    def my_subset(
        self,
        group_id: str | None,
        source: Iterable[Any] | AsyncIterable[Any],
        *,
        key: Callable[[Any], Key] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Iterate over those items of ``source`` that are mine.

        Ownership and lease are checked for each item when it is handed out, so a long or endless iteration follows the
        group, and skips items that have passed to another member. While ownership is unknown, it skips every item, or
        raises :class:`OwnershipUnknownError`, as ``on_unknown`` says. It ends with the source, or when the group is
        left.

        In an exclusive group an item is in flight until the loop asks for the next one, or is closed; until then no
        other member gets its key.

        Parameters and errors as in :meth:`extract_my_subset`. Safe to cancel.
        """
        self._runner.require_started("my_subset")
        require_key(key)
        steps = filter_stream(self._registry, self._shared(group_id), source, key)
        return Iteration(self._runner.home, "my_subset", steps)

    # ---- work that no other member does meanwhile

    @overload
    async def run(
        self,
        group_id: str | None,
        resources: Resources[K],
        worker: Worker[K],
        *,
        key: None = None,
        refresh: float = ...,
        drain_timeout: float = ...,
        on_error: OnError = ...,
        on_change: OnChange = ...,
    ) -> None: ...
    @overload
    async def run(
        self,
        group_id: str | None,
        resources: Resources[T],
        worker: Worker[T],
        *,
        key: Callable[[T], Key],
        refresh: float = ...,
        drain_timeout: float = ...,
        on_error: OnError = ...,
        on_change: OnChange = ...,
    ) -> None: ...
    async def run(
        self,
        group_id: str | None,
        resources: Resources[Any],
        worker: Worker[Any],
        *,
        key: Callable[[Any], Key] | None = None,
        refresh: float = 30.0,
        drain_timeout: float = 30.0,
        on_error: OnError = "restart",
        on_change: OnChange = "keep",
    ) -> None:
        """Supervise one task ``worker(resource)`` for each resource that is mine, until cancelled.

        A worker is started when its resource is gained. When the resource is lost, or the lease ends, the worker is
        cancelled and awaited. It is cancelled once, as by :meth:`asyncio.Task.cancel`, so it can clean up in a
        ``finally``. If it has not ended after ``drain_timeout`` seconds, that is logged as an error, it is cancelled
        again each second, and in an exclusive group the other members go on waiting for it.

        A worker that returns is done until its resource is gained anew. Of several resources with one key the first
        counts, with a warning that names the key. A listing that fails ends no work: the failure is logged as an error,
        and the last complete answer counts. A resource that has no valid key is left out.

        If a cancelled worker leaves something running, such as a thread of :func:`asyncio.to_thread`, that goes on
        while another member may begin. :func:`aiopartition.finish_in_thread` waits for its thread.

        Returns when the group is left or the coordinator stopped. If cancelled, it first waits for its workers to end.
        Even thousands of workers do not block the event loop.

        :param group_id: as in :meth:`extract_my_subset`; the group is joined if necessary.
        :param resources: an iterable, or a callable without arguments, async unless it returns at once. It is called
            again every ``refresh`` seconds, and as soon as anything is gained, at most once a second. While it fails,
            its last answer counts.
        :param worker: an async function, called with a resource. Its result is ignored.
        :param refresh: seconds, more than 0.
        :param drain_timeout: seconds that a worker may take to end once it is cancelled.
        :param on_error: what happens when a worker raises: it is started again, after 0.1 to 30 s (``"restart"``), or
            all the others and this call end (``"raise"``).
        :param on_change: what happens when a later listing has another object under the same key, unequal by ``==``:
            nothing, and the worker keeps the object that it has (``"keep"``); or the worker is cancelled and started
            with the new one, even if it had returned (``"restart"``). If the two objects cannot be compared, that is
            logged, and the worker goes on.
        :raises Exception: with ``on_error="raise"``, what a worker or ``resources`` raised; an
            :class:`ExceptionGroup` if several did.
        :raises TypeError: for a ``worker`` or ``key`` that is not callable, and for a worker whose result cannot be
            awaited; for a resource or key without a stable encoding, if ``resources`` is not callable or ``on_error``
            is ``"raise"``.
        :raises PartitionError: if this member cannot take part, as :meth:`join_group` does, or is superseded.
        """
        self._runner.require_started("run")
        require_key(key)
        require_run_arguments(worker, refresh, drain_timeout, on_error, on_change)
        group_id = self._shared(group_id)
        membership = None if group_id is None else await self._registry.membership(group_id)
        supervisor = Supervisor(
            membership, resources, worker, key=key, refresh=refresh, drain_timeout=drain_timeout, on_error=on_error,
            on_change=on_change, events=self._registry.events,
        )  # fmt: skip
        try:
            await supervisor.run()
        except Exception:
            if not self._runner.inherited:  # there asyncio can wait for nothing in the loop that ran at the fork
                raise

    def hold(self, group_id: str, *, drain_timeout: float = 30.0) -> AbstractAsyncContextManager[View]:
        """``async with coordinator.hold(group_id) as view``: inside it, nothing that is mine passes to another member.

        For batches in exclusive groups: ``view.mine(iterable)`` stays mine all the time. A handoff waits for the body.
        After ``drain_timeout`` seconds, or at once when the lease ends, the body is cancelled, and
        :class:`OwnershipLostError` is raised in its place. It is cancelled once, so it can clean up in a ``finally``.
        Call this method and enter its result in the task that runs the body: that task is the one that is cancelled.

        :raises ConfigurationError: if the group is not exclusive, as nothing could be promised then.
        :raises OwnershipUnknownError: on entering, if ownership is unknown, whatever ``on_unknown`` says.
        :raises OwnershipLostError: if the body was cancelled.
        """
        self._runner.require_started("hold")
        require_id("group_id", group_id)
        require_seconds("drain_timeout", drain_timeout)
        return Hold(self._registry, group_id, drain_timeout)

    # ---- inside

    def _shared(self, group_id: str | None) -> str | None:
        """Return the group whose members share the work; ``None`` if everything is mine."""
        return group_id if group_id and self.is_active() else None
