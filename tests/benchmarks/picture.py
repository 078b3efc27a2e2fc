"""Draws the picture that the README shows: an SVG of four panels, by hand, in light and dark."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

NEEDED = ("per_key", "polling_cycle", "rebalance", "balance")
"""The benchmarks whose figures it shows."""

WIDTH, HEIGHT = 980, 704
MARGIN, GAP, TOP = 28, 44, 74
PANEL_WIDTH, PANEL_HEIGHT = (WIDTH - 2 * MARGIN - GAP) / 2, 274.0

STYLE = """
  svg { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
  .card { fill: #ffffff; stroke: #d0d7de; }
  text { fill: #1f2328; }
  .title { font-size: 19px; font-weight: 650; }
  .head { font-size: 14px; font-weight: 650; }
  .soft { fill: #656d76; font-size: 12px; }
  .rule { stroke: #d8dee4; stroke-width: 1; }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
  .ours.line { stroke-width: 3.5; }
  .dashed { stroke-dasharray: 2 5; }
  .ours { color: #0969da; }
  .uhashring { color: #8250df; }
  .tooz { color: #bc6c12; }
  .kazoo { color: #1a7f37; }
  .floor { color: #8c959f; }
  .line, .dot { stroke: currentColor; }
  .dot, .bar, .name { fill: currentColor; }
  .ours.name { font-weight: 650; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #30363d; }
    text { fill: #e6edf3; }
    .soft { fill: #9198a1; }
    .rule { stroke: #2a313c; }
    .ours { color: #58a6ff; }
    .uhashring { color: #bc8cff; }
    .tooz { color: #e3a04f; }
    .kazoo { color: #56d364; }
    .floor { color: #9198a1; }
  }
"""


def draw(found: Mapping[str, Any]) -> str:
    """The picture of what the JSON file holds.

    :raises ValueError: naming the benchmarks that are missing.
    """
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise ValueError(f"the picture also needs {', '.join(missing)}")
    left, right = MARGIN, MARGIN + PANEL_WIDTH + GAP
    upper, lower = TOP, TOP + PANEL_HEIGHT + 34
    facts = found["per_key"]["circumstances"]
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in ("aiopartition", "uhashring", "tooz", "kazoo"))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="what">',
        '<title id="what">aiopartition measured beside uhashring, tooz and kazoo</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="10"/>',
        text(MARGIN, 38, "What it costs to know what is mine", "title"),
        _per_key(found, left, upper),
        _cycle(found, right, upper),
        _balance(found, left, lower),
        _rebalance(found, right, lower),
        text(MARGIN, HEIGHT - 16, f"{facts['python']}, {facts['processors']}; {versions}. nox -s benchmarks", "soft"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# ---- the panels


def _per_key(found: Mapping[str, Any], x: float, y: float) -> str:
    rows = {row["members"]: row for row in _rows(found, "per_key", "time")}
    lines = [
        ("tooz HashRing", "tooz", "tooz"),
        ("uhashring", "uhashring", "uhashring"),
        ("extract_my_subset", "aiopartition", "ours"),
        ("floor: a loop that encodes and hashes", "hashing alone", "floor dashed"),
    ]
    series = [Line(label, kind, _by_members(rows[name])) for name, label, kind in lines]
    return _line_panel(
        (x, y),
        "One key: is it mine?",
        "nanoseconds, by the number of members (both scales logarithmic)",
        series,
        Scale(25, 30_000, [(10**power, f"{10**power:,}") for power in (2, 3, 4)], log=True),
    )


def _balance(found: Mapping[str, Any], x: float, y: float) -> str:
    rows = _rows(found, "balance", "balance")
    lines = [
        ("tooz, 32 points", "tooz", "tooz"),
        ("uhashring", "uhashring", "uhashring"),
        ("aiopartition", "aiopartition", "ours"),
    ]
    series = [
        Line(label, kind, [(row["members"], row["space"]) for row in rows if row["who"] == who])
        for who, label, kind in lines
    ]
    return _line_panel(
        (x, y),
        "The busiest member's load",
        "against an even share of all possible keys, by the number of members",
        series,
        Scale(1.0, 1.75, [(value, f"{value:g} ×") for value in (1.0, 1.25, 1.5, 1.75)]),
    )


def _cycle(found: Mapping[str, Any], x: float, y: float) -> str:
    rows = {row["who"]: row for row in _rows(found, "polling_cycle", "cycle")}
    bars: list[Bar] = []
    for who, label, kind in [
        ("aiopartition, extract_my_subset", "aiopartition", "ours"),
        ("tooz, run_watchers and Partitioner", "tooz, run_watchers() and Partitioner", "tooz"),
        ("tooz, Ceilometer's recipe", "tooz, Ceilometer's recipe", "tooz"),
    ]:
        milliseconds, requests = rows[who]["p50 µs"] / 1e3, round(rows[who]["requests a cycle"])
        asked = "no request" if not requests else f"{requests} request" + "s" * (requests > 1)
        bars.append(Bar(label, kind, milliseconds, f"{milliseconds:.2g} ms, {asked}"))
    return _bar_panel((x, y), "One polling cycle", "10 members, 1,000 resources, a real server", bars)


def _rebalance(found: Mapping[str, Any], x: float, y: float) -> str:
    theirs = [row for row in _rows(found, "rebalance", "SetPartitioner") if row["change"] == "join"]
    size = max(row["members"] for row in theirs)
    ours = next(
        row
        for row in _rows(found, "rebalance", "rebalance")
        if (row["members"], row["processes"], row["change"]) == (size, 1, "join")
    )
    bars = [Bar("aiopartition", "ours", ours["the last p50"], f"{ours['the last p50']:.0f} ms, nothing stops")]
    for row in theirs:
        if row["members"] == size:
            boundary, took = row["time_boundary"], row["p50"]
            shown = "30 s, the default" if boundary == 30 else f"{boundary:g} s"
            said = f"{took / 1e3:.2g} s, all stop for {row['nobody worked p50'] / 1e3:.2g} s"
            bars.append(Bar(f"kazoo, time_boundary {shown}", "kazoo", took, said))
    head = f"A member joins {size} others"
    return _bar_panel(
        (x, y), head, "until each holds its new share; all in one process, on a real server", bars, most=1_100
    )


# ---- what they are made of


@dataclass(frozen=True)
class Line:
    label: str
    kind: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Bar:
    label: str
    kind: str
    value: float
    said: str


@dataclass(frozen=True)
class Scale:
    lowest: float
    highest: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where between 0 and 1."""
        by: Callable[[float], float] = math.log10 if self.log else float
        return (by(value) - by(self.lowest)) / (by(self.highest) - by(self.lowest))


MEMBERS = Scale(2.6, 1_150, [(size, f"{size:,}") for size in (3, 10, 30, 100, 300, 1_000)], log=True)


def _line_panel(at: tuple[float, float], head: str, sub: str, lines: Sequence[Line], scale: Scale) -> str:
    x, y = at
    x0, x1 = x + 46, x + PANEL_WIDTH - 92
    y0, y1 = y + PANEL_HEIGHT - 24, y + 50

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return x0 + (x1 - x0) * MEMBERS(point[0]), y0 + (y1 - y0) * scale(point[1])

    parts = _heading(x, y, head, sub)
    for value, label in scale.ticks:
        height = y0 + (y1 - y0) * scale(value)
        parts += [rule(x0, height, x1, height), text(x0 - 8, height + 4, label, "soft", "end")]
    for size, label in MEMBERS.ticks:
        parts.append(text(place((size, scale.lowest))[0], y0 + 19, label, "soft", "middle"))
    for line in lines:
        spots = [place(point) for point in line.points]
        path = " ".join(f"{'L' if number else 'M'}{px:.1f} {py:.1f}" for number, (px, py) in enumerate(spots))
        parts.append(f'<path class="{line.kind} line" d="{path}"/>')
        if "dashed" not in line.kind:
            radius = 4.5 if line.kind == "ours" else 3
            parts += [f'<circle class="{line.kind} dot" cx="{px:.1f}" cy="{py:.1f}" r="{radius}"/>' for px, py in spots]
        parts.append(text(x1 + 6, spots[-1][1] + 4.5, line.label, f"{line.kind.split()[0]} name"))
    return "\n".join(parts)


def _bar_panel(at: tuple[float, float], head: str, sub: str, bars: Sequence[Bar], most: float = math.inf) -> str:
    """``most``: a bar of more than that is broken off."""
    x, y = at
    length = PANEL_WIDTH - 8
    longest = max(min(bar.value, most) for bar in bars)
    step = (PANEL_HEIGHT - 50) / len(bars)
    parts = _heading(x, y, head, sub)
    for number, bar in enumerate(bars):
        top = y + 50 + number * step
        width = max(3.0, length * min(bar.value, most) / longest)
        parts.append(text(x, top + 13, bar.label, f"{bar.kind} name"))
        parts.append(text(x + length, top + 13, bar.said, "", "end"))
        parts.append(
            f'<rect class="{bar.kind} bar" x="{x}" y="{top + 21:.1f}" width="{width:.1f}" height="15" rx="3"/>'
        )
        if bar.value > most:
            cut = x + width - 46
            gap = f"M{cut} {top + 18:.1f} l10 21 h7 l-10 -21 z"
            parts.append(f'<path class="card" style="stroke:none" d="{gap}"/>')
    return "\n".join(parts)


def _heading(x: float, y: float, head: str, sub: str) -> list[str]:
    return [text(x, y + 12, head, "head"), text(x, y + 30, sub, "soft")]


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def rule(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line class="rule" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>'


def _rows(found: Mapping[str, Any], benchmark: str, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = found[benchmark]["tables"][table]["rows"]
    return rows


def _by_members(row: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(float(size.replace(",", "")), value) for size, value in row.items() if size != "members"]
