"""Mistakes made in the library on purpose, each of which the exploration must find.

Those of ``run()`` are made around the public call, so they do not depend on how it is built.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import pytest

from aiopartition import PartitionCoordinator, View
from tests.exploration.attempt import Attempt, try_out
from tests.exploration.explorer import every_injection, sample
from tests.exploration.internals import Group, Handoff, Hold, InFlight, Membership, Registry, Work, subset_module
from tests.exploration.scenarios import SCENARIOS
from tests.support.mistakes import (
    acknowledged_before_work_has_ended,
    lost_news_are_not_looked_for,
    nobody_is_superseded,
    one_acknowledgement_is_enough,
    what_is_gained_is_taken_at_once,
)

Worker = Callable[[str], Awaitable[object]]


@dataclass(frozen=True)
class Mutation:
    """A mistake.

    :ivar promises: the numbers of the promises that it breaks, as a regular expression.
    :ivar faults: where to look for it.
    """

    make: Callable[[pytest.MonkeyPatch], None]
    promises: str
    faults: tuple[str, ...]
    scenarios: tuple[str, ...] = ("two exclusive", "back exclusive")

    @property
    def name(self) -> str:
        return self.make.__name__


@dataclass(frozen=True)
class Found:
    attempt: Attempt
    failure: str
    tried: int


def find(mutation: Mutation, count: int) -> Found | None:
    """The first attempt in which a mistake is found, if it is.

    :param count: how many single faults are tried in each scenario, after the scenario by itself.
    """
    tried = 0
    for name in mutation.scenarios:
        scenario = SCENARIOS[name]
        turns = try_out(Attempt(scenario)).turns_for_faults
        wanted = [each for each in every_injection(scenario, turns) if each.fault in mutation.faults]
        for injections in ((), *((each,) for each in sample(wanted, count))):
            tried += 1
            attempt = Attempt(scenario, injections)
            failure = try_out(attempt).failure
            if failure is not None:
                return Found(attempt, str(failure), tried)
    return None


# ---- run()


def _around_workers(mutate: pytest.MonkeyPatch, wrap: Callable[[Worker], Worker]) -> None:
    run = PartitionCoordinator.run

    async def mutated(self: PartitionCoordinator, group: str, resources: Any, worker: Worker, **options: Any) -> None:
        await run(self, group, resources, wrap(worker), **options)

    mutate.setattr(PartitionCoordinator, "run", mutated)


def a_lost_worker_goes_on(mutate: pytest.MonkeyPatch) -> None:
    kept: set[asyncio.Future[object]] = set()

    def wrap(worker: Worker) -> Worker:
        async def let_go_in_words_only(key: str) -> None:
            task = asyncio.ensure_future(worker(key))
            kept.add(task)
            task.add_done_callback(kept.discard)
            await asyncio.shield(task)

        return let_go_in_words_only

    _around_workers(mutate, wrap)


def a_worker_is_cancelled_late(mutate: pytest.MonkeyPatch) -> None:
    def wrap(worker: Worker) -> Worker:
        async def slow(key: str) -> None:
            task = asyncio.ensure_future(worker(key))
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.sleep(0.1)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                raise

        return slow

    _around_workers(mutate, wrap)


def what_is_gained_again_is_not_started_again(mutate: pytest.MonkeyPatch) -> None:
    def wrap(worker: Worker) -> Worker:
        had: set[str] = set()

        async def once(key: str) -> None:
            if key not in had:
                had.add(key)
                await worker(key)

        return once

    _around_workers(mutate, wrap)


def a_resource_has_two_workers(mutate: pytest.MonkeyPatch) -> None:
    def wrap(worker: Worker) -> Worker:
        async def twice(key: str) -> None:
            await asyncio.gather(worker(key), worker(key))

        return twice

    _around_workers(mutate, wrap)


def a_failed_worker_stays_away(mutate: pytest.MonkeyPatch) -> None:
    def wrap(worker: Worker) -> Worker:
        async def swallow(key: str) -> None:
            with suppress(OSError):
                await worker(key)

        return swallow

    _around_workers(mutate, wrap)


def workers_are_restarted_for_no_reason(mutate: pytest.MonkeyPatch) -> None:
    def wrap(worker: Worker) -> Worker:
        async def restless(key: str) -> None:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.9):
                        await worker(key)
                        return

        return restless

    _around_workers(mutate, wrap)


def resources_are_listed_once(mutate: pytest.MonkeyPatch) -> None:
    run = PartitionCoordinator.run

    async def mutated(self: PartitionCoordinator, group: str, resources: Any, worker: Worker, **options: Any) -> None:
        listed = resources if isinstance(resources, tuple) else await resources()
        await run(self, group, listed, worker, **options)

    mutate.setattr(PartitionCoordinator, "run", mutated)


def workers_are_not_waited_for(mutate: pytest.MonkeyPatch) -> None:
    _not_in_flight(mutate, "a worker")


def run_is_not_told_of_the_end_of_the_lease(mutate: pytest.MonkeyPatch) -> None:
    mutate.setattr(Membership, "lease_ended", lambda self: self.in_flight.revoke())


def the_lease_does_not_matter(mutate: pytest.MonkeyPatch) -> None:
    def view(self: Membership) -> View | None:
        return self.announced_view

    mutate.setattr(Membership, "view", property(view))


# ---- hold()


def batches_are_not_waited_for(mutate: pytest.MonkeyPatch) -> None:
    _not_in_flight(mutate, "a hold")


def a_batch_is_not_revoked_at_the_end_of_the_lease(mutate: pytest.MonkeyPatch) -> None:
    revoke = Hold._revoke

    def only_for_handoffs(self: Hold, at_once: bool) -> None:
        if not at_once:
            revoke(self, at_once)

    mutate.setattr(Hold, "_revoke", only_for_handoffs)


# ---- my_subset()


def items_are_not_waited_for(mutate: pytest.MonkeyPatch) -> None:
    _not_in_flight(mutate, "an item")


def items_are_handed_out_by_the_first_view(mutate: pytest.MonkeyPatch) -> None:
    ownership = subset_module._ownership

    def once_and_for_all(membership: Any, key: Any, known: Any) -> Callable[[Any], int]:
        slot_of_mine = ownership(membership, key, known)
        answers: dict[object, int] = {}
        return lambda item: answers.setdefault(item, slot_of_mine(item))

    slots: dict[int, Callable[[Any], int]] = {}

    def kept(membership: Any, key: Any, known: Any) -> Callable[[Any], int]:
        return slots.setdefault(id(membership), once_and_for_all(membership, key, known))

    mutate.setattr(subset_module, "_ownership", kept)
    mutate.setattr(InFlight, "begin", lambda self, work: None)  # which refuses work on slots that are not active


def items_are_handed_out_without_a_lease(mutate: pytest.MonkeyPatch) -> None:
    ownership = subset_module._ownership

    class Trusting:
        """The membership, with a lease that never ends."""

        def __init__(self, membership: Membership) -> None:
            self._membership = membership

        def __getattr__(self, name: str) -> object:
            return getattr(self._membership, name)

        def lease_left(self) -> float:
            return 1.0

    def trusting(registry: Any, membership: Membership, key: Any) -> Callable[[Any], int]:
        return ownership(registry, Trusting(membership), key)  # type: ignore[arg-type]

    mutate.setattr(subset_module, "_ownership", trusting)


# ---- the registry: joining, leaving, stopping


def leaving_does_not_wait_for_work(mutate: pytest.MonkeyPatch) -> None:
    mutate.setattr(Group, "idle", property(lambda self: True))


def stopping_does_not_wait_for_work(mutate: pytest.MonkeyPatch) -> None:
    async def at_once(self: Registry, extra: float) -> bool:
        return True

    mutate.setattr(Registry, "drain", at_once)


# ---- the handoff


def what_is_revoked_counts_as_ended(mutate: pytest.MonkeyPatch) -> None:
    revocations = Handoff.revocations

    def revoked_and_ended(self: Handoff) -> list[Work]:
        revoked = revocations(self)
        for work in revoked:
            self.ended(work)
        return revoked

    mutate.setattr(Handoff, "revocations", revoked_and_ended)


def a_handoff_is_not_looked_after(mutate: pytest.MonkeyPatch) -> None:
    def rest(self: Handoff) -> None:
        """Whatever got lost stays lost."""

    mutate.setattr(Handoff, "overdue", rest)


def _not_in_flight(mutate: pytest.MonkeyPatch, what: str) -> None:
    begin = InFlight.begin

    def unless_it_is_that(self: InFlight, work: Work) -> None:
        if not work.what.startswith(what):
            begin(self, work)

    mutate.setattr(InFlight, "begin", unless_it_is_that)


CHANGES: Final = ("join", "leave", "stop", "second start", "restart")
BACK: Final = ("back exclusive",)
TWO: Final = ("two exclusive",)
QUICK: Final = ("quick exclusive",)

MUTATIONS: Final = (
    Mutation(a_lost_worker_goes_on, "P[6789]", CHANGES),
    Mutation(a_worker_is_cancelled_late, "P8", CHANGES),
    Mutation(what_is_gained_again_is_not_started_again, "P8", ("blink",), BACK),
    Mutation(a_resource_has_two_workers, "P8", ()),
    Mutation(a_failed_worker_stays_away, "P8", (), ("two ordinary", "two exclusive")),
    Mutation(workers_are_restarted_for_no_reason, "P[89]", ()),
    Mutation(resources_are_listed_once, "P8", ("listing changes",)),
    Mutation(workers_are_not_waited_for, "P7", CHANGES),
    Mutation(run_is_not_told_of_the_end_of_the_lease, "P8", ("cut off",)),
    Mutation(the_lease_does_not_matter, "P[489]", ("cut off", "stall beyond the lease")),
    Mutation(batches_are_not_waited_for, "P7", CHANGES, QUICK),
    Mutation(a_batch_is_not_revoked_at_the_end_of_the_lease, "P7", ("lease over", "cut off"), TWO),
    Mutation(items_are_not_waited_for, "P7", CHANGES, ("items exclusive",)),
    Mutation(items_are_handed_out_by_the_first_view, "P[47]", CHANGES, TWO),
    Mutation(items_are_handed_out_without_a_lease, "P[479]", ("cut off", "lease over"), TWO),
    Mutation(leaving_does_not_wait_for_work, "P7", ("leave",), TWO),
    Mutation(stopping_does_not_wait_for_work, "P7", ("stop",), TWO),
    Mutation(nobody_is_superseded, "P[679]", ("second start",), TWO),
    Mutation(lost_news_are_not_looked_for, "P5", ("news are lost",), TWO),
    Mutation(what_is_gained_is_taken_at_once, "P7", CHANGES),
    Mutation(one_acknowledgement_is_enough, "P7", CHANGES),
    Mutation(acknowledged_before_work_has_ended, "P7", CHANGES),
    Mutation(what_is_revoked_counts_as_ended, "P7", CHANGES),
    Mutation(a_handoff_is_not_looked_after, "P5", ("news are lost",), ("two exclusive", "three exclusive")),
)
