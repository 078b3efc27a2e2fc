"""Runs benchmarks: all of them, or those that are named.

Each prints its tables, and replaces its part of a JSON file. The picture is drawn of what stands in that file, so that
it can be made of several runs.
"""

import argparse
import asyncio
import gc
import importlib
import inspect
import json
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from tests.benchmarks.picture import draw
from tests.benchmarks.report import Report, circumstances

NAMES = (
    "per_key",
    "polling_cycle",
    "loop_stalls",
    "table_build",
    "rebalance",
    "handoff",
    "zookeeper_cost",
    "membership_cost",
    "restarts",
    "quorum_cost",
    "faults",
    "memory",
    "balance",
    "size",
    "weights",
    "partitions",
    "instrumentation",
)
RESULTS = Path("build", "benchmarks.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all without a name")
    parser.add_argument("--quick", action="store_true", help="so small that nothing counts but that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"default: {RESULTS}; with --quick, none")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw an SVG of all that stands in the JSON file")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}")
    results: Path | None = options.json or (None if options.quick else RESULTS)
    if options.picture and results is None:
        parser.error("a picture of a quick run needs a JSON file of its own")

    logging.getLogger().addHandler(logging.NullHandler())  # the peers talk a lot while they are being ended
    found: dict[str, Any] = json.loads(results.read_text()) if results and results.exists() else {}
    for name in options.names or NAMES:
        found[name] = run(name, quick=options.quick)
        if results:
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if options.picture:
        options.picture.write_text(draw(found))
        print(f"drawn: {options.picture}")
    if results:
        print(f"written: {results}")


def run(name: str, *, quick: bool) -> dict[str, Any]:
    """One benchmark in an event loop of its own; what it found, for the JSON file."""
    module = importlib.import_module(f"tests.benchmarks.{name}")
    if quick:
        gc.freeze()  # to collect what was imported, over and over, takes most of a quick run
    measure = cast("Callable[..., Awaitable[Report]]", module.measure)
    about, facts = inspect.getdoc(module) or "", circumstances()
    versions = ", ".join(f"{package} {number}" for package, number in facts["versions"].items())
    print(f"\n━━━━ {name}\n\n{about}\n")
    print(
        f"{facts['processors']}, load {facts['load']}, {facts['system']}, {facts['python']}, {versions}\n", flush=True
    )
    began = time.monotonic()

    async def measured() -> Report:
        return await measure(quick=quick)

    report = asyncio.run(measured())
    print(f"{report}\n\n({time.monotonic() - began:.0f} s)", flush=True)
    return {"about": about, "circumstances": facts, "quick": quick, **report.as_json()}


if __name__ == "__main__":
    main()
