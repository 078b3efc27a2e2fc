"""One face for both backends: coordinators on a cluster, and what operators and faults do to it."""

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Self, cast

from aiopartition import PartitionCoordinator
from aiopartition.backends.base import Mark
from aiopartition.backends.memory.backend import MemoryBackend
from aiopartition.backends.memory.store import MemoryCluster
from aiopartition.backends.zookeeper import acls, codec
from aiopartition.backends.zookeeper.backend import ZooKeeperBackend
from aiopartition.backends.zookeeper.codec import ErrorCode, Operation, ReplyError
from aiopartition.backends.zookeeper.connection import Address, Connection, ConnectionLostError, Reply
from aiopartition.backends.zookeeper.watches import WatchEvent
from aiopartition.clock import now
from aiopartition.quoting import quote_component
from aiopartition.secret import Secret
from tests.support import OpenProxy, Proxy, ZooKeeperServer

SESSION_TIMEOUT = 1.0
"""Seconds: as short as the servers of the tests allow without trouble on a busy machine."""


class Cluster(ABC):
    """Makes coordinators on one cluster, and troubles for them. Everything made is stopped by :meth:`close`."""

    def __init__(self) -> None:
        self._made: list[PartitionCoordinator] = []

    async def coordinator(self, member_id: str | None = None, **arguments: Any) -> PartitionCoordinator:
        """A new coordinator, not started."""
        settings: dict[str, Any] = {"session_timeout": SESSION_TIMEOUT, "heartbeat": 0.1, **arguments}
        coordinator = PartitionCoordinator(await self.url(member_id), member_id=member_id, **settings)
        self._made.append(coordinator)
        return coordinator

    async def started(self, member_id: str | None = None, **arguments: Any) -> PartitionCoordinator:
        """A new coordinator, started."""
        coordinator = await self.coordinator(member_id, **arguments)
        await coordinator.start()
        return coordinator

    async def joined(self, member_id: str, **arguments: Any) -> PartitionCoordinator:
        """A member of group ``g``, with the default options."""
        coordinator = await self.started(member_id, **arguments)
        await coordinator.join_group("g")
        return coordinator

    async def close(self) -> None:
        for coordinator in self._made:
            await coordinator.stop()

    @abstractmethod
    async def url(self, member_id: str | None) -> str:
        """Where the next coordinator finds the cluster."""

    @abstractmethod
    async def expire(self, coordinator: PartitionCoordinator) -> None:
        """End its session at the service, under its feet."""

    @abstractmethod
    async def cut_off(self, coordinator: PartitionCoordinator) -> None:
        """Break its connection and let it have no other."""

    @abstractmethod
    async def reconnect(self, coordinator: PartitionCoordinator) -> None:
        """Heal what :meth:`cut_off` did."""

    @abstractmethod
    async def lose_next_event(self, coordinator: PartitionCoordinator, group_id: str) -> None:
        """It will not be told of the next change of the group."""

    @abstractmethod
    async def entries(self, group_id: str) -> list[str]:
        """What is there, as an operator sees it."""

    @abstractmethod
    async def acknowledgements(self, group_id: str) -> list[str]:
        """All marks of an exclusive group, each as ``generation/entry`` or ``generation-ready/entry``."""

    @abstractmethod
    async def put_entry(self, group_id: str, name: str) -> None:
        """An operator, or some other program, puts a child among the entries."""

    @abstractmethod
    async def put_mark(self, group_id: str, mark: Mark) -> None:
        """Some other program, such as a copy of a tree, puts a mark into a handoff."""

    @abstractmethod
    async def delete_entry(self, group_id: str, name: str) -> None:
        """An operator deletes an entry under its owner."""

    @abstractmethod
    async def delete_group(self, group_id: str) -> None:
        """An operator deletes the group with all that is in it."""

    @abstractmethod
    async def put_document(self, group_id: str, document: bytes) -> None:
        """Create the group with that document, or overwrite it."""


