"""All interleavings of a small handoff: whether a slot is ever at two members, and whether all of them complete."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from tests.exploration.handoff_states import Action, State
from tests.exploration.internals import Handoff, Step

MOST_QUIET_ACTIONS: Final = 2_000


class StuckError(AssertionError):
    """Nothing is at fault any more, and a handoff does not complete."""


@dataclass(frozen=True)
class Model:
    """What is explored.

    :ivar ids: of the members; two with one id are two processes, of which the later takes the place of the earlier.
    :ivar faults: disconnections, silences, crashes and losses of news, in any order. What follows of them comes on top.
    :ivar generations: of the membership.
    :ivar established: so many of the members have joined before, and have all that is theirs.
    """

    ids: tuple[str, ...]
    slots: int
    faults: int
    generations: int
    established: int = 0

    def __str__(self) -> str:
        return (
            f"members {' '.join(self.ids)} ({self.established} established), {self.slots} slots, {self.faults} faults, "
            f"{self.generations} generations"
        )


MODELS: Final = (
    Model(("x", "x"), 2, 0, 2),
    Model(("x", "y"), 2, 0, 2),
    Model(("x", "y"), 2, 1, 2, established=1),
    Model(("x", "x"), 2, 1, 3, established=1),
    Model(("x", "y"), 4, 1, 3, established=2),
    Model(("x", "y", "z"), 2, 0, 3, established=2),
    Model(("x", "y"), 2, 2, 3, established=2),
    Model(("x", "y"), 2, 1, 3, established=1),
    Model(("x", "x", "y"), 2, 0, 3, established=1),
    Model(("x", "y", "z"), 3, 1, 4, established=3),
)
"""From the smallest: the first six are exhausted within minutes, the others take as long as they are given."""


class Search:
    """Visits every state that can be reached, each once.

    :param until: on the clock of :func:`time.monotonic`, when to give up.
    """

    def __init__(self, model: Model, handoff: type[Handoff] = Handoff, *, until: float = float("inf")) -> None:
        self.model = model
        self.states = 0
        self.transitions = 0
        self.exhausted = False
        self._until = until
        self._first = _established(State(model.ids, model.slots, model.faults, model.generations, handoff), model)
        self._came_by: dict[int, tuple[int, Action] | None] = {}
        self._live: set[int] = set()
        """States from which a quiet fleet completes."""
        self._quiet: list[Action] = []
        """What has happened since nothing was at fault any more."""

    def run(self) -> None:
        """Breadth first, so that what is found is short.

        :raises AssertionError: with the shortest way to what must not be.
        """
        first = self._first.key()
        self._came_by[first] = None
        waiting = deque([(self._first, first)])
        while waiting and time.monotonic() < self._until:
            state, key = waiting.popleft()
            self.states += 1
            try:
                self._require_completion(state)
            except StuckError as error:
                raise self._told(error, key) from None
            except AssertionError as error:
                raise self._told(error, key, *reversed(self._quiet)) from None
            for action in state.everything():
                self.transitions += 1
                try:
                    after = state.after(action)
                except AssertionError as error:
                    raise self._told(error, key, action) from None
                reached = after.key()
                if reached not in self._came_by:
                    self._came_by[reached] = key, action
                    waiting.append((after, reached))
        self.exhausted = not waiting

    def _require_completion(self, state: State) -> None:
        """Without a further fault all come to have what is theirs. A state is looked into once."""
        quiet, way = state, list[int]()
        self._quiet.clear()
        for _ in range(MOST_QUIET_ACTIONS):
            key = quiet.key()
            if key in self._live or _is_complete(quiet):
                self._live.update(way)
                self._live.add(key)
                return
            way.append(key)
            self._quiet.append(_next_quiet_action(quiet, len(way)))
            quiet = quiet.after(self._quiet[-1])
        raise StuckError("a quiet fleet does not complete its handoff")

    def _told(self, error: AssertionError, key: int, *last: Action) -> AssertionError:
        actions = list(last)
        while (step := self._came_by[key]) is not None:
            key, action = step
            actions.append(action)
        history = "; ".join(_shown(action) for action in reversed(actions))
        return type(error)(f"{error}, after {len(actions)} actions: {history}")

    def __str__(self) -> str:
        extent = "all" if self.exhausted else "not all"
        return f"{self.model}: {self.states} states ({extent}), {self.transitions} transitions"


def _established(state: State, model: Model) -> State:
    for index in range(model.established):
        state = state.after(("start", index, 0))
        number = 0
        while not _is_complete(state):
            number += 1
            state = state.after(_next_quiet_action(state, number))
    return state


def _next_quiet_action(state: State, number: int) -> Action:
    """What happens next if nothing is at fault: the dead expire, all are connected, work ends, news arrive."""
    for machine in state.machines:
        if machine.crashed and state.has_session(machine):
            return "expire", machine.index, 0
        if machine.alive and not machine.connected:
            return "reconnect", machine.index, 0
    if actions := list(state.ordinary()):
        return actions[number % len(actions)]
    present = [machine.index for machine in state.machines if machine.alive]
    return ("heartbeat", present[number % len(present)], 0) if present else ("go on", 0, 0)


def _is_complete(state: State) -> bool:
    """All are at the newest generation with all that it gives them, and nothing is to be done."""
    if state.late is not None and not any(machine.alive for machine in state.machines):
        return True
    for machine in state.machines:
        if machine.crashed and state.has_session(machine):
            return False
        if not machine.alive:
            continue
        if machine.pending is not None or machine.group.next_step() is not Step.REST:
            return False
        if not machine.connected or not machine.holding:
            return False
        if machine.superseded:
            continue
        view = machine.group.view
        if view is None or view.generation != state.service.generation or machine.handoff.waiting:
            return False
        if tuple(view.mask) != view.table.mask(machine.group.member.id):
            return False
    return True


def _shown(action: Action) -> str:
    what, index, slot = action
    return f"{index} {what} {slot}" if what.startswith("work") else f"{index} {what}"
