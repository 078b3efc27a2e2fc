"""The requests to the backend that the state of a group asks for."""

from __future__ import annotations

from collections.abc import Callable

from aiopartition.backends.base import Backend, Entries
from aiopartition.group.document import check_document, document_of
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.placement.builder import TableBuilder

__all__ = ["Requests"]


class Requests:
    """Does what a :class:`~aiopartition.group.state.Group` decides, and tells it the outcome.

    All its coroutines run in the one task of the group, and raise what the backend raises.

    :param description: a document for operators, stored with our entry.
    :param in_use: whether an entry belongs to a participation of this session that goes on.
    """

    def __init__(
        self, backend: Backend, tables: TableBuilder, group: Group, description: bytes, in_use: Callable[[str], bool]
    ) -> None:
        self._backend = backend
        self._tables = tables
        self._group = group
        self._description = description
        self._in_use = in_use
        self._strangers: set[str] = set()  # entries under our id that are known to be of other sessions

    async def take(self, step: Step) -> None:
        """Take a step that is not the handoff's."""
        group, backend = self._group, self._backend
        match step:
            case Step.JOIN:
                await self._join()
            case Step.READ | Step.SETTLE:
                entries = await backend.read(group.group_id, watch=True, latest=group.reading())
                await self._look_for_orphans(entries)
                group.read(entries)
            case Step.PROBE:
                group.probed(await backend.generation(group.group_id))
            case Step.BUILD:
                await self._build()
            case Step.WITHDRAW:
                for name in sorted(group.leftovers.to_delete):
                    await backend.withdraw(group.group_id, name)
                    group.withdrawn(name)
            case _:
                raise AssertionError(f"{step} is not for the backend")

    async def _join(self) -> None:
        group = self._group
        while not group.leaving:
            document = await self._backend.ensure_group(group.group_id, document_of(group.policy))
            check_document(document, group.group_id, group.policy)
            # The latest, as the entries that we find here count as having been there before us.
            entries = await self._backend.read(group.group_id, watch=False, latest=True)
            await self._look_for_orphans(entries)
            if group.leaving:
                return
            entry = group.choose_entry(entries)
            exclusive = group.handoff is not None
            if await self._backend.enter(group.group_id, entry.name, self._description, marks=exclusive):
                group.entered(entry)
                return

    async def _look_for_orphans(self, entries: Entries | None) -> None:
        """Ask for the sessions of other entries under our id, once for each; usually there are none."""
        names = self._group.same_id_entries(entries)
        self._strangers.intersection_update(names)
        for name in names:
            if name in self._strangers or self._in_use(name):
                continue
            ours = await self._backend.is_ours(self._group.group_id, name)
            if ours:
                self._group.leftovers.disown(name)
            elif ours is not None:
                self._strangers.add(name)

    async def _build(self) -> None:
        group = self._group
        members = group.wanted
        table = await self._tables.table_of(
            members, group.policy, lambda: group.wanted is members and not group.leaving
        )
        if table is not None:
            table.mask(group.member.id)  # made now rather than by the first call
            group.built(members, table)
