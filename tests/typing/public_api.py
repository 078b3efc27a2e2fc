"""The public API as users write it. Never run: type checkers read it, and an ignore that is not needed is an error."""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import signal
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path, PurePosixPath
from typing import Literal, assert_type
from uuid import UUID

import aiopartition
from aiopartition import (
    Acl,
    AuthenticationError,
    Awaited,
    BackendError,
    BackendUnavailableError,
    Change,
    ConfigurationError,
    ForeignRightsError,
    GroupPolicy,
    GroupStatus,
    Kerberos,
    Member,
    MemberInfo,
    MemberSupersededError,
    NotStartedError,
    OwnershipLostError,
    OwnershipUnknownError,
    Partition,
    PartitionCoordinator,
    PartitionError,
    PolicyMismatchError,
    Rebalance,
    SaslDigest,
    Secret,
    SessionFullError,
    View,
    finish_in_thread,
    partitions,
    stop_on_signal,
)


@dataclass
class Switch:
    """Something that is to be polled."""

    name: str
    port: int


class Site(StrEnum):
    HERE = "here"


class Rack(Enum):
    ONE = (1, "a")


async def gives_switches() -> AsyncIterator[Switch]:
    yield Switch("s", 1)


# ---- making one


def every_argument(context: ssl.SSLContext, metadata: Mapping[str, str]) -> None:
    assert_type(PartitionCoordinator(), PartitionCoordinator)
    PartitionCoordinator(None)
    PartitionCoordinator("memory://")
    PartitionCoordinator(
        "zookeeper://zk1,zk2/pollers",
        member_id="m",
        heartbeat=1,
        session_timeout=10.0,
        connect_timeout=10,
        on_unknown="raise",
        ssl=context,
        auth=("user", "password"),
        acl=Acl(members=(Acl.digest_id("user", "password"),), readers=("world:anyone",)),
        strict_acl=True,
        metadata=metadata,
    )
    PartitionCoordinator(Secret("zookeeper://user:password@zk1"), auth=("user", Secret("password")))
    PartitionCoordinator(auth=Secret(("user", "password")))
    PartitionCoordinator(auth=SaslDigest("user", "password"))
    PartitionCoordinator(auth=SaslDigest("user", password=Secret("password")))
    PartitionCoordinator(auth=Kerberos())
    PartitionCoordinator(auth=Kerberos(service="zookeeper"))
    PartitionCoordinator(backend_url="memory://", on_unknown="empty", metadata={"rack": "7"}, auth=None, ssl=None)


def on_unknown_is_one_of_two_words(chosen: Literal["empty", "raise"], any_text: str) -> None:
    PartitionCoordinator(on_unknown=chosen)
    PartitionCoordinator(on_unknown="ignore")  # type: ignore[arg-type]
    PartitionCoordinator(on_unknown=any_text)  # type: ignore[arg-type]
    PartitionCoordinator(on_unknown=None)  # type: ignore[arg-type]


def arguments_of_wrong_types() -> None:
    PartitionCoordinator(5)  # type: ignore[arg-type]
    PartitionCoordinator("memory://", "m")  # type: ignore[call-arg]
    PartitionCoordinator(member_id=5)  # type: ignore[arg-type]
    PartitionCoordinator(heartbeat="1")  # type: ignore[arg-type]
    PartitionCoordinator(acl="world:anyone")  # type: ignore[arg-type]
    PartitionCoordinator(strict_acl="true")  # type: ignore[arg-type]
    Acl("world:anyone")  # type: ignore[arg-type]
    Acl()  # type: ignore[call-arg]
    PartitionCoordinator(ssl=True)  # type: ignore[arg-type]
    PartitionCoordinator(auth="user:password")  # type: ignore[arg-type]
    PartitionCoordinator(auth=("user", "password", "more"))  # type: ignore[arg-type]
    PartitionCoordinator(metadata={"rack": 7})  # type: ignore[dict-item]
    PartitionCoordinator(hartbeat=1.0)  # type: ignore[call-arg]
    PartitionCoordinator.from_env(hartbeat=1.0)  # type: ignore[call-arg]
    PartitionCoordinator.from_env(heartbeat="1")  # type: ignore[arg-type]
    PartitionCoordinator.from_env("X_", on_unknown="ignore")  # type: ignore[arg-type]
    PartitionCoordinator.from_env("X_", ssl=True)  # type: ignore[arg-type]
    PartitionCoordinator.from_env("X_", heartbeat=2, metadata={"rack": "b12"}, backend_url=None)


