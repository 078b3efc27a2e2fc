"""Several groups' state machines on one small model of a coordination service, interleaved at random.

What the model may do is what ZooKeeper and networks do: lose requests before or after they took effect, lose watches,
end sessions, answer from a server that lags, refuse; operators delete entries and whole groups; processes crash, are
started again with the same id while the old one lives, and leave at any moment. Each actor does what
:meth:`aiopartition.membership.Membership.tend` does, one request at a time.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aiopartition.backends.base import Entries
from aiopartition.errors import AuthenticationError, BackendError, MemberSupersededError, PartitionError
from aiopartition.group.document import check_document, document_of
from aiopartition.group.entry import Entry
from aiopartition.group.state import Group
from aiopartition.group.step import Step
from aiopartition.placement.assign import build
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import Member

POLICY: Final = GroupPolicy(slots=16, vnodes=1)
IDS: Final = ("x", "x", "y", "z")
LAGS: Final = (0, 0, 0, 1, 2)
EVENTS: Final = (
    "nothing", "nothing", "news", "news", "lost news", "heartbeat", "disconnection", "connection", "connection",
    "reconnection", "reconnection", "long disconnection", "lapse", "expiry", "refusal", "leave", "crash",
)  # fmt: skip
MOST_ACTORS: Final = 7
MOST_STEPS_TO_REST: Final = 60
"""Far more than any way from any state to the next rest takes."""


class LostError(Exception):
    """The connection broke."""


@dataclass(frozen=True)
class Request:
    """What an actor asks of the service."""

    kind: str
    argument: Any = ""
    watch: bool = False
    latest: bool = False


PAUSE: Final = Request("pause")
"""Not a request: other tasks have their turn."""

Actions: TypeAlias = Generator[Request, Any, None]


class Service:
    """One group in a coordination service: its document, its entries, and the sessions that hold them."""

    def __init__(self) -> None:
        self.transaction = 0
        self.generation = 0
        self.document: bytes | None = None
        self.entries: dict[str, int] | None = None  # name -> session
        self.history: dict[int, frozenset[str]] = {}  # generation -> names
        self.sessions: set[int] = set()
        self.watchers: set[Actor] = set()
        self._numbers = itertools.count(1)

    def open(self) -> int:
        session = next(self._numbers)
        self.sessions.add(session)
        return session

    def end(self, session: int) -> None:
        self.sessions.discard(session)
        self.delete([name for name, owner in (self.entries or {}).items() if owner == session])

    def delete(self, names: list[str]) -> None:
        if names and self.entries is not None:
            for name in names:
                del self.entries[name]
            self._changed()

    def delete_group(self) -> None:
        if self.entries is not None:
            self.document, self.entries = None, None
            self.transaction += 1
            self._tell()

    def perform(self, request: Request, actor: Actor) -> object:
        """Carry out a request of ``actor``."""
        if request.kind == "ensure":
            self.document = self.document or request.argument.encode()
            return self.document
        if request.kind == "enter":
            return self._enter(request.argument, actor.session)
        if request.kind == "withdraw":
            self.delete([name for name in (self.entries or {}) if name == request.argument])
            return None
        if request.kind == "generation":
            return None if self.entries is None else self.generation
        assert request.kind == "read"
        if request.watch and self.entries is not None:
            self.watchers.add(actor)
        return None if self.entries is None else Entries(self.generation, tuple(self.entries))

    def _enter(self, name: str, session: int) -> bool:
        if self.document is None:
            return False
        if self.entries is None:
            self.entries = {}
            self._changed()
        if name not in self.entries:
            self.entries[name] = session
            self._changed()
        if self.entries[name] != session:
            raise BackendError("the node belongs to another session")
        return True

    def _changed(self) -> None:
        self.transaction += 1
        self.generation = self.transaction
        self.history[self.generation] = frozenset(self.entries or ())
        self._tell()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher.news += 1
        self.watchers.clear()


@dataclass(eq=False)
class Actor:
    """One process's participation, with its session and the one task that tends to the group."""

    service: Service
    group: Group
    session: int
    connected: bool = True
    holding: bool = True  # the lease
    gone: bool = False  # crashed
    finished: bool = False
    news: int = 0  # watch events on their way
    pending: Request = PAUSE
    answer: list[object] = field(default_factory=list)  # of the pending request, on its way: at most one
    answer_generation: float = 0  # of the service when it gave that answer
    floor: float = 0  # no view of before that may be used any more; infinite from a lapse to the next look
    told: int = 0  # the newest generation that the server has told of, or one as new as that
    entered_at: int = 0  # the generation that made our entry a member
    newest: int = 0  # of the views that it has had in this session
    interruptions: int = 0  # since the last read
    had_view: bool = False  # and nothing has happened since that could take it away
    lapses: int = 0
    steps: int = 0  # without resting

    def __post_init__(self) -> None:
        self._task = self._tend()
        self.group.session_opened(fresh=True)
        self.pending = next(self._task)

    def __repr__(self) -> str:
        return f"<{self.group.member.id} {self.group.nonce[-2:]}>"

    # ---- what Membership.tend() does

    def _tend(self) -> Actions:
        while True:
            step = self.group.next_step()
            if step is Step.FINISH:
                self.finished = True
                yield PAUSE
                continue
            if step is Step.REST:
                self.steps = 0
                yield PAUSE
                continue
            self.steps += 1
            assert self.steps < MOST_STEPS_TO_REST, f"{self} goes on for ever: {step}"
            try:
                yield from self._take(step)
            except LostError:
                self.group.interrupted()
                self.interruptions += 1
                if self.interruptions > 1:
                    self.had_view = False  # it has been unable to read for too long
            except PartitionError as error:
                self.group.failed(error)
                self.had_view = False
            if not self.active:
                self.had_view = False

    def _take(self, step: Step) -> Actions:
        group = self.group
        if step is Step.JOIN:
            yield from self._join()
        elif step is Step.WITHDRAW:
            for name in sorted(group.leftovers.to_delete):
                yield Request("withdraw", name)
                group.withdrawn(name)
        elif step is Step.PROBE:
            group.probed((yield Request("generation")))
        elif step is Step.BUILD:
            members = group.wanted
            yield PAUSE
            if group.wanted is members:
                group.built(members, build(members, POLICY))
        else:
            if step is Step.SETTLE:
                yield PAUSE
                if group.next_step() is not Step.SETTLE:
                    return
            latest = group.reading()
            entries = yield Request("read", watch=True, latest=latest)
            self.interruptions = 0
            group.read(entries)

    def _join(self) -> Actions:
        group = self.group
        while not group.leaving:
            document = yield Request("ensure", document_of(group.policy).decode())
            check_document(document, group.group_id, group.policy)
            entries = yield Request("read")
            if group.leaving:
                return
            entry = group.choose_entry(entries)
            if (yield Request("enter", entry.name)):
                group.entered(entry)
                return

    # ---- the session

    @property
    def alive(self) -> bool:
        """Whether it is still to take part in anything."""
        return not self.gone and not self.finished

    @property
    def active(self) -> bool:
        """Whether it is still to be a member."""
        return self.alive and not self.group.leaving and not isinstance(self.group.error, MemberSupersededError)

    def execute(self, lag: int = 0) -> None:
        """The service carries out the pending request; the answer is on its way."""
        if self.pending is PAUSE or self.answer or not self.connected:
            return
        if self.session not in self.service.sessions:
            self.disconnect()  # it says so, or hangs up
            return
        older = self._what_a_lagging_server_knows() if lag and not self.pending.latest else []
        if older:
            generation = older[-min(lag, len(older))]
            names = tuple(self.service.history[generation])
            self.answer = [generation if self.pending.kind == "generation" else Entries(generation, names)]
            self.answer_generation = generation
            if self.pending.watch:
                self.news += 1  # the watch is on that server, which will know better in a moment
            return
        try:
            self.answer = [self.service.perform(self.pending, self)]
        except PartitionError as error:
            self.answer = [error]
        if self.pending.kind in ("read", "generation"):
            self._looked()
        elif self.pending.kind == "enter":
            self.entered_at = self.service.generation

    def _looked(self) -> None:
        self.answer_generation = self.told = self.service.generation
        if self.floor == math.inf:
            self.floor = self.service.generation

    def _what_a_lagging_server_knows(self) -> list[int]:
        """Older generations that it may tell, but for those from before what it has told or done for us.

        After a lapse none that would pass for a confirmation, in this model: nobody promises that a member is
        at the newest generation while its server lags.
        """
        if self.pending.kind not in ("read", "generation") or self.service.entries is None:
            return []
        oldest = max(self.told, 0 if self.group._entry is None else self.entered_at)
        newest = self.service.generation
        if self.floor == math.inf or (self.group._entry is not None and not self.group._trusted):
            newest = min(newest, self.group._generation or 0)
        return [generation for generation in self.service.history if oldest <= generation < newest]

    def deliver(self) -> None:
        """The answer arrives, and the task goes on to its next request."""
        if self.pending is PAUSE:
            self.pending = self._task.send(None)
        elif not self.connected:
            self.pending = self._task.throw(LostError())
        elif self.answer:
            answer = self.answer.pop()
            self.renew()
            if isinstance(answer, PartitionError):
                self.pending = self._task.throw(answer)
            else:
                self.pending = self._task.send(answer)

    def advance(self, lag: int = 0) -> None:
        self.execute(lag)
        self.deliver()

    def refuse(self, error: PartitionError) -> None:
        if self.pending is PAUSE or not self.connected:
            return
        if self.session not in self.service.sessions:
            self.disconnect()  # a refusal is an answer too, and who has no session gets none
            return
        self.answer.clear()
        self.renew()
        self.pending = self._task.throw(error)

    def renew(self) -> None:
        if not self.holding:
            self.holding = True
            self.group.lease_renewed()

    def lapse(self) -> None:
        self.holding = False
        self.had_view = False
        # What was answered before the lapse may confirm the view after it: the lease goes by when it was asked.
        self.floor = self.answer_generation if self.answer else math.inf

    def disconnect(self) -> None:
        if self.connected:
            self.connected = False
            self.answer.clear()
            self.news = 0
            self.service.watchers.discard(self)
            self.group.session_suspended()
            if self.pending is not PAUSE:
                self.pending = self._task.throw(LostError())

    def reconnect(self) -> None:
        if self.connected:
            return
        self.connected = True
        if not self.holding:
            self.told = 0  # after a long time the next server need not be as new
        if self.session in self.service.sessions:
            self.renew()
            self.group.session_opened(fresh=False)
            return
        self.group.session_expired()
        self.session = self.service.open()
        self.holding = True
        self.had_view = False
        self.floor = self.newest = 0
        self.group.session_opened(fresh=True)

    def hear(self) -> None:
        if self.news and self.connected:
            self.news -= 1
            self.group.changed()

    def heartbeat(self) -> None:
        if not self.connected:
            return
        if self.session not in self.service.sessions:
            self.disconnect()
        else:
            self.renew()
            self._looked()
            self.group.probed(None if self.service.entries is None else self.service.generation)
            self.group.heartbeat()

    def crash(self) -> None:
        self.gone = True
        self.connected = False
        self.service.watchers.discard(self)


