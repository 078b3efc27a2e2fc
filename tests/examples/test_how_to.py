"""The examples of the how-tos do what their pages say, on the embedded backend and on a real server."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.examples.postgresql import BINARIES, postgresql
from tests.examples.started import ENVIRONMENT, ROOT, processes_with, read_until, run, start
from tests.support import wait_until
from tests.support.ports import free_port

TARGETS = [f"target-{number:02}" for number in range(40)]
SERVICES = ("aiohttp_service", "django_service", "litestar_service")


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the test."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def service(name: str, url: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A replica of a web service, and its port."""
    port = free_port()
    with running(start(name, port, AIOPARTITION_BACKEND_URL=url)) as process:
        yield process, port


def targets_of(port: int) -> list[str] | None:
    """What a replica says that it polls; ``None`` while it does not say."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/mine", timeout=5) as answer:
            targets: list[str] = json.load(answer)
            return targets
    except (urllib.error.URLError, ConnectionError):
        return None


@pytest.mark.parametrize("name", SERVICES)
async def test_web_service_alone(name: str, namespace: str) -> None:
    """One replica polls everything, and ends on SIGTERM without a traceback."""
    with service(name, f"memory:/{namespace}") as (process, port):
        await wait_until(lambda: targets_of(port) == TARGETS, what="all targets")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert "Traceback" not in output


@pytest.mark.parametrize("name", SERVICES)
async def test_web_service_with_replicas(name: str, on_zookeeper: str) -> None:
    """Two replicas share the targets; when one is stopped, the other has all of them long before a session ends."""
    url = f"{on_zookeeper}?session_timeout=600"
    with service(name, url) as (first, port), service(name, url) as (_, other):

        def shared() -> bool:
            mine, others = targets_of(port), targets_of(other)
            return bool(mine and others) and sorted([*(mine or ()), *(others or ())]) == TARGETS

        await wait_until(shared, what="two replicas share the targets", timeout=30)
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=20)
        await wait_until(lambda: targets_of(other) == TARGETS, what="the other has all", timeout=30)


def test_leader(url: str) -> None:
    """There is never a second leader before the first has ended, and there is one as long as there is a candidate."""
    events = [line.split(" ", 1) for line in run("leader", url).splitlines()]
    assert [what for _, what in events] == ["leads", "has ended"] * (len(events) // 2)
    assert [name for name, _ in events[::2]] == [name for name, _ in events[1::2]]
    assert {name for name, _ in events} == {"anna", "ben"}


def test_cron_job(url: str) -> None:
    """Each run is made once, also while a member stops."""
    counts = re.search(r"(\d+) of (\d+) runs were made exactly once", run("cron_job", url))
    assert counts is not None
    assert counts[1] == counts[2]


def test_threads(url: str) -> None:
    """What a thread is at work on, another member begins, unless the thread is waited for."""
    output = run("threads", url)
    early = {name: int(count) for name, count in re.findall(r"(\w+): (\d+) of 24 files", output)}
    assert early["to_thread"] > 0
    assert early["finish_in_thread"] == 0


def test_new_policy(url: str) -> None:
    """All devices go from the old release to the new one, and none has two workers."""
    output = run("new_policy", url)
    assert "all devices are with the new release" in output
    assert "workers of one device at a time: 1" in output


def test_blocking_service_alone(url: str) -> None:
    """It needs no event loop of its own, and ends on SIGTERM."""
    with running(start("blocking_service", url)) as process:
        read_until(process, "12 of 12 targets are mine, of 1 members")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output.splitlines()[-1] == "stopped"


def test_blocking_services(on_zookeeper: str) -> None:
    """Two share the targets; when one is stopped, the other has them at once."""
    url = f"{on_zookeeper}?session_timeout=600"
    with running(start("blocking_service", url)) as first:
        read_until(first, "12 of 12")
        with running(start("blocking_service", url)) as second:
            shares = [read_until(each, "of 2 members").splitlines()[-1] for each in (first, second)]
            assert sum(int(share.split()[0]) for share in shares) == 12
            second.send_signal(signal.SIGTERM)
            assert second.wait(timeout=20) == 0
        read_until(first, "12 of 12")


def test_apscheduler(url: str) -> None:
    """One process runs all jobs, and stops on SIGTERM."""
    with running(start("apscheduler_jobs", url)) as process:
        for job in ("backup", "billing", "report"):
            read_until(process, f"{job} runs")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "Traceback" not in output


def test_apschedulers(on_zookeeper: str) -> None:
    """Of two processes each runs its own jobs: those that it has run in the same second are different ones."""
    url = f"{on_zookeeper}?session_timeout=600"
    west, east = (start("apscheduler_jobs", url, name) for name in ("west", "east"))
    with running(west) as first, running(east) as second:
        jobs = [set(recent_jobs(process)) for process in (first, second)]
        for process in (first, second):
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 143
    assert jobs[0].isdisjoint(jobs[1])
    assert jobs[0] | jobs[1] == {"backup", "billing", "cleanup", "digest", "export", "report"}


def recent_jobs(process: subprocess.Popen[str]) -> list[str]:
    """The jobs that a process runs, once it has run less than all of them for two seconds in a row."""
    rounds: list[list[str]] = [[]]
    while True:
        job = read_until(process, "runs").splitlines()[-1].split()[0]
        if job in rounds[-1]:
            rounds.append([])
        rounds[-1].append(job)
        if len(rounds) > 3 and sorted(rounds[-2]) == sorted(rounds[-3]) and len(rounds[-2]) < 6:
            return rounds[-2]


def taskiq_scheduler(url: str, member_id: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "taskiq", "scheduler", "examples.taskiq_scheduler:scheduler"],
        env={
            **ENVIRONMENT,
            "PYTHONWARNINGS": "default",
            "AIOPARTITION_BACKEND_URL": url,
            "AIOPARTITION_MEMBER_ID": member_id,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_taskiq(namespace: str) -> None:
    """One scheduler sends everything."""
    with running(taskiq_scheduler(f"memory:/{namespace}", "west")) as process:
        for task in ("bill", "clean up"):
            read_until(process, f"{task} was sent")


def test_taskiq_schedulers(on_zookeeper: str) -> None:
    """Each schedule is sent by one of two; when one is killed, the other sends it."""
    west, east = (taskiq_scheduler(on_zookeeper, name) for name in ("west", "east"))
    with running(west) as first, running(east) as second:
        tasks = [sent_repeatedly(process) for process in (first, second)]
        assert sorted(tasks) == ["bill", "clean up"]
        first.kill()
        read_until(second, f"{tasks[0]} was sent")


def sent_repeatedly(process: subprocess.Popen[str]) -> str:
    """The one task that a scheduler sends three times in a row."""
    sent: list[str] = []
    while len(sent) < 3 or len(set(sent[-3:])) > 1:
        sent.append(read_until(process, " was sent").splitlines()[-1].removesuffix(" was sent"))
    return sent[-1]


async def test_prefork(on_zookeeper: str, namespace: str) -> None:
    """Each worker is a member; one that is killed comes back under its id, with as many targets as before."""
    with running(start("prefork", on_zookeeper, "--workers", 3)) as parent:
        counts: dict[str, int] = {}
        while len(counts) < 3 or sum(counts.values()) != 24:
            member, count = read_until(parent, " has ").splitlines()[-1].split(" has ")
            counts[member] = int(count)
        victim = psutil.Process(parent.pid).children()[0]
        victim.kill()
        member, count = read_until(parent, " has ").splitlines()[-1].split(" has ")
        while count == "0":  # it asks before it knows
            member, count = read_until(parent, " has ").splitlines()[-1].split(" has ")
        assert counts[member] == int(count)
        parent.send_signal(signal.SIGTERM)
        parent.communicate(timeout=20)
    assert parent.returncode == 0
    await wait_until(lambda: not processes_with(namespace), what="the end of all workers")


@pytest.mark.skipif(BINARIES is None, reason="needs PostgreSQL: apt-get install -y --no-install-recommends postgresql")
def test_fencing_postgresql(url: str) -> None:
    """What comes too late is refused by a real PostgreSQL server, and all else is written."""
    folder = Path(tempfile.mkdtemp(prefix="aiopartition-", dir="/tmp"))  # the path of a socket must be short
    try:
        with postgresql(folder) as database:
            assert run("fencing_postgresql", database, url).splitlines() == [
                "bob:   written",
                "alice: refused",
                "the total was 100, and is 101",
            ]
    finally:
        shutil.rmtree(folder)


def test_test_poller() -> None:
    """The tests that the page on testing shows pass."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "examples/test_poller.py"],
        cwd=ROOT, env={**ENVIRONMENT, "PYTHONWARNINGS": "default"}, capture_output=True, text=True, timeout=50,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