class Ours(PartitionCoordinator):
    """A subclass stays itself."""


async def constructors_keep_the_subclass() -> None:
    assert_type(PartitionCoordinator.from_env(), PartitionCoordinator)
    assert_type(Ours.from_env("X_", member_id="m"), Ours)
    async with Ours() as ours:
        assert_type(ours, Ours)


# ---- from start to stop


async def facts(coordinator: PartitionCoordinator) -> None:
    assert_type(await coordinator.start(), None)
    assert_type(coordinator.is_active(), bool)
    assert_type(coordinator.connected, bool)
    assert_type(coordinator.member_id, str)
    assert_type(coordinator.session_timeout, float)
    assert_type(coordinator.groups, tuple[str, ...])
    assert_type(await coordinator.heartbeat(), None)
    assert_type(await coordinator.stop(), None)


def facts_cannot_be_set(coordinator: PartitionCoordinator) -> None:
    coordinator.connected = True  # type: ignore[misc]
    coordinator.member_id = "m"  # type: ignore[misc]
    coordinator.groups = ()  # type: ignore[misc]


async def groups(coordinator: PartitionCoordinator) -> None:
    assert_type(await coordinator.join_group("g"), None)
    await coordinator.join_group("g", weight=2, policy=GroupPolicy(replicas=2), min_members=3, settle=0)
    await coordinator.join_group("g", policy=None, settle=0.5)
    assert_type(await coordinator.set_weight("g", 0), None)
    assert_type(await coordinator.leave_group("g"), None)
    assert_type(await coordinator.observe("g"), None)
    info = await coordinator.describe_member("g", (await coordinator.view("g")).owner("key"))
    assert_type(info, MemberInfo)
    assert_type((info.id, info.weight), tuple[str, int])
    assert_type((info.host, info.pid), tuple[str | None, int | None])
    assert_type((info.started, info.version), tuple[str | None, str | None])
    assert_type(info.metadata["address"], str)
    info.metadata["address"] = "elsewhere"  # type: ignore[index]
    assert_type(await coordinator.view("g"), View)
    assert_type(await coordinator.get_members("g"), tuple[str, ...])


async def groups_of_wrong_types(coordinator: PartitionCoordinator) -> None:
    await coordinator.join_group(None)  # type: ignore[arg-type]
    await coordinator.join_group("g", 2)  # type: ignore[call-arg]
    await coordinator.join_group("g", weight=1.5)  # type: ignore[arg-type]
    await coordinator.set_weight("g")  # type: ignore[call-arg]
    await coordinator.set_weight("g", 0.5)  # type: ignore[arg-type]
    await coordinator.join_group("g", policy={"replicas": 2})  # type: ignore[arg-type]
    await coordinator.view(None)  # type: ignore[arg-type]
    await coordinator.observe(None)  # type: ignore[arg-type]
    await coordinator.observe("g", policy=GroupPolicy())  # type: ignore[call-arg]
    await coordinator.describe_member("g")  # type: ignore[call-arg]


async def numbered_partitions(coordinator: PartitionCoordinator, view: View) -> None:
    await coordinator.join_group("g", policy=GroupPolicy(partitions=24))
    assert_type(partitions(24), tuple[Partition, ...])
    assert_type(await coordinator.extract_my_subset("g", partitions(24)), list[Partition])
    assert_type(view.mine(partitions(24)), list[Partition])
    assert_type(view.partition_of("key"), Partition)
    assert_type(view.owner(Partition(3)), str)
    partitions("24")  # type: ignore[arg-type]
    GroupPolicy(partitions="24")  # type: ignore[arg-type]
    view.partition_of(2.5)  # type: ignore[arg-type]


# ---- what is mine


async def elements_keep_their_type(coordinator: PartitionCoordinator, switches: tuple[Switch, ...]) -> None:
    assert_type(await coordinator.extract_my_subset("g", ["a", "b"]), list[str])
    assert_type(await coordinator.extract_my_subset("g", {1, 2}), list[int])
    assert_type(await coordinator.extract_my_subset("g", {UUID(int=1): "value"}), list[UUID])
    assert_type(await coordinator.extract_my_subset("g", (b"bytes" for _ in range(3))), list[bytes])
    assert_type(await coordinator.extract_my_subset("g", [Path("a")]), list[Path])
    assert_type(await coordinator.extract_my_subset("g", Site), list[Site])
    assert_type(await coordinator.extract_my_subset("g", [("a", 1)]), list[tuple[str, int]])
    assert_type(await coordinator.extract_my_subset("g", switches, key=lambda switch: switch.name), list[Switch])
    nobody: list[Switch] = []
    assert_type(await coordinator.extract_my_subset(None, nobody, key=lambda switch: switch.name), list[Switch])
    assert_type(await coordinator.extract_my_subset("", ["a"]), list[str])


