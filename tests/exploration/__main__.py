"""Explore for long: every single fault first, then pairs of faults until the time is over; or handoffs."""

import argparse
import logging
import sys
import time

from tests.exploration.attempt import Attempt, try_out
from tests.exploration.explorer import Exploration, every_injection
from tests.exploration.handoff_search import MODELS, Search
from tests.exploration.scenarios import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exploration", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="for how long (3600)")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one; may be repeated")
    parser.add_argument("--pairs-only", action="store_true", help="pass over the single faults")
    parser.add_argument("--seed", default="0", help="of the order in which pairs are tried (0)")
    parser.add_argument("--handoff", action="store_true", help="the state machines of handoffs instead, exhaustively")
    parser.add_argument("--replay", metavar="SCHEDULE", help="repeat one that was printed")
    arguments = parser.parse_args()
    logging.getLogger("aiopartition").setLevel(logging.DEBUG if arguments.replay else logging.CRITICAL + 1)
    if arguments.replay:
        logging.basicConfig(format="%(message)s")
        outcome = try_out(Attempt.parse(arguments.replay))
        print(outcome.failure or f"all promises were kept in {outcome.turns} turns of the event loop")
        return outcome.failure is not None
    return search_handoffs(arguments.seconds) if arguments.handoff else explore(arguments)


def search_handoffs(seconds: float) -> int:
    """Every model, from the smallest, each with an equal share of the time that remains."""
    until, failures = time.monotonic() + seconds, 0
    for number, model in enumerate(MODELS):
        began = time.monotonic()
        search = Search(model, until=began + (until - began) / (len(MODELS) - number))
        try:
            search.run()
        except AssertionError as error:
            failures += 1
            print(f"{model}: {error}")
        print(f"{search}, in {time.monotonic() - began:.0f} s", flush=True)
    return failures


def explore(arguments: argparse.Namespace) -> int:
    began, exploration = time.monotonic(), Exploration()
    until = began + arguments.seconds
    scenarios = [SCENARIOS[name] for name in arguments.scenario or SCENARIOS]
    for scenario in scenarios:
        before = exploration.attempts
        turns = exploration.begin(scenario).turns_for_faults
        if not arguments.pairs_only:
            exploration.single_faults(scenario, every_injection(scenario, turns), until)
        print(
            f"{scenario.name}: {len(turns)} turns, {exploration.attempts - before} attempts of at most one fault",
            flush=True,
        )
    exploration.pairs(scenarios, until, arguments.seed)
    for failure in exploration.failures.values():
        print(failure)
    print(f"{exploration}, in {time.monotonic() - began:.0f} s")
    return bool(exploration.failures)


if __name__ == "__main__":
    sys.exit(main())
