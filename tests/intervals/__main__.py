"""Many runs, one after the other: ``python -m tests.intervals --seconds 600 --seed 1 [--servers 3]``."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.evidence import keep_servers
from tests.chaos.transactions import history
from tests.intervals.trial import Trial, servers_for_trial
from tests.support import ZooKeeperServer

RUN = 60.0
"""Seconds of one run, after which everything must be well again."""


async def main() -> int:
    """Print what happened; 1 if anything must not have."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to make trouble, in all")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each later one adds 1")
    parser.add_argument("--servers", type=int, default=3, help="1 or 3")
    options = parser.parse_args()

    faults: Counter[str] = Counter()
    intervals = violations = 0
    gaps: list[float] = []
    started = time.strftime("%Y%m%dT%H%M%S")
    seed, end = options.seed, time.monotonic() + options.seconds
    while (left := end - time.monotonic()) > 0:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            async with servers_for_trial(options.servers) as servers:
                outcome = await Trial(servers, folder, seed).run(min(RUN, left))
                lost = (await asyncio.to_thread(history, servers))[1]
                if outcome.violations:
                    evidence = Path("build", "intervals", f"{seed}-{started}")
                    await asyncio.to_thread(keep, evidence, folder, servers, outcome.violations, lost)
        faults += outcome.faults
        intervals += outcome.intervals
        violations += len(outcome.violations)
        gaps += outcome.gaps
        print(
            f"seed {seed}: {outcome.intervals} intervals, {sum(outcome.faults.values())} faults, "
            f"all at work {outcome.converged:.1f} s after the last",
            flush=True,
        )
        if lost:  # two may then work on one resource, each of whom has been told that it is theirs
            print(f"  the ensemble has forgotten {len(lost)} transactions that it had agreed upon (ZOOKEEPER-4643)")
        for violation in outcome.violations:
            print(f"  {violation}", flush=True)
        if outcome.violations:
            print(f"  what servers and members wrote is in {evidence}", flush=True)
        seed += 1
    gaps.sort()
    print(f"seeds {options.seed} to {seed - 1}, {options.servers} servers: {dict(sorted(faults.items()))}")
    print(f"{intervals} intervals of work, {violations} violations")
    if gaps:
        middle, most = gaps[len(gaps) // 2], gaps[len(gaps) * 99 // 100]
        print(f"a resource that changed hands was without an owner for {middle:.2f} s (median), {most:.2f} s (99 %)")
    return 1 if violations else 0


def keep(
    evidence: Path, folder: Path, servers: Sequence[ZooKeeperServer], violations: list[str], lost: set[int]
) -> None:
    """What a violation can be explained by: all journals and logs, and what each server did."""
    shutil.copytree(folder, evidence)
    (evidence / "violations").write_text("".join(f"{violation}\n" for violation in violations))
    (evidence / "forgotten").write_text("".join(f"{zxid:x}\n" for zxid in sorted(lost)))
    keep_servers(evidence, servers)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
