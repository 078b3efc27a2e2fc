"""What may happen in a simulation, drawn by hypothesis."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from hypothesis import strategies as st

from aiopartition import GroupPolicy

SESSION_TIMEOUT: Final = 3.0

KINDS: Final = (
    # members
    "join", "leave", "crash", "restart", "twin",
    # their sessions and networks
    "expire", "cut", "silence", "heal", "heal", "slow", "lag", "lose",
    # time in which nothing runs, and time in which one member is blocked in the middle of its work
    "stall", "block",
    # a batch of work during which nothing may pass to another
    "hold", "hold",
    # operators
    "delete entry", "delete group",
)  # fmt: skip

OPERATORS: Final = frozenset({"expire", "delete entry", "delete group"})
"""They take a member out without waiting for its lease to end, which no handoff can know of."""

seconds = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 1.9, 2.0, 2.1, 2.9, 3.0, 3.1, 5.0])
"""Of interest are those around the end of a lease (2 s), and of a session (3 s)."""


POLICY: Final = GroupPolicy(slots=16, vnodes=4)


@dataclass(frozen=True)
class Event:
    """Something that happens to a member.

    :ivar after: seconds since the event before.
    :ivar who: a number that some member answers to.
    :ivar amount: seconds, of whatever the kind has to do with.
    """

    after: float
    kind: str
    who: int = 0
    amount: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """Everything that decides how a simulation goes."""

    members: int
    events: tuple[Event, ...]
    policy: GroupPolicy = POLICY
    delay: float = 0.0
    """Seconds at most that a request or an answer is on its way."""
    seed: int = 0
    """Of these delays."""

    @property
    def is_exclusive(self) -> bool:
        """Whether no two members may ever have one key."""
        return self.policy.exclusive and not OPERATORS & {event.kind for event in self.events}


def schedules_of(policies: Sequence[GroupPolicy], kinds: Sequence[str]) -> st.SearchStrategy[Schedule]:
    """Schedules of events of these kinds, in a group that has one of these policies."""
    events = st.builds(Event, after=seconds, kind=st.sampled_from(kinds), who=st.integers(0, 7), amount=seconds)
    return st.builds(
        Schedule,
        members=st.integers(1, 4),
        events=st.lists(events, min_size=1, max_size=12).map(tuple),
        policy=st.sampled_from(policies),
        delay=st.sampled_from([0.0, 0.0, 0.05, 0.5]),
        seed=st.integers(0, 1000),
    )


EXCLUSIVE: Final = replace(POLICY, exclusive=True)

exclusive_schedules = schedules_of([EXCLUSIVE], [kind for kind in KINDS if kind not in OPERATORS])
"""Those in which no two members may ever have one key."""

schedules = st.one_of(
    schedules_of([POLICY, replace(POLICY, replicas=2, load_bound=1.5), EXCLUSIVE], KINDS), exclusive_schedules
)