actors_indices: Final = st.integers(0, MOST_ACTORS - 1)


class GroupMachine(RuleBasedStateMachine):
    """The interleavings. See the invariants for what is promised."""

    def __init__(self) -> None:
        super().__init__()
        self.service = Service()
        self.actors: list[Actor] = []
        self.views: dict[int, dict[str, int]] = {}  # generation -> the members in anybody's view of it

    def actor(self, index: int) -> Actor:
        alive = [each for each in self.actors if each.alive]
        return alive[index % len(alive)]

    def somebody_is_alive(self) -> bool:
        return any(actor.alive for actor in self.actors)

    # ---- what happens. Few rules, for they are drawn evenly, and most of the time everybody should just go on.

    @rule(
        member_id=st.sampled_from(IDS),
        weight=st.integers(1, 2),
        min_members=st.sampled_from([1, 1, 1, 2]),
        steps=st.integers(0, 12),
    )
    @precondition(lambda self: len(self.actors) < MOST_ACTORS)
    def start(self, member_id: str, weight: int, min_members: int, steps: int) -> None:
        # Nonces in no order: the later process need not have the higher one.
        nonce = f"{(len(self.actors) * 5 + 3) % 11:016x}"
        group = Group("g", Member(member_id, weight), POLICY, min_members, nonce)
        self.actors.append(Actor(self.service, group, self.service.open()))
        for _ in range(steps):
            self.actors[-1].advance()

    @rule(index=actors_indices, steps=st.integers(1, 6), news=st.booleans(), lag=st.sampled_from(LAGS))
    @precondition(somebody_is_alive)
    def go_on(self, index: int, steps: int, news: bool, lag: int) -> None:
        actor = self.actor(index)
        if news:
            actor.hear()
        for _ in range(steps):
            actor.advance(lag)

    @rule(index=actors_indices, lag=st.sampled_from(LAGS), then=st.sampled_from(EVENTS))
    @precondition(somebody_is_alive)
    def go_half_way(self, index: int, lag: int, then: str) -> None:
        """The service, or a server that lags, does what was asked. While the answer is on its way something happens."""
        actor = self.actor(index)
        actor.execute(lag)
        self.happen(actor, then)

    @rule(index=actors_indices, what=st.sampled_from(EVENTS))
    @precondition(somebody_is_alive)
    def something_happens(self, index: int, what: str) -> None:
        self.happen(self.actor(index), what)

    def happen(self, actor: Actor, what: str) -> None:
        if what == "news":
            actor.hear()
        elif what == "lost news":
            actor.news = 0
            self.service.watchers.discard(actor)
        elif what == "heartbeat":
            actor.heartbeat()
        elif what == "disconnection":
            actor.disconnect()
        elif what == "connection":
            actor.reconnect()
        elif what == "reconnection":
            actor.disconnect()
            actor.reconnect()
        elif what == "lapse":
            actor.lapse()
        elif what == "long disconnection":
            actor.disconnect()
            actor.lapse()
            actor.reconnect()
        elif what == "expiry":
            actor.lapse()  # always before
            self.service.end(actor.session)
        elif what == "refusal":
            actor.refuse(AuthenticationError("no"))
        elif what == "leave":
            actor.group.leave()
        elif what == "crash":
            actor.crash()

    @rule(index=st.integers(0, 9), all_of_them=st.sampled_from([True, False, False]))
    @precondition(lambda self: self.service.entries)
    def operator_deletes(self, index: int, all_of_them: bool) -> None:
        names = sorted(self.service.entries or ())
        doomed = names if all_of_them else [names[index % len(names)]]
        for actor in self.actors:
            if any(name.endswith(actor.group.nonce) for name in doomed):
                actor.had_view = False
        if all_of_them:
            self.service.delete_group()
        else:
            self.service.delete(doomed)

    # ---- what is promised

    @invariant()
    def one_generation_has_one_set_of_members(self) -> None:
        """P1: whoever sees a generation sees the same members with the same weights, and no more and no fewer."""
        for actor in self.actors:
            view = actor.group.view
            if view is None or actor.gone:
                continue
            members = {member.id: member.weight for member in view.members}
            assert members == live_members(self.service.history[view.generation])
            assert self.views.setdefault(view.generation, members) == members
            assert actor.group.member.id in members
            assert len(members) >= actor.group.min_members

    @invariant()
    def nothing_is_believed_of_before_a_lapse(self) -> None:
        """P3: a view of before a lapse of the lease is used again only if a look after it has found it the newest."""
        for actor in self.actors:
            view = actor.group.view
            if actor.holding and not actor.gone and view is not None:
                assert view.generation >= actor.floor

    @invariant()
    def views_follow_one_another(self) -> None:
        """As a fencing token a generation must never go back, whatever old story a lagging server tells."""
        for actor in self.actors:
            view = actor.group.view
            if view is not None:
                assert view.generation >= actor.newest
                actor.newest = view.generation

    @invariant()
    def a_view_stays_unless_something_speaks_against_it(self) -> None:
        """P3, the other half: joins, leaves and short disconnections of whomever take no view away."""
        for actor in self.actors:
            if actor.active and actor.holding and actor.group.view is not None:
                # If somebody has deleted its entry it will lose the view, once it knows.
                actor.had_view = any(name.endswith(actor.group.nonce) for name in self.service.entries or ())
            elif actor.active and actor.had_view:
                short = len(live_members(self.service.history.get(actor.group._generation or 0, frozenset())))
                assert short < actor.group.min_members
                actor.had_view = False

    @invariant()
    def who_has_left_or_was_superseded_owns_nothing(self) -> None:
        """P6: from the very call or reading on."""
        for actor in self.actors:
            if not actor.active and not actor.gone:
                assert actor.group.view is None

    @invariant()
    def who_cannot_take_part_owns_nothing(self) -> None:
        """Between a refusal and the next success."""
        for actor in self.actors:
            if actor.group.error is not None:
                assert actor.group.view is None

    @invariant()
    def only_a_later_start_supersedes(self) -> None:
        """P6: the older incarnation is fenced, never the one that found it there when it came."""
        for actor in self.actors:
            if isinstance(actor.group.error, MemberSupersededError):
                older = actor.group._candidacy._predecessors or set()
                namesakes = [other for other in self.actors if other.group.member.id == actor.group.member.id]
                assert any(other is not actor and other.group.nonce not in older for other in namesakes)

    @invariant()
    def asking_changes_nothing(self) -> None:
        """next_step() is a question."""
        for actor in self.actors:
            before = state_of(actor.group)
            assert actor.group.next_step() is actor.group.next_step()
            assert state_of(actor.group) == before

    @invariant()
    def lapses_only_grow(self) -> None:
        """So that whoever remembers the number notices that the continuity was broken."""
        for actor in self.actors:
            assert actor.group.lapses >= actor.lapses
            actor.lapses = actor.group.lapses

    def teardown(self) -> None:
        """P5: once the faults are over, everything converges by itself."""
        for actor in self.actors:
            if actor.gone:
                self.service.end(actor.session)
        # Each round: everybody has a connection, hears the news, has a heartbeat, and comes to rest. What one does is
        # news to the others, so the rounds go on until nothing changes; a few must do.
        for _ in range(4 + 2 * len(self.actors)):
            before = self.service.transaction
            for actor in self.actors:
                if actor.alive:
                    self.settle(actor)
            if self.service.transaction == before:
                break
        else:
            raise AssertionError("the members never come to rest")
        for actor in self.actors:
            if actor.alive:
                self.settle(actor)
        self.one_generation_has_one_set_of_members()
        self.converged()

    def settle(self, actor: Actor) -> None:
        actor.reconnect()
        while actor.news:
            actor.hear()
        for _ in range(2):  # the first may find that the session has ended
            actor.heartbeat()
            for _ in range(3 * MOST_STEPS_TO_REST):
                actor.advance()
            actor.reconnect()

    def converged(self) -> None:
        names = frozenset(self.service.entries or ())
        active = [actor for actor in self.actors if actor.active]
        # Exactly the live members are there, each once, at the newest generation.
        assert sorted(name.rpartition(";")[2] for name in names) == sorted(actor.group.nonce for actor in active)
        assert len({actor.group.member.id for actor in active}) == len(active)
        for actor in active:
            assert actor.group.error is None
            if len(active) < actor.group.min_members:
                assert actor.group.view is None
            else:
                assert actor.group.view is not None
                assert actor.group.view.generation == self.service.generation
                assert live_members(names) == {member.id: member.weight for member in actor.group.view.members}
        # Who was asked to leave is through with it, and nobody was superseded but by another.
        for actor in self.actors:
            assert actor.gone or actor.finished or not actor.group.leaving
        for member_id in IDS:
            # Of those that go on with one id one takes part; a superseded one does so when its successor has gone.
            going_on = [
                actor
                for actor in self.actors
                if actor.group.member.id == member_id and actor.alive and not actor.group.leaving
            ]
            assert any(actor.active for actor in going_on) or not going_on


