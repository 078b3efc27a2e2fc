"""Chaos: members in processes of their own, a real ensemble, faults at random, and a referee.

The seed repeats the schedule of faults, not the interleaving, which is the machine's.
"""

import argparse
import asyncio
import itertools
import logging
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from tests.chaos.chance import WEIGHTS, kinds_of_round, random_schedule
from tests.chaos.conditions import STOCK, Conditions
from tests.chaos.faults import Fault
from tests.chaos.judge import Judge
from tests.chaos.mutations import MUTATIONS
from tests.chaos.scenarios import SCENARIOS, checks_of
from tests.chaos.trial import Trial
from tests.chaos.workloads import WORKLOADS
from tests.chaos.world import World

ROUND = 25.0
"""Seconds of faults before everything is made well."""


def schedule_of(
    seed: int, number: int, length: float, conditions: Conditions, kinds: Collection[str]
) -> Sequence[Fault]:
    return random_schedule(random.Random(f"{seed} {number}"), length, conditions, kinds or kinds_of_round(number))


async def chaos(
    seconds: float, seed: int, conditions: Conditions, only: int | None, kinds: Collection[str] = ()
) -> int:
    """As many rounds as there is time for, one at least; the number of violations."""
    length = min(ROUND, seconds)
    until = time.monotonic() + seconds - length
    print(f"seed {seed}: rounds of {length:g} s, {conditions}", flush=True)
    evidence = Path("build", "chaos", f"{seed}-{time.strftime('%Y%m%dT%H%M%S')}")
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        async with World(conditions, Path(directory)) as world:
            trial = Trial.of(world, evidence)
            try:
                for number in itertools.count() if only is None else [only]:
                    if number and only is None and time.monotonic() > until:
                        break
                    reported = len(trial.judge.violations)
                    begun = time.monotonic()
                    await trial.round(schedule_of(seed, number, length, conditions, kinds))
                    print(
                        f"round {number}: {time.monotonic() - begun:.0f} s, "
                        f"converged in {trial.convergence[-1]:.2f} s, "
                        f"{len(trial.judge.violations) - reported} violations",
                        flush=True,
                    )
                    for violation in trial.judge.violations[reported : reported + 12]:
                        print(f"  {violation}", flush=True)
            finally:  # also of a run that somebody interrupts
                print(summary(trial, seed))
    if trial.judge.violations:
        print(f"what the servers and members of these rounds wrote is in {evidence}")
    return len(trial.judge.violations)


def summary(trial: Trial, seed: int) -> str:
    judge = trial.judge
    longest = max(trial.used.values(), key=len, default=[])
    memory = (
        [f"{what} {longest[0][what]:,} -> {longest[-1][what]:,}" for what in ("blocks", "resident")] if longest else []
    )
    return "\n".join(
        [
            f"faults: {trial.struck.total()} {counts(trial.struck)}",
            f"not possible at their time: {trial.missed.total()} {counts(trial.missed)}",
            f"rounds not judged, as the ensemble has forgotten what it had told: {judge.rounds_unjudged}",
            f"of these, rounds that left servers whose copies of the tree differ: {trial.reunited}",
            f"hand-outs: {judge.handed_out:,}",
            f"checks: {judge.checks.total():,} {counts(judge.checks)}",
            f"two owners: {judge.longest_overlap:.3f} s at the longest, {judge.total_overlap:.2f} s in all",
            f"in use after the next generation: {judge.longest_stale:.3f} s at the longest",
            f"kept by members while only others were in trouble: {judge.least_held:.0%} at the least",
            *gaps(judge),
            f"convergence: {max(filter(math.isfinite, trial.convergence), default=0.0):.2f} s at the longest",
            f"memory of one process after the first and last of its {len(longest)} rounds: {', '.join(memory)}",
            f"violations: {len(judge.violations)} {counts(Counter(each.check for each in judge.violations))}",
            f"repeat with --seed {seed}",
        ]
    )


def gaps(judge: Judge) -> list[str]:
    """How long keys of an exclusive group had no worker, if it was one."""
    times = sorted(judge.gaps)
    if not times:
        return []
    middle, most = times[len(times) // 2], times[len(times) * 99 // 100]
    return [f"without a worker, a key that has had one: {middle:.2f} s (median), {most:.2f} s (99 %)"]


def counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


async def try_mutations(names: Sequence[str]) -> int:
    """Break one promise after the other. How many are not found out, or found broken where they are not."""
    failures = 0
    for name in names:
        scenario = SCENARIOS[name]
        sound, violations = await scenario.violations(None), await scenario.violations(name)
        broken = checks_of(violations)
        caught = bool(set(broken) & scenario.caught_by)
        failures += bool(sound) + (not caught)
        print(f"{'caught' if caught else 'NOT CAUGHT':10} {name:26} by {counts(broken) or 'nothing'}", flush=True)
        if sound:
            print(f"{'':10} the library as it is, in the same scenario: {counts(checks_of(sound))}", flush=True)
        for violation in [*sound, *([] if caught else violations)][:12]:
            print(f"{'':10} {violation}", flush=True)
    print(f"{len(names)} mutations, {failures} failures")
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=240.0, help="how long (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="which faults (default: drawn, and printed)")
    parser.add_argument("--round", type=int, help="only this one of the seed's rounds")
    parser.add_argument("--workload", choices=WORKLOADS, default="shared", help="what members do")
    parser.add_argument("--servers", type=int, choices=(1, 3), default=3, help="one by itself, or an ensemble")
    parser.add_argument("--faults", nargs="+", choices=WEIGHTS, default=(), help="only these kinds")
    parser.add_argument("--stock", action="store_true", help="timing in the proportions of a server's usual settings")
    parser.add_argument("--mutation", choices=MUTATIONS, help="break one promise of the library first")
    parser.add_argument("--mutations", nargs="*", choices=MUTATIONS, help="break one after the other, is it found out?")
    options = parser.parse_args()
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # the operator's client has much to say about faults
    if options.mutations is not None:
        return asyncio.run(try_mutations(options.mutations or list(SCENARIOS)))
    conditions = replace(
        STOCK if options.stock else Conditions(),
        workload=options.workload,
        mutation=options.mutation,
        servers=options.servers,
    )
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    return 1 if asyncio.run(chaos(options.seconds, seed, conditions, options.round, options.faults)) else 0


if __name__ == "__main__":
    sys.exit(main())