def name_of(switch: Switch) -> str:
    return switch.name


def name_or_number(switch: Switch) -> str | int:
    return switch.name or switch.port


def one_or_all(switch: Switch) -> tuple[str, int, tuple[UUID, Site]]:
    return switch.name, switch.port, (UUID(int=1), Site.HERE)


def no_key(switch: Switch) -> float:
    return switch.port / 2


def of_something_else(number: int) -> int:
    return number


async def any_kind_of_key(coordinator: PartitionCoordinator, switches: list[Switch]) -> None:
    assert_type(await coordinator.extract_my_subset("g", switches, key=name_of), list[Switch])
    assert_type(await coordinator.extract_my_subset("g", switches, key=name_or_number), list[Switch])
    assert_type(await coordinator.extract_my_subset("g", switches, key=one_or_all), list[Switch])
    await coordinator.extract_my_subset("g", switches, key=lambda switch: switch.name.encode())
    await coordinator.extract_my_subset("g", switches, key=lambda switch: UUID(switch.name))
    await coordinator.extract_my_subset("g", switches, key=lambda switch: PurePosixPath(switch.name))
    await coordinator.extract_my_subset("g", switches, key=lambda _: Rack.ONE)
    await coordinator.extract_my_subset("g", switches, key=lambda switch: (switch.name, switch.port))


async def keys_that_are_none(coordinator: PartitionCoordinator, switches: list[Switch]) -> None:
    await coordinator.extract_my_subset("g", switches, key=no_key)  # type: ignore[arg-type]
    await coordinator.extract_my_subset("g", switches, key=of_something_else)  # type: ignore[arg-type]
    await coordinator.extract_my_subset("g", switches, key="name")  # type: ignore[call-overload]
    await coordinator.extract_my_subset("g", switches, name_of)  # type: ignore[call-overload]
    await coordinator.extract_my_subset("g", gives_switches(), key=name_of)  # type: ignore[call-overload]
    await coordinator.extract_my_subset("g", 5)  # type: ignore[call-overload]


async def keys_that_are_missing(coordinator: PartitionCoordinator, switches: list[Switch], view: View) -> None:
    """Of resources that are no keys themselves."""
    await coordinator.extract_my_subset("g", switches)  # type: ignore[type-var]
    await coordinator.extract_my_subset("g", switches, key=None)  # type: ignore[type-var]
    await coordinator.extract_my_subset(None, [1.5])  # type: ignore[type-var]
    coordinator.my_subset("g", switches)  # type: ignore[type-var]
    coordinator.my_subset("g", gives_switches())  # type: ignore[type-var]
    view.mine(switches)  # type: ignore[type-var]
    await coordinator.run("g", switches, poll)  # type: ignore[type-var]
    await coordinator.run("g", list_switches, poll)  # type: ignore[type-var]
    await coordinator.run("g", list_at_once, poll)  # type: ignore[type-var]


async def streams(coordinator: PartitionCoordinator, switches: list[Switch], incoming: AsyncIterable[Switch]) -> None:
    async for switch in coordinator.my_subset("g", switches, key=name_of):
        assert_type(switch, Switch)
    async for switch in coordinator.my_subset("g", incoming, key=lambda switch: switch.port):
        assert_type(switch, Switch)
    async for switch in coordinator.my_subset(None, gives_switches(), key=one_or_all):
        assert_type(switch, Switch)
    async for name in coordinator.my_subset("g", ["a", "b"]):
        assert_type(name, str)
    assert_type([name async for name in coordinator.my_subset("g", {"a": 1})], list[str])


async def streams_are_asynchronous(coordinator: PartitionCoordinator, switches: list[Switch]) -> None:
    for _ in coordinator.my_subset("g", switches, key=name_of):  # type: ignore[attr-defined]
        pass
    async for _ in coordinator.extract_my_subset("g", switches, key=name_of):  # type: ignore[attr-defined]
        pass
    await coordinator.my_subset("g", switches, key=name_of)  # type: ignore[misc]


