"""Every example does what it says, as it stands, on the embedded backend and on a real server."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from itertools import pairwise
from pathlib import Path

import pytest

from aiopartition import GroupPolicy, PartitionCoordinator
from tests.examples.started import ENVIRONMENT, EXAMPLES, ROOT, RUNNING, command, processes_with, read_until, run, start
from tests.support import wait_until
from tests.support.ports import free_port

# What they show


def test_quickstart(url: str) -> None:
    """All hosts are somebody's, before and after, and those who stay keep what they had."""
    before, after = run("quickstart", url).split("\nbob stops")
    first = {name: set(hosts.split()) for name, hosts in re.findall(r"(\w+) +has \d+: (.+)", before)}
    second = {name: set(hosts.split()) for name, hosts in re.findall(r"(\w+) +has \d+: (.+)", after)}
    assert sorted(first) == ["alice", "bob", "carol"]
    assert sorted(second) == ["alice", "carol"]
    for shares in (first, second):
        assert sorted(host for hosts in shares.values() for host in hosts) == [f"host-{n:02}" for n in range(1, 13)]
    assert first["alice"] <= second["alice"]
    assert first["carol"] <= second["carol"]


def test_polling(url: str) -> None:
    """In each cycle each target is polled exactly once."""
    output = run("polling", url)
    counts = re.findall(r"cycle (\d): poller-(\d) has polled (\d+) targets", output)
    assert sorted((cycle, poller) for cycle, poller, _ in counts) == [(c, p) for c in "123" for p in "12"]
    assert sum(int(count) for *_, count in counts) == 72
    assert "72 of 72 polls were made exactly once" in output


def test_scheduler(url: str) -> None:
    """Each has half of the jobs; then one has all."""
    shares = [(name, jobs.split()) for name, jobs in re.findall(r"(\w+) has \d+: (.+)", run("scheduler", url))]
    assert [(name, len(jobs)) for name, jobs in shares] == [("harry", 6), ("lloyd", 6), ("harry", 12)]
    assert sorted([*shares[0][1], *shares[1][1]]) == shares[2][1]


def test_queues(url: str) -> None:
    """Each consumer has two queues, and each customer's orders come in order."""
    output = run("queues", url)
    queues = [each.split() for each in re.findall(r"consumer-\d has the queues (.+)", output)]
    assert [len(each) for each in queues] == [2, 2, 2]
    assert sorted(number for each in queues for number in each) == list("012345")
    assert "30 of 30 customers were served once for each order, in order" in output


def test_watching(url: str) -> None:
    """Who came and went is told, and what is loaded follows."""
    output = run("watching", url, "--pause", 0.5)
    events = [line for line in output.splitlines() if not line.startswith(" ")]
    loaded = [int(count) for count in re.findall(r"(\d+) shards are loaded", output)]
    assert events == [
        "it is unknown what is ours: 0 shards cleared",
        "cache-1 has joined",
        "cache-2 has joined",
        "cache-3 has joined",
        "cache-3 has left",
        f"it is unknown what is ours: {loaded[-1]} shards cleared",
    ]
    assert loaded[0] > loaded[1]
    assert loaded[0] == loaded[2]


def test_web_service(url: str) -> None:
    """It is healthy once it knows what it has to do, and says what that is."""
    output = run("web_service", url, "--check")
    assert output.startswith("GET /status/live: 200")
    for answer in ("GET /status/ready: 503", "GET /status/ready: 200", "GET /mine: 200"):
        assert answer in output
    shares = re.search(r"(\d+) of 100 targets are polled here, the other (\d+) elsewhere", output)
    assert shares is not None
    assert sum(map(int, shares.groups())) == 100


