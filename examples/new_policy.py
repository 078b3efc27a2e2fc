"""A rolling deploy to a new policy: members of the new release work when no member of the old one is left.

python examples/new_policy.py                                    all in this process
python examples/new_policy.py zookeeper://localhost/new-policy   with a ZooKeeper server

A policy belongs to its group, so a new policy takes a new group. Old and new members share nothing but the number of
members, so the new ones wait until all of them are there: if a deploy stops an old member before it starts the new one
in its place, the last old member has stopped by then. The work pauses while the deploy goes on.
"""

import argparse
import asyncio
from collections import Counter

from aiopartition import GroupPolicy, PartitionCoordinator, stop_on_signal

DEVICES = [f"device-{number:02}" for number in range(30)]
SIZE = 3
OLD = ("devices", GroupPolicy(exclusive=True))
NEW = ("devices.2", GroupPolicy(exclusive=True, load_bound=1.25))


class Devices:
    """Counts who is at work on each device."""

    def __init__(self) -> None:
        self.at_work: dict[str, Counter[str]] = {OLD[0]: Counter(), NEW[0]: Counter()}
        self.most = 0

    async def attend(self, group: str, device: str) -> None:
        self.at_work[group][device] += 1
        self.most = max(self.most, sum(counts[device] for counts in self.at_work.values()))
        try:
            await asyncio.Event().wait()  # a real worker would stay connected here, until it is cancelled
        finally:
            self.at_work[group][device] -= 1

    async def all_in(self, group: str) -> None:
        while len(+self.at_work[group]) < len(DEVICES):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def take_part(url: str, name: str, release: tuple[str, GroupPolicy], devices: Devices) -> None:
    group, policy = release
    async with PartitionCoordinator(url, member_id=name) as coordinator:
        await coordinator.join_group(group, policy=policy)
        if release is NEW:  # for this release only: the next one has no old members to wait for
            async for change in coordinator.changes(group):
                if change.view and len(change.view.members) >= SIZE:
                    break
        await coordinator.run(group, DEVICES, lambda device: devices.attend(group, device))


async def main(url: str) -> bool:
    """Return whether no device ever had two workers."""
    devices = Devices()
    async with stop_on_signal(), asyncio.TaskGroup() as tasks:
        names = [f"member-{number}" for number in range(SIZE)]
        members = {name: tasks.create_task(take_part(url, name, OLD, devices)) for name in names}
        await devices.all_in(OLD[0])
        print("all devices are with the old release", flush=True)
        for name in names:
            members[name].cancel()
            await asyncio.wait([members[name]])
            members[name] = tasks.create_task(take_part(url, name, NEW, devices))
            print(f"{name} has the new release", flush=True)
        await devices.all_in(NEW[0])
        print("all devices are with the new release")
        for member in members.values():
            member.cancel()
    print(f"workers of one device at a time: {devices.most}")
    return devices.most == 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    try:
        raise SystemExit(not asyncio.run(main(parser.parse_args().url)))
    except KeyboardInterrupt:
        print("interrupted")
