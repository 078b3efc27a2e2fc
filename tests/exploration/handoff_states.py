"""A group's members with their state machines on a coordination service, as a state that can be copied and compared.

The service is that of the random model (:mod:`tests.unit.test_handoff_model`). Here each member is one too that can be
copied at any moment: what it waits for is a value (:class:`Pending`), and not the stack of a generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, TypeAlias, cast

from aiopartition import Member
from tests.exploration.internals import Group, GroupPolicy, Handoff, MemberSupersededError, Step, Work
from tests.unit.test_group_model import Request
from tests.unit.test_handoff_model import BarrierService

__all__ = ["Action", "Machine", "State", "TwoAtWorkError"]

POLICY: Final = GroupPolicy(slots=16, vnodes=1, exclusive=True)
"""Of its slots only the first few belong to anybody."""

Mask = tuple[bool, ...]


class TwoAtWorkError(AssertionError):
    """A slot is at two members."""


class Placement:
    """Who owns which slot: with each change of the members most of them move."""

    def __init__(self, ids: tuple[str, ...], slots: int) -> None:
        owners = [ids[(slot + len(ids)) % len(ids)] for slot in range(slots)]
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
    return Work("work", slot, 0.0, lambda: None, 1.0, lambda _: None)


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
                name = min(group.unwanted)
                return Pending(step, 0, Request("withdraw", name), name)
            case Step.PROBE:
                return Pending(step, 0, Request("generation"))
            case Step.READ | Step.SETTLE:
                group.reading()
                return Pending(step, 0, Request("read", watch=True))
            case Step.ACKNOWLEDGE:
                handoff.acknowledging()
                return Pending(
                    step, 0, Request("acknowledge", f"{handoff.generation} {handoff.name}"), handoff.generation
                )
            case Step.SURVEY:
                return Pending(step, 0, Request("acknowledgements", f"{handoff.generation}"), handoff.generation)
            case Step.ACTIVATE:
                return Pending(step, 0, Request("active and version"), handoff.generation)
            case Step.LOOK:
                return Pending(step, 0, Request("active"))
            case Step.RETRACT:
                assert handoff.obsolete is not None
                generation, name = handoff.obsolete
                return Pending(step, 0, Request("retract", f"{generation} {name}"), handoff.obsolete)
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
            case Step.ACKNOWLEDGE, 0:
                return Pending(Step.ACKNOWLEDGE, 1, Request("count", f"{noted}"), noted)
            case Step.ACKNOWLEDGE, _:
                handoff.acknowledged(noted, answer)
            case Step.SURVEY, _:
                handoff.surveyed(noted, answer)
            case Step.ACTIVATE, 0:
                active, version = answer
                if active >= noted:
                    handoff.activated(noted)
                    return None
                return Pending(Step.ACTIVATE, 1, Request("write", f"{noted} {version}"), noted)
            case Step.ACTIVATE, _:
                if not answer:  # another has written meanwhile
                    return Pending(Step.ACTIVATE, 0, Request("active and version"), noted)
                handoff.activated(noted)
            case Step.LOOK, _:
                handoff.looked(answer)
            case Step.RETRACT, _:
                handoff.retracted(noted)
        return None

    def shift(self) -> None:
        self.group.shift()
        self.handoff.revocations()  # work may end at any time, whether it is told or not

    # ---- copies

    def copy(self) -> Machine:
        twin: Machine = _copied(self)
        twin._key = None
        twin.group = _copied(self.group)
        twin.group.handoff = _copied(self.handoff)
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
        state += (type(self.group.error).__name__, view and (view.generation, view.active), frozenset(group["_parsed"]))
        handoff = vars(self.handoff)
        state += [_frozen(group[name]) for name in _compared(*group)]
        state += [_frozen(handoff[name]) for name in _compared(*handoff)]
        return tuple(state)


UNCOMPARED: Final = frozenset(
    {
        *("group_id", "member", "policy", "min_members", "nonce", "handoff", "error", "lapses", "_lapses_at_reading"),
        *("_interruptions", "_view", "_parsed", "_table"),
    }
)
"""Attributes of a group that never change, or that only count and are compared otherwise."""


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


def _copied(machine: Any) -> Any:
    """A copy that shares nothing which is changed in place."""
    twin = object.__new__(type(machine))
    for name, value in vars(machine).items():
        twin.__dict__[name] = value.copy() if type(value) in CONTAINERS else value
    return twin


CONTAINERS: Final = frozenset((set, dict, list))


class CopiedService(BarrierService):
    """The model's service without what it remembers of the past."""

    def _surveyed(self, generation: int) -> None:
        self.surveys[generation] = [tuple(self.acknowledged[generation])]

    def _write(self, generation: int) -> None:
        super()._write(generation)
        del self.active[:-1]
        self.late.clear()

    def copy(self, clients: dict[Any, Any]) -> CopiedService:
        twin: CopiedService = _copied(self)
        twin.history = {}
        twin.watchers = {clients[each] for each in self.watchers}
        twin.active_watchers = {clients[each] for each in self.active_watchers}
        twin.acknowledged = {each: dict(names) for each, names in self.acknowledged.items()}
        return twin

    def key(self, owners: dict[int, int]) -> object:
        entries = (
            None if self.entries is None else tuple((name, owners.get(each)) for name, each in self.entries.items())
        )
        acknowledged = frozenset(
            (generation, name, owners.get(each))
            for generation, names in self.acknowledged.items()
            for name, each in names.items()
        )
        watchers = frozenset(each.index for each in cast("set[Any]", self.watchers))
        active_watchers = frozenset(each.index for each in cast("set[Any]", self.active_watchers))
        sessions = frozenset(owners.get(each) for each in self.sessions)
        return (
            self.transaction,
            self.generation,
            self.version,
            self.document is None,
            entries,
            acknowledged,
            watchers,
            active_watchers,
            sessions,
            *self.active,
        )


