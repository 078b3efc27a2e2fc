"""Starting before the backend does, and stopping after it is gone."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from aiopartition import BackendUnavailableError, NotStartedError, OwnershipUnknownError, PartitionCoordinator
from aiopartition.settings import OnUnknown
from tests.faults.conftest import Measure
from tests.support import Proxy, ZooKeeperServer, wait_until
from tests.support.admin import session_of
from tests.support.fleet import GROUP, KEYS, Fleet
from tests.support.logged import logged


@pytest.fixture
async def absent(anyio_backend: str) -> AsyncIterator[ZooKeeperServer]:
    """A server that nobody has started yet."""
    server = ZooKeeperServer()
    yield server
    await server.close()


async def stop_within(seconds: float, coordinator: PartitionCoordinator) -> float:
    """Stop it; how long it took."""
    begun = time.monotonic()
    await coordinator.stop()
    took = time.monotonic() - begun
    assert took < seconds
    return took


class TestBackendDownAtStart:
    @pytest.mark.parametrize("on_unknown", ["empty", "raise"])
    async def test_everything_is_well_when_it_appears(
        self,
        fleet: Fleet,
        absent: ZooKeeperServer,
        namespace: str,
        on_unknown: OnUnknown,
        caplog: pytest.LogCaptureFixture,
        measure: Measure,
    ) -> None:
        """``start()`` returns after ``connect_timeout`` with one error in the log; calls return at once, and say that
        ownership is unknown. About a second after the server has appeared, at the latest, everything is well, and
        nobody had to ask."""
        url, begun = absent.url(namespace), time.monotonic()
        member = await fleet.start(url, "a", join=False, connect_timeout=0.3, on_unknown=on_unknown)
        assert 0.29 < time.monotonic() - begun < 0.8
        [message] = logged(caplog, level=logging.ERROR)
        assert absent.address in message

        begun = time.monotonic()
        await member.join_group(GROUP)
        if on_unknown == "empty":
            assert await member.extract_my_subset(GROUP, KEYS) == []
            assert [key async for key in member.my_subset(GROUP, KEYS)] == []
        else:
            with pytest.raises(OwnershipUnknownError, match="no connection"):
                await member.extract_my_subset(GROUP, KEYS)
            with pytest.raises(OwnershipUnknownError):
                await anext(member.my_subset(GROUP, KEYS))
        with pytest.raises(OwnershipUnknownError):
            await member.view(GROUP)
        with pytest.raises(BackendUnavailableError):
            await member.heartbeat()
        assert time.monotonic() - begun < 0.2
        assert not member.connected
        assert member.groups == (GROUP,)
        assert member.is_active()

        await absent.start()
        up = time.monotonic()
        await fleet.settle()
        measure("server up to exact split", time.monotonic() - up)
        assert time.monotonic() - up < 1.0
        assert len(logged(caplog, level=logging.ERROR)) == 1

    async def test_a_group_is_joined_without_asking_again(
        self, fleet: Fleet, absent: ZooKeeperServer, namespace: str
    ) -> None:
        """A group that was asked for while the backend was down is joined when it is up, without another call."""
        early = await fleet.start(absent.url(namespace), "early", connect_timeout=0.1)
        changes = fleet.changes(early)
        await absent.start()
        await wait_until(lambda: changes and changes[-1].view is not None)
        late = await fleet.start(absent.url(namespace), "late")
        await fleet.settle()
        assert await late.get_members(GROUP) == ("early", "late")

    async def test_cancelled_while_starting(self, absent: ZooKeeperServer, namespace: str) -> None:
        """Whoever gives up waiting for ``start()`` leaves nothing behind."""
        coordinator = PartitionCoordinator(absent.url(namespace))
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await coordinator.start()
        assert time.monotonic() - begun < 1.5
        with pytest.raises(RuntimeError):
            await coordinator.start()


class TestStopWithoutBackend:
    """``stop()`` is over soon, however the backend is, and leaves nothing behind."""

    async def test_never_there(self, fleet: Fleet, absent: ZooKeeperServer, namespace: str, measure: Measure) -> None:
        """No server has ever answered."""
        member = await fleet.start(absent.url(namespace), "a", connect_timeout=0.1)
        measure("stop, server never there", await stop_within(1.5, member))

    async def test_while_starting(self, absent: ZooKeeperServer, namespace: str, measure: Measure) -> None:
        """``start()`` is still waiting for a server; it returns too."""
        coordinator = PartitionCoordinator(absent.url(namespace), connect_timeout=30.0)
        starting = asyncio.create_task(coordinator.start())
        await asyncio.sleep(0.05)
        measure("stop, while starting", await stop_within(1.5, coordinator))
        with suppress(Exception):
            async with asyncio.timeout(0.5):
                await starting
        assert starting.done()

    async def test_killed(self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, measure: Measure) -> None:
        """The server was killed."""
        member = await fleet.start(url, "a")
        await zookeeper.kill()
        measure("stop, server killed", await stop_within(1.5, member))

    async def test_frozen(self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, measure: Measure) -> None:
        """The server keeps the connection and answers nothing."""
        member = await fleet.start(url, "a")
        await zookeeper.freeze()
        measure("stop, server frozen", await stop_within(1.5, member))

    async def test_frozen_for_long(self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, measure: Measure) -> None:
        """The server has been given up, and the next attempt to connect is under way."""
        member = await fleet.start(url, "a", session_timeout=0.5)
        await zookeeper.freeze()
        await wait_until(lambda: not member.connected)
        await asyncio.sleep(0.1)
        measure("stop, server frozen for long", await stop_within(1.5, member))

    async def test_silent_network(self, fleet: Fleet, network_url: str, network: Proxy, measure: Measure) -> None:
        """Nothing gets through; a question is under way."""
        member = await fleet.start(network_url, "a", heartbeat=0.1)
        network.silent()
        await asyncio.sleep(0.2)
        measure("stop, silent network", await stop_within(1.5, member))

    async def test_calls_under_way_end(self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer) -> None:
        """Whoever waits for an answer while the coordinator is stopped does not wait for longer than ``stop()``."""
        member = await fleet.start(url, "a")
        await zookeeper.freeze()
        calls = [
            asyncio.create_task(member.join_group("another")),
            asyncio.create_task(member.extract_my_subset("a third", KEYS)),
            asyncio.create_task(member.view("a fourth")),
            asyncio.create_task(member.heartbeat()),
            asyncio.create_task(member.leave_group(GROUP)),
        ]
        await asyncio.sleep(0.05)
        await stop_within(1.5, member)
        done, pending = await asyncio.wait(calls, timeout=0.2)
        for call in pending:
            call.cancel()
        assert not pending
        assert {type(call.exception()) for call in done} <= {
            type(None),
            NotStartedError,
            OwnershipUnknownError,
            BackendUnavailableError,
        }


class TestLeaving:
    async def test_is_over_when_it_is_done(self, fleet: Fleet, url: str, measure: Measure) -> None:
        """``leave_group()`` waits for the server's answer and not a moment longer; the others know by then."""
        member, other = [await fleet.start(url, name) for name in "ab"]
        await fleet.settle()
        begun = time.monotonic()
        await member.leave_group(GROUP)
        took = time.monotonic() - begun
        measure("leave_group", took)
        assert took < 0.3
        await fleet.settle(other)
        measure("leave_group to exact split", time.monotonic() - begun)
        await member.join_group(GROUP)
        await fleet.settle()

    async def test_without_backend(self, fleet: Fleet, url: str, zookeeper: ZooKeeperServer, measure: Measure) -> None:
        """``leave_group()`` waits for a frozen server no longer than about a second, and then the entry is deleted
        as soon as the server answers again."""
        member = await fleet.start(url, "a", session_timeout=4.0)
        other = await fleet.start(url, "b", session_timeout=4.0)
        await fleet.settle()
        await zookeeper.freeze()
        begun = time.monotonic()
        leaving = asyncio.create_task(member.leave_group(GROUP))
        await asyncio.sleep(0)
        assert member.groups == ()
        await leaving
        measure("leave_group, server frozen", time.monotonic() - begun)
        assert time.monotonic() - begun < 1.5
        await zookeeper.thaw()
        await fleet.settle(other)


class TestDefect:
    async def test_in_the_background_is_told_at_once(
        self, fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Should a background task ever die of a defect of ours, one error with its traceback is logged there and
        then, nothing is handed out any more, each call says why, the others take over at once, and ``stop()`` works."""
        member, other = [await fleet.start(url, name) for name in "ab"]
        await fleet.settle()

        def fail(*_arguments: object, **_keywords: object) -> float:
            raise ArithmeticError("a defect")

        with monkeypatch.context() as patch:
            patch.setattr(session_of(member), "_keep_alive", fail)
            await wait_until(lambda: logged(caplog, level=logging.ERROR))
        with pytest.raises(NotStartedError) as refused:
            await member.extract_my_subset(GROUP, KEYS)
        assert "ArithmeticError" in repr(refused.value.__cause__)
        await fleet.settle(other)
        await member.stop()
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.exc_info is not None
