"""What happens in a crew by itself, before any fault is injected."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

from aiopartition import GroupPolicy
from tests.exploration.work import KINDS, Work


@dataclass(frozen=True)
class Scenario:
    """A crew and what happens in it.

    :ivar members: how many of them faults happen to.
    :ivar keys: the resources.
    :ivar events: seconds since the beginning, the name of the event, which is one of a fault, and the member.
    :ivar duration: seconds in which faults are injected.
    :ivar since: seconds before any is.
    :ivar eager: whether tasks take their first step when they are created, which Python 3.12 can do.
    """

    name: str
    members: int
    keys: tuple[str, ...]
    work: Work
    policy: GroupPolicy
    events: tuple[tuple[float, str, int], ...]
    duration: float
    since: float = 0.0
    eager: bool = False


ORDINARY: Final = GroupPolicy(slots=64, vnodes=8)
EXCLUSIVE: Final = GroupPolicy(slots=64, vnodes=8, exclusive=True)


def _mixed(count: int) -> tuple[str, ...]:
    return tuple(f"{KINDS[number % len(KINDS)]}-{number}" for number in range(count))


def _staying(count: int) -> tuple[str, ...]:
    return tuple(f"stays-{number}" for number in range(count))


def _scenarios(kind: str, policy: GroupPolicy) -> list[Scenario]:
    everything = Work(holds=policy.exclusive, iterates=True)
    two = ((0.0, "start", 0), (0.2, "start", 1))
    returns = ((0.7, "cut off", 0), (3.3, "reconnect", 0))
    many = Work(settle=0.0, lists_once=True)
    return [
        Scenario(f"two {kind}", 2, _mixed(10), everything, policy, two, 1.2),
        Scenario(
            f"three {kind}", 3, _mixed(10), everything, policy,
            (*two, (0.2, "start", 2), (0.8, "leave", 2), (1.0, "join again", 2)), 1.3,
        ),
        # Workers that end at once, so that nothing but batches and items, or items alone, keeps others waiting.
        Scenario(f"quick {kind}", 2, _staying(10), everything, policy, two, 1.2),
        Scenario(f"items {kind}", 2, _staying(10), Work(iterates=True), policy, two, 1.2),
        # More workers than are started between two turns of the loop, so that a start can be interrupted, also by a
        # change of the members.
        Scenario(f"many {kind}", 2, _staying(200), many, policy, (*two, *returns), 3.6),
        # So many that another process can take the id while they are being started.
        Scenario(f"crowd {kind}", 2, _staying(1300), many, policy, (*two, *returns), 3.35, 3.29),
        Scenario(f"back {kind}", 2, _mixed(10), Work(), policy, (*two, *returns), 3.6),
    ]  # fmt: skip


def _eager(scenario: Scenario) -> Scenario:
    return replace(scenario, name=f"eager {scenario.name}", eager=True)


_LAZY: Final = (*_scenarios("ordinary", ORDINARY), *_scenarios("exclusive", EXCLUSIVE))

EAGER_TASKS: Final[Any] = getattr(asyncio, "eager_task_factory", None)
"""The task factory of eager tasks, from Python 3.12 on."""

SCENARIOS: Final = {each.name: each for each in (*_LAZY, *(map(_eager, _LAZY) if EAGER_TASKS else ()))}
