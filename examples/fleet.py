"""Members share the files below a folder: each file is checksummed by one of them. One is killed; another one joins.

python examples/fleet.py                                    members are tasks of this process
python examples/fleet.py zookeeper://localhost/fleet        members are processes, and one dies by kill -9
python examples/fleet.py --members 8 --path ~ --files 5000

In the picture, each digit stands for a file, and is the number of the member that holds it. A killed process cannot
leave the group, so no member holds its files until its session expires, after two seconds here. On memory:// there is
no process to kill: that member leaves, and the others take over at once.
"""

import argparse
import asyncio
import logging
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from aiopartition import GroupPolicy, PartitionCoordinator, finish_in_thread, stop_on_signal
from shared.files import checksum, list_files
from shared.members import Live, Members, Report, run
from shared.picture import Fleet, Screen

# ---- a member: all the code that uses the library


async def take_part(url: str, folder: Path, files: Sequence[str], name: str, report: Callable[[Report], None]) -> None:
    """Be a member until cancelled. Every member is given all files, and works on its own."""
    generation: int | None = None

    async def work() -> None:
        while True:
            async for file in coordinator.my_subset("files", files):
                held_at = generation
                # In a thread: a member whose event loop is blocked cannot renew its lease.
                digest = await finish_in_thread(checksum, folder / file)
                report({"member": name, "generation": held_at, "file": file, "checksum": digest})
            await asyncio.sleep(1)

    async with (
        PartitionCoordinator(url, member_id=name, session_timeout=2) as coordinator,
        asyncio.TaskGroup() as tasks,
    ):
        # Without a policy it would take the one that the group has. These files are to have one owner each.
        await coordinator.join_group("files", policy=GroupPolicy())
        tasks.create_task(work())
        async for change in coordinator.changes("files"):
            generation = change.view.generation if change.view else None
            mine = change.view.mine(files) if change.view else []
            timeout = coordinator.session_timeout
            report({"member": name, "generation": generation, "files": mine, "session_timeout": timeout})


# ---- what happens


async def show(live: Live, files: Sequence[str], size: int, pause: float, *, processes: bool) -> bool:
    """Return whether exactly one member held and checksummed each file in the end."""
    fleet = Fleet(files)
    async with stop_on_signal(), asyncio.TaskGroup() as tasks:
        members = Members(tasks, live, fleet.receive, processes=processes)
        screen = Screen(fleet, size)
        logging.getLogger("aiopartition").addHandler(screen)
        drawing = tasks.create_task(screen.keep_current())

        for _ in range(size):
            members.start(fleet.add().name)
        screen.draw(f"{size} members start")
        summary = [f"{size} members started: {await fleet.whole()}"]
        await asyncio.sleep(pause)

        victim = fleet.rows["member-2"]
        held = len(victim.files)
        screen.draw(f"{victim.name} is killed")
        members.kill(victim.name)
        fleet.killed(victim, expires=processes)
        screen.draw()
        summary.append(f"{victim.name} killed:   {await fleet.whole()} (it had {held:,})")
        await asyncio.sleep(pause)

        joiner = fleet.add()
        screen.draw(f"{joiner.name} starts")
        members.start(joiner.name)
        summary.append(f"{joiner.name} started:  {await fleet.whole()} (it has {len(joiner.files):,})")
        await asyncio.sleep(pause)

        await fleet.checked_by_all()
        went_well, result = fleet.result()
        drawing.cancel()
        screen.draw()
        for name in members.names:
            members.stop(name)
    print("", *summary, result, sep="\n")
    return went_well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory://", help="the backend (default: %(default)s)")
    parser.add_argument("--members", type=int, default=4, metavar="N", help="at least 2 (default: %(default)s)")
    parser.add_argument("--files", type=int, default=2000, metavar="N", help="at most so many (default: %(default)s)")
    parser.add_argument(
        "--path", type=Path, default=Path(sysconfig.get_path("stdlib")), help="default: Python's library"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="pause between events (default: %(default)g)")
    parser.add_argument("--member", help=argparse.SUPPRESS)  # be the member of this name
    options = parser.parse_args()
    files = list_files(options.path, options.files)
    live = partial(take_part, options.url, options.path, files)
    processes = not options.url.startswith("memory:")
    if options.members < 2 or not files:
        parser.error("at least 2 members are needed" if files else f"no files below {options.path}")
    return run(parser, options, live, partial(show, live, files, options.members, options.seconds, processes=processes))


if __name__ == "__main__":
    sys.exit(main())
