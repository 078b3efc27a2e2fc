"""The members of a group on a coordination service, as a state that leads to others.

The service is that of :mod:`tests.unit.group.handoff_model`. Symmetric states count as one: processes
start in the order of their numbers, sessions are called by their members, and news that wait together are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import gt
from typing import Any, Final, TypeAlias, cast

from tests.exploration.handoff_member import Client, Machine, copied, work_on
from tests.exploration.internals import Handoff, Progress, Step
from tests.unit.group.group_model import Request
from tests.unit.group.handoff_model import BarrierService


class TwoAtWorkError(AssertionError):
    """A slot is at two members."""


class LetGoTooSoonError(AssertionError):
    """A member lets go of a slot, and another entry may be dead."""


class CopiedService(BarrierService):
    """The model's service, which remembers little of the past."""

    concluded: frozenset[int] = frozenset()
    """All generations that were released or active."""

    def _surveyed(self, generation: int) -> None:
        self.surveys[generation] = [self.marks_of(generation)]

    def _write(self, progress: Progress) -> None:
        super()._write(progress)
        self.concluded |= frozenset(progress)
        del self.progress[:-1]
        self.late.clear()

    def copy(self, clients: dict[Any, Any]) -> CopiedService:
        twin: CopiedService = copied(self)
        twin.history = {}
        twin.watchers = {clients[each] for each in self.watchers}
        twin.active_watchers = {clients[each] for each in self.active_watchers}
        return twin

    def key(self, owners: dict[int, int]) -> object:
        entries = (
            None if self.entries is None else tuple((name, owners.get(each)) for name, each in self.entries.items())
        )
        marks = frozenset((mark, owners.get(each)) for mark, each in self.marks.items())
        watchers = frozenset(each.index for each in cast("set[Any]", self.watchers))
        active_watchers = frozenset(each.index for each in cast("set[Any]", self.active_watchers))
        sessions = frozenset(owners.get(each) for each in self.sessions)
        return (
            self.transaction,
            self.generation,
            self.version,
            self.document is None,
            entries,
            marks,
            frozenset(self.latest.items()),
            watchers,
            active_watchers,
            sessions,
            *self.progress,
            self.concluded,
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
        twin: State = copied(self)
        acting = action[1]
        twin.machines = tuple(each.copy() if each.index == acting else each for each in self.machines)
        clients = {client: copied(client) for client in self.clients}
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
        active = machine.handoff.active
        if what in FAULTS:
            self.faults -= 1
        getattr(self, "_" + what.replace(" ", "_"))(machine, slot)
        if what != "reconnect":  # after which something else may come first; else that can come before this as well
            machine.go_on()
        machine.shift()
        self.check()
        self._check_that_all_are_ready(machine, active)

    def _check_that_all_are_ready(self, machine: Machine, before: tuple[bool, ...]) -> None:
        """P9: as long as an entry has not been heard of, no member lets go of anything for it."""
        generation = machine.handoff.generation
        lets_go = generation is not None and any(map(gt, before, machine.handoff.active))
        if lets_go and generation not in self.service.concluded:
            raise LetGoTooSoonError(f"{machine.index} lets go at generation {generation}, and not all are ready")

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
