"""Which attempts are tried, and in which order."""

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import gcd
from typing import Final

from tests.exploration.attempt import Attempt, Outcome, try_out
from tests.exploration.faults import FAULTS, GENERAL, Injection
from tests.exploration.fingerprint import fingerprint
from tests.exploration.scenarios import Scenario

SECONDS_TO_ONE_FIRST: Final = 40
"""So many second faults are tried after each first one, before it is another's turn."""

SPREAD: Final = 1009
"""In a sample each fault is met at other turns."""


def every_injection(scenario: Scenario, turns: Iterable[int]) -> Iterator[Injection]:
    """Every fault, to every member, before each of these turns."""
    for turn in turns:
        for fault in FAULTS:
            for member in range(1 if fault in GENERAL else scenario.members):
                yield Injection(turn, fault, member)


def sample(injections: Iterable[Injection], count: int) -> list[Injection]:
    """So many of them, spread evenly, and always the same."""
    every = list(injections)
    if not every:
        return []
    step = SPREAD
    while gcd(step, len(every)) > 1:
        step += 1
    return [every[number * step % len(every)] for number in range(min(count, len(every)))]


@dataclass
class Exploration:
    """What was tried, and what was found."""

    scenarios: int = 0
    turns: int = 0
    attempts: int = 0
    states: set[int] = field(default_factory=set[int])
    failures: dict[tuple[str, ...], str] = field(default_factory=dict[tuple[str, ...], str])
    """By scenario, promise and faults: the first attempt that breaks it, and how."""

    def begin(self, scenario: Scenario) -> Outcome:
        """The scenario without any fault."""
        self.scenarios += 1
        return self.try_out(Attempt(scenario))

    def single_faults(self, scenario: Scenario, injections: Iterable[Injection], until: float = float("inf")) -> None:
        """Try each of these by itself.

        :param until: on the clock of :func:`time.monotonic`.
        """
        for injection in injections:
            if time.monotonic() >= until:
                return
            self.try_out(Attempt(scenario, (injection,)))

    def pairs(self, scenarios: Iterable[Scenario], until: float, seed: object = 0) -> None:
        """Two faults at a time, for as long as there is time: the second one in states that have not been met yet."""
        chance = random.Random(str(seed))
        bases = [(scenario, try_out(Attempt(scenario)).turns_for_faults) for scenario in scenarios]
        firsts = [(scenario, list(every_injection(scenario, turns))) for scenario, turns in bases]
        for _, injections in firsts:
            chance.shuffle(injections)
        while any(injections for _, injections in firsts):
            for scenario, injections in firsts:
                if time.monotonic() >= until:
                    return
                if injections:
                    self._second_faults(scenario, injections.pop(), until, chance)

    def _second_faults(self, scenario: Scenario, first: Injection, until: float, chance: random.Random) -> None:
        outcome = self.try_out(Attempt(scenario, (first,)), fingerprints=True)
        if outcome.failure is not None or not outcome.applied:
            return
        new = [turn for turn, state in outcome.states if state not in self.states]
        self.states.update(state for _, state in outcome.states)
        seconds = list(every_injection(scenario, new))
        for second in chance.sample(seconds, min(SECONDS_TO_ONE_FIRST, len(seconds))):
            if time.monotonic() >= until:
                return
            self.try_out(Attempt(scenario, (first, second)))

    def try_out(self, attempt: Attempt, *, fingerprints: bool = False) -> Outcome:
        outcome = try_out(attempt, fingerprint if fingerprints else None)
        if outcome.applied:
            self.attempts += 1
            self.turns += outcome.turns
        if outcome.failure is not None:
            faults = (each.fault for each in attempt.injections)
            kind = (attempt.scenario.name, str(outcome.failure).partition(":")[0], *faults)
            if kind not in self.failures:
                self.failures[kind] = f"{attempt}\n    {outcome.failure}"
        return outcome

    def __str__(self) -> str:
        return (
            f"{self.scenarios} scenarios, {self.attempts} attempts, {self.turns} turns of the event loop, "
            f"{len(self.states)} states after deduplication, {len(self.failures)} kinds of failures"
        )
