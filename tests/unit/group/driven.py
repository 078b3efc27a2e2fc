"""One group's state machine, driven by hand without any I/O: how tests bring it into a state."""

from typing import Final

from aiopartition.backends.base import Entries
from aiopartition.errors import AuthenticationError, MemberSupersededError
from aiopartition.group.entry import Entry
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.placement.assign import build
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import Member, View

POLICY: Final = GroupPolicy(slots=16, vnodes=1)
OURS: Final = 16 * "5"
LOWER: Final = 16 * "0"
HIGHER: Final = 16 * "f"
REFUSED: Final = AuthenticationError("these credentials do not have it", "/g/members", "READ")


def new_group(*, weight: int = 1, min_members: int = 1, policy: GroupPolicy = POLICY) -> Group:
    return Group("g", Member("m", weight), policy, min_members, OURS)


def another(member_id: str, *, weight: int = 1, incarnation: int = 1, nonce: str = LOWER) -> Entry:
    return Entry(member_id, weight, incarnation, nonce)


def found(generation: int, *entries: Entry) -> Entries:
    return Entries(generation, frozenset(entry.name for entry in entries))


def connected_group(*, weight: int = 1, min_members: int = 1) -> Group:
    """A group that is about to join."""
    group = new_group(weight=weight, min_members=min_members)
    group.session_opened(fresh=True)
    return group


def unsure_group() -> tuple[Group, Entry]:
    """A group that does not know whether its entry exists: the answer was lost with the connection, which is back."""
    group = connected_group()
    entry = group.choose_entry(None)
    group.session_suspended()
    group.interrupted()
    group.session_opened(fresh=False)
    return group, entry


def build_table(group: Group) -> None:
    assert group.next_step() is Step.BUILD
    members = group.wanted
    group.built(members, build(members, group.policy))


def entered_group(*, weight: int = 1, min_members: int = 1) -> tuple[Group, Entry]:
    """A group whose entry exists, before the first read."""
    group = connected_group(weight=weight, min_members=min_members)
    assert group.next_step() is Step.JOIN
    entry = group.choose_entry(None)
    group.entered(entry)
    return group, entry


def read(group: Group, entries: Entries | None) -> None:
    assert group.next_step() in (Step.READ, Step.SETTLE)
    group.reading()
    group.read(entries)


def read_news(group: Group, generation: int, *entries: Entry) -> None:
    """The members change, and are read again."""
    group.changed()
    read(group, found(generation, *entries))


def joined_group(*others: Entry, generation: int = 1, weight: int = 1, min_members: int = 1) -> tuple[Group, Entry]:
    """A group at rest, with a view of itself and ``others``."""
    group, entry = entered_group(weight=weight, min_members=min_members)
    read(group, found(generation, entry, *others))
    build_table(group)
    assert group.next_step() is Step.REST
    assert group.view is not None
    return group, entry


def superseded_group() -> tuple[Group, Entry]:
    group, entry = joined_group()
    read_news(group, 2, entry, another("m", incarnation=2))
    assert isinstance(group.error, MemberSupersededError)
    return group, entry


def members_of(view: View | None) -> dict[str, int]:
    assert view is not None
    return {member.id: member.weight for member in view.members}
