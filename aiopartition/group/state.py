"""The state of one group, as one member sees it. No I/O, no clock: events go in, the next step comes out.

:mod:`aiopartition.group.membership` reports what happened through the methods below ``events``, asks
:meth:`Group.next_step` what to do, does it, and reports the outcome. :attr:`Group.view` is correct at any moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from aiopartition.backends.base import Entries
from aiopartition.errors import GroupTooLargeError, MemberSupersededError, PartitionError
from aiopartition.group.candidacy import Candidacy
from aiopartition.group.entry import Entry
from aiopartition.group.handoff import Handoff
from aiopartition.group.leftovers import Leftovers
from aiopartition.group.phase import Phase
from aiopartition.group.roster import NO_WEIGHT, Roster
from aiopartition.group.step import Step
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.table import Table
from aiopartition.placement.view import Member, View

__all__ = ["Group"]


class Group:
    """One member's part in one group.

    :param member: this member, with its weight.
    :param nonce: 16 hexadecimal digits that no other participation anywhere has.
    :param min_members: if fewer members are present, ownership counts as unknown.
    """

    def __init__(self, group_id: str, member: Member, policy: GroupPolicy, min_members: int, nonce: str) -> None:
        self.group_id = group_id
        self.nonce = nonce
        self.policy: GroupPolicy = policy
        self.min_members = min_members
        self.phase: Phase = Phase.JOINING
        self.handoff: Handoff | None = Handoff(policy.slots) if policy.exclusive else None
        """In an exclusive group, decides which slots are active. Whoever tells it an event calls :meth:`shift` next."""
        self.error: PartitionError | None = None
        """What keeps us from taking part, other than a missing connection."""
        self.leftovers: Leftovers = Leftovers()
        self.wanted: dict[str, int] = {}
        """The members with their weights, from the newest entries read."""
        self.established: bool = False
        """Whether this member has ever taken part."""
        self.lapses: int = 0
        """How many times others could have taken over what was ours without our knowing."""
        self.roster: Roster = Roster()
        """The entries that were last read."""
        self.candidacy: Candidacy = Candidacy(group_id, member, nonce, self.leftovers)

        self._connected = False
        self._abandoned = False  # whether the session is about to end after leaving
        self._paused = False  # after a failed step, until the next heartbeat or connection
        self._handoff_paused = False  # likewise, after a failed step of the handoff
        self._generation: int | None = None  # of the newest entries read
        self._due: Step | None = None  # PROBE, SETTLE or READ; once superseded, JOIN
        self._outdone_at: int | None = None  # the generation at which we last saw another process in our place
        self._alone = False  # whether nobody else was a member when we looked before joining
        self._insist = False  # whether the next read must return the latest state
        self._lapses_at_reading = 0
        self._interruptions = 0  # since the last read
        self._trusted = False  # whether there is no reason to doubt the view, such as a lapse of the lease
        self._view: View | None = None
        self._table: Table | None = None  # the last one built, of the members beside it
        self._table_members: dict[str, int] = {}

    # ---- what holds now

    @property
    def member(self) -> Member:
        """This member, with the weight that it is to have."""
        return self.candidacy.member

    @property
    def weighed(self) -> bool:
        """Whether what we know of the group includes that weight."""
        in_force = self.wanted.get(self.member.id) == self.member.weight and not self.candidacy.reweighs
        return in_force and (self._short or self._table_members == self.wanted)

    @property
    def _entry(self) -> Entry | None:
        return self.candidacy.entry

    @property
    def view(self) -> View | None:
        """The view that holds as far as the members are concerned; the caller checks the lease."""
        return self._view if self._trusted else None  # none while leaving

    @property
    def settled(self) -> bool:
        """Whether joining has had a first result: a view, a reason for having none, or an error."""
        return self._view is not None or self._short or self.error is not None or self.leaving

    @property
    def leaving(self) -> bool:
        """Whether the group is being left, or has been."""
        return self.phase is Phase.LEAVING

    @property
    def unknown_reason(self) -> str:
        """Why there is no view, while there is a connection."""
        if self.phase is Phase.MEMBER and self._short:
            few = f"{len(self.wanted)} of at least {self.min_members} members are present"
            return few if any(self.wanted.values()) else NO_WEIGHT
        return self.phase.value

    @property
    def _short(self) -> bool:
        """Whether nobody can own anything, as too few members are present, or none has a weight."""
        return self._generation is not None and (len(self.wanted) < self.min_members or not any(self.wanted.values()))

    # ---- events

    def session_opened(self, *, fresh: bool) -> None:
        self._connected = True
        self._paused = self._handoff_paused = False
        if fresh:
            self.session_expired()
        elif self._entry is not None and self._due is None:
            self._due = Step.PROBE
        self.leftovers.delete_again()
        if self.handoff is not None:
            self.handoff.moved()

    def session_suspended(self) -> None:
        self._connected = False

    def session_expired(self) -> None:
        """The session has ended, and our entries and marks with it."""
        self._forget_entry()
        self.leftovers.session_ended()
        if self.handoff is not None:
            self.handoff.session_ended()

    def lease_renewed(self) -> None:
        """The lease is renewed after a lapse: what we know has to be confirmed before it is used again."""
        self._trusted = False
        self.lapses += 1
        if self._entry is not None and self._due is None:
            self._due = Step.PROBE

    def changed(self) -> None:
        """The watch fired."""
        if self._entry is not None and self._due is not Step.READ:
            self._due = Step.SETTLE

    def handoff_refused(self) -> None:
        """A step of the handoff was refused. It is tried again at the next heartbeat; the view still holds."""
        self._handoff_paused = True

    def heartbeat(self) -> None:
        """It is time to try again what failed."""
        self._paused = self._handoff_paused = False

    def failed(self, error: PartitionError) -> None:
        """A step was refused. We try again at the next heartbeat, as an operator may have mended the cause; if we are
        superseded, only once the group has changed."""
        if isinstance(error, MemberSupersededError):
            if self.phase is not Phase.SUPERSEDED:
                self._forget_entry()
                self.phase = Phase.SUPERSEDED
            self.error, self._due = error, None
            return
        self._paused = True
        if self.phase is not Phase.SUPERSEDED:
            self.error = error
            self._trusted = False
            self._due = Step.READ if self._entry is not None else None

    def interrupted(self) -> None:
        """The connection was lost during a step. The step is tried again after reconnecting, or at a heartbeat."""
        self._paused = True
        if self._entry is not None:
            self._due = Step.READ  # the watch may or may not have been armed
            self._interruptions += 1
            if self._interruptions > 1:
                self._trusted = False  # reading has failed repeatedly: what we believe may be very old

    def upset(self, error: PartitionError) -> None:
        """Something unexpected went wrong, and an event may be lost: read everything again before it is used."""
        self.lapses += 1
        self.failed(error)

    def leave(self) -> None:
        self.candidacy.give_up()
        self.phase = Phase.LEAVING
        self._paused = False
        self.error = None  # from now on, this says what keeps us from leaving
        self._view = self._due = None
        self._let_go()

    def abandon(self) -> None:
        """Leave, and rely on the end of the session to delete our entry. Our marks are deleted first, if possible."""
        self.leave()
        self._abandoned = True
        self.leftovers.abandon()

    def withdrawn(self, name: str) -> None:
        self.leftovers.was_deleted(name)

    def probed(self, generation: int | None) -> None:
        """The backend has answered what the generation is."""
        if self.phase is Phase.SUPERSEDED and generation != self._outdone_at:
            self._due = Step.JOIN  # it first looks whether an entry that superseded us still exists
        if self._entry is None or self._generation is None:
            return
        if generation != self._generation:
            self._due = Step.READ  # without settling: the change happened before we asked
        elif self._due is Step.PROBE or self._due is None:
            self._due = None
            self._trust()

    # ---- joining

    def adopt(self, policy: GroupPolicy) -> None:
        """The group turns out to have this policy. We have no entry yet."""
        self.policy = policy
        self.handoff = Handoff(policy.slots) if policy.exclusive else None

    def choose_entry(self, entries: Entries | None) -> Entry:
        """Return the entry to create, given those that exist.

        :raises MemberSupersededError: as :meth:`Candidacy.choose` does.
        """
        own = self._parse(entries).of_member(self.member.id)
        self._alone = len(self.roster.names) == len(own)
        try:
            return self.candidacy.choose(own)
        except MemberSupersededError:
            self._outdone_at = None if entries is None else entries.generation
            raise

    def entered(self, entry: Entry) -> None:
        """Our entry exists."""
        if self.leaving:
            self.leftovers.to_delete.add(entry.name)
        elif entry == self.candidacy.attempted:  # otherwise the session ended while the answer was on its way
            self.candidacy.entry, self.phase = entry, Phase.MEMBER
            # Others let a change settle before they give up keys to us, so we let it settle before we take them.
            self._due = Step.READ if self._alone else Step.SETTLE

    # ---- reading

    def sift(self, entries: Entries | None) -> Iterator[None]:
        """Parse the names of the entries in steps, so that the method told of them next need not parse them at once."""
        self.roster = yield from self.roster.steps(frozenset() if entries is None else entries.names)

    def reading(self) -> bool:
        """A read begins. The watch that it arms reports later changes.

        :returns: whether the read must return the latest state.
        """
        self._due = None
        self._lapses_at_reading = self.lapses
        return self._insist

    def read(self, entries: Entries | None) -> None:
        """The entries were read."""
        if self._entry is None:
            return
        self._interruptions = 0
        insisted, self._insist = self._insist, False
        if not insisted and (entries is None or entries.generation < (self._generation or 0)):
            # Older than what we have seen: either a server lags, or the ensemble was wiped. The next read will tell.
            self._insist, self._due = True, Step.READ
            return
        if entries is None or not self.candidacy.recognise(self._parse(entries).entries):
            self._forget_entry()  # an operator deleted our entry, or the whole group: join again
            return
        self.candidacy.tidy(self.roster)
        incarnations = self.roster.live(self.leftovers.orphans)
        live = incarnations[self.member.id]
        if live.nonce != self.nonce:
            self._outdone_at = entries.generation
            self._be_outdone(live)
            return
        self._generation, self.established = entries.generation, True
        wanted = {member_id: incarnations[member_id].weight for member_id in sorted(incarnations)}
        if wanted != self.wanted or not isinstance(self.error, GroupTooLargeError):
            self.error = None
        if wanted != self.wanted:  # a build for equal members goes on
            self.wanted = wanted
        if self.lapses == self._lapses_at_reading:
            self._trust()
        if self._short:
            self._view = None
            if self.handoff is not None:  # let go of everything without waiting for others, as they may wait for us
                self.handoff.viewed(self._generation, self._entry.name, self.roster.members, self.handoff.nothing)
                self.handoff.let_go()
        elif self._table is not None and self._table_members == self.wanted:
            self._publish(self._table)

    def built(self, members: dict[str, int], table: Table) -> None:
        """The table for ``members`` is built."""
        self._table, self._table_members = table, members
        if self._entry is not None and members == self.wanted and not self._short:
            self._publish(table)

    # ---- handing over

    def shift(self) -> None:
        """What is active may have changed."""
        if self._view is not None:
            self._show(self._view)

    @property
    def idle(self) -> bool:
        """Whether no exclusive work is in flight."""
        return self.handoff is None or self.handoff.idle

    # ---- decisions

    @property
    def stuck(self) -> bool:
        """Whether nothing can be done before the next connection or heartbeat."""
        return not self._connected or self._paused

    def next_step(self) -> Step:
        """Return what to do next. Asking changes nothing."""
        obsolete = self.handoff is not None and self.handoff.obsolete is not None
        leftovers = bool(self.leftovers.to_delete)
        if self.leaving and not leftovers and self.idle and (not obsolete or (self.stuck and self._abandoned)):
            return Step.FINISH
        if self.stuck:
            return Step.REST
        if self.phase in (Phase.LEAVING, Phase.SUPERSEDED):
            if not self.idle:
                return Step.REST  # other members must not take our keys yet
            # Delete our marks before our entry: when the entry is gone, nothing of ours must remain.
            return Step.RETRACT if obsolete else Step.WITHDRAW if leftovers else self._due or Step.REST
        if self.phase is Phase.JOINING:
            return Step.JOIN  # before leftovers are deleted: otherwise our keys would move for a moment
        if leftovers:
            return Step.WITHDRAW
        if self._due is not None:
            return self._due
        if self.candidacy.reweighs:
            return Step.REWEIGH
        if self._generation is not None and not self._short and self._table_members != self.wanted:
            return Step.BUILD
        if self.handoff is None or self._handoff_paused:
            return Step.RETRACT if obsolete else Step.REST
        return self.handoff.next_step()

    # ---- inside

    def _publish(self, table: Table) -> None:
        assert self._generation is not None
        assert self._entry is not None
        if self.handoff is not None:
            self.handoff.viewed(self._generation, self._entry.name, self.roster.members, table.mask(self.member.id))
        self._show(View.of(self.group_id, self._generation, self.wanted, self.policy, self.member.id, table))

    def _show(self, view: View) -> None:
        active = None if self.handoff is None else self.handoff.active
        # While nothing changes, the object stays the same.
        if self._view is None or view != self._view or active is not self._view.active:
            self._view = replace(view, active=active)

    def _let_go(self) -> None:
        if self.handoff is not None:
            self.handoff.lapsed()

    def _trust(self) -> None:
        """What was read last is confirmed. An unconfirmed view must not come back if its generation is past."""
        if not self._trusted and self._view is not None and self._view.generation != self._generation:
            self._view = None
        self._trusted = True

    def _forget_entry(self) -> None:
        if self.phase is Phase.MEMBER:
            self.phase = Phase.JOINING
        self.lapses += 1
        self.candidacy.forget()
        self._view = self._due = self._generation = None
        self._trusted = self._insist = False
        self.wanted = {}
        self._let_go()

    def _be_outdone(self, live: Entry) -> None:
        self.candidacy.give_up()
        if self.candidacy.is_predecessor(live):
            # Both processes lost their entries and counted from 1 again at once. We started later: count on from there.
            self._forget_entry()
        else:
            self.failed(self.candidacy.superseded_by(live))

    def _parse(self, entries: Entries | None) -> Roster:
        for _ in self.sift(entries):  # does nothing if they have been parsed in steps
            pass
        return self.roster
