"""How often a listing is asked for: every ``refresh`` seconds, and after gains, but not for each of them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aiopartition.testing import VirtualTimeLoop
from aiopartition.work.listing import Listing

Scenario = Callable[["Asked"], Awaitable[None]]


class Asked:
    """A listing that is followed, and when it was asked for."""

    def __init__(self, refresh: float, takes: float) -> None:
        self.moments: list[float] = []
        self.in_flight = self.most_in_flight = 0
        self._takes = takes
        self.listing: Listing[str] = Listing(
            self._resources, None, refresh, where="", strict=False, changed=lambda: None, failed=lambda: None
        )

    async def _resources(self) -> list[str]:
        self.moments.append(round(asyncio.get_running_loop().time(), 3))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self._takes)
        self.in_flight -= 1
        return ["a"]


def follow(refresh: float, scenario: Scenario, *, takes: float = 0.1) -> Asked:
    """Follow a listing in virtual time until a scenario ends."""

    async def main() -> Asked:
        asked = Asked(refresh, takes)
        following = asyncio.create_task(asked.listing.follow())
        await scenario(asked)
        asked.listing.close()
        following.cancel()
        await asyncio.wait({following})
        return asked

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


def gains(*moments: float) -> Scenario:
    """Something is gained at these moments."""

    async def scenario(asked: Asked) -> None:
        for moment in moments:
            await asyncio.sleep(moment - asyncio.get_running_loop().time())
            asked.listing.ask_again()
        await asyncio.sleep(4.99)

    return scenario


@pytest.mark.parametrize(
    ("moments", "asked_at"),
    [
        ((), [0.0]),
        ((3.0,), [0.0, 3.0]),  # at once
        ((0.5,), [0.0, 1.0]),  # soon after another question: not at once
        ((0.05,), [0.0, 1.0]),  # during a question, whose answer may be too old
        ((3.0, 3.2, 3.4, 3.6), [0.0, 3.0, 4.0]),  # several gains are one question
        ((3.0, 8.0, 13.0), [0.0, 3.0, 8.0, 13.0]),
    ],
)
def test_when_it_is_asked_for(moments: tuple[float, ...], asked_at: list[float]) -> None:
    """After gains, with a refresh that never comes."""
    assert follow(1000.0, gains(*moments)).moments == asked_at


def test_gains_without_end() -> None:
    """One question a second, however many gains there are."""
    asked = follow(1000.0, gains(*[0.01 * number for number in range(1, 2001)]))
    assert asked.moments == [float(number) for number in range(22)]


def test_gains_while_answers_take_long() -> None:
    """One question in flight at most."""
    asked = follow(1000.0, gains(*[0.01 * number for number in range(1, 2001)]), takes=3.0)
    assert asked.most_in_flight == 1
    assert asked.moments == [3.0 * number for number in range(8)]


def test_gains_delay_no_question() -> None:
    """It is asked for every ``refresh`` seconds at least, also if these are less than a second."""
    assert follow(0.4, gains(*[0.01 * number for number in range(1, 101)])).moments[:4] == [0.0, 0.4, 0.8, 1.2]
    assert follow(2.0, gains()).moments == [0.0, 2.1, 4.2]
