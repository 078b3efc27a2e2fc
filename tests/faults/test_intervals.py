"""No two processes ever work on one resource of an exclusive group at the same time, whatever happens to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.intervals.trial import Trial, servers_for_trial

pytestmark = pytest.mark.timeout(150)


@pytest.mark.parametrize("count", [1, 3])
async def test_no_overlap_under_faults(count: int, tmp_path: Path) -> None:
    """Joins, leaves, kills, silences, supersessions, killed servers; afterwards all resources run again."""
    async with servers_for_trial(count) as servers:
        outcome = await Trial(servers, tmp_path, seed=count).run(10.0)
    assert outcome.violations == []
    assert outcome.intervals >= 60
    print(f"{outcome.intervals} intervals of work, {dict(outcome.faults)}, 0 overlaps")


@pytest.mark.parametrize("mutation", ["acknowledge", "leave"])
async def test_checker_catches(mutation: str, tmp_path: Path) -> None:
    """A library that does not wait until work has ended is told apart when each member is replaced once."""
    async with servers_for_trial(1) as servers:
        outcome = await Trial(servers, tmp_path, seed=5, mutation=mutation).roll()
    assert any("ended" in violation for violation in outcome.violations)


async def test_rolling_restart(tmp_path: Path) -> None:
    """The same with the library as it is."""
    async with servers_for_trial(1) as servers:
        outcome = await Trial(servers, tmp_path, seed=5).roll()
    assert outcome.violations == []