def test_fleet(url: str) -> None:
    """After every change the sum is whole again, and in the end each file was checksummed by exactly one member."""
    output = run("fleet", url, "--members", 3, "--files", 300, "--seconds", 0.2)
    sums = re.findall(r"(\d+) of 300 files held, (\d+) held twice, (\d+) held by nobody", output)
    assert sums[-1] == ("300", "0", "0")
    assert "of the last fleet: 300 of 300 files by exactly one member" in output

    moves = re.findall(r"all files held after ([\d.]+) s, (\d+) moved \(it ha[sd] (\d+)\)", output)
    (until_taken_over, moved, had), (_, moved_back, has) = moves
    assert int(moved) < int(had) + 30, "hardly anything moves but what must"
    assert int(moved_back) < int(has) + 30
    if url.startswith("zookeeper"):
        assert "held by nobody (session of member-2 expires within" in output
        assert float(until_taken_over) > 1, "a process that was killed cannot say farewell"


@pytest.mark.parametrize("processes", [False, True], ids=["tasks", "processes"])
def test_connections(url: str, *, processes: bool) -> None:
    """Every device has one member after each change, those that need not move keep theirs, and none ever had two."""
    if processes and url.startswith("memory"):
        assert "processes cannot share memory://" in run("connections", url, "--processes", code=2)
        return
    output = run("connections", url, "--pause", 0.1, *["--processes"] * processes)
    shares = [
        {name: int(count) for name, count in re.findall(r"(member-\d) has (\d+)", line)}
        for line in output.splitlines()
        if " has " in line
    ]
    killed = [["member-1"]] if processes else []
    fleets = [["member-1", "member-2"], ["member-1", "member-2", "member-3"], ["member-1", "member-3"], *killed]
    fleets += [[*fleets[-1], "member-4"]]
    assert [sorted(share) for share in shares] == [["member-1"], *fleets]
    assert all(sum(share.values()) == 24 for share in shares)

    moves = [(int(moved), int(kept)) for moved, kept in re.findall(r"; (\d+) moved, .* (\d+) kept", output)]
    joined_or_left = ["member-2", "member-3", "member-2", *["member-3"] * processes, "member-4"]
    for (before, after), who, (moved, kept) in zip(pairwise(shares), joined_or_left, moves, strict=True):
        must = after.get(who) or before[who]
        assert must <= moved <= must + 4, "hardly anything moves but what must"
        assert moved + kept == 24
    connections = 24 + sum(moved for moved, _ in moves)
    assert f"24 devices, {connections} connections, 0 while there was another" in output


def test_fencing(url: str) -> None:
    """What comes too late is refused, and all else is written."""
    lines = run("fencing", url).splitlines()
    assert "the body went on for 0.2 s" in lines[0]
    assert lines[1:] == [
        "bob:   meter-7 at a newer generation: written",
        "alice: meter-7 at her old generation: refused",
        "the total was 100, and is 101",
    ]


def test_route_requests(url: str) -> None:
    """Whoever is asked, the owner answers; the gateway asks it at once, and owns nothing."""
    any_replica, gateway = run("route_requests", url).split("through the gateway")
    first = dict(re.findall(r"(cart-\d+): visit 1 at (replica-\d)", any_replica))
    second = dict(re.findall(r"(cart-\d+): visit 2 at (replica-\d)", gateway))
    assert len(first) == 12
    assert first == second
    assert len(set(first.values())) > 1
    passed_on = dict(re.findall(r"(cart-\d+): .*, passed on by (replica-\d)", any_replica))
    asked = {f"cart-{number}": f"replica-{number % 3 + 1}" for number in range(12)}
    assert passed_on == {cart: asked[cart] for cart, owner in first.items() if owner != asked[cart]}
    assert "passed on" not in gateway
    assert "both times: True; the gateway owns nothing: []" in gateway


# How they look


