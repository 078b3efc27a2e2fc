"""How the command line shows what it has found: aligned, in one line each, within the terminal's width."""

import io
import os
import pty
import sys
from pathlib import Path

import pytest

from aiopartition import GroupPolicy
from aiopartition.cli.members import MemberLine, Members
from aiopartition.cli.report import policy_text
from aiopartition.cli.snapshot import Snapshot
from aiopartition.cli.text import Columns, bar, cell, plain, seconds_text, write
from aiopartition.group.description import MemberInfo

TABLE = Columns(("NAME", "N"), (("a", "1"), ("日本", "100")), frozenset({1}))


def test_columns_are_aligned() -> None:
    assert list(plain(["heading", TABLE])) == ["heading", "NAME    N", "a       1", "日本  100"]


def test_lines_are_cut_to_the_width() -> None:
    assert list(plain(["a long heading", TABLE], 7)) == ["a long…", "NAME  …", "a     …", "日本  …"]


@pytest.mark.parametrize("evil", ["\x1b[2J", "a\nb", "\u202e", "\x00", "\ud800", "\x9b"])
def test_what_others_wrote_stays_in_its_line(evil: str) -> None:
    """Names, hosts and metadata can move no cursor and begin no line."""
    info = MemberInfo(evil, 1, host=evil, pid=1, started=evil, version=evil, metadata={evil: evil})
    line = MemberLine(info, 1.0, 1.0, None, "steady", problem="")
    report = Members(Snapshot.of(evil, GroupPolicy(), 1, frozenset(), None), (line,))
    text = list(plain(report.blocks()))
    assert len(text) == 3
    assert all(each.isprintable() for each in text)
    assert report.to_json()["members"][0]["id"] == evil  # programs get it as it is


def test_a_missing_text_is_a_dash() -> None:
    assert (cell(None), cell("")) == ("-", "-")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.9, "59 s"), (61, "1 min 1 s"), (7_320, "2 h 2 min"), (180_000, "2 d 2 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_bars() -> None:
    assert [bar(share, 0.5, 10) for share in (0.5, 0.25, 0.0)] == ["█" * 10, "█" * 5, ""]
    assert bar(0.0, 0.0, 10) == ""


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (GroupPolicy(), "16384 slots"),
        (GroupPolicy(exclusive=True, partitions=24), "24 partitions, exclusive"),
        (GroupPolicy(replicas=3, load_bound=1.2, vnodes=80), "16384 slots, 3 replicas, load bound 1.2, 80 vnodes"),
    ],
)
def test_policies(policy: GroupPolicy, text: str) -> None:
    assert policy_text(policy) == text


def test_a_stream_of_another_encoding(tmp_path: Path) -> None:
    """What it cannot hold is escaped, and no error."""
    with open(tmp_path / "out", "w+", encoding="ascii") as stream:
        write([TABLE], stream)
        stream.seek(0)
        assert "\\u65e5\\u672c" in stream.read()


def test_no_colour_outside_a_terminal() -> None:
    stream = io.StringIO()
    write([TABLE], stream)
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_a_terminal(monkeypatch: pytest.MonkeyPatch, rich: bool) -> None:
    """It has colours if rich is installed. Either way lines keep to its width, and square brackets are shown."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich", None)
        monkeypatch.setitem(sys.modules, "rich.console", None)
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        write([Columns(("NAME", "TEXT"), (("[red]x[/red]", "y" * 60),))], stream)
        stream.flush()
        shown = ""
        while "yyy" not in shown:  # a terminal hands out its lines one by one
            shown += os.read(reader, 65_536).decode()
    os.close(reader)
    assert ("\x1b[" in shown) == rich
    assert "[red]x[/red]" in shown
    if not rich:
        assert max(map(len, shown.splitlines())) <= 40
