"""The smallest handoffs explored exhaustively; ``python -m tests.exploration --handoff`` explores larger ones."""

import time
from operator import or_
from typing import Any

import pytest

from tests.exploration import handoff_member
from tests.exploration.handoff_member import POLICY
from tests.exploration.handoff_search import Model, Search
from tests.exploration.handoff_states import CopiedService
from tests.exploration.internals import Handoff, Mark, Marks, MarksCount, Step

SECONDS = 10.0
"""For what has nothing to find and is too large to be exhausted. All else ends by itself, however long it takes."""


class TakesUpWhatIsGainedAtOnce(Handoff):
    def viewed(self, generation: int, name: str, names: frozenset[str], mine: Any) -> None:
        super().viewed(generation, name, names, mine)
        self.active = tuple(map(or_, self.active, mine))


class TakesOneAcknowledgementForAll(Handoff):
    def marked(self, mark: Mark, count: MarksCount) -> None:
        super().marked(mark, count)
        if mark.generation == self.generation and not mark.ready:
            self._conclusion = Step.ACTIVATE


class AcknowledgesBeforeWorkHasEnded(Handoff):
    def _keep(self, mine: Any) -> None:
        super()._keep(mine)
        self.in_the_way.clear()


class LetsGoBeforeAllAreReady(Handoff):
    def viewed(self, generation: int, name: str, names: frozenset[str], mine: Any) -> None:
        super().viewed(generation, name, names, mine)
        self.let_go()


class NeverLooksAgain(Handoff):
    def overdue(self) -> None:
        """What got lost stays lost."""


class RetractsBeforeAllHaveAcknowledged(Handoff):
    @property
    def obsolete(self) -> Mark | None:
        return min(self._made, default=None)


def search(model: Model, handoff: type[Handoff] = Handoff, seconds: float = float("inf")) -> Search:
    found = Search(model, handoff, until=time.monotonic() + seconds)
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
        (LetsGoBeforeAllAreReady, Model(("x", "y"), 2, 0, 2, established=1), "not all are ready"),
        (RetractsBeforeAllHaveAcknowledged, Model(("x", "y"), 2, 0, 2, established=1), "does not complete"),
        (NeverLooksAgain, Model(("x", "y"), 2, 1, 2, established=1), "a quiet fleet does not complete"),
    ],
)
@pytest.mark.timeout(120)
def test_mistakes_are_found(mistake: type[Handoff], model: Model, noticed_by: str) -> None:
    with pytest.raises(AssertionError, match=noticed_by) as found:
        search(model, mistake)
    print(f"\n    {mistake.__name__}: {found.value}")


class MovesThereAndBack:
    """The one slot is at the first of one member, at the second of two, and at the first of three."""

    def __init__(self, ids: tuple[str, ...], slots: int) -> None:
        self._owner = ids[1] if len(ids) == 2 else ids[0]
        self._slots = POLICY.slots

    def mask(self, member_id: str) -> tuple[bool, ...]:
        return (member_id == self._owner,) + (False,) * (self._slots - 1)


def later_ones_count(self: CopiedService, generation: int) -> Marks:
    later = [mark for mark in self.marks if mark.generation >= generation]
    return Marks(
        frozenset(mark.name for mark in later if mark.ready), frozenset(mark.name for mark in later if not mark.ready)
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mistaken", [False, True])
def test_to_acknowledge_a_later_generation_is_not_to_acknowledge_this_one(
    mistaken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that has missed a generation has not let go of what that would have taken from it."""
    monkeypatch.setattr(handoff_member, "placement", MovesThereAndBack)
    model = Model(("x", "y", "z"), 1, 0, 3, established=1)
    if not mistaken:
        search(model, seconds=SECONDS)
        return
    monkeypatch.setattr(CopiedService, "marks_of", later_ones_count)
    with pytest.raises(AssertionError, match="two have slot"):
        search(model)