def test_fleet_in_a_terminal(on_zookeeper: str) -> None:
    """The picture fits a terminal of 80 columns, and is drawn over and over in the same place."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    fleet = subprocess.Popen(
        command("fleet", on_zookeeper, "--seconds", 0.2), env=ENVIRONMENT, stdin=end, stdout=end, stderr=end
    )
    os.close(end)
    written = b""
    try:
        while part := os.read(terminal, 65536):
            written += part
    except OSError:  # the other end was closed: this is how a terminal says so
        pass
    finally:
        os.close(terminal)
    assert fleet.wait(timeout=10) == 0, written.decode()
    lines = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", written.decode()).split("\r\n")
    assert max(map(len, lines)) < 80
    heights = {int(height) for height in re.findall(r"\x1b\[(\d+)A", written.decode())}
    assert max(heights) <= 20
    assert sum(line.startswith("member-1 ") for line in lines) > 10
    assert any("·" in line for line in lines), "for a while some files were nobody's"


WITH_HELP = [Path(path).stem for path in EXAMPLES if "argparse" in (ROOT / path).read_text()]


@pytest.mark.parametrize("example", WITH_HELP)
def test_help(example: str) -> None:
    """--help says what one will see."""
    output = run(example, "--help")
    assert f"python examples/{example}.py" in output
    assert "(default: memory://)" in output or example == "prefork"  # whose processes cannot share memory://


# How they end


@pytest.mark.parametrize(
    ("example", "arguments", "sign"),
    [
        *RUNNING.values(),
        ("fleet", ("--files", 200, "--seconds", 30), "member    state"),
        ("fleet", ("--files", 200, "--seconds", 0), "member-2 is killed"),
    ],
    ids=[*RUNNING, "fleet-in-full", "fleet-after-kill"],
)
def test_interrupt(example: str, arguments: tuple[object, ...], sign: str, url: str) -> None:
    """Ctrl-C ends it without a traceback."""
    with start(example, url, *arguments) as process:
        output = read_until(process, sign)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    assert "Traceback" not in output + rest
    if example == "fleet":
        assert rest.endswith("interrupted\n")


def test_interrupt_web_service(url: str) -> None:
    """Ctrl-C ends the server."""
    with start("web_service", url, "--port", free_port()) as process:
        output = read_until(process, "Uvicorn running")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in output + rest


async def test_fleet_dies_as_a_whole(on_zookeeper: str, namespace: str) -> None:
    """Agents end with the one who started them, even if it had no chance to tell them."""
    with start("fleet", on_zookeeper, "--files", 200, "--seconds", 30) as process:
        read_until(process, "held by nobody")
        await wait_until(lambda: len(processes_with(namespace)) == 5, what="the parent and four members")
        process.kill()
        process.communicate(timeout=20)
    await wait_until(lambda: not processes_with(namespace), what="the end of all members")


async def test_connections_die_as_a_whole(on_zookeeper: str, namespace: str) -> None:
    """Agents end with the one who started them, even if it had no chance to tell them."""
    with start("connections", on_zookeeper, "--processes", "--pause", 30) as process:
        read_until(process, "member-1 has")
        process.kill()
        process.communicate(timeout=20)
    await wait_until(lambda: not processes_with(namespace), what="the end of all members")


async def test_fleet_that_cannot_work(on_zookeeper: str, namespace: str) -> None:
    """If the members cannot join, the reason is told, and the exit code says that it went wrong."""
    async with PartitionCoordinator(on_zookeeper) as coordinator:
        await coordinator.join_group("files", policy=GroupPolicy(replicas=2))
        output = run("fleet", on_zookeeper, "--files", 200, code=1)
    assert "has another policy: replicas is 2 there and 1 here" in output
    assert not processes_with(namespace)


def test_fleet_with_impossible_arguments(tmp_path: Path) -> None:
    """What makes no sense is refused at once."""
    assert "scheme: 'redis'" in run("fleet", "redis://localhost", code=2)
    assert "at least 2 members" in run("fleet", "--members", 1, code=2)
    assert "no files below" in run("fleet", "--path", tmp_path, code=2)
