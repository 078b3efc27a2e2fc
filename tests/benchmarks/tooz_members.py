"""Members that use tooz's driver for ZooKeeper, which stands on kazoo."""

import uuid
from collections.abc import Sequence
from typing import Any, Self

from tooz import coordination
from tooz.hashring import HashRing

from tests.benchmarks.rings import CEILOMETER_PARTITIONS


class ToozMember:
    """One coordinator, with the threads of a kazoo client behind it.

    :param beating: have tooz's own thread ask the server for something every few seconds, as services do.
    """

    def __init__(self, address: str, member_id: str, *, beating: bool = False, timeout: int = 10) -> None:
        self.member_id = member_id.encode()
        url = f"zookeeper://{address}?timeout={timeout}"
        self._beating = beating
        self._coordinator: Any = coordination.get_coordinator(url, self.member_id)
        self.partitioner: Any = None

    def start(self) -> None:
        self._coordinator.start(start_heart=self._beating)

    def stop(self) -> None:
        self._coordinator.stop()
        self._coordinator._coord.close()  # kazoo's client, which tooz only stops

    def join(self, group_id: bytes) -> None:
        """Take part, and no more: Ceilometer's recipe makes a ring of its own each time."""
        self._coordinator.join_group_create(group_id)

    def join_partitioned(self, group_id: bytes) -> None:
        """Take part and get tooz's ``Partitioner``."""
        self.partitioner = self._coordinator.join_partitioned_group(group_id)

    def run_watchers(self) -> None:
        """Ask for the members of the joined groups; the partitioner's ring follows."""
        self._coordinator.run_watchers()

    def ceilometer(self, group_id: bytes, resources: Sequence[str]) -> list[str]:
        """``PartitionCoordinator.extract_my_subset`` of OpenStack's Ceilometer, less its logging."""
        members = self._coordinator.get_members(group_id).get()
        ring = HashRing(members, partitions=CEILOMETER_PARTITIONS)
        return [each for each in resources if self.member_id in ring.get_nodes(str(each).encode("utf-8"))]

    def watched(self, resources: Sequence[str]) -> list[str]:
        """The better way that tooz has: look whether the members have changed, and ask the ring that is there."""
        self.run_watchers()
        return [each for each in resources if self.partitioner.belongs_to_self(each)]


class ToozMembers:
    """Several of them in this process, in one group."""

    def __init__(self, address: str, member_ids: Sequence[str], *, beating: bool = False) -> None:
        self.group_id = uuid.uuid4().hex.encode()
        self.members = [ToozMember(address, each, beating=beating) for each in member_ids]
        self._address = address
        self._beating = beating

    def __enter__(self) -> Self:
        for member in self.members:
            member.start()
            member.join_partitioned(self.group_id)
        for member in self.members:
            member.run_watchers()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.stop()

    def restart(self, place: int) -> None:
        """One member leaves in good order and comes back under its name."""
        old = self.members[place]
        old.stop()
        new = ToozMember(self._address, old.member_id.decode(), beating=self._beating)
        new.start()
        new.join_partitioned(self.group_id)
        self.members[place] = new
