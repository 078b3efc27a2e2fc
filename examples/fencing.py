"""The database refuses a write that comes too late, because it carries an older generation.

python examples/fencing.py                                  all in this process, with an SQLite database
python examples/fencing.py zookeeper://localhost/fencing    with a ZooKeeper server

In an exclusive group one member at a time works on a meter. But no library can stop a thread, or a process that is
paused in the middle of its work. Here a thread of alice still counts when she has to hand her meter over; the handoff
cancels the task that waits for the thread, and the thread goes on. By the time it writes, bob owns the meter.

So each write carries a generation, and the database refuses a write whose generation is older than one that it has
seen. This works because a later owner of a meter always has a higher generation, and because

- the generation is that of the view in which this member got the meter, not of a view requested when writing;
- a new owner claims the meter with its generation before it reads the total that it updates.

The exit code is 0 if the late write was refused, and nothing was counted twice or lost.
"""

import argparse
import asyncio
import sqlite3
import tempfile
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from aiopartition import GroupPolicy, OwnershipLostError, PartitionCoordinator, stop_on_signal

METER = "meter-7"


class Store:
    """Stores the totals of meters. Any database with a conditional write can do this."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder, "totals.sqlite")
        with self._connect() as database:
            database.execute("CREATE TABLE totals (meter TEXT PRIMARY KEY, total INTEGER, generation INTEGER)")
            database.execute("INSERT INTO totals VALUES (?, 100, 0)", (METER,))

    def claim(self, meter: str, generation: int) -> int | None:
        """Block writes of older generations, and return the total; ``None`` if a newer one has claimed the meter."""
        statement = """UPDATE totals SET generation = :generation
                       WHERE meter = :meter AND generation <= :generation RETURNING total"""
        with closing(self._connect()) as database:
            row = database.execute(statement, {"meter": meter, "generation": generation}).fetchone()
        return None if row is None else row[0]

    def write(self, meter: str, total: int, generation: int) -> bool:
        """Write the total unless a newer generation has claimed the meter. Return whether it was written."""
        statement = "UPDATE totals SET total = :total WHERE meter = :meter AND generation = :generation"
        facts = {"meter": meter, "total": total, "generation": generation}
        with closing(self._connect()) as database:
            return database.execute(statement, facts).rowcount == 1

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None)  # each statement is a transaction


async def show(url: str, store: Store, threads: Executor, meter_answers: threading.Event) -> bool:
    """Return whether the late write was refused."""

    def write_late(total: int, generation: int) -> bool:
        meter_answers.wait()  # a slow meter; or a process that is paused right here
        return store.write(METER, total + 1, generation)

    async with (
        stop_on_signal(),
        PartitionCoordinator(url, member_id="alice") as alice,
        PartitionCoordinator(url, member_id="bob") as bob,
    ):
        loop = asyncio.get_running_loop()
        begun: asyncio.Future[asyncio.Future[bool]] = loop.create_future()

        async def work_of_alice() -> None:
            try:
                async with alice.hold("meters", drain_timeout=0.2) as view:
                    total = store.claim(METER, view.generation)
                    assert total is not None
                    writing = loop.run_in_executor(threads, write_late, total, view.generation)
                    begun.set_result(writing)
                    await asyncio.shield(writing)  # cancelled, it only stops waiting: to_thread() is no better
            except OwnershipLostError as error:
                print(f"alice: {error}")

        await alice.join_group("meters", policy=GroupPolicy(exclusive=True))
        working = asyncio.create_task(work_of_alice())
        writing = await begun
        await bob.join_group("meters")
        await alice.set_weight("meters", 0)  # hands everything over to bob
        await working
        async for change in bob.changes("meters"):
            if change.view and change.view.mine([METER]):
                break
        async with bob.hold("meters") as view:
            total = store.claim(METER, view.generation)
            assert total is not None
            written = store.write(METER, total + 1, view.generation)
        print(f"bob:   {METER} at a newer generation: {'written' if written else 'refused'}")
        meter_answers.set()
        late = await writing
        print(f"alice: {METER} at her old generation: {'written' if late else 'refused'}")
        total = store.claim(METER, view.generation)
        print(f"the total was 100, and is {total}")
        return written and not late and total == 101


async def main(url: str) -> bool:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as threads:
        meter_answers = threading.Event()
        try:
            return await show(url, Store(folder), threads, meter_answers)
        finally:
            meter_answers.set()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        raise SystemExit(not asyncio.run(main(parser.parse_args().url)))
    except KeyboardInterrupt:
        print("interrupted")
