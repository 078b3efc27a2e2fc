"""What watch shows of a group, and what doctor reads in a server's answer."""

from datetime import datetime

import pytest

from aiopartition import Awaited, Change, GroupPolicy, GroupStatus, View
from aiopartition.cli.doctor import Examination, ServerLine, parse_srvr
from aiopartition.cli.text import plain
from aiopartition.cli.watch import ChangeLine, screen

AT = datetime(2026, 1, 2, 3, 4, 5)
POLICY = GroupPolicy(partitions=4)


def view(generation: int, **weights: int) -> View:
    return View.of("g", generation, weights, POLICY, "")


def status(seen: View, state: str = "observing", **given: object) -> GroupStatus:
    fields: dict[str, object] = {
        "group_id": "g", "member_id": "o", "state": state, "reason": "", "generation": seen.generation,
        "active_generation": None, "members": seen.members, "shares": seen.shares(), "waiting_for": (), "waiting": 0.0,
        "in_flight": 0, "lease_left": 1.0, "server": "zk1:2181", "last_rebalance": None, "policy": POLICY, **given,
    }  # fmt: skip
    return GroupStatus(**fields)  # type: ignore[arg-type]


class TestChanges:
    def test_the_first(self) -> None:
        assert str(ChangeLine.of(Change.between(None, view(1, a=1, b=1)), AT)) == "03:04:05  generation 1: 2 members"

    def test_joined_and_left(self) -> None:
        """A member for a member moves what that one had, and no change can move less."""
        line = ChangeLine.of(Change.between(view(1, a=1, b=1), view(2, a=1, c=1)), AT)
        assert (line.joined, line.left, line.least) == (("c",), ("b",), 0.5)
        assert line.moved >= 0.5
        assert str(line).startswith("03:04:05  generation 2: +c -b; moved ")
        assert str(line).endswith("at least 50.0 %")

    def test_another_weight(self) -> None:
        line = ChangeLine.of(Change.between(view(1, a=1, b=1), view(2, a=1, b=0)), AT)
        assert str(line) == "03:04:05  generation 2: other weights; moved 50.0 %, at least 50.0 %"

    def test_unknown_and_known_again(self) -> None:
        known = view(1, a=1)
        assert str(ChangeLine.of(Change.between(known, None), AT)) == "03:04:05  members unknown"

    def test_many_names_are_cut(self) -> None:
        many = View.of("g", 1, {f"m{number}": 1 for number in range(9)}, POLICY, "")
        line = str(ChangeLine.of(Change.between(view(0, m0=1), many), AT))
        assert "+m5 +3 more" in line
        assert "m6" not in line


class TestScreen:
    def test_members_with_bars(self) -> None:
        lines = list(plain(screen(status(view(7, a=3, b=1, c=0)), ["one", "two"], "#")))  # type: ignore[list-item]
        assert lines[0] == "group g: 3 members at generation 7, 4 partitions"
        assert lines[1] == "observing through zk1:2181"
        table = [line.split() for line in lines[4:7]]
        assert table == [
            ["a", "3", "75.0", "%", "#" * 30],
            ["b", "1", "25.0", "%", "#" * 10],
            ["c", "0", "(drained)", "0.0", "%"],
        ]
        assert lines[-3:] == ["last changes:", "  one", "  two"]

    def test_who_a_handoff_waits_for(self) -> None:
        waiting = status(view(7, a=1), waiting_for=(Awaited("a\n", host="h", pid=3, started="s"),), waiting=61.0)
        lines = list(plain(screen(waiting, [])))
        assert any("a handoff waits (1 min 1 s) for 'a\\n' (host 'h', pid 3" in line for line in lines)

    def test_without_members(self) -> None:
        nothing = status(view(1, a=1), "unknown", members=(), shares={}, generation=None, reason="no\x1b connection")
        lines = list(plain(screen(nothing, [])))
        assert lines[:2] == ["group g: 0 members, 4 partitions", "unknown through zk1:2181: no\\x1b connection"]


class TestDoctor:
    @pytest.mark.parametrize(
        ("answer", "found"),
        [
            ("Zookeeper version: 3.8.0-5a02a, built on 2022\nMode: follower\n", ("3.8.0", "follower")),
            ("Zookeeper version: 3.9.5.1\n", ("3.9.5.1", None)),
            ("srvr is not executed because it is not in the whitelist.\n", (None, None)),
            ("", (None, None)),
            ("Zookeeper version: \x1b[2J\nMode: \x1b\n", (None, None)),
        ],
    )
    def test_an_answer_to_srvr(self, answer: str, found: tuple[str | None, str | None]) -> None:
        assert parse_srvr(answer) == found

    @pytest.mark.parametrize(
        ("servers", "denied", "problem"),
        [
            ([ServerLine("a:1", "connection refused")], (), "a:1: connection refused"),
            (
                [ServerLine("a:1", granted=4.0), ServerLine("b:1", granted=8.0)],
                (),
                "different session timeouts: 4 s, 8",
            ),
            ([ServerLine("a:1", version="before 3.6", outdated=True)], (), "a:1: ZooKeeper 3.6 or later is needed"),
            ([ServerLine("a:1")], ("/g: permission READ denied",), "/g: permission READ denied"),
        ],
    )
    def test_problems(self, servers: list[ServerLine], denied: tuple[str, ...], problem: str) -> None:
        found = Examination("url", False, None, 10.0, tuple(servers), 1, denied)
        assert not found.healthy
        assert problem in found.problems[0]
        assert any(line.startswith("PROBLEM ") and problem in line for line in plain(found.blocks()))

    def test_no_problems(self) -> None:
        found = Examination("url", True, "user", 10.0, (ServerLine("a:1", granted=4.0),), 1, ())
        assert (found.healthy, found.to_json()["verdict"]) == (True, "ok")
