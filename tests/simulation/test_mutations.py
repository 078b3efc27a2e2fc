"""The simulation can fail: it finds each of these mistakes, made in the library on purpose."""

import asyncio
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from aiopartition import GroupPolicy, View
from aiopartition.backends.memory.backend import MemoryBackend
from aiopartition.group.membership import Membership
from aiopartition.group.state import Group
from aiopartition.placement.assign import build_steps
from tests.simulation.schedules import Schedule, exclusive_schedules, schedules
from tests.simulation.simulation import simulate
from tests.support.mistakes import (
    acknowledged_before_work_has_ended,
    events_are_applied_without_the_check,
    lost_news_are_not_looked_for,
    nobody_is_superseded,
    one_acknowledgement_is_enough,
    the_generation_is_taken_before_the_events,
    what_is_gained_is_taken_at_once,
)

MOST_SCHEDULES = 5000


pytestmark = pytest.mark.usefixtures("quiet_library")


class FoundError(BaseException):
    """Ends hypothesis, which would otherwise try to have it again; but a mistake that has a memory goes another way."""


def the_lease_is_a_timer(mutate: pytest.MonkeyPatch) -> None:
    timers: dict[MemoryBackend, asyncio.TimerHandle] = {}
    ended: set[MemoryBackend] = set()
    renew = MemoryBackend._renew

    def renew_and_set_timer(self: MemoryBackend, sent: float) -> None:
        renew(self, sent)
        if self in timers:
            timers.pop(self).cancel()
        ended.discard(self)
        timers[self] = asyncio.get_running_loop().call_later(self.lease_left(), ended.add, self)

    def view(self: Membership) -> View | None:
        return None if self._backend in ended else self.group.view

    mutate.setattr(MemoryBackend, "_renew", renew_and_set_timer)
    mutate.setattr(Membership, "view", property(view))


def the_view_outlives_the_session(mutate: pytest.MonkeyPatch) -> None:
    forget = Group.session_expired

    def forget_all_but_the_view(self: Group) -> None:
        view, trusted = self._view, self._trusted
        forget(self)
        self._view, self._trusted = view, trusted

    mutate.setattr(Group, "session_expired", forget_all_but_the_view)


def the_lease_counts_from_the_answer(mutate: pytest.MonkeyPatch) -> None:
    renew = MemoryBackend._renew
    mutate.setattr(MemoryBackend, "_renew", lambda self, sent: renew(self, self.cluster.clock()))


def the_lease_is_as_long_as_the_session(mutate: pytest.MonkeyPatch) -> None:
    left = MemoryBackend.lease_left
    mutate.setattr(MemoryBackend, "lease_left", lambda self, **_quorum: left(self) + self.session_timeout / 3)


def placement_has_a_memory(mutate: pytest.MonkeyPatch) -> None:
    builds = itertools.count()

    def build(members: dict[str, int], policy: GroupPolicy) -> Any:
        return build_steps(members, replace(policy, vnodes=1 + next(builds) % 50))

    mutate.setattr("aiopartition.placement.builder.build_steps", build)


HANDOFF_MISTAKES = (what_is_gained_is_taken_at_once, one_acknowledgement_is_enough, acknowledged_before_work_has_ended)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mistake", "noticed_by"),
    [
        (lost_news_are_not_looked_for, "m[0-9]"),
        (events_are_applied_without_the_check, "believes in"),
        (the_generation_is_taken_before_the_events, "believes in"),
        (the_lease_is_a_timer, "after the cluster last heard of it"),
        (the_view_outlives_the_session, "a session before|has not joined in this session"),
        (the_lease_counts_from_the_answer, "after the cluster last heard of it"),
        (the_lease_is_as_long_as_the_session, "after the cluster last heard of it"),
        (nobody_is_superseded, "m[0-9]"),
        (placement_has_a_memory, "share in another way"),
        (what_is_gained_is_taken_at_once, "at once"),
        (one_acknowledgement_is_enough, "at once"),
        (acknowledged_before_work_has_ended, "at once"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_mistakes_are_found(
    mistake: Callable[[pytest.MonkeyPatch], None], noticed_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake breaks a promise within some hundred schedules, and it is the promise that one expects."""
    mistake(monkeypatch)
    tried: list[Schedule] = []

    @settings(
        max_examples=MOST_SCHEDULES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(exclusive_schedules if mistake in HANDOFF_MISTAKES else schedules)
    def run(schedule: Schedule) -> None:
        tried.append(schedule)
        try:
            simulate(schedule)
        except AssertionError as error:
            if re.search(noticed_by, str(error)):  # other promises may be broken with it, and some before it
                raise FoundError(str(error)) from None

    with pytest.raises(FoundError) as found:
        run()
    print(f"\n    {mistake.__name__}: in {len(tried)} schedules {str(found.value).splitlines()[0]}")
