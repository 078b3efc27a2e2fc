"""Which entry a member creates to join a group, and which of several processes with one member id is the live one."""

from __future__ import annotations

from collections.abc import Iterable

from aiopartition.errors import MemberSupersededError
from aiopartition.group.entry import MAX_INCARNATION, Entry
from aiopartition.group.leftovers import Leftovers
from aiopartition.placement.view import Member

__all__ = ["Candidacy"]


class Candidacy:
    """One member's claim to its id in one group.

    :param nonce: 16 hexadecimal digits that no other participation anywhere has.
    """

    def __init__(self, group_id: str, member: Member, nonce: str, leftovers: Leftovers) -> None:
        self.nonce = nonce
        self.attempted: Entry | None = None
        """What we have tried to create in this session."""
        self._group_id = group_id
        self._member = member
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
            attempted = Entry(self._member.id, self._member.weight, incarnation, self.nonce)
            above = [entry for entry in others if entry.seniority > attempted.seniority]
            if above:  # at the highest incarnation: joining would only make one more entry that does not count
                raise self.superseded_by(above[0])
            self.attempted = attempted
        self._leftovers.keep(attempted.name)
        return attempted

    def superseded_by(self, live: Entry) -> MemberSupersededError:
        """Return the error that says so."""
        return MemberSupersededError(self._group_id, self._member.id, live.incarnation)
