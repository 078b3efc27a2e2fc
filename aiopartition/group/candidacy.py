"""Which entry a member creates, to join a group or to change its weight there, and which of several processes with one
member id is the live one."""

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
        """What we have tried to create in this session, last."""
        self.entry: Entry | None = None
        """Ours, while we are a member."""
        self.refusal: PartitionError | None = None
        """Why the weight that was set last is not ours, and will not be."""
        self.member: Member = member
        """This member, with the weight that it is to have."""
        self._group_id = group_id
        self._leftovers = leftovers
        self._predecessors: set[str] | None = None  # nonces of our id's entries that were there before we first came

    def is_predecessor(self, entry: Entry) -> bool:
        """Whether an entry under our id was there when we first came."""
        return self._predecessors is not None and entry.nonce in self._predecessors

    def choose(self, own: Iterable[Entry]) -> Entry:
        """Return the entry to create.

        :param own: the entries under our id that are there.
        :raises MemberSupersededError: if another process has joined with our id since we first did, or if none of our
            entries could be above one that is there.
        """
        own = list(own)
        others = [entry for entry in own if entry.nonce != self.nonce and entry.name not in self._leftovers.orphans]
        if self._predecessors is None:
            self._predecessors = {entry.nonce for entry in others}
        # What an earlier session of ours has left would count as another incarnation until that session ends.
        self._leftovers.to_delete.update(entry.name for entry in own if entry.nonce == self.nonce)
        attempted = self.attempted
        if attempted is not None:
            self._leftovers.to_delete.add(attempted.name)  # unless it is kept; this look may not show it yet
        # After an expired session another process may have taken our place. Its start is the later one, whatever its
        # incarnation: it may have found none of our entries, and begun to count anew. But if only the answer to an
        # attempt was lost, the higher one of two incarnations is the live one, as in any reading.
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
            if above:  # at the highest incarnation: joining would only make one more entry that does not count
                raise self.superseded_by(above[0])
            self.attempted = attempted
        self._leftovers.keep(attempted.name)
        return attempted

    def superseded_by(self, live: Entry) -> MemberSupersededError:
        """Return the error that says so."""
        return MemberSupersededError(self._group_id, self.member.id, live.incarnation)

    # ---- our entry

    @property
    def reweighs(self) -> bool:
        """Whether an entry with another weight is to come in the place of ours, or may have come."""
        return self.entry is not None and (self.attempted != self.entry or self.member.weight != self.entry.weight)

    def set_weight(self, weight: int) -> None:
        """This member is to have that weight."""
        self.refusal = None
        self.member = replace(self.member, weight=weight)

    def replacement(self) -> tuple[Entry, Entry]:
        """Return our entry, and the one to create in its place.

        While it is not known whether the one that was asked for last is there, it is that one, whatever its weight. So
        no more than one entry is ever unknown.
        """
        assert self.entry is not None  # or there would be nothing to replace
        if self.attempted in (None, self.entry):
            incarnation = min(self.entry.incarnation + 1, MAX_INCARNATION)
            self.attempted = replace(self.entry, weight=self.member.weight, incarnation=incarnation)
            self._leftovers.keep(self.attempted.name)
        assert self.attempted is not None
        return self.entry, self.attempted

    def refused(self, error: PartitionError) -> None:
        """Our entry must not be replaced. Its weight stays, until another is set."""
        if self.entry is not None:
            self.refusal = error
            self.attempted = self.entry
            self.member = replace(self.member, weight=self.entry.weight)

    def recognise(self, names: Container[str]) -> bool:
        """Return whether our entry is among these: the one that was there, or the one that has come in its place."""
        if self.entry is None:
            return False
        attempted = self.attempted
        if attempted is not None and attempted != self.entry and attempted.name in names:
            self._leftovers.to_delete.add(self.entry.name)  # if the ensemble forgets that it did that, it is back
            self.entry = attempted
        return self.entry.name in names

    def tidy(self, roster: Roster) -> None:
        """Entries under our id that are nobody's, or of an attempt that we had given up, are to be deleted."""
        for entry in roster.of_member(self.member.id):
            if entry.name in self._leftovers.orphans or (entry.nonce == self.nonce and entry != self.entry):
                self._leftovers.to_delete.add(entry.name)

    def give_up(self) -> None:
        """Our entry, and one that may be there in its place, are to be deleted."""
        self._leftovers.to_delete.update(each.name for each in (self.entry, self.attempted) if each is not None)
        self.entry = None

    def forget(self) -> None:
        """We have no entry any more."""
        self.entry = self.attempted = None

    def namesakes(self, roster: Roster) -> list[str]:
        """Return the names of entries under our id that this participation did not make, but for known orphans."""
        own = [entry.name for entry in roster.of_member(self.member.id) if entry.nonce != self.nonce]
        return [name for name in own if name not in self._leftovers.orphans]
