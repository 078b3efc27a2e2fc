"""PostgreSQL refuses a write that comes too late, because it carries an older generation.

python examples/fencing_postgresql.py postgresql://localhost/example
python examples/fencing_postgresql.py postgresql://localhost/example zookeeper://localhost/fencing

alice claims a meter and is paused before she writes, as a virtual machine may be. Meanwhile bob becomes the owner of
the meter, claims it and writes. The exit code is 0 if the late write of alice was refused.
"""

import asyncio
import sys

from psycopg import AsyncConnection

from aiopartition import GroupPolicy, PartitionCoordinator, stop_on_signal

METER = "meter-7"
TABLE = "CREATE TABLE IF NOT EXISTS totals (meter text PRIMARY KEY, total bigint NOT NULL, generation bigint NOT NULL)"

# No row: a newer owner has claimed the meter, so this one must stop.
CLAIM = """UPDATE totals SET generation = %(generation)s
           WHERE meter = %(meter)s AND generation <= %(generation)s RETURNING total"""

# No row: a newer owner has claimed the meter since.
WRITE = "UPDATE totals SET total = %(total)s WHERE meter = %(meter)s AND generation = %(generation)s"


async def claim(database: AsyncConnection, generation: int) -> int | None:
    """Block writes of older generations, and return the total; ``None`` if a newer owner has claimed the meter."""
    cursor = await database.execute(CLAIM, {"meter": METER, "generation": generation})
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def write(database: AsyncConnection, total: int, generation: int) -> bool:
    """Return whether the total was written."""
    cursor = await database.execute(WRITE, {"meter": METER, "total": total, "generation": generation})
    return cursor.rowcount == 1


async def main(database_url: str, url: str = "memory://") -> bool:
    async with (
        stop_on_signal(),
        # Each statement is a transaction of its own.
        await AsyncConnection.connect(database_url, autocommit=True) as database,
        PartitionCoordinator(url, member_id="alice") as alice,
        PartitionCoordinator(url, member_id="bob") as bob,
    ):
        await database.execute(TABLE)
        await database.execute("DELETE FROM totals WHERE meter = %s", [METER])
        await database.execute("INSERT INTO totals VALUES (%s, 100, 0)", [METER])
        await alice.join_group("meters", policy=GroupPolicy(exclusive=True))
        async with alice.hold("meters") as old:
            late_total = await claim(database, old.generation)
        # Here alice is paused. The others cannot know: they take over when her session has ended.
        await bob.join_group("meters")
        await alice.leave_group("meters")
        async for change in bob.changes("meters"):
            if change.view and change.view.mine([METER]):
                break
        async with bob.hold("meters") as new:
            total = await claim(database, new.generation)
            written = total is not None and await write(database, total + 1, new.generation)
        print(f"bob:   {'written' if written else 'refused'}")
        late = late_total is not None and await write(database, late_total + 1, old.generation)
        print(f"alice: {'written' if late else 'refused'}")
        print(f"the total was 100, and is {await claim(database, new.generation)}")
        return written and not late


if __name__ == "__main__":
    raise SystemExit(not asyncio.run(main(*sys.argv[1:])))
