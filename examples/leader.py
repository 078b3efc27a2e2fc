"""One member leads: it does what only one may do, and another one follows when it stops or dies.

python examples/leader.py                                 both candidates in this process
python examples/leader.py zookeeper://localhost/leader    with a ZooKeeper server
"""

import argparse
import asyncio

from aiopartition import GroupPolicy, PartitionCoordinator, stop_on_signal


async def stand(url: str, name: str, events: asyncio.Queue[str]) -> None:
    """Be a candidate until cancelled."""

    async def lead(_: str) -> None:
        events.put_nowait(f"{name} leads")
        try:
            await asyncio.Event().wait()  # a real leader would do its work here, until it is cancelled
        finally:
            events.put_nowait(f"{name} has ended")

    async with PartitionCoordinator(url, member_id=name) as coordinator:
        # Exclusive, so that no leader begins before the last one has ended. The worker of the one key is the leader.
        await coordinator.join_group("invoices", policy=GroupPolicy(exclusive=True))
        await coordinator.run("invoices", ["leader of invoices"], lead)


async def main(url: str) -> None:
    events: asyncio.Queue[str] = asyncio.Queue()
    async with stop_on_signal(), asyncio.TaskGroup() as tasks:
        candidates = {name: tasks.create_task(stand(url, name, events)) for name in ("anna", "ben")}
        while candidates:
            leader, _, what = (event := await events.get()).partition(" ")
            print(event, flush=True)
            if what == "leads":
                await asyncio.sleep(0.5)  # in which the other may turn out to be the owner of the key
                if events.empty():
                    candidates.pop(leader).cancel()
    print(await events.get())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        asyncio.run(main(parser.parse_args().url))
    except KeyboardInterrupt:
        print("interrupted")
