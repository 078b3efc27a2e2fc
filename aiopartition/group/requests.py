"""The requests to the backend that the state of a group asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from anyio.lowlevel import checkpoint

from aiopartition.backends.base import Backend, Entries, Owner
from aiopartition.errors import BackendError, BackendUnavailableError
from aiopartition.group.document import document_of
from aiopartition.group.inspection import Inspection
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.placement.builder import TableBuilder

__all__ = ["Requests"]

_logger: Final = logging.getLogger("aiopartition")


class Requests:
    """Carries out what a :class:`~aiopartition.group.state.Group` decides, and tells it the outcome.

    All its coroutines run in the group's one task, and raise what the backend raises.

    :param description: a document for operators, stored with our entry.
    :param in_use: tells whether an entry belongs to a participation of this session that has not ended.
    :param agree: called with the group's document before we enter; raises if we cannot take part in such a group.
    """

    def __init__(
        self,
        backend: Backend,
        tables: TableBuilder,
        group: Group,
        description: bytes,
        in_use: Callable[[str], bool],
        agree: Callable[[bytes], None],
    ) -> None:
        self._backend = backend
        self._tables = tables
        self._group = group
        self._description = description
        self._in_use = in_use
        self._agree = agree
        self.inspection: Inspection = Inspection(backend, group)

    async def take(self, step: Step) -> None:
        """Take a step, unless it is one of the handoff's."""
        group, backend = self._group, self._backend
        match step:
            case Step.JOIN:
                await self._join()
            case Step.READ | Step.SETTLE:
                group.read(await self._read(latest=group.reading()))
            case Step.PROBE:
                group.probed(await backend.generation(group.group_id))
            case Step.BUILD:
                await self._build()
            case Step.REWEIGH:
                await self._reweigh()
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
            if group.leaving:
                return
            await self._backend.check_rights(group.group_id)
            self._agree(document)
            # The latest state, because the entries that we find here count as older than ours.
            entries = await self._read(latest=True)
            if group.leaving:
                return
            entry = group.choose_entry(entries)
            exclusive = group.handoff is not None
            if await self._backend.enter(group.group_id, entry.name, self._description, marks=exclusive):
                group.entered(entry)
                return

    async def _reweigh(self) -> None:
        group = self._group
        old, new = group.candidacy.replacement()
        try:
            exclusive = group.handoff is not None
            await self._backend.replace(group.group_id, old.name, new.name, self._description, marks=exclusive)
        except BackendUnavailableError:
            raise
        except BackendError as error:
            _logger.error("group %r: the weight stays %s: %s", group.group_id, old.weight, error)
            group.candidacy.refused(error)
        else:
            group.changed()  # whatever the answer was, a read shows which entry exists, as after a lost answer

    async def _read(self, *, latest: bool) -> Entries | None:
        entries = await self._read_once(latest)
        if await self._look_for_orphans():  # read again without those removed, but only once: more may keep coming
            entries = await self._read_once(latest)
            await self._look_for_orphans()
        return entries

    async def _read_once(self, latest: bool) -> Entries | None:
        entries = await self._backend.read(self._group.group_id, watch=True, latest=latest)
        for _ in self._group.sift(entries):
            await checkpoint()
        self.inspection.count_foreign()
        return entries

    async def _look_for_orphans(self) -> bool:
        """Ask who owns the other entries under our id. Usually there are none.

        :returns: whether one is gone since it was read; an entry that nobody owns is removed.
        """
        removed = False
        for name in self._group.candidacy.namesakes(self._group.roster):
            if not self._in_use(name):
                owner = await self.inspection.owner(name)
                removed |= owner is None
                if owner is Owner.US:
                    self._group.leftovers.disown(name)
        return removed

    async def _build(self) -> None:
        group = self._group
        members = group.wanted
        table = await self._tables.table_of(
            members, group.policy, lambda: group.wanted is members and not group.leaving
        )
        if table is not None:
            table.mask(group.member.id)  # built now rather than by the first call
            group.built(members, table)
