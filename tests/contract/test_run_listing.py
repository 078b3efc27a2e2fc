"""run() follows its listing: what is new, what has changed, what was gained, and what is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from aiopartition import ConfigurationError, GroupPolicy
from tests.contract.cluster import Cluster
from tests.contract.exclusive import POLICY
from tests.contract.working import Floor, messages, running
from tests.support import wait_until

LONG = 3600.0
"""Seconds between questions that no test waits for."""


@dataclass(frozen=True)
class Target:
    """A resource that has more to it than its key."""

    name: str
    interval: Any = 10

    @staticmethod
    def key(target: Target) -> str:
        return target.name


class Attendance:
    """Which objects are worked on, and how often each key was begun."""

    def __init__(self) -> None:
        self.working: list[Any] = []
        self.begun: list[str] = []

    async def worker(self, target: Any) -> None:
        self.begun.append(target.name)
        self.working.append(target)
        try:
            await asyncio.Event().wait()
        finally:
            self.working.remove(target)


class Answers:
    """A listing whose answer is set from outside, and which counts how often it was asked for."""

    def __init__(self, *answer: Any) -> None:
        self.answer = list(answer)
        self.asked = 0

    async def __call__(self) -> list[Any]:
        self.asked += 1
        return list(self.answer)

    async def taken_up(self) -> None:
        """Wait until an answer that is given from now on was asked for, and the next question was asked after it."""
        before = self.asked
        await wait_until(lambda: self.asked >= before + 2)


# ---- resources that change


@pytest.mark.parametrize("exclusive", [False, True])
async def test_a_changed_resource_restarts_its_worker(cluster: Cluster, exclusive: bool) -> None:
    """With on_change="restart", and no other worker is disturbed by it."""
    member, here = await cluster.started("m"), Attendance()
    await member.join_group("g", policy=POLICY if exclusive else GroupPolicy())
    listed = Answers(Target("a"), Target("b"))
    async with running(member.run("g", listed, here.worker, key=Target.key, refresh=0.01, on_change="restart")):
        await wait_until(lambda: here.working == [Target("a"), Target("b")])
        listed.answer = [Target("a"), Target("b", 20)]
        await wait_until(lambda: here.working == [Target("a"), Target("b", 20)])
        listed.answer = [Target("a"), Target("b", 20)]  # equal, though other objects
        await listed.taken_up()
        assert here.begun == ["a", "b", "b"]


@pytest.mark.parametrize("arguments", [{}, {"on_change": "keep"}])
async def test_a_changed_resource_is_kept_by_default(cluster: Cluster, arguments: dict[str, Any]) -> None:
    """The worker keeps the object that it was started with."""
    member, here = await cluster.joined("m"), Attendance()
    listed = Answers(Target("a"))
    async with running(member.run("g", listed, here.worker, key=Target.key, refresh=0.01, **arguments)):
        await wait_until(lambda: here.working)
        listed.answer = [Target("a", 20)]
        await listed.taken_up()
        assert here.working == [Target("a")]
        assert here.begun == ["a"]


@pytest.mark.parametrize("on_change", ["keep", "restart"])
async def test_a_change_after_its_worker_has_returned(cluster: Cluster, on_change: Any) -> None:
    """What was done for the old object is to be done for the new one, if restarts are wanted."""
    member, done = await cluster.joined("m"), list[Target]()
    listed = Answers(Target("a"))

    async def worker(target: Target) -> None:
        done.append(target)

    async with running(member.run("g", listed, worker, key=Target.key, refresh=0.01, on_change=on_change)):
        await wait_until(lambda: done)
        listed.answer = [Target("a", 20)]
        await listed.taken_up()
        await listed.taken_up()
    assert done == ([Target("a"), Target("a", 20)] if on_change == "restart" else [Target("a")])


async def test_a_change_while_its_worker_waits_after_a_failure(cluster: Cluster) -> None:
    """The next attempt is made with the new object, and at once."""
    member, tried = await cluster.joined("m"), list[Target]()
    listed = Answers(Target("a"))

    async def worker(target: Target) -> None:
        tried.append(target)
        if target.interval == 10:
            raise OSError("wrong interval")
        await asyncio.Event().wait()

    async with running(member.run("g", listed, worker, key=Target.key, refresh=0.01, on_change="restart")):
        await wait_until(lambda: tried)
        listed.answer = [Target("a", 20)]
        await wait_until(lambda: tried[-1] == Target("a", 20))


async def test_a_worker_that_lingers_when_its_resource_changes(cluster: Cluster) -> None:
    """There are never two workers on one key; the newest object counts when the old worker has ended."""
    member, let_go = await cluster.joined("m"), asyncio.Event()
    listed, working, most = Answers(Target("a", 1)), list[Target](), 0

    async def worker(target: Target) -> None:
        nonlocal most
        working.append(target)
        most = max(most, len(working))
        try:
            await asyncio.Event().wait()
        finally:
            await let_go.wait()
            working.remove(target)

    async with running(member.run("g", listed, worker, key=Target.key, refresh=0.01, on_change="restart")):
        await wait_until(lambda: working)
        for interval in (2, 3):
            listed.answer = [Target("a", interval)]
            await listed.taken_up()
        assert working == [Target("a", 1)]
        let_go.set()
        await wait_until(lambda: working == [Target("a", 3)])
    assert most == 1


def raises(error: BaseException) -> Callable[[object, object], Any]:
    def compare(_one: object, _other: object) -> Any:
        raise error

    return compare


class Ambiguous:
    """As an array of numbers is: whether it is true cannot be told."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")


