"""Metrics of a coordinator, for OpenTelemetry: ``pip install aiopartition[opentelemetry]``.

``docs/reference/metrics.md`` is the page for users: the names here are part of the public surface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider, Observation, get_meter_provider

from aiopartition.coordinator import PartitionCoordinator
from aiopartition.events import Event
from aiopartition.group.registry import Followed
from aiopartition.placement.view import View
from aiopartition.version import __version__

__all__ = ["GROUP", "MEMBER", "METRICS", "Instrumentation", "Metric", "instrument"]

GROUP: Final = "aiopartition.group"
"""The attribute that holds the id of a group; empty for a ``run()`` without a group."""

MEMBER: Final = "aiopartition.member"
"""The attribute that holds the id of this member. There are no other attributes, so the number of series is bounded."""

Kind: TypeAlias = Literal["gauge", "counter", "histogram"]

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""The bounds of buckets: a change takes about 0.1 s, and a worker may take its ``drain_timeout``."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One instrument.

    :ivar event: the event that a counter or histogram counts.
    :ivar fact: the fact of that event that is added or recorded; 1 if there is none.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    event: str = ""
    fact: str = ""


METRICS: Final = (
    Metric("aiopartition.members", "gauge", "{member}", "Members in the view that holds"),
    Metric("aiopartition.share", "gauge", "1", "This member's share of the work"),
    Metric("aiopartition.generation", "gauge", "{generation}", "Generation of the view that holds"),
    Metric("aiopartition.connected", "gauge", "1", "Whether the session is connected"),
    Metric("aiopartition.lease.remaining", "gauge", "s", "Time for which what is owned is certain to remain so"),
    Metric("aiopartition.handoff.age", "gauge", "s", "Time for which the handoff under way has been waiting"),
    Metric("aiopartition.work.in_flight", "gauge", "{work}", "Pieces of work in flight in an exclusive group"),
    Metric("aiopartition.view.changes", "counter", "{change}", "Views with another generation", "membership_changed"),
    Metric("aiopartition.view.moved", "counter", "1", "Shares of slots that moved", "membership_changed", "moved"),
    Metric("aiopartition.session.expirations", "counter", "{session}", "Sessions that expired", "session_expired"),
    Metric("aiopartition.session.reconnections", "counter", "{connection}", "Connections after a first", "reconnected"),
    Metric("aiopartition.worker.starts", "counter", "{worker}", "Workers of run() started", "worker_started"),
    Metric("aiopartition.worker.failures", "counter", "{failure}", "Workers of run() that raised", "worker_failed"),
    Metric("aiopartition.worker.restarts", "counter", "{worker}", "Workers started after that", "worker_restarted"),
    Metric("aiopartition.listing.failures", "counter", "{failure}", "Listings of run() that raised", "listing_failed"),
    Metric(
        "aiopartition.rebalance.duration", "histogram", "s", "From the news of a change to the view of it",
        "rebalanced", "seconds",
    ),
    Metric(
        "aiopartition.handoff.duration", "histogram", "s", "From a handoff's beginning to its end",
        "handoff_completed", "seconds",
    ),
    Metric(
        "aiopartition.worker.revocation.duration", "histogram", "s", "From a worker's cancellation to its end",
        "worker_revoked", "seconds",
    ),
)  # fmt: skip


def instrument(coordinator: PartitionCoordinator, meter_provider: MeterProvider | None = None) -> Instrumentation:
    """Measure a coordinator from now on. Call this once for each coordinator, before or after its start.

    :param meter_provider: where the metrics go; ``None`` for the global one.
    :returns: an object whose :meth:`Instrumentation.close` ends the measuring.
    """
    return Instrumentation(coordinator, meter_provider or get_meter_provider())


class Instrumentation:
    """Measures one coordinator. Make it with :func:`instrument`."""

    def __init__(self, coordinator: PartitionCoordinator, provider: MeterProvider) -> None:
        self._coordinator = coordinator
        self._registry = coordinator._registry  # pyright: ignore[reportPrivateUsage]
        self._closed = False
        self._was_connected = coordinator.connected
        self._shares: dict[str, tuple[View, float]] = {}  # as last computed, by the group's id
        self._counting: dict[str, list[tuple[Metric, Counter | Histogram]]] = {}
        # Each coordinator has its own meter: a second instrument of one name in a meter would not get our callbacks.
        meter = provider.get_meter("aiopartition", __version__, attributes={MEMBER: coordinator.member_id})
        for metric in METRICS:
            name, unit, description = metric.name, metric.unit, metric.description
            if metric.kind == "gauge":
                meter.create_observable_gauge(name, [partial(self._observe, _GAUGES[name])], unit, description)
                continue
            instrument: Counter | Histogram
            if metric.kind == "counter":
                instrument = meter.create_counter(name, unit, description)
            else:
                instrument = meter.create_histogram(
                    name, unit, description, explicit_bucket_boundaries_advisory=_SECONDS
                )
            self._counting.setdefault(metric.event, []).append((metric, instrument))
        self._registry.events.subscribe(self._hear)

    def close(self) -> None:
        """Stop measuring. Idempotent."""
        self._closed = True
        self._registry.events.unsubscribe(self._hear)

    # ---- inside

    def _hear(self, event: Event) -> None:
        name = event.name
        if name == "session_opened":
            name, self._was_connected = ("reconnected" if self._was_connected else ""), True
        attributes = {MEMBER: self._coordinator.member_id}
        if "group" in event.facts:
            attributes[GROUP] = event.facts["group"]
        for metric, instrument in self._counting.get(name, ()):
            amount = event.facts[metric.fact] if metric.fact else 1
            if isinstance(instrument, Counter):
                instrument.add(amount, attributes)
            else:
                instrument.record(amount, attributes)

    def _observe(self, gauge: Gauge, _: CallbackOptions) -> Iterable[Observation]:
        """Called by exporters, in their own threads: it only reads values that are replaced as a whole."""
        return [] if self._closed else list(gauge(self))

    def _groups(self) -> Iterator[tuple[Followed, dict[str, str]]]:
        member_id = self._coordinator.member_id
        for followed in self._registry.groups.values():
            yield followed, {MEMBER: member_id, GROUP: followed.group_id}

    def _views(self) -> Iterator[tuple[View, dict[str, str]]]:
        for followed, attributes in self._groups():
            view = followed.view
            if view is not None:
                yield view, attributes

    def _share(self, view: View) -> float:
        known = self._shares.get(view.group_id)
        if known is None or known[0].table is not view.table:
            own = 0.0 if view.group_id in self._registry.observations else view.shares().get(view.member_id, 0.0)
            known = self._shares[view.group_id] = view, own
        return known[1]

    # One for each gauge.

    def members(self) -> Iterator[Observation]:
        return (Observation(len(view.members), attributes) for view, attributes in self._views())

    def share(self) -> Iterator[Observation]:
        return (Observation(self._share(view), attributes) for view, attributes in self._views())

    def generation(self) -> Iterator[Observation]:
        return (Observation(view.generation, attributes) for view, attributes in self._views())

    def connected(self) -> Iterator[Observation]:
        yield Observation(int(self._coordinator.connected), {MEMBER: self._coordinator.member_id})

    def lease_remaining(self) -> Iterator[Observation]:
        left = self._registry.backend.lease_left
        for followed, attributes in self._groups():
            view = followed.view
            quorum = view is not None and view.policy.exclusive
            yield Observation(max(0.0, left(quorum=quorum)), attributes)

    def handoff_age(self) -> Iterator[Observation]:
        for followed, attributes in self._groups():
            history = self._registry.histories.get(followed.group_id)
            yield Observation(0.0 if history is None else history.waiting, attributes)

    def in_flight(self) -> Iterator[Observation]:
        for membership in tuple(self._registry.memberships.values()):
            attributes = {MEMBER: self._coordinator.member_id, GROUP: membership.group_id}
            yield Observation(len(membership.in_flight.works), attributes)


Gauge: TypeAlias = Callable[[Instrumentation], Iterator[Observation]]

_GAUGES: Final[dict[str, Gauge]] = {
    "aiopartition.members": Instrumentation.members,
    "aiopartition.share": Instrumentation.share,
    "aiopartition.generation": Instrumentation.generation,
    "aiopartition.connected": Instrumentation.connected,
    "aiopartition.lease.remaining": Instrumentation.lease_remaining,
    "aiopartition.handoff.age": Instrumentation.handoff_age,
    "aiopartition.work.in_flight": Instrumentation.in_flight,
}