class ClusterInMemory(Cluster):
    """A memory cluster."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._cluster = MemoryCluster.named(name)

    async def url(self, member_id: str | None) -> str:
        return f"memory://{self._name}"

    async def expire(self, coordinator: PartitionCoordinator) -> None:
        self._backend(coordinator).expire()

    async def cut_off(self, coordinator: PartitionCoordinator) -> None:
        self._backend(coordinator).cut_off()

    async def reconnect(self, coordinator: PartitionCoordinator) -> None:
        self._backend(coordinator).reconnect()

    async def lose_next_event(self, coordinator: PartitionCoordinator, group_id: str) -> None:
        self._cluster.lose_watches(group_id)

    async def entries(self, group_id: str) -> list[str]:
        return self._cluster.entries(group_id)

    async def acknowledgements(self, group_id: str) -> list[str]:
        marks = self._cluster._groups[group_id].marks
        return sorted(f"{mark.generation}{'-ready' if mark.ready else ''}/{mark.name}" for mark in marks)

    async def put_entry(self, group_id: str, name: str) -> None:
        self._cluster.put_entry(group_id, name)

    async def put_mark(self, group_id: str, mark: Mark) -> None:
        self._cluster.put_mark(group_id, mark)

    async def delete_entry(self, group_id: str, name: str) -> None:
        self._cluster.delete_entry(group_id, name)

    async def delete_group(self, group_id: str) -> None:
        self._cluster.delete_group(group_id)

    async def put_document(self, group_id: str, document: bytes) -> None:
        self._cluster.put_document(group_id, document)

    @staticmethod
    def _backend(coordinator: PartitionCoordinator) -> MemoryBackend:
        return cast("MemoryBackend", coordinator._registry.backend)


class ClusterOnServer(Cluster):
    """A namespace on a real server; each coordinator has a network of its own in between."""

    def __init__(self, server: ZooKeeperServer, namespace: str, proxy: OpenProxy) -> None:
        super().__init__()
        self._server = server
        self._namespace = namespace
        self._open_proxy = proxy
        self._networks: list[Proxy] = []

    async def url(self, member_id: str | None) -> str:
        network = await self._open_proxy(self._server)
        self._networks.append(network)
        return network.url(self._namespace)

    async def expire(self, coordinator: PartitionCoordinator) -> None:
        # Whoever knows a session's id and password may take it over, and end it.
        session = cast("ZooKeeperBackend", coordinator._registry.backend)._session
        session_id, password = session.session_id, session._password
        while session.session_id == session_id:  # its owner reconnects, and may take it back before it is closed
            with suppress(ConnectionLostError):
                try:
                    async with _Operator(self._server, session_id, password) as taken_over:
                        await taken_over.send(codec.close())
                except SessionOverError:
                    """The answer to an earlier attempt was lost."""
                return

    async def cut_off(self, coordinator: PartitionCoordinator) -> None:
        network = self._network(coordinator)
        network.refuse()
        network.reset()

    async def reconnect(self, coordinator: PartitionCoordinator) -> None:
        self._network(coordinator).pass_through()

    async def lose_next_event(self, coordinator: PartitionCoordinator, group_id: str) -> None:
        self._network(coordinator).drop_next_event()

    async def entries(self, group_id: str) -> list[str]:
        async with _Operator(self._server) as operator:
            children = await operator.send(codec.get_children(self._path(group_id, "members")))
        return sorted(children.names)

    async def acknowledgements(self, group_id: str) -> list[str]:
        found: list[str] = []
        async with _Operator(self._server) as operator:
            for generation in await operator.children(self._path(group_id, "handoff")):
                names = await operator.children(self._path(group_id, "handoff", generation))
                found += [f"{generation}/{name}" for name in names]
        return sorted(found)

    async def put_entry(self, group_id: str, name: str) -> None:
        async with _Operator(self._server) as operator:
            await operator.send(acls.create(self._path(group_id, "members", name), b""))

    async def put_mark(self, group_id: str, mark: Mark) -> None:
        parent = self._path(group_id, "handoff", f"{mark.generation}{'-ready' if mark.ready else ''}")
        async with _Operator(self._server) as operator:
            for path in (parent, f"{parent}/{mark.name}"):
                with suppress(ReplyError):  # it is there already
                    await operator.send(acls.create(path, b""))

    async def delete_entry(self, group_id: str, name: str) -> None:
        async with _Operator(self._server) as operator:
            await operator.send(codec.delete(self._path(group_id, "members", name)))

    async def delete_group(self, group_id: str) -> None:
        async with _Operator(self._server) as operator:
            await operator.delete_all(self._path(group_id))

    async def put_document(self, group_id: str, document: bytes) -> None:
        async with _Operator(self._server) as operator:
            for path in (self._namespace, self._path(group_id)):
                try:
                    await operator.send(acls.create(path, b""))
                except ReplyError as error:
                    if error.code != ErrorCode.NODE_EXISTS:
                        raise
            await operator.send(codec.set_data(self._path(group_id), document, -1))

    def _path(self, group_id: str, *parts: str) -> str:
        return "/".join([self._namespace, quote_component(group_id), *parts])

    def _network(self, coordinator: PartitionCoordinator) -> Proxy:
        return self._networks[self._made.index(coordinator)]


_NO_PASSWORD = Secret(bytes(16))


class SessionOverError(Exception):
    """There is no such session any more."""


class _Operator:
    """A bare connection to a server, with a session of its own or one that is taken over."""

    def __init__(self, server: ZooKeeperServer, session_id: int = 0, password: Secret[bytes] = _NO_PASSWORD) -> None:
        self._address = Address(server.host, server.host, server.port)
        self._session_id = session_id
        self._password = password
        self._connection: Connection

    async def __aenter__(self) -> Self:
        self._connection = await Connection.open(self._address, None, now, self)
        reply, _ = await self._connection.handshake(codec.connect_frame(self._session_id, self._password, 4.0, 0))
        if not reply.session_id:
            raise SessionOverError("the session to be taken over has expired")
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._session_id:
            await self.send(codec.close())
        self._connection.abort("done")

    async def send(self, operation: Operation[Any]) -> Any:
        return await self._connection.request(operation)

    async def children(self, path: str) -> tuple[str, ...]:
        """None if there is no such node."""
        try:
            names: tuple[str, ...] = (await self.send(codec.get_children(path))).names
        except ReplyError as error:
            if error.code == ErrorCode.NO_NODE:
                return ()
            raise
        return names

    async def delete_all(self, path: str) -> None:
        try:
            while names := (await self.send(codec.get_children(path))).names:
                for name in names:
                    await self.delete_all(f"{path}/{name}")
            await self.send(codec.delete(path))
        except ReplyError as error:
            # Members at work put entries back while they are deleted, and delete their own.
            if error.code == ErrorCode.NO_NODE:
                return
            raise

    def replied(self, reply: Reply) -> None: ...
    def event_received(self, event: WatchEvent) -> None: ...
    def connection_ended(self, connection: Connection) -> None: ...
