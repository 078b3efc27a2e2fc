"""The benchmarks run. At these sizes what they measure means nothing."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks.__main__ import NAMES

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.timeout(240)  # it computes all the time, and shares two cores with others
def test_all_run_and_are_drawn(tmp_path: Path) -> None:
    results, picture = tmp_path / "results.json", tmp_path / "picture.svg"
    # A process of its own: they collect garbage, trace memory and run the threads of others.
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", "--json", results, "--picture", picture],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(results.read_text())
    assert list(found) == list(NAMES)
    assert all(table["rows"] for benchmark in found.values() for table in benchmark["tables"].values())
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
