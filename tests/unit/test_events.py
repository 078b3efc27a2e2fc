"""Events of a coordinator: their lines, their facts, and the page that documents them."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from aiopartition.events import FIELDS, KINDS, LONGEST_LIST, PREFIX, Event, Events

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "log-events.md").read_text()

FACTS: dict[str, Any] = {
    "group": "g", "generation": 7, "members": 3, "joined": ("a",), "left": (), "moved": 0.25, "share_before": 0.5,
    "share_after": 0.25, "reason": "why",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_event_is_documented(name: str) -> None:
    """With its level, and exactly the facts that its line has."""
    row = re.search(rf"^\| `{name}` \| (\w+) \| .* \| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None
    assert row[1] == logging.getLevelName(KINDS[name].level)
    documented = set(re.findall(r"`(\w+)`", row[2]))
    shown = set(re.findall(r"%\((\w+)\)s", KINDS[name].text))
    assert shown <= documented <= set(FIELDS)


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_each_fact_is_documented(field: str) -> None:
    """Under the name that a record has."""
    assert f"| `{PREFIX}{field}` |" in PAGE


def test_no_other_event_is_documented() -> None:
    """A row whose event has gone."""
    table = PAGE.split("## Events")[1].split("## Facts")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(KINDS)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_event_can_be_written(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Every line is complete, and every fact is an attribute that logging does not have itself."""
    caplog.set_level(logging.INFO, "aiopartition")
    events = Events()
    events.member_id = "m"
    events.say(name, **FACTS)
    (record,) = caplog.records
    assert record.levelno == KINDS[name].level
    assert "%(" not in record.getMessage()
    facts = {key: value for key, value in vars(record).items() if key.startswith(PREFIX)}
    assert facts["aiopartition_event"] == name
    assert facts["aiopartition_member"] == "m"
    assert {f"{PREFIX}{field}": fact for field, fact in FACTS.items()}.items() <= facts.items()


@pytest.mark.parametrize("hostile", ["a\nWARNING forged", "\x1b[2J", "\u202egnp.exe", "x" * 100_000])
def test_lines_are_one_line_and_short(hostile: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever stands in the tree."""
    caplog.set_level(logging.INFO, "aiopartition")
    Events().say("membership_changed", **{**FACTS, "group": hostile, "joined": (hostile,) * 1000, "left": (hostile,)})
    Events().say("ownership_lost", **{**FACTS, "reason": hostile})
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 5_000
    assert "and 990 more" in caplog.text


def test_facts_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand members that come at once do not make a line of JSON of a thousand names."""
    caplog.set_level(logging.INFO, "aiopartition")
    Events().say("membership_changed", **{**FACTS, "joined": tuple(map(str, range(1000)))})
    record = vars(caplog.records[0])
    assert record["aiopartition_joined"] == tuple(map(str, range(LONGEST_LIST)))
    assert record["aiopartition_joined_count"] == 1000


def test_subscribers_hear_until_they_unsubscribe() -> None:
    """Of what is logged, and of what is only counted."""
    heard: list[Event] = []
    events = Events()
    events.subscribe(heard.append)
    events.say("group_left", group="g", share_before=0.0)
    events.tell("worker_started", group="g")
    events.unsubscribe(heard.append)
    events.tell("worker_started", group="g")
    assert [event.name for event in heard] == ["group_left", "worker_started"]


def test_a_subscriber_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The others hear, the caller goes on, the log says it."""
    heard: list[str] = []

    def fail(_: Event) -> None:
        raise RuntimeError("a bug")

    events = Events()
    events.subscribe(fail)
    events.subscribe(lambda event: heard.append(event.name))
    events.tell("session_expired")
    assert heard == ["session_expired"]
    assert "a bug" in caplog.text
