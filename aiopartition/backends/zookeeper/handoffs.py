"""The nodes of handoffs in exclusive groups (``docs/reference/format-1.md``, "Handoff")."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from aiopartition.backends.base import Mark, Marks, MarksCount, Progress
from aiopartition.backends.layout import READY, active_path, handoffs_path, mark_path, marks_path, members_path
from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import ErrorCode, Node
from aiopartition.backends.zookeeper.nodes import ATTEMPTS, ForeignNodeError, Nodes, is_session
from aiopartition.errors import BackendError, BackendUnavailableError
from aiopartition.parsing import parse_number

__all__ = ["Handoffs"]

_logger: Final = logging.getLogger("aiopartition.zookeeper")

_LOT: Final = 64
"""Entries whose owners are asked for in one request: at most 1 MB, as the longest path takes 6 kB."""


class _Survey(NamedTuple):
    """The marks of a generation, read on one connection, with the transactions that changed the lists of them last."""

    generation: int
    connection: int
    changed: list[int | None]
    marks: Marks


class Handoffs:
    """The marks and the progress of handoffs. Groups are named by their paths; errors are those of :class:`Nodes`."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._generations: dict[str, int] = {}  # of each group, the generation that was read last
        self._surveys: dict[str, _Survey] = {}  # of each group, the last reading of marks
        self._left_behind: dict[str, set[str]] = {}  # of each group, nodes of past handoffs that we may not delete

    def saw(self, group: str, generation: int) -> None:
        """The group's generation was read."""
        self._generations[group] = generation

    def forget(self, group: str) -> None:
        """Forget what is known of a group."""
        self._generations.pop(group, None)
        self._surveys.pop(group, None)
        self._left_behind.pop(group, None)

    # ---- marks

    async def mark(self, group: str, mark: Mark) -> MarksCount | None:
        """Create the node of a mark. Return the number of marks now, or ``None`` if there is no group."""
        parent = marks_path(group, mark.generation, ready=mark.ready)
        path = mark_path(group, mark)
        for _ in range(ATTEMPTS):
            try:
                with self._nodes.ephemerals.mark(path):
                    created = await self._nodes.create_ephemeral(path, b"")
            except ForeignNodeError:  # only we may make a mark with the name of our entry
                await self._nodes.delete(path)
                continue
            if created:
                # Our server has applied our own creation before it answers this, so the last member counts all.
                paths = [marks_path(group, mark.generation, ready=ready) for ready in (True, False)]
                return _count(*await self._nodes.request(codec.read_nodes([path, *paths]), parent, "READ"))
            if (
                await self._nodes.create(parent, b"") == ErrorCode.NO_NODE
                and await self._nodes.create(handoffs_path(group), b"") == ErrorCode.NO_NODE
            ):
                return None
        raise BackendError("the node keeps vanishing", parent)

    async def unmark(self, group: str, mark: Mark) -> None:
        """Delete the node of a mark."""
        await self._nodes.delete(mark_path(group, mark))

    async def marks(self, group: str, generation: int) -> Marks:
        """Return the marks of a generation. They are read again only if they have changed since the last reading."""
        paths = [marks_path(group, generation, ready=ready) for ready in (True, False)]
        known, connection = self._surveys.get(group), self._nodes.connection
        if (
            known is None
            or (known.generation, known.connection) != (generation, connection)
            or known.changed != await self._nodes.lists_changed(paths)
        ):
            lists = await self._nodes.read_lists(codec.read_lists(paths), *paths)
            marks = Marks(*(frozenset(() if each is None else each.names) for each in lists))
            changed = [None if each is None else each.stat.children_zxid for each in lists]
            known = self._surveys[group] = _Survey(generation, connection, changed, marks)
        return known.marks

    async def remove_foreign_marks(self, group: str, generation: int, names: Iterable[str]) -> frozenset[str]:
        """Delete acknowledgements that were not made in the session of their entry. Return the names of these."""
        acknowledgements = marks_path(group, generation, ready=False)
        foreign: set[str] = set()
        for lot in _lots(sorted(names)):
            paths = [f"{parent}/{name}" for parent in (members_path(group), acknowledgements) for name in lot]
            nodes = await self._nodes.request(codec.read_nodes(paths), acknowledgements, "READ")
            owners = [node and node.stat.ephemeral_owner for node in nodes]
            for name, entry, mark in zip(lot, owners, owners[len(lot) :], strict=False):
                if mark is not None and not (mark == entry and is_session(mark)):
                    await self._nodes.delete(f"{acknowledgements}/{name}")
                    foreign.add(name)
        return frozenset(foreign)

    # ---- progress

    async def progress(self, group: str, *, create: bool = True) -> Progress:
        """Read the progress and arm the watch. With ``create`` the node is created if it is missing."""
        path = active_path(group)
        for _ in range(ATTEMPTS):
            found = await self._read_progress(group, watch=True)
            if found is not None:
                progress = found[0] or Progress()
                if group in self._surveys and self._surveys[group].generation <= progress.active:
                    del self._surveys[group]  # nobody waits for these marks any more
                return progress
            if not create or await self._nodes.create(path, _text(Progress())) == ErrorCode.NO_NODE:
                return Progress()  # no handoff yet
        raise BackendError("the node keeps vanishing", path)

    async def release(self, group: str, generation: int) -> None:
        """Write that a generation is released, unless a later one is, or is active."""
        await self._advance(group, generation, activate=False)

    async def activate(self, group: str, generation: int) -> None:
        """Write that a generation is active, unless a later one is. Delete marks of earlier generations."""
        if await self._advance(group, generation, activate=True):
            await self._delete_earlier(group, generation)

    async def _advance(self, group: str, generation: int, *, activate: bool) -> bool:
        """Return whether this call has written the node."""
        path = active_path(group)
        for _ in range(ATTEMPTS):
            found = await self._read_progress(group)
            if found is None:
                await self._nodes.create(path, _text(Progress()))
                continue
            progress, version = found
            if progress is None:
                if generation != await self._generation(group):
                    return False
                progress = Progress()  # the newest generation may replace it: no later one can have been active
            if generation <= (progress.active if activate else max(progress)):
                return False
            after = progress._replace(active=generation) if activate else progress._replace(released=generation)
            stat = await self._nodes.write(path, _text(after), version)
            if stat is None:
                continue
            if generation >= stat.data_zxid:  # all members would ignore it, and write it again and again
                raise BackendError(f"generation {generation} is later than the transaction that names it", path)
            return True
        raise BackendError("the node keeps changing while it is being written", path)

    async def _read_progress(self, group: str, *, watch: bool = False) -> tuple[Progress | None, int] | None:
        """Return the progress and the version of its node; ``None`` without a node.

        The progress is ``None`` if the node holds something that no member has written. If it were believed, it would
        block all later handoffs.
        """
        path = active_path(group)
        found = await self._nodes.find(codec.get_data(path, watch=watch), path)
        if found is None:
            return None
        data, stat = found
        progress = _parse(data)
        if progress is None or max(progress) >= stat.data_zxid:  # a generation is older than any write of it
            return None, stat.version
        if max(progress) > self._generations.get(group, 0):
            newest = await self._generation(group)
            if newest is not None and max(progress) > newest:  # generations only grow, so this one has never been
                return None, stat.version
        return progress, stat.version

    async def _generation(self, group: str) -> int | None:
        """Return the group's generation, at least as new as all that was done before this call."""
        members = members_path(group)
        await self._nodes.sync(members)
        stat = await self._nodes.find(codec.exists(members), members)
        if stat is not None:
            self.saw(group, stat.children_zxid)
        return None if stat is None else stat.children_zxid

    # ---- past handoffs

    async def _delete_earlier(self, group: str, generation: int) -> None:
        """Delete the nodes of handoffs to earlier generations, with the marks that are left there.

        A refusal does not stop it, and a node that must not be deleted is not tried again.
        """
        handoffs = handoffs_path(group)
        names: tuple[str, ...] = ()
        with self._left_behind_if_refused(group, handoffs):
            names = await self._nodes.children(handoffs)
        for name in names:
            number, path = parse_number(name.removesuffix(READY)), f"{handoffs}/{name}"
            if number is not None and number < generation and path not in self._left_behind.get(group, ()):
                with self._left_behind_if_refused(group, path):
                    for entry in await self._nodes.children(path):
                        await self._nodes.delete(f"{path}/{entry}")
                    await self._nodes.delete(path)

    @contextmanager
    def _left_behind_if_refused(self, group: str, path: str) -> Generator[None]:
        try:
            yield
        except BackendUnavailableError:
            raise
        except BackendError as error:
            left_behind = self._left_behind.setdefault(group, set())
            if not left_behind:  # one warning: most refusals have the same reason
                _logger.warning("nodes of past handoffs are left behind: %s", error)
            left_behind.add(path)


def _count(ours: Node | None, *parents: Node | None) -> MarksCount:
    last = ours is not None and all(each is None or each.stat.children_zxid <= ours.created for each in parents)
    ready, acknowledged = [0 if each is None else each.stat.children for each in parents]
    return MarksCount(ready, acknowledged, last)


def _lots(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split names into portions, of which each makes one short request."""
    for start in range(0, len(names), _LOT):
        yield names[start : start + _LOT]


def _text(progress: Progress) -> bytes:
    """Return the active generation and, if it is later, the released one."""
    return b"%d %d" % progress if progress.released > progress.active else b"%d" % progress.active


def _parse(text: bytes) -> Progress | None:
    """Return the progress that :func:`_text` writes as ``text``; ``None`` if there is none."""
    numbers = [parse_number(each) for each in text.decode("ascii", "replace").split(" ")]
    match numbers:
        case [int(active)]:
            return Progress(active, active)
        case [int(active), int(released)] if released > active:
            return Progress(active, released)
        case _:
            return None
