"""Chooses the entry that a member creates, to join a group or to change its weight there. Decides which of several
processes with one member id is the live one."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from aiopartition.errors import MemberSupersededError, PartitionError
from aiopartition.group.entry import MAX_INCARNATION, Entry
from aiopartition.group.leftovers import Leftovers
from aiopartition.group.roster import Roster
from aiopartition.placement.view import Member

__all__ = ["Candidacy"]


class Candidacy:
    """One member's claim to its id in one group.

    :param member: this member, with its weight.
    :param nonce: 16 hexadecimal digits that no other participation anywhere has.
    """

    def __init__(self, group_id: str, member: Member, nonce: str, leftovers: Leftovers) -> None:
        self.nonce = nonce
        self.attempted: Entry | None = None
        """The entry that we last tried to create in this session."""
        self.entry: Entry | None = None
        """Our entry, while we are a member."""
        self.refusal: PartitionError | None = None
        """Why the weight that was last set was refused; ``None`` if it was not."""
        self.member: Member = member
        """This member, with the weight that it is to have."""
        self._group_id = group_id
        self._leftovers = leftovers
        self._predecessors: set[str] | None = None  # nonces of the entries under our id that were there before ours

    def is_predecessor(self, entry: Entry) -> bool:
        """Whether an entry under our id was there before we first joined."""
        return self._predecessors is not None and entry.nonce in self._predecessors

    def choose(self, own: Iterable[Entry]) -> Entry:
        """Return the entry to create.

        :param own: the entries that exist under our id.
        :raises MemberSupersededError: if another process has joined with our id since we first did, or if no entry of
            ours could rank above one that exists.
        """
        own = list(own)
        others = [entry for entry in own if entry.nonce != self.nonce and entry.name not in self._leftovers.orphans]
        if self._predecessors is None:
            self._predecessors = {entry.nonce for entry in others}
        # An entry from an earlier session of ours would count as another incarnation until that session ends.
        self._leftovers.to_delete.update(entry.name for entry in own if entry.nonce == self.nonce)
        attempted = self.attempted
        if attempted is not None:
            self._leftovers.to_delete.add(attempted.name)  # unless we keep it below; this read may not show it yet
        # After our session expired, another process may have taken our place. It started later than we did, whatever
        # its incarnation: it may have found none of our entries, and counted from 1 again. But if only the answer to
        # our attempt was lost, the higher of two incarnations is the live one, as in any other read.
        successors = [
            entry
            for entry in others
            if not self.is_predecessor(entry) and (attempted is None or entry.seniority > attempted.seniority)
        ]
        if successors:
            raise self.superseded_by(max(successors, key=lambda entry: entry.seniority))
        if attempted is None or any(entry.seniority > attempted.seniority for entry in others):
            newest = max((entry.incarnation for entry in own), default=0)
            incarnation = min(newest + 1, MAX_INCARNATION)
            attempted = Entry(self.member.id, self.member.weight, incarnation, self.nonce)
            above = [entry for entry in others if entry.seniority > attempted.seniority]
            if above:  # at the highest incarnation: joining would only add one more entry that does not count
                raise self.superseded_by(above[0])
            self.attempted = attempted
        self._leftovers.keep(attempted.name)
        return attempted

    def superseded_by(self, live: Entry) -> MemberSupersededError:
        """Return the error that says that ``live`` is the member now."""
        return MemberSupersededError(self._group_id, self.member.id, live.incarnation)

    # ---- our entry

    @property
    def reweighs(self) -> bool:
        """Whether an entry with another weight is to replace ours, or may have replaced it already."""
        return self.entry is not None and (self.attempted != self.entry or self.member.weight != self.entry.weight)

    def set_weight(self, weight: int) -> None:
        """Ask for a new weight."""
        self.refusal = None
        self.member = replace(self.member, weight=weight)

    def replacement(self) -> tuple[Entry, Entry]:
        """Return our entry, and the one to create in its place.

        While we do not know whether the last replacement that we asked for was made, we ask for that one again,
        whatever its weight. So the fate of at most one entry is ever unknown.
        """
        assert self.entry is not None  # or there would be nothing to replace
        if self.attempted in (None, self.entry):
            incarnation = min(self.entry.incarnation + 1, MAX_INCARNATION)
            self.attempted = replace(self.entry, weight=self.member.weight, incarnation=incarnation)
            self._leftovers.keep(self.attempted.name)
        assert self.attempted is not None
        return self.entry, self.attempted

    def refused(self, error: PartitionError) -> None:
        """The backend refused to replace our entry. It keeps its weight until another weight is set."""
        if self.entry is not None:
            self.refusal = error
            self.attempted = self.entry
            self.member = replace(self.member, weight=self.entry.weight)

    def recognise(self, names: Container[str]) -> bool:
        """Return whether our entry is among ``names``: the one that we knew, or the one that replaced it."""
        if self.entry is None:
            return False
        attempted = self.attempted
        if attempted is not None and attempted != self.entry and attempted.name in names:
            self._leftovers.to_delete.add(self.entry.name)  # the ensemble may forget the replacement, and bring it back
            self.entry = attempted
        return self.entry.name in names

    def tidy(self, roster: Roster) -> None:
        """Mark for deletion the entries under our id that are orphans, or come from attempts that we gave up."""
        for entry in roster.of_member(self.member.id):
            if entry.name in self._leftovers.orphans or (entry.nonce == self.nonce and entry != self.entry):
                self._leftovers.to_delete.add(entry.name)

    def give_up(self) -> None:
        """Mark our entry for deletion, and the one that may have replaced it."""
        self._leftovers.to_delete.update(each.name for each in (self.entry, self.attempted) if each is not None)
        self.entry = None

    def forget(self) -> None:
        """Our entry is gone."""
        self.entry = self.attempted = None

    def namesakes(self, roster: Roster) -> list[str]:
        """Return the names of entries under our id that this participation did not make, except known orphans."""
        own = [entry.name for entry in roster.of_member(self.member.id) if entry.nonce != self.nonce]
        return [name for name in own if name not in self._leftovers.orphans]
