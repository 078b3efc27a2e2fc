"""Orders go into one of six queues, by their customer. Three consumers share the queues: each has two.

python examples/queues.py                                  all in this process
python examples/queues.py zookeeper://localhost/queues     with a ZooKeeper server
"""

import argparse
import asyncio
from collections import defaultdict

from aiopartition import GroupPolicy, Partition, PartitionCoordinator, partitions, stop_on_signal

ALL = partitions(6)
POLICY = GroupPolicy(partitions=len(ALL), exclusive=True)
CUSTOMERS = [f"customer-{number:02}" for number in range(30)]
EACH = 3  # orders of each customer


async def main(url: str) -> bool:
    queues: dict[Partition, asyncio.Queue[tuple[str, int]]] = {each: asyncio.Queue() for each in ALL}
    consumed: dict[str, list[int]] = defaultdict(list)

    async def consume(consumer: PartitionCoordinator) -> None:
        async def attend(partition: Partition) -> None:
            while True:
                customer, number = await queues[partition].get()
                consumed[customer].append(number)
                queues[partition].task_done()

        await consumer.run("orders", ALL, attend)

    async with (
        stop_on_signal(),
        PartitionCoordinator(url, member_id="consumer-1") as one,
        PartitionCoordinator(url, member_id="consumer-2") as two,
        PartitionCoordinator(url, member_id="consumer-3") as three,
        asyncio.TaskGroup() as tasks,
    ):
        for member in (one, two, three):
            await member.join_group("orders", policy=POLICY)
        async for change in one.changes("orders"):
            if change.view and len(change.view.members) == 3:
                view = change.view
                break
        for name in (member.id for member in view.members):
            print(f"{name} has the queues {' '.join(str(each) for each in ALL if view.owner(each) == name)}")
        running = [tasks.create_task(consume(member)) for member in (one, two, three)]
        for number in range(EACH):
            for customer in CUSTOMERS:  # whoever puts an order in need not know who consumes it
                queues[view.partition_of(customer)].put_nowait((customer, number))
        for queue in queues.values():
            await queue.join()
        for task in running:
            task.cancel()
    in_order = sum(numbers == list(range(EACH)) for numbers in consumed.values())
    print(f"{in_order} of {len(CUSTOMERS)} customers were served once for each order, in order")
    return in_order == len(CUSTOMERS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        raise SystemExit(not asyncio.run(main(parser.parse_args().url)))
    except KeyboardInterrupt:
        print("interrupted")
