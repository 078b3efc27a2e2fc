"""One member's state machines, as a value that can be copied and compared at any moment.

What it waits for is a value too (:class:`Pending`), and not the stack of a task. To follow a new :class:`Step`, add
what it asks for to :meth:`Machine._begin`, and what is done with the answer to :meth:`Machine._continue`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

from aiopartition import Member
from tests.exploration.internals import Group, GroupPolicy, Handoff, MemberSupersededError, Step, Work
from tests.unit.group.group_model import Request
from tests.unit.group.handoff_model import advanced

POLICY: Final = GroupPolicy(slots=16, vnodes=1, exclusive=True)
"""Of its slots only the first few belong to anybody."""

Mask = tuple[bool, ...]


class Placement:
    """Who owns which slot: with each change of the members most of them move."""

    def __init__(self, ids: tuple[str, ...], slots: int) -> None:
        owners = [ids[slot % len(ids)] for slot in range(slots)]
        self._masks = {each: _mask(owner == each for owner in owners) for each in ids}

    def mask(self, member_id: str) -> Mask:
        return self._masks[member_id]


def _mask(bits: Iterator[bool]) -> Mask:
    known = tuple(bits)
    return known + (False,) * (POLICY.slots - len(known))


@cache
def placement(ids: tuple[str, ...], slots: int) -> Any:
    return Placement(ids, slots)


@cache
def work_on(slot: int) -> Work:
    return Work("work", slot, 0.0, lambda: None, 1.0)


@dataclass(frozen=True)
class Pending:
    """What a member has asked the service for, and what came back, if anything did.

    :ivar step: what it is for.
    :ivar stage: of a step that takes several requests, how many are answered.
    :ivar noted: what the step needs to remember.
    :ivar stale: whether the lease has ended since it was asked, so that an answer does not renew it.
    """

    step: Step
    stage: int
    request: Request
    noted: object = None
    answer: tuple[object] | None = None
    stale: bool = False


@dataclass(eq=False)
class Client:
    """What the service knows of a member, and what is on its way to it."""

    index: int
    session: int = 0
    lag: int = 0
    news: int = 0
    active_news: int = 0


class Machine:
    """One process's part in the group. Between two actions it never changes."""

    def __init__(self, index: int, member_id: str, slots: int, handoff: type[Handoff]) -> None:
        self.index = index
        self.slots = slots
        self.group = Group("g", Member(member_id, 1), POLICY, 1, f"{index + 1:016x}")
        self.group.handoff = handoff(POLICY.slots)
        self.started = False
        self.crashed = False
        self.connected = False
        self.holding = True
        """The lease."""
        self.pending: Pending | None = None
        self.works: frozenset[int] = frozenset()
        """The slots that are worked on."""
        self._key: object = None

    @property
    def handoff(self) -> Handoff:
        assert self.group.handoff is not None
        return self.group.handoff

    @property
    def superseded(self) -> bool:
        return isinstance(self.group.error, MemberSupersededError)

    @property
    def alive(self) -> bool:
        return self.started and not self.crashed

    @property
    def occupied(self) -> frozenset[int]:
        """The slots that nobody else may work on now."""
        if not self.alive or not self.holding:
            return frozenset()  # fenced: what is in flight does nothing any more
        return self.works.union(slot for slot, active in enumerate(self.handoff.active) if active)

    # ---- what Membership does, each step as requests and what is done with their answers

    def go_on(self) -> None:
        """Begin the next step, and carry out those that need nobody else."""
        while self.pending is None and (step := self.group.next_step()) is not Step.REST:
            if step is Step.BUILD:
                members = self.group.wanted
                self.group.built(members, placement(tuple(members), self.slots))
            else:
                self.pending = self._begin(step)
        self.shift()

    def _begin(self, step: Step) -> Pending:
        group, handoff = self.group, self.handoff
        match step:
            case Step.JOIN:
                return Pending(step, 0, Request("read"))
            case Step.WITHDRAW:
                name = min(group.leftovers.to_delete)
                return Pending(step, 0, Request("withdraw", name), name)
            case Step.PROBE:
                return Pending(step, 0, Request("generation"))
            case Step.READ | Step.SETTLE:
                group.reading()
                return Pending(step, 0, Request("read", watch=True))
            case Step.ANNOUNCE | Step.ACKNOWLEDGE:
                mark = handoff.next_mark
                handoff.marking(mark)
                return Pending(step, 0, Request("mark", mark), mark)
            case Step.READ_ACKNOWLEDGEMENTS:
                return Pending(step, 0, Request("marks", handoff.generation), handoff.generation)
            case Step.RELEASE | Step.ACTIVATE:
                return Pending(step, 0, Request("progress and version"), handoff.generation)
            case Step.READ_ACTIVE:
                return Pending(step, 0, Request("progress"))
            case Step.RETRACT:
                assert handoff.obsolete is not None
                return Pending(step, 0, Request("unmark", handoff.obsolete), handoff.obsolete)
        raise NotImplementedError(step)

    def answered(self) -> None:
        """The answer arrives: the step is over, or has a further request."""
        pending, self.pending = self.pending, None
        assert pending is not None
        assert pending.answer is not None
        [answer] = pending.answer
        self.pending = self._continue(pending, answer)

    def _continue(self, pending: Pending, answer: Any) -> Pending | None:
        group, handoff, noted = self.group, self.handoff, cast("Any", pending.noted)
        match pending.step, pending.stage:
            case Step.JOIN, 0:
                try:
                    entry = group.choose_entry(answer)
                except MemberSupersededError as error:
                    group.failed(error)
                    return None
                return Pending(Step.JOIN, 1, Request("enter", entry.name), entry)
            case Step.JOIN, _:
                group.entered(noted)
            case Step.WITHDRAW, _:
                group.withdrawn(noted)
            case Step.PROBE, _:
                group.probed(answer)
            case ((Step.READ | Step.SETTLE), _):
                group.read(answer)
            case ((Step.ANNOUNCE | Step.ACKNOWLEDGE), 0):
                return Pending(pending.step, 1, Request("count", noted), noted)
            case ((Step.ANNOUNCE | Step.ACKNOWLEDGE), _):
                handoff.marked(noted, answer)
            case Step.READ_ACKNOWLEDGEMENTS, _:
                handoff.read_acknowledgements(noted, answer)
            case ((Step.RELEASE | Step.ACTIVATE), 0):
                progress, version = answer
                after = advanced(progress, pending.step, noted)
                if after is not None:
                    return Pending(pending.step, 1, Request("write", (after, version)), noted)
                handoff.concluded(noted)
            case ((Step.RELEASE | Step.ACTIVATE), _):
                if not answer:  # another has written meanwhile
                    return Pending(pending.step, 0, Request("progress and version"), noted)
                handoff.concluded(noted)
            case Step.READ_ACTIVE, _:
                handoff.read_active(answer)
            case Step.RETRACT, _:
                handoff.retracted(noted)
        return None

    def shift(self) -> None:
        self.group.shift()
        self.handoff.revocations()  # work may end at any time, whether it is told or not

    # ---- copies

    def copy(self) -> Machine:
        twin: Machine = copied(self)
        twin._key = None
        twin.group = copied(self.group)
        twin.group.handoff = copied(self.handoff)
        twin.group.leftovers = copied(self.group.leftovers)
        twin.group.candidacy = copied(self.group.candidacy)
        twin.group.candidacy._leftovers = twin.group.leftovers
        return twin

    def key(self) -> object:
        if self._key is None:
            self._key = hash(self._state())
        return self._key

    def _state(self) -> object:
        group = vars(self.group)
        state: list[object] = [self.started, self.crashed, self.connected, self.holding]
        state += (
            self.pending,
            self.works,
            group["lapses"] == group["_lapses_at_reading"],
            min(2, group["_interruptions"]),
        )
        view = group["_view"]
        state += (
            type(self.group.error).__name__,
            view and (view.generation, view.active),
            frozenset(group["roster"].names),
        )
        for part in (group, vars(self.handoff), vars(group["leftovers"]), vars(group["candidacy"])):
            state += [_frozen(part[name]) for name in _compared(*part)]
        return tuple(state)


UNCOMPARED: Final = frozenset(
    {
        *("group_id", "member", "policy", "min_members", "nonce", "handoff", "error", "lapses", "_lapses_at_reading"),
        *(
            "_interruptions",
            "_view",
            "roster",
            "_table",
            "leftovers",
            "candidacy",
            "_group_id",
            "_member",
            "_leftovers",
        ),
    }
)
"""Attributes of a group and its parts that never change, or that are compared otherwise."""


@cache
def _compared(*names: str) -> tuple[str, ...]:
    return tuple(sorted(set(names) - UNCOMPARED))


def _frozen(value: object) -> object:
    kind = type(value)
    if kind is set:
        return frozenset(cast("set[object]", value))
    if kind is dict:
        return tuple(cast("dict[object, object]", value).items())
    return tuple(cast("list[object]", value)) if kind is list else value


def copied(machine: Any) -> Any:
    """A copy that shares nothing which is changed in place."""
    twin = object.__new__(type(machine))
    for name, value in vars(machine).items():
        twin.__dict__[name] = value.copy() if type(value) in CONTAINERS else value
    return twin


CONTAINERS: Final = frozenset((set, dict, list))