@pytest.mark.parametrize(
    "compare",
    [
        raises(KeyError("interval")), raises(RecursionError()), raises(asyncio.CancelledError()),
        lambda _one, _other: None, lambda _one, _other: "no", lambda _one, _other: Ambiguous(),
    ],
    ids=["error", "recursion", "cancellation", "nothing", "text", "ambiguous"],
)  # fmt: skip
async def test_resources_that_cannot_be_compared(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, compare: Callable[[object, object], Any]
) -> None:
    """Their workers go on, and that is said once."""

    class Incomparable:
        def __init__(self, name: str) -> None:
            self.name = name

        __hash__ = object.__hash__

        def __eq__(self, other: object) -> Any:
            return compare(self, other)

    member, here, asked = await cluster.joined("m"), list[str](), 0

    async def resources() -> list[Incomparable]:
        nonlocal asked
        asked += 1
        return [Incomparable("a"), Incomparable("b")]

    async def worker(resource: Incomparable) -> None:
        here.append(resource.name)
        await asyncio.Event().wait()

    async with running(
        member.run("g", resources, worker, key=lambda each: each.name, refresh=0.01, on_change="restart")
    ):
        await wait_until(lambda: asked > 5)
        assert here == ["a", "b"]
    assert len(messages(caplog, "group 'g': it cannot be told whether the resource of key 'a' has changed")) == 1
    assert len(messages(caplog, "it cannot be told")) == 1


# ---- resources that are gained


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("end", ["leave_group", "stop"])
async def test_what_is_gained_is_listed_anew(cluster: Cluster, end: str, exclusive: bool) -> None:
    """A resource that only its last owner had listed is not nobody's until the gainer's next question."""
    policy = POLICY if exclusive else GroupPolicy(slots=64, vnodes=16)
    first, second = await cluster.started("first"), await cluster.started("second")
    for member in (first, second):
        await member.join_group("g", policy=policy, settle=0)
    listed, here = Answers("old"), Floor()

    async def knows_both() -> bool:
        return all([len(await member.get_members("g")) == 2 for member in (first, second)])

    await wait_until(knows_both)
    async with running(second.run("g", listed, here.worker, refresh=LONG)):
        await wait_until(lambda: listed.asked)
        mine = set((await first.view("g")).mine([f"new-{number}" for number in range(20)]))
        listed.answer = ["old", *mine]
        await (first.leave_group("g") if end == "leave_group" else first.stop())
        await wait_until(lambda: here.works_on("old", *mine))


async def test_what_is_gained_during_a_question_leads_to_another(cluster: Cluster) -> None:
    """The answer may be older than the gain."""
    member, here, go_on, asked = await cluster.started("m"), Floor(), asyncio.Event(), 0
    other = await cluster.started("other")
    for each in (member, other):
        await each.join_group("g", settle=0)

    async def knows_both() -> bool:
        return len(await member.get_members("g")) == 2

    await wait_until(knows_both)

    async def resources() -> list[str]:
        nonlocal asked
        asked += 1
        if asked == 1:
            await go_on.wait()
            return []
        return ["new"]

    async with running(member.run("g", resources, here.worker, refresh=LONG)):
        await wait_until(lambda: asked == 1)
        await other.stop()
        await wait_until(lambda: len(member.status("g").members) == 1)
        go_on.set()
        await wait_until(lambda: here.works_on("new"))


# ---- resources that share a key


