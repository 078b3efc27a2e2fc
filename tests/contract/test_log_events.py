"""What operators read in the log when nothing is wrong, and when something is."""

import asyncio
import logging
from typing import Any

import pytest

from aiopartition import MemberSupersededError
from tests.contract.cluster import Cluster
from tests.support import wait_until

GROUP = "g\n1"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The library's log from INFO on."""
    caplog.set_level(logging.INFO, "aiopartition")
    return caplog


def facts(log: pytest.LogCaptureFixture, event: str, member: str) -> list[dict[str, Any]]:
    """The facts of all events of that name at one member."""
    prefix = "aiopartition_"
    found = [
        {key.removeprefix(prefix): value for key, value in vars(record).items() if key.startswith(prefix)}
        for record in log.records
    ]
    return [each for each in found if each.get("event") == event and each.get("member") == member]


async def test_joining_changing_and_leaving(cluster: Cluster, log: pytest.LogCaptureFixture) -> None:
    """Each change once, with who came, who went, what moved, and the own share before and after."""
    a, b = await cluster.started("a"), await cluster.started("b")
    await a.join_group(GROUP)
    (joined,) = facts(log, "group_joined", "a")
    assert (joined["group"], joined["members"], joined["share_after"]) == (GROUP, 1, 1.0)

    await b.join_group(GROUP)
    await wait_until(lambda: facts(log, "membership_changed", "a"))
    (change,) = facts(log, "membership_changed", "a")
    view = await a.view(GROUP)
    assert change == {
        "event": "membership_changed", "member": "a", "group": GROUP, "generation": view.generation, "members": 2,
        "joined": ("b",), "joined_count": 1, "left": (), "left_count": 0, "moved": 1 - view.shares()["a"],
        "share_before": 1.0, "share_after": view.shares()["a"],
    }  # fmt: skip
    assert change["generation"] > joined["generation"]

    await b.leave_group(GROUP)
    await wait_until(lambda: len(facts(log, "membership_changed", "a")) == 2)
    assert facts(log, "membership_changed", "a")[1]["left"] == ("b",)
    assert len(facts(log, "group_left", "b")) == 1
    await a.stop()
    assert facts(log, "group_left", "a")[0]["share_before"] == 1.0
    assert "stop() was called" in facts(log, "coordinator_stopped", "a")[0]["reason"]
    assert all(record.getMessage().isprintable() for record in log.records)


async def test_losing_and_regaining_ownership(cluster: Cluster, log: pytest.LogCaptureFixture) -> None:
    """Said once each, with the cause."""
    a = await cluster.started("a")
    await a.join_group(GROUP)
    await cluster.cut_off(a)
    await wait_until(lambda: facts(log, "ownership_lost", "a"))
    (lost,) = facts(log, "ownership_lost", "a")
    assert lost["share_before"] == 1.0
    assert "no connection" in lost["reason"]
    await cluster.reconnect(a)
    await wait_until(lambda: facts(log, "ownership_regained", "a"))
    assert facts(log, "ownership_regained", "a")[0]["share_after"] == 1.0
    assert len(facts(log, "ownership_lost", "a")) == 1


async def test_an_observer_says_what_it_sees(cluster: Cluster, log: pytest.LogCaptureFixture) -> None:
    """It has no share."""
    observer, a = await cluster.started("o"), await cluster.started("a")
    await a.join_group(GROUP)
    await observer.observe(GROUP)
    (seen,) = facts(log, "group_observed", "o")
    assert (seen["members"], seen["share_after"]) == (1, 0.0)
    assert facts(log, "group_joined", "o") == []
    await a.stop()
    await wait_until(lambda: facts(log, "ownership_lost", "o"))


async def test_a_superseded_member_says_why_it_owns_nothing(cluster: Cluster, log: pytest.LogCaptureFixture) -> None:
    """By its own line, whoever asks it or not."""
    first = await cluster.started("a")
    await first.join_group(GROUP)
    second = await cluster.started("a")
    await second.join_group(GROUP)
    await wait_until(lambda: facts(log, "ownership_lost", "a"))
    with pytest.raises(MemberSupersededError):
        await first.join_group(GROUP)
    assert "superseded" in facts(log, "ownership_lost", "a")[0]["reason"].lower()


async def test_a_coordinator_that_fails_says_the_cause(cluster: Cluster, log: pytest.LogCaptureFixture) -> None:
    """Also to a formatter that knows the facts alone."""
    a = await cluster.started("a")

    async def fail() -> None:
        raise ZeroDivisionError("a bug")

    begin = a._registry._begin
    assert begin is not None
    begin(fail, "a task of the runner")
    await wait_until(lambda: facts(log, "coordinator_failed", "a"))
    (failed,) = facts(log, "coordinator_failed", "a")
    assert failed["reason"] == "ZeroDivisionError: a bug"
    await a.stop()
    assert facts(log, "coordinator_stopped", "a") == []


async def test_a_coordinator_that_is_cancelled_says_so(cluster: Cluster, log: pytest.LogCaptureFixture) -> None:
    """As one is that asyncio.run() cancels at its end."""
    a = await cluster.started("a")
    assert a._runner._task is not None
    a._runner._task.cancel()
    await asyncio.wait({a._runner._task})
    (cancelled,) = facts(log, "coordinator_cancelled", "a")
    assert "cancelled" in cancelled["reason"]
