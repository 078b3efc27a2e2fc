"""The database refuses a write that comes too late, because it carries an older generation.

python examples/fencing.py                                  all in this process
python examples/fencing.py zookeeper://localhost/fencing    with a ZooKeeper server

In an exclusive group, one member at a time reads a meter. But no library can stop a thread. Here, a slow read runs in
a thread when its member has to hand the meter over. The member waits until its drain timeout and cancels the work, but
that cancels only the waiting: the thread continues. By the time it writes, another member owns the meter.
(``aiopartition.finish_in_thread()`` would wait for the thread. But a process can be paused anywhere, for any time.)

So each write carries a generation, and the database refuses a write whose generation is older than one that it has
seen. This works because a later owner of a meter always has a higher generation, and because

- the generation is that of the view in which this member got the meter, not of a view requested when writing;
- a new owner claims the meter with its generation before it reads the total that it updates.

The exit code is 0 if the late writes were refused, and nothing was counted twice or lost.
"""

import argparse
import asyncio
import sqlite3
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from aiopartition import GroupPolicy, OwnershipLostError, PartitionCoordinator, View, stop_on_signal

GROUP = "meters"
METERS = [f"meter-{number}" for number in range(1, 9)]

# ---- the database


class Store:
    """Stores totals by meter. Any database with a conditional write can do this."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connect()) as database:
            database.execute("CREATE TABLE totals (meter TEXT PRIMARY KEY, total INTEGER, generation INTEGER)")
            database.executemany("INSERT INTO totals VALUES (?, 100, 0)", [(meter,) for meter in METERS])

    def claim(self, meter: str, generation: int) -> int | None:
        """Return the total and block writes of older generations; ``None`` if a newer one has claimed the meter."""
        with closing(self._connect()) as database:
            claimed = database.execute(
                "UPDATE totals SET generation = :generation WHERE meter = :meter AND generation <= :generation"
                " RETURNING total",
                {"meter": meter, "generation": generation},
            ).fetchone()
            return None if claimed is None else claimed[0]

    def write(self, meter: str, total: int, generation: int) -> bool:
        """Write the total unless a newer generation has claimed the meter. Return whether it was written."""
        with closing(self._connect()) as database:
            written = database.execute(
                "UPDATE totals SET total = :total WHERE meter = :meter AND generation = :generation",
                {"meter": meter, "total": total, "generation": generation},
            )
            return written.rowcount == 1

    def totals(self) -> dict[str, int]:
        with closing(self._connect()) as database:
            return dict(database.execute("SELECT meter, total FROM totals"))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None)  # each statement is a transaction


# ---- the members


def count(store: Store, meter: str, generation: int, go_on: threading.Event) -> bool:
    """Add one to a meter's total once ``go_on`` is set. Return whether it was written. Runs in a thread."""
    total = store.claim(meter, generation)
    if total is None:
        return False
    go_on.wait()  # stands for a slow meter, a long garbage collection, or a virtual machine that is being migrated
    return store.write(meter, total + 1, generation)


class Slow:
    """Work of a member in threads, which cannot be cancelled."""

    def __init__(self, store: Store) -> None:
        self.go_on = threading.Event()
        self.written: dict[str, bool] = {}
        self.generation = 0
        self._store = store
        self._threads: list[threading.Thread] = []

    async def count_all(self, view: View) -> None:
        self.generation = view.generation
        for meter in view.mine(METERS):
            thread = threading.Thread(target=self._count, args=(meter,))
            thread.start()
            self._threads.append(thread)
        await asyncio.to_thread(self.join)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _count(self, meter: str) -> None:
        self.written[meter] = count(self._store, meter, self.generation, self.go_on)


async def main(url: str) -> bool:
    """Return whether the late writes were refused."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder, "totals.sqlite"))
        slow = Slow(store)
        try:
            return await show(url, store, slow)
        finally:
            slow.go_on.set()
            slow.join()


async def show(url: str, store: Store, slow: Slow) -> bool:
    policy = GroupPolicy(exclusive=True)
    at_once = threading.Event()
    at_once.set()
    async with (
        stop_on_signal(),
        PartitionCoordinator(url, member_id="alice") as alice,
        PartitionCoordinator(url, member_id="bob") as bob,
    ):
        await alice.join_group(GROUP, policy=policy)
        await has_some(alice)

        async def read_slowly() -> None:
            try:
                async with alice.hold(GROUP, drain_timeout=0.2) as view:
                    await slow.count_all(view)
            except OwnershipLostError as error:
                print(f"alice: {error}")

        reading = asyncio.create_task(read_slowly())
        await bob.join_group(GROUP, policy=policy)
        await has_some(bob)
        await reading
        async with bob.hold(GROUP) as view:
            meters = view.mine(METERS)
            newest = view.generation
            for meter in meters:
                written = await asyncio.to_thread(count, store, meter, newest, at_once)
                print(f"bob:   {meter} at a newer generation: {'written' if written else 'refused'}")
    slow.go_on.set()
    await asyncio.to_thread(slow.join)
    for meter, written in sorted(slow.written.items()):
        print(f"alice: {meter} at her old generation: {'written' if written else 'refused'}")
    assert newest > slow.generation
    refused = {meter for meter, written in slow.written.items() if not written}
    print(f"{len(refused)} late writes refused; all totals: {sorted(set(store.totals().values()))}")
    return refused == set(meters) and set(store.totals().values()) == {101}


async def has_some(coordinator: PartitionCoordinator) -> None:
    """Wait until this member may work on some meters."""
    async for change in coordinator.changes(GROUP):
        if change.view and change.view.mine(METERS):
            return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        raise SystemExit(not asyncio.run(main(parser.parse_args().url)))
    except KeyboardInterrupt:
        print("interrupted")
