"""One run: a scenario, with faults injected before given turns of the event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tests.exploration.checks import EachTurn, what_is_unsettled
from tests.exploration.crew import HEARTBEAT, SESSION_TIMEOUT, BrokenPromise, Crew
from tests.exploration.faults import FAULTS, Injection, inject
from tests.exploration.internals import numbered_nonces
from tests.exploration.loop import TurnLoop
from tests.exploration.scenarios import EAGER_TASKS, SCENARIOS, Scenario

AFTERMATH: Final = SESSION_TIMEOUT + HEARTBEAT
"""Seconds from the end of a scenario until all networks are healed: sessions of those that are cut off end before."""
AFTER_HEALING: Final = 0.5
"""Seconds for which further faults are injected then."""
CONVERGENCE: Final = 10.0
"""Seconds in which a crew without faults has to settle."""
LOOK: Final = 0.25
PROOF: Final = 1.2
"""Seconds after which it has to be settled still."""
MOST_TURNS: Final = 50_000


@dataclass(frozen=True)
class Attempt:
    """A scenario and its faults. As text it can be repeated."""

    scenario: Scenario
    injections: tuple[Injection, ...] = ()

    def __str__(self) -> str:
        return " | ".join((self.scenario.name, *map(str, self.injections)))

    @classmethod
    def parse(cls, text: str) -> Attempt:
        name, *injections = text.split(" | ")
        return cls(SCENARIOS[name], tuple(map(Injection.parse, injections)))


@dataclass
class Outcome:
    """What came of a run.

    :ivar turns: all that the event loop took.
    :ivar scenario_began: the turn from which on faults are injected.
    :ivar scenario_ended: the turn in which the scenario's last event was over.
    :ivar window_ended: the turn from which on nothing is injected any more.
    :ivar applied: whether each fault could happen.
    """

    turns: int = 0
    scenario_began: int = 0
    scenario_ended: int = 0
    window_ended: int = 0
    applied: bool = True
    failure: BrokenPromise | None = None
    states: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """The fingerprint of the crew before each turn of the window."""

    @property
    def turns_for_faults(self) -> range:
        return range(self.scenario_began, self.scenario_ended)


def try_out(attempt: Attempt, fingerprint: Callable[[Crew], int] | None = None) -> Outcome:
    """Run an attempt. It always goes the same way.

    :param fingerprint: of the crew, asked for before each turn after the last injection.
    """
    outcome = Outcome()
    random.seed(0)  # the library draws how long it waits before a worker is started again
    loop = TurnLoop()
    if attempt.scenario.eager:
        loop.set_task_factory(EAGER_TASKS)
    asyncio.set_event_loop(None)
    with numbered_nonces():
        scenario = attempt.scenario
        crew = Crew(loop, scenario.policy, scenario.keys, scenario.work, lists_once=scenario.work.lists_once)
        loop.set_exception_handler(partial(_unhandled, crew))
        loop.between_turns = _BetweenTurns(crew, attempt, outcome, fingerprint)
        try:
            loop.run_until_complete(_main(crew, scenario, outcome))
        except BrokenPromise as failure:
            outcome.failure = failure
        except NotApplicableError:
            outcome.applied = False
        finally:
            outcome.turns = loop.turn
            _close(loop, crew)
    return outcome


class NotApplicableError(Exception):
    """A fault cannot happen at that moment."""


class _BetweenTurns:
    """Checks after a turn, then injects what is due before the next one."""

    def __init__(
        self, crew: Crew, attempt: Attempt, outcome: Outcome, fingerprint: Callable[[Crew], int] | None
    ) -> None:
        self._crew = crew
        self._check = EachTurn(crew)
        self._since = attempt.scenario.since
        self._due = list(reversed(attempt.injections))
        self._outcome = outcome
        self._fingerprint = fingerprint

    def __call__(self) -> None:
        crew, turn = self._crew, self._crew.loop.turn
        if not self._outcome.scenario_began and crew.loop.time() >= self._since:
            self._outcome.scenario_began = max(1, turn)
        self._check()
        if crew.failure is not None:
            raise crew.failure
        if turn > MOST_TURNS:
            raise BrokenPromise(f"P9: the event loop turns without rest, at {crew.loop.time():.3f} s")
        while self._due and self._due[-1].turn <= turn:
            if not inject(crew, self._due.pop()):
                raise NotApplicableError
        if self._fingerprint is not None and not self._due and not self._outcome.window_ended:
            self._outcome.states.append((turn, self._fingerprint(crew)))


async def _main(crew: Crew, scenario: Scenario, outcome: Outcome) -> None:
    loop = crew.loop
    for at, event, member in scenario.events:
        await asyncio.sleep(at - loop.time())
        FAULTS[event](crew, member)
    await asyncio.sleep(scenario.duration - loop.time())
    outcome.scenario_ended = loop.turn
    await asyncio.sleep(AFTERMATH)
    crew.heal()
    await asyncio.sleep(AFTER_HEALING)
    outcome.window_ended = loop.turn
    crew.heal()
    await _require_settled(crew)
    await asyncio.sleep(PROOF)
    if unsettled := what_is_unsettled(crew):
        crew.break_promise(f"{unsettled}; it had settled before")
    if crew.failure is not None:
        raise crew.failure


async def _require_settled(crew: Crew) -> None:
    deadline = crew.loop.time() + CONVERGENCE
    while unsettled := what_is_unsettled(crew):
        if crew.loop.time() >= deadline:
            crew.break_promise(f"{unsettled}; {CONVERGENCE:g} s after the last fault")
            return
        await asyncio.sleep(LOOK)


def _unhandled(crew: Crew, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    if not crew.closing:
        crew.break_promise(f"P9: {context.get('message')}: {context.get('exception')!r}")


def _close(loop: TurnLoop, crew: Crew) -> None:
    """End every task. Workers do not linger any more."""
    crew.closing = True
    loop.between_turns = None
    loop.call_soon(loop.stop)
    loop.run_forever()  # a stop may be under way that was meant for the main task
    for _ in range(MOST_CANCELLATIONS):
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            break
        loop.run_until_complete(asyncio.sleep(0))  # a task that is cancelled before it has begun leaves a warning
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


MOST_CANCELLATIONS: Final = 100