async def streams_can_be_closed(coordinator: PartitionCoordinator) -> None:
    """Which a loop that is left early ought to do."""
    changes = coordinator.changes("g")
    async for _ in changes:
        break
    await changes.aclose()
    mine = coordinator.my_subset("g", ["a"])
    async for _ in mine:
        break
    await mine.aclose()


# ---- services


async def stopped_by_signals(coordinator: PartitionCoordinator) -> None:
    async with stop_on_signal() as nothing, coordinator:
        assert_type(nothing, None)
    async with stop_on_signal(signal.SIGTERM, signal.SIGHUP):
        await coordinator.stop(hand_over=False)
    stop_on_signal("SIGTERM")  # type: ignore[arg-type]
    with stop_on_signal():  # type: ignore[attr-defined]
        pass
    await coordinator.stop(False)  # type: ignore[call-arg]
    await coordinator.stop(handover=False)  # type: ignore[call-arg]
    await coordinator.stop(hand_over=None)  # type: ignore[arg-type]


def read(switch: Switch, times: int = 1) -> str:
    return switch.name * times


async def threads(switch: Switch) -> None:
    assert_type(await finish_in_thread(read, switch), str)
    assert_type(await finish_in_thread(read, switch, times=2), str)
    await finish_in_thread(read)  # type: ignore[call-arg]
    await finish_in_thread(read, switch, time=2)  # type: ignore[call-arg]
    await finish_in_thread(read(switch))  # type: ignore[arg-type]


# ---- work that nobody else does meanwhile


async def poll(switch: Switch) -> None:
    print(switch.name)


async def poll_and_tell(switch: Switch) -> int:
    return switch.port


async def poll_name(name: str) -> None:
    print(name)


def poll_at_once(switch: Switch) -> None:
    print(switch.name)


async def list_switches() -> list[Switch]:
    return [Switch("s", 1)]


def list_at_once() -> list[Switch]:
    return [Switch("s", 1)]


class Poller:
    """Workers may be methods, and so may listings."""

    async def listed(self) -> frozenset[str]:
        return frozenset({"a"})

    async def poll(self, name: str) -> bool:
        return bool(name)


async def supervision(coordinator: PartitionCoordinator, switches: tuple[Switch, ...], poller: Poller) -> None:
    assert_type(await coordinator.run("g", switches, poll, key=name_of), None)
    await coordinator.run("g", list_switches, poll, key=name_of)
    await coordinator.run("g", list_switches, poll_and_tell, key=lambda switch: switch.name)
    await coordinator.run("g", poller.listed, poller.poll)
    await coordinator.run("g", list_at_once, poll, key=name_of)
    await coordinator.run("g", ["a"], poll_name, refresh=1, drain_timeout=5.0, on_error="raise", on_change="restart")
    await coordinator.run(None, {"a": 1}, poll_name)
    await coordinator.run("g", Site, poll_name)


async def supervision_of_wrong_types(coordinator: PartitionCoordinator, switches: list[Switch]) -> None:
    await coordinator.run("g", switches, poll_at_once, key=name_of)  # type: ignore[arg-type]
    await coordinator.run("g", switches, poll, name_of)  # type: ignore[call-overload]
    await coordinator.run("g", switches, poll, key=no_key)  # type: ignore[arg-type]
    await coordinator.run("g", ["a"], poll_name, on_error="ignore")  # type: ignore[call-overload]
    await coordinator.run("g", ["a"], poll_name, on_change="ignore")  # type: ignore[call-overload]
    await coordinator.run("g", ["a"], "poll_name")  # type: ignore[call-overload]
    await coordinator.run("g", ["a"], poll_name, refresh="1")  # type: ignore[call-overload]
    await coordinator.run("g", ["a"])  # type: ignore[call-overload]


async def batches(coordinator: PartitionCoordinator, switches: list[Switch]) -> None:
    async with coordinator.hold("g") as view:
        assert_type(view, View)
        assert_type(view.mine(switches, key=name_of), list[Switch])
    async with coordinator.hold("g", drain_timeout=5):
        pass
    with coordinator.hold("g"):  # type: ignore[attr-defined]
        pass
    coordinator.hold(None)  # type: ignore[arg-type]
    coordinator.hold("g", 5)  # type: ignore[call-arg]