def live_members(names: frozenset[str]) -> dict[str, int]:
    """The members and their weights, by the rule of the documentation."""
    entries = sorted((Entry.parse(name) for name in names), key=lambda entry: entry.seniority if entry else (0, ""))
    return {entry.member_id: entry.weight for entry in entries if entry is not None}


def state_of(group: Group) -> dict[str, Any]:
    return {name: value.copy() if isinstance(value, set | dict) else value for name, value in vars(group).items()}


TestGroups = GroupMachine.TestCase
TestGroups.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("seed", range(8))
def test_many_interleavings(seed: int) -> None:
    """The same machine at full speed: many more interleavings, told apart by ``seed`` and ``run``."""
    for run in range(RUNS):
        chance = random.Random(f"{seed} {run}")
        machine = GroupMachine()
        try:
            for _ in range(chance.randint(5, 60)):
                interleave(machine, chance)
                for promise in PROMISES:
                    promise(machine)
            machine.teardown()
        except BaseException as error:
            error.add_note(f"in run {run}")
            raise


RUNS: Final = 120
PROMISES: Final = [
    GroupMachine.one_generation_has_one_set_of_members,
    GroupMachine.nothing_is_believed_of_before_a_lapse,
    GroupMachine.views_follow_one_another,
    GroupMachine.a_view_stays_unless_something_speaks_against_it,
    GroupMachine.who_has_left_or_was_superseded_owns_nothing,
    GroupMachine.who_cannot_take_part_owns_nothing,
    GroupMachine.only_a_later_start_supersedes,
    GroupMachine.lapses_only_grow,
]


def interleave(machine: GroupMachine, chance: random.Random) -> None:
    alone = not machine.somebody_is_alive()
    if len(machine.actors) < MOST_ACTORS and (alone or chance.random() < 0.08):
        machine.start(chance.choice(IDS), chance.randint(1, 2), chance.choice([1, 1, 1, 2]), chance.randint(0, 12))
        return
    if alone:
        return
    index = chance.randrange(MOST_ACTORS)
    match chance.choices(["go on", "half way", "event", "operator"], [6, 3, 2, 0.3])[0]:
        case "go on":
            machine.go_on(index, chance.randint(1, 6), chance.random() < 0.5, chance.choice(LAGS))
        case "half way":
            machine.go_half_way(index, chance.choice(LAGS), chance.choice(EVENTS))
        case "event":
            machine.something_happens(index, chance.choice(EVENTS))
        case _:
            if machine.service.entries:
                machine.operator_deletes(index, chance.random() < 0.3)