Action: TypeAlias = tuple[str, int, int]
"""What happens, to which member, on which slot or to which other thing."""


class State:
    """All members and the service at one moment.

    :param ids: of the members; two with one id are two processes.
    :param faults: how many may still happen.
    :param generations: no member comes, and no session ends, beyond that many generations.
    """

    def __init__(self, ids: tuple[str, ...], slots: int, faults: int, generations: int, handoff: type[Handoff]) -> None:
        self.service = CopiedService()
        self.service.document, self.service.entries = b"document", {}
        self.machines = tuple(Machine(index, each, slots, handoff) for index, each in enumerate(ids))
        self.clients = tuple(Client(index) for index in range(len(ids)))
        self.faults = faults
        self.generations = generations
        self.late: tuple[Request, int] | None = None
        """A write that got stuck with a connection."""

    def after(self, action: Action) -> State:
        """The state that an action leads to."""
        twin: State = _copied(self)
        acting = action[1]
        twin.machines = tuple(each.copy() if each.index == acting else each for each in self.machines)
        clients = {client: _copied(client) for client in self.clients}
        twin.clients = tuple(clients.values())
        twin.service = self.service.copy(clients)
        twin._act(action)
        return twin

    def key(self) -> int:
        owners = {client.session: client.index for client in self.clients if client.session}
        on_their_way = tuple((client.news, client.active_news) for client in self.clients)
        machines = tuple(machine.key() for machine in self.machines)
        return hash((self.service.key(owners), self.faults, self.late, on_their_way, machines))

    # ---- what can happen

    def ordinary(self) -> Iterator[Action]:
        """What goes on when nothing is at fault."""
        for machine in self.machines:
            index = machine.index
            if not machine.alive:
                continue
            pending, client = machine.pending, self.clients[index]
            if machine.connected and pending is not None:
                yield ("carried out" if pending.answer is None else "answered"), index, 0
            if machine.connected and pending is None and machine.group.next_step() is not Step.REST:
                yield "go on", index, 0
            if machine.connected and client.news:
                yield "news", index, 0
            if machine.connected and client.active_news:
                yield "active news", index, 0
            for slot in machine.works:
                yield "work ends", index, slot

    def everything(self) -> Iterator[Action]:
        """All that can happen: that, the beginning of work, newcomers, and as many faults as remain."""
        yield from self.ordinary()
        more = self.service.transaction < self.generations
        for machine in self.machines:
            index = machine.index
            if not machine.started:
                if more and all(each.started for each in self.machines[:index]):  # in the order of their numbers
                    yield "start", index, 0
                continue
            if machine.alive:
                yield from self._work(machine)
                if not machine.connected:
                    yield "reconnect", index, 0
                elif self.faults:
                    yield "disconnect", index, 0
                    if machine.holding:
                        yield "silence", index, 0
                    if self.clients[index].news:
                        yield "news are lost", index, 0
                    if self.clients[index].active_news:
                        yield "active news are lost", index, 0
                if machine.holding and not machine.connected:
                    yield "lapse", index, 0
                if self.faults:
                    yield "crash", index, 0
            if more and self._can_expire(machine):
                yield "expire", index, 0
        if self.late is not None:
            yield "late write", 0, 0

    def _work(self, machine: Machine) -> Iterator[Action]:
        if machine.holding and machine.group.view is not None and not machine.works:
            for slot, active in enumerate(machine.handoff.active):
                if active:
                    yield "work begins", machine.index, slot

    def _can_expire(self, machine: Machine) -> bool:
        """Sessions end as leases promise: their member is fenced before."""
        return self.has_session(machine) and (machine.crashed or not machine.holding)

    def has_session(self, machine: Machine) -> bool:
        return self.clients[machine.index].session in self.service.sessions

    def _act(self, action: Action) -> None:
        what, index, slot = action
        machine = self.machines[index]
        if what in FAULTS:
            self.faults -= 1
        getattr(self, "_" + what.replace(" ", "_"))(machine, slot)
        if what != "reconnect":  # after which something else may come first; else that can come before this as well
            machine.go_on()
        machine.shift()
        self.check()

    def check(self) -> None:
        """P7: no slot is at two members."""
        seen: set[int] = set()
        for machine in self.machines:
            if twice := seen & machine.occupied:
                raise TwoAtWorkError(f"two have slot {min(twice)} at generation {self.service.generation}")
            seen |= machine.occupied

    # ---- each action

    def _start(self, machine: Machine, _: int) -> None:
        machine.started = machine.connected = True
        self.clients[machine.index].session = self.service.open()
        machine.group.session_opened(fresh=True)

    def _go_on(self, machine: Machine, _: int) -> None:
        """Which it does after each action."""

    def _carried_out(self, machine: Machine, _: int) -> None:
        assert machine.pending is not None
        if not self.has_session(machine):
            self._disconnect(machine, 0)
            return
        answer = self.service.perform(machine.pending.request, cast("Any", self.clients[machine.index]))
        machine.pending = replace(machine.pending, answer=(answer,))
        self._merge_news()

    def _merge_news(self) -> None:
        """Of several that are on their way the first does what all would."""
        for client in self.clients:
            client.news, client.active_news = min(1, client.news), min(1, client.active_news)

    def _answered(self, machine: Machine, _: int) -> None:
        assert machine.pending is not None
        if not machine.pending.stale:
            self._renew(machine)
        machine.answered()

    def _news(self, machine: Machine, _: int) -> None:
        self.clients[machine.index].news = 0
        machine.group.changed()

    def _active_news(self, machine: Machine, _: int) -> None:
        self.clients[machine.index].active_news = 0
        machine.handoff.moved()

    def _news_are_lost(self, machine: Machine, _: int) -> None:
        self.clients[machine.index].news = 0

    def _active_news_are_lost(self, machine: Machine, _: int) -> None:
        self.clients[machine.index].active_news = 0

    def _work_begins(self, machine: Machine, slot: int) -> None:
        machine.works |= {slot}
        machine.handoff.began(work_on(slot))

    def _work_ends(self, machine: Machine, slot: int) -> None:
        machine.works -= {slot}
        machine.handoff.ended(work_on(slot))

    def _disconnect(self, machine: Machine, _: int) -> None:
        machine.connected = False
        self._forget_watches(machine)
        machine.group.session_suspended()
        pending, machine.pending = machine.pending, None
        if pending is not None:
            if pending.request.kind == "write" and pending.answer is None:
                self.late = pending.request, machine.index
            machine.group.interrupted()

    def _reconnect(self, machine: Machine, _: int) -> None:
        machine.connected = True
        if self.has_session(machine):
            self._renew(machine)
            machine.group.session_opened(fresh=False)
            return
        machine.group.session_expired()
        self.clients[machine.index].session = self.service.open()
        machine.holding = True
        machine.group.session_opened(fresh=True)

    def _renew(self, machine: Machine) -> None:
        if not machine.holding:
            machine.holding = True
            machine.group.lease_renewed()

    def _lapse(self, machine: Machine, _: int) -> None:
        """The lease ends: all work has ended, or does nothing any more."""
        machine.holding = False
        for slot in machine.works:
            machine.handoff.ended(work_on(slot))
        machine.works = frozenset()

    def _silence(self, machine: Machine, _: int) -> None:
        """No answer comes for so long that the lease ends, though the connection seems to be there."""
        self._lapse(machine, 0)
        self._age(machine)

    def _age(self, machine: Machine) -> None:
        """A lease counts from the question: what was asked by now renews none."""
        if machine.pending is not None:
            machine.pending = replace(machine.pending, stale=True)

    def _crash(self, machine: Machine, _: int) -> None:
        machine.crashed = True
        machine.connected = False
        self._forget_watches(machine)

    def _expire(self, machine: Machine, _: int) -> None:
        self.service.end(self.clients[machine.index].session)
        self._age(machine)
        self._merge_news()

    def _late_write(self, _machine: Machine, _: int) -> None:
        assert self.late is not None
        request, index = self.late
        self.late = None
        self.service.perform(request, cast("Any", self.clients[index]))

    def _heartbeat(self, machine: Machine, _: int) -> None:
        if not self.has_session(machine):
            self._disconnect(machine, 0)
            return
        self._renew(machine)
        machine.group.probed(None if self.service.entries is None else self.service.generation)
        machine.group.heartbeat()
        machine.handoff.overdue()

    def _forget_watches(self, machine: Machine) -> None:
        client: Any = self.clients[machine.index]
        client.news = client.active_news = 0
        self.service.watchers.discard(client)
        self.service.active_watchers.discard(client)


FAULTS: Final = frozenset(("disconnect", "silence", "news are lost", "active news are lost", "crash"))
