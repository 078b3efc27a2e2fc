"""The rows of the benchmark of faults are promises that tests hold."""

from pathlib import Path

import pytest

from tests.benchmarks.faults import ROWS

FAULTS = Path(__file__).parents[1] / "faults"


@pytest.mark.parametrize("row", ROWS)
def test_each_row_names_a_test(row: str) -> None:
    file, _, name = ROWS[row][1].partition("::")
    assert f"async def test_{name}(" in (FAULTS / f"test_{file}.py").read_text()