def what_operators_see(coordinator: PartitionCoordinator) -> None:
    status = coordinator.status("g")
    assert_type(status, GroupStatus)
    assert_type(status.state, Literal["unknown", "refused", "handing over", "steady", "observing", "left"])
    assert_type(status.generation, int | None)
    assert_type(status.active_generation, int | None)
    assert_type(status.members, tuple[Member, ...])
    assert_type(status.shares, Mapping[str, float])
    assert_type(status.last_rebalance, Rebalance | None)
    assert_type(status.server, str | None)
    assert_type(status.policy, GroupPolicy | None)
    for awaited in status.waiting_for:
        assert_type(awaited, Awaited)
        assert_type((awaited.member_id, awaited.host, awaited.pid), tuple[str, str | None, int | None])
        assert_type(awaited.works, tuple[str, ...])
    status.state = "steady"  # type: ignore[misc]


# ---- views and changes


async def changes(coordinator: PartitionCoordinator) -> None:
    async for change in coordinator.changes("g"):
        assert_type(change, Change)
        assert_type(change.view, View | None)
        assert_type(change.previous, View | None)
        assert_type(change.joined, tuple[str, ...])
        assert_type(change.left, tuple[str, ...])
        assert_type(change.moved, float)
        print(change.view.generation)  # type: ignore[union-attr]
        if change.view is not None:
            assert_type(change.view.generation, int)


def views(view: View, switches: list[Switch]) -> None:
    assert_type(view.group_id, str)
    assert_type(view.generation, int)
    assert_type(view.members, tuple[Member, ...])
    assert_type(view.policy, GroupPolicy)
    assert_type(view.owner("key"), str)
    assert_type(view.owners(("a", 1)), tuple[str, ...])
    assert_type(view.owns("m", UUID(int=1)), bool)
    assert_type(view.mine(["a"]), list[str])
    assert_type(view.mine(switches, key=name_of), list[Switch])
    assert_type(view.mine(switches, name_of), list[Switch])
    assert_type(view.shares(), dict[str, float])
    view.owner(1.5)  # type: ignore[arg-type]
    view.owner(None)  # type: ignore[arg-type]
    view.owns("m", Switch("s", 1))  # type: ignore[arg-type]
    view.mine(switches, key=no_key)  # type: ignore[arg-type]
    view.generation = 5  # type: ignore[misc]


def values_are_frozen(member: Member, policy: GroupPolicy, change: Change) -> None:
    assert_type(Member("m"), Member)
    assert_type(Member("m", 2).weight, int)
    assert_type(policy.replicas, int)
    assert_type(policy.load_bound, float)
    assert_type(policy.exclusive, bool)
    GroupPolicy(replicas=2, load_bound=1, slots=16, vnodes=1)
    GroupPolicy(exclusive=True)
    GroupPolicy(replicas="2")  # type: ignore[arg-type]
    GroupPolicy(replica=2)  # type: ignore[call-arg]
    member.weight = 2  # type: ignore[misc]
    policy.replicas = 2  # type: ignore[misc]
    change.view = None  # type: ignore[misc]


# ---- errors


async def errors(coordinator: PartitionCoordinator) -> None:
    try:
        await coordinator.start()
    except ConfigurationError as error:
        assert_type(error.part, str)
        assert_type(error.reason, str)
        as_value_error: ValueError = error
        raise as_value_error from None
    except NotStartedError as error:
        assert_type((error.operation, error.state), tuple[str, str])
    except PolicyMismatchError as error:
        assert_type(error.group_id, str)
        for field, (there, here) in error.differences.items():
            print(assert_type(field, str), there, here)
    except MemberSupersededError as error:
        assert_type((error.group_id, error.member_id, error.incarnation), tuple[str, str, int])
    except OwnershipLostError as error:
        assert_type((error.group_id, error.reason), tuple[str, str])
    except OwnershipUnknownError as error:
        assert_type((error.group_id, error.reason), tuple[str, str])
    except BackendUnavailableError as error:
        backend_error: BackendError = error
        assert_type(backend_error.path, str | None)
    except ForeignRightsError as error:
        assert_type(error.others, dict[str, dict[str, tuple[str, ...]]])
        assert_type((error.group_id, error.unreadable), tuple[str, tuple[str, ...]])
    except SessionFullError as error:
        assert_type((error.path, error.used, error.limit), tuple[str | None, int, int])
    except AuthenticationError as error:
        assert_type((error.reason, error.path, error.permission), tuple[str, str | None, str | None])
    except PartitionError as error:
        print(error)


def version() -> None:
    text: str = aiopartition.__version__
    print(text)
