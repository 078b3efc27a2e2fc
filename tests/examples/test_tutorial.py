"""The tutorial: its programs do what its pages say, and every line of output that a page quotes is printed."""

import re
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.examples.started import ROOT, read_until, start

STEPS = ("share", "attend", "exclusive")
SENSORS = {f"sensor-{number}" for number in range(1, 13)}


def quoted(step: str) -> list[str]:
    """The lines of output that the page of a step quotes, without the time of day."""
    page = (ROOT / "docs" / "tutorial" / f"{step}.md").read_text()
    blocks = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [without_time(line) for block in blocks for line in block.splitlines()]


def without_time(line: str) -> str:
    return re.sub(r"^\d\d:\d\d:\d\d\.\d\d\d ", "", line)


@contextmanager
def member(step: str, name: str, url: str) -> Iterator[subprocess.Popen[str]]:
    """A member, started as the tutorial starts it, and killed if it is left running."""
    with start(f"tutorial/{step}", name, url) as process:
        try:
            yield process
        finally:
            process.kill()


def test_one_member_has_all(url: str) -> None:
    """What the first page shows first, which it promises without a server as well."""
    with member("share", "anna", url) as anna:
        line = read_until(anna, "anna has")
        assert line.rstrip() in quoted("share")
        assert set(line.split()[3:]) == SENSORS
        anna.send_signal(signal.SIGTERM)
        assert anna.wait(timeout=20) == 143


def test_three_share_and_one_is_killed(on_zookeeper: str) -> None:
    """Each line that the page quotes is printed, in the order in which the page tells of it."""
    printed = ""
    with member("share", "anna", on_zookeeper) as anna:
        printed += read_until(anna, "anna has 12")
        with member("share", "ben", on_zookeeper) as ben:
            printed += read_until(ben, "ben has 6") + read_until(anna, "anna has 6")
            with member("share", "max", on_zookeeper) as last:
                printed += read_until(last, "max has 4") + read_until(ben, "ben has 4") + read_until(anna, "anna has 4")
                ben.kill()
                printed += read_until(anna, "anna has 8")
                with member("share", "ben", on_zookeeper) as again:
                    printed += read_until(again, "ben has 4")
                    last.send_signal(signal.SIGINT)
                    printed += read_until(again, "ben has 6") + read_until(anna, "anna has 6")
    lines = printed.splitlines()
    page = quoted("share")
    assert [line for line in lines if line in page][: len(page)] == page
    four, eight = (set(next(line for line in lines if line.startswith(start)).split()[3:]) for start in FOUR_AND_EIGHT)
    assert four < eight, "whoever stays keeps what it had"


FOUR_AND_EIGHT = ("anna has 4", "anna has 8")


@pytest.mark.parametrize("step", ["attend", "exclusive"])
def test_a_second_member_takes_over_workers(step: str, on_zookeeper: str) -> None:
    """Half of the workers move, no other is touched; in an exclusive group none begins before the old one has ended."""
    times: dict[tuple[str, str], str] = defaultdict(str)
    with member(step, "anna", on_zookeeper) as anna:
        before = read_lines(anna, "connected", 12)
        with member(step, "ben", on_zookeeper) as ben:
            gained = read_lines(ben, " connected", 6)
            lost = read_lines(anna, "disconnected", 6)
            for time, sensor, what in (line.split() for line in (*gained, *lost)):
                times[sensor.rstrip(":"), what] = time
            ben.kill()
            regained = read_lines(anna, " connected", 6)
    moved = {sensor for sensor, _ in times}
    assert {without_time(line) for line in before} == {f"{sensor}: connected" for sensor in SENSORS}
    assert len(moved) == 6
    assert {without_time(line) for line in regained} == {f"{sensor}: connected" for sensor in moved}
    for line in quoted(step):
        assert line in map(without_time, (*gained, *lost))
    if step == "exclusive":
        assert all(times[sensor, "disconnected"] <= times[sensor, "connected"] for sensor in moved)


def read_lines(process: subprocess.Popen[str], wanted: str, count: int) -> list[str]:
    """The next ``count`` lines that it prints, all of which contain ``wanted``."""
    lines = [read_until(process, "sensor-").rstrip() for _ in range(count)]
    assert all(wanted in line for line in lines), lines
    return lines


@pytest.mark.parametrize("step", STEPS)
def test_page_shows_the_file(step: str) -> None:
    """The pages include the files, so that what is read is what is run."""
    assert f'--8<-- "examples/tutorial/{step}.py"' in (ROOT / "docs" / "tutorial" / f"{step}.md").read_text()
