"""run() and its resources: they are asked for again, and may fail, be slow or be wrong."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from aiopartition import ConfigurationError, NotStartedError
from tests.contract.cluster import Cluster
from tests.contract.exclusive import joined, shared_out
from tests.contract.working import RESOURCES, Colour, Floor, messages, running
from tests.support import wait_until


async def test_a_class_of_enumeration_members_is_a_list(cluster: Cluster) -> None:
    """It can be called too, but that is not how its members are got."""
    member, seen = await cluster.joined("m"), set[Colour]()

    async def worker(colour: Colour) -> None:
        seen.add(colour)

    async with running(member.run("g", Colour, worker)):
        await wait_until(lambda: seen == set(Colour))


async def test_resources_are_asked_for_again(cluster: Cluster) -> None:
    """What is new is started, what is gone is cancelled, what stays stays."""
    member, floor = await cluster.joined("m"), Floor()
    listed = ["a", "b"]
    asked = 0

    async def resources() -> list[str]:
        nonlocal asked
        asked += 1
        return list(listed)

    async with running(member.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a", "b"))
        listed[:] = ["b", "c"]
        await wait_until(lambda: floor.works_on("b", "c"))
        assert floor.started == ["a", "b", "c"]
        before = asked
        await wait_until(lambda: asked > before + 2)
    before = asked
    await asyncio.sleep(0)
    assert asked == before


async def test_resources_that_fail_leave_the_work_as_it_is(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """A database that is away ends no work; once it is back its answer counts."""
    member, floor = await cluster.joined("m"), Floor()
    answers: list[Any] = [OSError("away"), ["a"], OSError("away"), OSError("away"), ["a", "b"]]

    async def resources() -> list[str]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    async with running(member.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a", "b"))
    assert floor.started == ["a", "b"]
    assert len(messages(caplog, "could not be listed")) == 3


async def test_resources_that_fail_end_a_run_that_is_to_raise(cluster: Cluster) -> None:
    """on_error="raise" goes for them too; the workers have ended by then."""
    member, floor = await cluster.joined("m"), Floor()
    answers: list[list[str]] = [["a"]]

    async def resources() -> list[str]:
        if not answers:
            await wait_until(lambda: floor.working)
            raise OSError("away")
        return answers.pop()

    with pytest.raises(OSError, match="away"):
        await member.run("g", resources, floor.worker, refresh=0.01, on_error="raise")
    assert floor.ended == ["a"]


async def test_a_cancellation_out_of_resources_is_a_failure(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Not ours: something that they awaited was cancelled. They are asked again."""
    member, floor = await cluster.joined("m"), Floor()
    asked = 0

    async def resources() -> list[str]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise asyncio.CancelledError
        return ["a"]

    async with running(member.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a"))
    assert messages(caplog, "could not be listed")


async def test_slow_resources_delay_no_revocation(cluster: Cluster) -> None:
    """While they are being listed, what is lost is cancelled all the same."""
    first, floor = await joined(cluster, "first"), Floor()
    await shared_out(first)
    answers = [RESOURCES]

    async def resources() -> list[str]:
        if not answers:
            await asyncio.Event().wait()
        return answers.pop()

    async with running(first.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on(*RESOURCES))
        second = await joined(cluster, "second")
        await shared_out(first, second)
        assert set(floor.ended) == set(RESOURCES) & set((await second.view("g")).mine(RESOURCES))


@pytest.mark.parametrize("answer", ["an error", "a list", "nothing for long"])
@pytest.mark.parametrize("end", ["cancel", "leave_group", "stop"])
async def test_resources_that_outlive_their_cancellation(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, answer: str, end: str
) -> None:
    """A driver that makes an error of its own of it, a listing that returns all the same, or one that cannot be
    interrupted: run() ends, and its workers end before the listing does."""
    first, floor = await joined(cluster, "first"), Floor()
    await shared_out(first)
    calls, go_on = 0, asyncio.Event()

    async def resources() -> list[str]:
        nonlocal calls
        calls += 1
        if calls > 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if answer == "an error":
                    raise ConnectionError("the query was interrupted") from None
                while answer == "nothing for long" and not go_on.is_set():
                    with suppress(asyncio.CancelledError):
                        await go_on.wait()
        return RESOURCES

    task = asyncio.create_task(first.run("g", resources, floor.worker, refresh=0.01))
    await wait_until(lambda: floor.works_on(*RESOURCES) and calls == 2)
    if end == "cancel":
        task.cancel()
    else:
        await (first.leave_group("g") if end == "leave_group" else first.stop())
    await wait_until(lambda: floor.working == [])
    assert task.done() or answer == "nothing for long"
    go_on.set()
    await asyncio.wait({task}, timeout=5)
    assert task.done()
    assert task.cancelled() == (end == "cancel")
    assert calls == 2
    assert bool(messages(caplog, "while it was being cancelled")) == (answer == "an error")


@pytest.mark.parametrize("wrong", ["text", b"bytes", 5, None, [1.5], [object()]])
async def test_what_cannot_be_resources_is_refused(cluster: Cluster, wrong: Any) -> None:
    """Given as they are they never change, and a listing that is to raise does; no work begins."""
    member, floor = await cluster.joined("m"), Floor()

    async def listed() -> Any:
        return wrong

    async with asyncio.timeout(10):
        with pytest.raises(TypeError):
            await member.run("g", wrong, floor.worker)
        with pytest.raises(TypeError):
            await member.run("g", listed, floor.worker, on_error="raise")
    assert floor.started == []


def fails_midway() -> Any:
    yield "a"
    raise KeyError("items")


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr either")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (TypeError("'NoneType' object is not subscriptable"), "could not be listed"),
        (StopIteration(), "could not be listed"),
        (asyncio.CancelledError(), "could not be listed"),
        (None, "could not be listed"),
        ("a,b", "could not be listed"),
        (5, "could not be listed"),
        (fails_midway, "could not be listed"),
        (["a", None, "b"], "number 1, None: TypeError"),
        (["a", "b", 1.5, object, None, None], "number 2, 1.5: TypeError"),
        ([Unprintable(), "a", "b"], "number 0, <Unprintable whose repr() raises RuntimeError>: TypeError"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_listing_that_goes_wrong_ends_no_work(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, answer: Any, complaint: str
) -> None:
    """Whatever resources() raises or returns: what is known goes on, and one error says what was wrong and where."""
    member, floor, asked = await cluster.joined("m"), Floor(), 0

    async def resources() -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            return ["a", "b"]
        if isinstance(answer, BaseException) and asked < 5:
            raise type(answer)(*answer.args)
        if asked < 5:
            return answer() if callable(answer) else answer
        return ["a", "b", "c"]

    async with running(member.run("g", resources, floor.worker, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a", "b", "c"))
    assert floor.started == ["a", "b", "c"]
    assert messages(caplog, complaint)
    if isinstance(answer, list):
        assert len(messages(caplog, "are left out")) == 1  # not one for each question


async def test_a_key_that_fails_leaves_out_its_resource_alone(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever key() raises, be it a cancellation of something that it looked at."""
    member, floor = await cluster.joined("m"), Floor()
    errors: dict[str, BaseException] = {"x": KeyError("serial"), "y": RecursionError("deep"), "z": ValueError("bad")}

    def key(name: str) -> str:
        if name in errors:
            raise errors[name]
        return name

    async def resources() -> list[str]:
        return ["a", "x", "y", "b", "z"]

    async with running(member.run("g", resources, floor.worker, key=key, refresh=0.01)):
        await wait_until(lambda: floor.works_on("a", "b"))
        errors["x"] = asyncio.CancelledError()
        await wait_until(lambda: messages(caplog, "number 1, 'x': CancelledError"))
        assert floor.works_on("a", "b")
        del errors["x"]
        await wait_until(lambda: floor.works_on("a", "b", "x"))
    assert not messages(caplog, "could not be listed")
    [record, *_] = messages(caplog, "are left out")
    for part in ("number 1, 'x': KeyError", "number 2, 'y': RecursionError", "number 4, 'z': ValueError"):
        assert part in record.getMessage()


async def test_bad_arguments_are_refused(cluster: Cluster) -> None:
    """Before anything is started, naming the argument."""
    member = await cluster.coordinator("m")
    with pytest.raises(NotStartedError):
        await member.run("g", RESOURCES, Floor().worker)
    await member.start()
    for name, wrong in [
        ("refresh", 0), ("refresh", -1), ("refresh", float("nan")), ("refresh", "1"), ("drain_timeout", -1),
        ("drain_timeout", float("inf")), ("on_error", "ignore"), ("on_error", None),
    ]:  # fmt: skip
        arguments: dict[str, Any] = {name: wrong}
        with pytest.raises(ConfigurationError) as caught:
            await member.run("g", RESOURCES, Floor().worker, **arguments)
        assert caught.value.part == name
    assert member.groups == ()
