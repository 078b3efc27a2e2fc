"""What operators want to know about one group, as one member sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from aiopartition.group.description import LONGEST_HOST, LONGEST_WORD, MemberInfo
from aiopartition.group.entry import Entry
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import Change, Member, View
from aiopartition.showing import printable, shown, shown_name

__all__ = ["Awaited", "GroupState", "GroupStatus", "Rebalance", "RebalanceWatch"]

GroupState: TypeAlias = Literal["unknown", "refused", "handing over", "steady", "observing", "left"]


@dataclass(frozen=True, slots=True)
class Awaited:
    """A member that has not yet let go of what a handoff takes from it.

    :ivar member_id: the member.
    :ivar host: where it runs, as it says itself; ``None`` if that was not looked up (yet).
    :ivar pid: its process id there.
    :ivar started: when its coordinator was started, ISO 8601 in UTC, by its own clock.
    :ivar works: its work that is still in flight; only known for this member itself.
    """

    member_id: str
    host: str | None = None
    pid: int | None = None
    started: str | None = None
    works: tuple[str, ...] = ()

    @classmethod
    def of_entry(cls, name: str) -> Awaited:
        """Return the member whose entry has that name, without its description."""
        entry = Entry.parse(name)
        return cls(name if entry is None else entry.member_id)

    @classmethod
    def described(cls, member_id: str, description: bytes | None) -> Awaited:
        """Return a member with its description, the document of its entry: untrusted, and only displayed."""
        info = MemberInfo.described(Member(member_id), description or b"")
        return cls(
            member_id,
            None if info.host is None else printable(info.host, LONGEST_HOST),
            info.pid,
            None if info.started is None else printable(info.started, LONGEST_WORD),
        )

    def __str__(self) -> str:
        host = "" if self.host is None else shown_name(self.host)
        where = host and f" (host {host}, pid {self.pid}, started {shown(self.started)})"
        works = "" if not self.works else f": {', '.join(self.works[:5])}{' …' if len(self.works) > 5 else ''}"
        return printable(f"{shown_name(self.member_id)}{where}{works}")


@dataclass(frozen=True, slots=True)
class Rebalance:
    """The last change of the membership that this member has seen.

    :ivar seconds_ago: how long ago its view began to hold here.
    :ivar joined: ids of members that joined, sorted.
    :ivar left: ids of members that left, sorted.
    :ivar moved: the share of slots that changed owners.
    """

    seconds_ago: float
    joined: tuple[str, ...]
    left: tuple[str, ...]
    moved: float


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A snapshot of one group, for people and dashboards.

    :ivar state: ``"steady"``; ``"handing over"``: in an exclusive group, this member does not have all that it gains
        yet; ``"observing"``: this is an observer, and sees the group; ``"unknown"``: this member cannot prove that
        anything is its own, or the observer cannot tell who the members are; ``"refused"``: this member cannot take
        part, or the observer is not allowed to look, or cannot make sense of what it sees; ``"left"``.
    :ivar reason: why the state is ``"unknown"`` or ``"refused"``, or what keeps a handoff from going on, or from being
        observed; otherwise empty.
    :ivar generation: the generation of the view that holds; ``None`` without one.
    :ivar active_generation: the last generation whose handoff was completed, as far as this member knows; ``None`` in
        groups that are not exclusive.
    :ivar members: the members of that view, sorted by id.
    :ivar shares: each member's share of the slots, by its id.
    :ivar waiting_for: the members that have not let go yet.
    :ivar waiting: seconds for which the handoff has been waiting; 0 without one.
    :ivar in_flight: how many pieces of work are in flight, in an exclusive group.
    :ivar lease_left: seconds for which what is ours is certain to remain ours if the backend does not answer again.
    :ivar server: the server that the session is connected to; ``None`` while it is not.
    :ivar last_rebalance: the last change of the membership; ``None`` before the second view.
    :ivar policy: the group's policy; ``None`` until it has been read.
    """

    group_id: str
    member_id: str
    state: GroupState
    reason: str
    generation: int | None
    active_generation: int | None
    members: tuple[Member, ...]
    shares: Mapping[str, float]
    waiting_for: tuple[Awaited, ...]
    waiting: float
    in_flight: int
    lease_left: float
    server: str | None
    last_rebalance: Rebalance | None
    policy: GroupPolicy | None = None


class RebalanceWatch:
    """Remembers the views of the last two generations that a member has seen."""

    def __init__(self) -> None:
        self._before: View | None = None
        self._after: View | None = None
        self._at = 0.0

    def saw(self, view: View, now: float) -> None:
        """This view holds now."""
        if self._after is None or self._after.generation != view.generation:
            self._before, self._after, self._at = self._after, view, now

    def last(self, now: float) -> Rebalance | None:
        """Return the change between the two, if there are two."""
        if self._before is None:
            return None
        change = Change.between(self._before, self._after)
        return Rebalance(now - self._at, change.joined, change.left, change.moved)
