"""Searches for input that does harm, led by the coverage of the library's code (atheris, which is libFuzzer).

Each target runs in a process of its own, for so many seconds. What is found is kept in ``build/fuzz``, is tried first
the next time, and belongs into ``test_targets.py``.
"""

import argparse
import importlib
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
PLACE: Final = REPOSITORY / "build" / "fuzz"
TARGETS: Final = ("entry_name", "url", "document", "frames", "challenge")
LONGEST_INPUT: Final = 4096
LIMITS: Final = ("-timeout=5", "-rss_limit_mb=512", f"-max_len={LONGEST_INPUT}")
"""Seconds for one execution and megabytes for the process: what hangs or grows is a finding."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; all without a name")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of chance; 0, the default, is another one each time")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.inside:
        search(options.targets[0], rest)
    if rest or not set(options.targets) <= set(TARGETS):
        parser.error(f"no target is named {', '.join([*rest, *sorted(set(options.targets) - set(TARGETS))])}")
    found = False
    print(f"{'target':12} {'executions':>12} {'a second':>10} {'branches':>9}  findings", flush=True)
    for target in options.targets or TARGETS:
        found = run(target, options.seconds, options.seed) or found
    return int(found)


def run(target: str, seconds: int, seed: int) -> bool:
    """Search in another process; whether there is a finding."""
    corpus, findings = PLACE / target / "corpus", PLACE / target / "findings"
    for place in (corpus, findings):
        place.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    command = [
        *(sys.executable, "-m", "tests.fuzz", "--inside", target),
        *(f"-max_total_time={seconds}", f"-seed={seed}", "-print_final_stats=1", f"-artifact_prefix={findings}/"),
        *LIMITS,
        *(str(corpus), str(findings)),
    ]
    began = time.monotonic()
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, errors="replace", check=False)
    took = time.monotonic() - began
    executions = re.findall(r"number_of_executed_units:\s*(\d+)|^#(\d+)\s", ended.stderr, re.MULTILINE)
    count = int(next(filter(None, executions[-1]))) if executions else 0
    covered = re.findall(r"cov: (\d+)", ended.stderr)
    new = sorted(set(findings.iterdir()) - before)
    verdict = "none" if not new and not ended.returncode else ", ".join(str(path) for path in new) or "see below"
    print(f"{target:12} {count:12,} {count / took:10,.0f} {covered[-1] if covered else '–':>9}  {verdict}", flush=True)
    if verdict != "none":
        print(ended.stdout[-4000:] + ended.stderr[-4000:], flush=True)
    return verdict != "none"


def search(target: str, options: list[str]) -> None:
    """Does not return."""
    atheris: Any = importlib.import_module("atheris")  # which has no types
    with atheris.instrument_imports(include=["aiopartition", "aiozk.protocol"]):
        from tests.fuzz.targets import TARGETS as CALLS
    from tests.fuzz.seeds import DICTIONARY, SEEDS

    place = PLACE / target
    for number, seed in enumerate(SEEDS[target]):
        (place / "corpus" / f"seed-{number}").write_bytes(seed)
    words = ("".join(f"\\x{byte:02x}" for byte in word) for word in DICTIONARY[target])
    (place / "words").write_text("".join(f'"{word}"\n' for word in words))
    atheris.Setup([sys.argv[0], *options, f"-dict={place / 'words'}"], CALLS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