async def test_resources_with_one_key_are_warned_of(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, which names the key; another one only after an answer in which it was unique."""
    member, here = await cluster.joined("m"), Attendance()
    listed = Answers(Target("a", 1), Target("b"), Target("a", 2), Target("a", 3))
    warning = (
        "group 'g': of resources with one key only the first counts: key 'a' is that of Target(name='a', interval=1"
    )
    async with running(member.run("g", listed, here.worker, key=Target.key, refresh=0.01)):
        await wait_until(lambda: len(here.working) == 2)
        await listed.taken_up()
        assert here.working == [Target("a", 1), Target("b")]
        assert len(messages(caplog, warning)) == len(messages(caplog, "only the first counts")) == 1
        listed.answer = [Target("a", 1), Target("b")]
        await listed.taken_up()
        listed.answer = [Target("a", 1), Target("b"), Target("a", 2), Target("b", 2)]
        await listed.taken_up()
    assert len(messages(caplog, warning)) == len(messages(caplog, "only the first counts")) == 2
    assert "; 'b' is that of" in messages(caplog, "only the first counts")[-1].getMessage()


async def test_many_resources_with_one_key_are_one_warning(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Which does not flood the log. A plain list is warned of too."""
    member, here = await cluster.joined("m"), Floor()
    async with running(member.run("g", [*"abcdefgh", *"abcdefgh"], here.worker)):
        await wait_until(lambda: here.works_on(*"abcdefgh"))
    [record] = messages(caplog, "only the first counts")
    assert record.getMessage().endswith("; and 5 more")


# ---- a listing that is a plain function, a worker that is none


async def test_resources_may_be_a_plain_function(cluster: Cluster) -> None:
    """It is asked again and again as an async one is, whatever iterable it returns."""
    member, here = await cluster.joined("m"), Floor()
    answers: list[Any] = [["a"], ("a", "b"), {"b": 1}, (name for name in "bc")]

    def resources() -> Any:
        return answers.pop(0) if len(answers) > 1 else list("bc")

    async with running(member.run("g", resources, here.worker, refresh=0.01)):
        await wait_until(lambda: here.works_on("b", "c"))
    assert here.started[:2] == ["a", "b"]


@pytest.mark.parametrize("answer", [None, 5, "text", OSError("away"), [None]], ids=repr)
async def test_a_plain_function_that_goes_wrong(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    """As with an async one, what is known goes on."""
    member, here, asked = await cluster.joined("m"), Floor(), 0

    def resources() -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            return ["a"]
        if isinstance(answer, Exception):
            raise answer
        return [*answer, "a"] if isinstance(answer, list) else answer

    async with running(member.run("g", resources, here.worker, refresh=0.01)):
        await wait_until(lambda: asked > 3)
        assert here.started == here.working == ["a"]
    assert messages(caplog, "group 'g': resources without" if answer == [None] else "group 'g': the resources could")


@pytest.mark.parametrize("worker", [None, "attend", 5, asyncio.Event()], ids=lambda value: type(value).__name__)
async def test_a_worker_that_cannot_be_called_is_refused(cluster: Cluster, worker: Any) -> None:
    """At the call, before anything is listed."""
    member, listed = await cluster.joined("m"), Answers("a")
    with pytest.raises(TypeError, match="worker must be an async function that takes a resource, not"):
        await member.run("g", listed, worker)
    assert listed.asked == 0


def returns_nothing(calls: list[str], name: str) -> Any:
    calls.append(name)


def returns_a_result(calls: list[str], name: str) -> Any:
    calls.append(name)
    return 5


async def yields(calls: list[str], name: str) -> Any:
    calls.append(name)
    yield name


def yields_plainly(calls: list[str], name: str) -> Any:
    calls.append(name)
    return iter([name])


@pytest.mark.parametrize("on_error", ["restart", "raise"])
@pytest.mark.parametrize("function", [returns_nothing, returns_a_result, yields, yields_plainly])
async def test_a_worker_that_returns_no_awaitable_ends_run(cluster: Cluster, function: Any, on_error: Any) -> None:
    """At its first call, of forty resources; by an error that says so."""
    member, calls = await cluster.joined("m"), list[str]()

    def worker(name: str) -> Any:
        return function(calls, name)

    with pytest.raises(TypeError, match="must be an async function: it returned .* to be awaited"):
        await asyncio.wait_for(member.run("g", [f"k-{n}" for n in range(40)], worker, on_error=on_error), 10)
    assert len(calls) <= 1


async def test_a_failing_worker_is_named(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """With its group and its key."""
    member, calls = await cluster.joined("m"), 0

    async def worker(_name: str) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            await asyncio.Event().wait()
        raise OSError("unreachable")

    async with running(member.run("g", ["device-7"], worker)):
        await wait_until(lambda: calls == 2)
    assert messages(caplog, "group 'g': the worker of run() on key 'device-7' failed; it is started again")


async def test_wrong_on_change_is_refused(cluster: Cluster) -> None:
    """Naming the argument."""
    member = await cluster.joined("m")
    for wrong in ("ignore", None, True):
        argument: Any = wrong
        with pytest.raises(ConfigurationError) as caught:
            await member.run("g", ["a"], Floor().worker, on_change=argument)
        assert caught.value.part == "on_change"
