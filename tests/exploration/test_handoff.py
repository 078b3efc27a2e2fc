"""The smallest handoffs explored exhaustively; ``python -m tests.exploration --handoff`` explores larger ones."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.exploration.handoff_search import Model, Search
from tests.exploration.internals import Acknowledgement, Handoff

SECONDS = 60.0


class TakesUpWhatIsGainedAtOnce(Handoff):
    def viewed(self, generation: int, name: str, names: frozenset[str], mine: Any) -> None:
        super().viewed(generation, name, names, mine)
        self.active = mine


class TakesOneAcknowledgementForAll(Handoff):
    def acknowledged(self, generation: int, count: int) -> None:
        super().acknowledged(generation, count)
        self._complete = generation == self.generation


class AcknowledgesBeforeWorkHasEnded(Handoff):
    def _let_go(self, mine: Any) -> None:
        super()._let_go(mine)
        self.in_the_way.clear()


class NeverLooksAgain(Handoff):
    def overdue(self) -> None:
        """What got lost stays lost."""


class RetractsBeforeAllHaveAcknowledged(Handoff):
    @property
    def obsolete(self) -> Acknowledgement | None:
        return min(self._made, default=None)


def search(model: Model, handoff: type[Handoff] = Handoff) -> Search:
    found = Search(model, handoff, until=time.monotonic() + SECONDS)
    found.run()
    return found


@pytest.mark.timeout(120)
def test_every_interleaving_of_a_small_handoff() -> None:
    """P7 and P5: one member is at work, another joins."""
    explored = search(Model(("x", "y"), 2, 0, 2, established=1))
    print(f"\n    {explored}")
    assert explored.exhausted
    assert explored.states > 200


@pytest.mark.parametrize(
    ("mistake", "model", "noticed_by"),
    [
        (TakesUpWhatIsGainedAtOnce, Model(("x", "y"), 2, 0, 2, established=1), "two have slot"),
        (TakesOneAcknowledgementForAll, Model(("x", "y"), 2, 0, 2, established=1), "two have slot"),
        (AcknowledgesBeforeWorkHasEnded, Model(("x", "y"), 2, 0, 2, established=1), "two have slot"),
        (RetractsBeforeAllHaveAcknowledged, Model(("x", "y"), 2, 0, 2, established=1), "does not complete"),
        (NeverLooksAgain, Model(("x", "y"), 2, 1, 2, established=1), "a quiet fleet does not complete"),
    ],
)
@pytest.mark.timeout(120)
def test_mistakes_are_found(mistake: type[Handoff], model: Model, noticed_by: str) -> None:
    with pytest.raises(AssertionError, match=noticed_by) as found:
        search(model, mistake)
    print(f"\n    {mistake.__name__}: {found.value}")
