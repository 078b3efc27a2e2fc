"""Members that use kazoo's ``SetPartitioner``, in threads of this process."""

import threading
import time
from collections.abc import Sequence
from typing import Any, Self

from kazoo.client import KazooClient
from kazoo.recipe import partitioner


class SetMember:
    """One client and one partitioner, served by a thread that does what the class's documentation says."""

    def __init__(self, address: str, path: str, member_id: str, items: Sequence[str], time_boundary: float) -> None:
        self.member_id = member_id
        self.items: tuple[str, ...] = ()
        """What it holds now; nothing while the set is being partitioned."""
        self.acquired_at = 0.0
        """When it last got what it holds."""
        self.released_at = 0.0
        """When it last had to let go of everything."""
        self._arguments = path, items, time_boundary
        self._client: Any = KazooClient(address, timeout=10.0)
        self._client.start()
        self._changed = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def join(self) -> float:
        """Take part; the moment of the call."""
        began = time.monotonic()
        path, items, time_boundary = self._arguments
        make: Any = partitioner.SetPartitioner
        self._partitioner: Any = make(
            self._client,
            path,
            set=tuple(items),
            identifier=self.member_id,
            time_boundary=time_boundary,
            state_change_event=self._changed,
        )
        self._thread.start()
        return began

    def leave(self) -> float:
        """Finish in good order; the moment of the call."""
        began = time.monotonic()
        self._ending = True
        self._changed.set()
        self._thread.join()
        self._partitioner.finish()
        return began

    def held(self) -> list[str]:
        """What is mine, as the class's documentation has it."""
        return list(self._partitioner)

    def close(self) -> None:
        self._ending = True
        self._changed.set()
        self._client.stop()
        self._client.close()

    def _serve(self) -> None:
        while not self._ending:
            # The state may have changed again before this thread got its turn: clear first, then look.
            self._changed.clear()
            if self._partitioner.release:
                self.items = ()
                self.released_at = time.monotonic()
                self._partitioner.release_set()
            elif self._partitioner.acquired:
                if not self.items:
                    self.acquired_at = time.monotonic()
                self.items = tuple(self._partitioner)
            self._changed.wait(1.0)


class SetMembers:
    """Several of them that partition one set."""

    def __init__(
        self, address: str, path: str, member_ids: Sequence[str], items: Sequence[str], time_boundary: float
    ) -> None:
        self._arguments = address, path
        self._set = items, time_boundary
        self._items = sorted(items)
        self.members = [self.member(each) for each in member_ids]

    def __enter__(self) -> Self:
        for member in self.members:
            member.join()
        self.settle()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.close()

    def member(self, member_id: str) -> SetMember:
        """One that is connected and does not take part yet."""
        return SetMember(*self._arguments, member_id, *self._set)

    def settle(self, timeout: float = 120.0) -> None:
        """Wait until all hold an even share of the set, and nothing is held twice or by nobody."""
        deadline = time.monotonic() + timeout
        while not self._is_split():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the set is not partitioned: {[len(member.items) for member in self.members]}")
            time.sleep(0.001)

    def _is_split(self) -> bool:
        held = [member.items for member in self.members]
        sizes = [len(items) for items in held]
        return max(sizes) - min(sizes) <= 1 and sorted(item for items in held for item in items) == self._items
